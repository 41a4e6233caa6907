package demo

import (
	"bytes"
	"image"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

func TestSamplesAreWhatTheySay(t *testing.T) {
	started := time.Now()
	samples := Samples()
	t.Logf("made in %v", time.Since(started))

	seen := map[string]bool{}
	for _, s := range samples {
		if l, err := locator.ParsePath(s.Locator.Path()); err != nil || l != s.Locator {
			t.Errorf("%s as a path is %s, %v", s.Locator, l, err)
		}
		if seen[string(s.Data)] || len(s.Data) == 0 || s.Title == "" || s.Alt == "" {
			t.Errorf("%s is empty, or another's twin, or has no words", s.Locator)
		}
		seen[string(s.Data)] = true
		t.Logf("%s: %d bytes", s.Locator, len(s.Data))

		switch s.ContentType {
		case "image/jpeg", "image/png":
			c, format, err := image.DecodeConfig(bytes.NewReader(s.Data))
			if err != nil || "image/"+format != s.ContentType || c.Width != paintWidth || c.Height != paintHeight {
				t.Errorf("%s is %s, %dx%d, %v", s.Locator, format, c.Width, c.Height, err)
			}
		case "video/mp4":
			moov, mdat := bytes.Index(s.Data, []byte("moov")), bytes.Index(s.Data, []byte("mdat"))
			if len(s.Data) > 60_000 || moov < 0 || mdat < moov {
				t.Errorf("%s has %d bytes, its index at %d and its frames at %d", s.Locator, len(s.Data), moov, mdat)
			}
		case "image/svg+xml":
			if strings.Contains(string(s.Data), "href") {
				t.Errorf("%s refers to something", s.Locator)
			}
		}
	}
}

func TestAddSamplesStoresEachSample(t *testing.T) {
	now := time.Now()
	c := fakeaws.NewCloud(func() time.Time { return now })
	c.AddUser(fakeaws.User{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret", Buckets: []string{"*"}})
	samples := Samples()
	AddSamples(c, samples, "eu-west-1", now)

	presigner := s3.NewPresignClient(s3.New(s3.Options{
		Region:       "eu-west-1",
		BaseEndpoint: aws.String("http://s3.localhost"),
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
	}))
	client := &http.Client{Transport: fakeaws.InMemory{Handler: c.S3()}}
	for _, s := range samples {
		signed, err := presigner.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &s.Locator.Bucket, Key: &s.Locator.Key})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(signed.URL)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || !bytes.Equal(data, s.Data) || resp.Header.Get("Content-Type") != s.ContentType {
			t.Errorf("GET %s = %d, %s of %d bytes; want 200, %s of %d bytes", s.Locator,
				resp.StatusCode, resp.Header.Get("Content-Type"), len(data), s.ContentType, len(s.Data))
		}
		if modified, err := http.ParseTime(resp.Header.Get("Last-Modified")); err != nil || !modified.Before(now.AddDate(0, 0, -27)) {
			t.Errorf("%s: Last-Modified = %v, %v; want about a month before %v", s.Locator, modified, err, now)
		}
	}
}

func BenchmarkSamples(b *testing.B) {
	for b.Loop() {
		Samples()
	}
}
