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

func TestSamplesMatchTheirContentType(t *testing.T) {
	samples := Samples()
	seen := map[string]bool{}
	for _, s := range samples {
		if l, err := locator.ParsePath(s.Locator.Path()); err != nil || l != s.Locator {
			t.Errorf("ParsePath(%q) = %s, %v; want %s", s.Locator.Path(), l, err, s.Locator)
		}
		if seen[string(s.Data)] || len(s.Data) == 0 {
			t.Errorf("%s is empty or equals another sample", s.Locator)
		}
		if s.Title == "" || s.Alt == "" {
			t.Errorf("%s: Title = %q, Alt = %q; want both", s.Locator, s.Title, s.Alt)
		}
		seen[string(s.Data)] = true

		switch s.ContentType {
		case "image/jpeg", "image/png":
			c, format, err := image.DecodeConfig(bytes.NewReader(s.Data))
			if err != nil || "image/"+format != s.ContentType {
				t.Errorf("%s is %q, %v; want %s", s.Locator, format, err, s.ContentType)
			}
			if c.Width != paintWidth || c.Height != paintHeight {
				t.Errorf("%s is %dx%d, want %dx%d",
					s.Locator, c.Width, c.Height, paintWidth, paintHeight)
			}
		case "video/mp4":
			const maxBytes = 60_000
			moov, mdat := bytes.Index(s.Data, []byte("moov")), bytes.Index(s.Data, []byte("mdat"))
			if len(s.Data) > maxBytes {
				t.Errorf("%s has %d bytes, want at most %d", s.Locator, len(s.Data), maxBytes)
			}
			if moov < 0 || mdat < moov {
				t.Errorf("%s: moov at %d, mdat at %d; want moov first", s.Locator, moov, mdat)
			}
		case "application/vnd.apple.mpegurl":
			folder := strings.TrimSuffix(s.Locator.Key, "day.m3u8")
			for _, part := range s.Parts {
				name, below := strings.CutPrefix(part.Locator.Key, folder)
				if !below || !strings.Contains(string(s.Data), name) || len(part.Data) == 0 {
					t.Errorf("%s does not refer to %s, or that is empty", s.Locator, part.Locator)
				}
			}
			if got, want := len(s.Parts), 1+strings.Count(string(s.Data), "#EXTINF"); got != want {
				t.Errorf("%s has %d parts, want %d", s.Locator, got, want)
			}
		case "image/svg+xml":
			if strings.Contains(string(s.Data), "href") {
				t.Errorf("%s contains a reference", s.Locator)
			}
		}
	}
}

func TestAddSamplesStoresEachSample(t *testing.T) {
	now := time.Now()
	c := fakeaws.NewCloud(func() time.Time { return now })
	c.AddUser(fakeaws.User{
		AccessKeyID:     "AKIAEXAMPLE",
		SecretAccessKey: "secret",
		Buckets:         []string{"*"},
	})
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
		signed, err := presigner.PresignGetObject(t.Context(), &s3.GetObjectInput{
			Bucket: &s.Locator.Bucket,
			Key:    &s.Locator.Key,
		})
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
		contentType := resp.Header.Get("Content-Type")
		if resp.StatusCode != http.StatusOK || contentType != s.ContentType || !bytes.Equal(data, s.Data) {
			t.Errorf("GET %s = %d, %s of %d bytes; want 200, %s of %d bytes", s.Locator,
				resp.StatusCode, contentType, len(data), s.ContentType, len(s.Data))
		}
		want := now.AddDate(0, -1, 0).UTC().Format(http.TimeFormat)
		if modified := resp.Header.Get("Last-Modified"); modified != want {
			t.Errorf("%s: Last-Modified = %s, want %s", s.Locator, modified, want)
		}
	}
}

func BenchmarkSamples(b *testing.B) {
	for b.Loop() {
		Samples()
	}
}
