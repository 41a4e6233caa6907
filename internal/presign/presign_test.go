package presign

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var (
	signedAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	session  = Credentials{
		AccessKeyID:     "ASIAEXAMPLE",
		SecretAccessKey: "secret/with+odd=characters",
		SessionToken:    "IQoJb3JpZ2luX2VjE" + strings.Repeat("aB3/+=", 200) + "==",
	}
	endpoint = NewEndpoint("eu-central-1", "my-bucket", Host{})
)

func newSigner(t testing.TB, c Credentials, region string, lifetime time.Duration) *Signer {
	t.Helper()
	s, err := NewSigner(c, region, signedAt, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func presignURL(s *Signer, o *Object) string { return string(s.AppendURL(nil, o, s.Sign(o))) }

// sdkURL returns the URL that the SDK's signer creates for the same request.
func sdkURL(
	t testing.TB, c Credentials, region string, lifetime time.Duration, o *Object,
) string {
	t.Helper()
	// The SDK takes the encoded path. S3's encoding differs from that of url.URL.
	escaped := sdkPath(o.Endpoint.path + "/" + o.Key)
	query := "X-Amz-Expires=" + fmt.Sprint(int(lifetime.Seconds()))
	if o.Params != "" {
		query += "&" + o.Params
	}
	req := &http.Request{
		Method: o.Method,
		Host:   o.Endpoint.Host,
		Header: http.Header{},
		URL: &url.URL{
			Scheme:   "https",
			Host:     o.Endpoint.Host,
			Opaque:   "//" + o.Endpoint.Host + escaped,
			RawQuery: query,
		},
	}
	creds := aws.Credentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
	}
	signed, _, err := v4.NewSigner().PresignHTTP(
		context.Background(), creds, req, "UNSIGNED-PAYLOAD", "s3", region, signedAt,
		func(so *v4.SignerOptions) { so.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// sdkPath encodes a path with the standard library.
func sdkPath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
		segments[i] = s
	}
	return strings.Join(segments, "/")
}

// specialKeys are keys that other implementations encode incorrectly.
var specialKeys = []string{
	"a", "photo.jpg", "dir/photo.jpg", "a b", " lead", "trail ", "a+b", "+", "a%b", "100%",
	"%41", "%2F", "a%2Fb", "%25", "/lead", "//lead", "a//b", "a///b", "trail/", "trail//", "/",
	"//", ".a", "a.", "..a", "a..", "...", "a/.../b",
	"Grüße.txt", "Gru\u0308ße.txt", "日本語/キー.png", "🐈/🐕.gif", "\u202egnp.exe", "\u00a0",
	"\ufeffbom", "a?b", "a#b", "a&b=c", "a=b", "a;b", "a:b", "a@b", "a!b", "a*b", "a'b", "a(b)",
	"a,b", "a~b", "a$b", `a"b`, `a\b`, "a^b", "a`b", "a|b", "a{b}", "a[b]", "a<b>", "-_.~",
	"X-Amz-Signature=00", "?X-Amz-Expires=9", "s3://other/key", "http://evil.example/",
	"@evil.example",
	strings.Repeat("k", 1024), strings.Repeat("ü", 512), strings.Repeat("a/", 512),
}

func TestURLsMatchSDK(t *testing.T) {
	static := Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "s"}
	store, _ := url.Parse("https://MinIO.internal:9000")
	ported, _ := url.Parse("https://store.example:443")
	based, _ := url.Parse("https://x.storage.example.co/storage/v1/s3")
	endpoints := map[string]*Endpoint{
		"virtual host": endpoint,
		"dotted":       NewEndpoint("eu-central-1", "my.dotted.bucket", Host{}),
		"path style":   NewEndpoint("eu-central-1", "my-bucket", Host{PathStyle: true}),
		"china":        NewEndpoint("cn-north-1", "my-bucket", Host{}),
		"gov":          NewEndpoint("us-gov-west-1", "my-bucket", Host{}),
		"custom":       NewCustomEndpoint(store, "my-bucket", true),
		"default port": NewCustomEndpoint(ported, "my-bucket", false),
		"base path":    NewCustomEndpoint(based, "My_Bucket", true),
		"base, host":   NewCustomEndpoint(based, "my-bucket", false),
	}
	params := map[string]string{
		"none": "",
		"all": (&Params{
			ResponseCacheControl:       "private, max-age=60",
			ResponseContentDisposition: `attachment; filename="a b.txt"; filename*=UTF-8''%C3%BC`,
			ResponseContentEncoding:    "gzip",
			ResponseContentLanguage:    "de, en",
			ResponseContentType:        "text/plain; charset=utf-8",
			ResponseExpires:            "Thu, 01 Dec 1994 16:00:00 GMT",
			VersionID:                  "3/L4kqtJ+lcpXro=",
			RequesterPays:              true,
		}).Canonical(),
		"version": (&Params{VersionID: "null"}).Canonical(),
	}
	for _, c := range []Credentials{session, static} {
		for _, method := range []string{"GET", "HEAD"} {
			for where, e := range endpoints {
				for which, p := range params {
					for _, key := range specialKeys {
						o := &Object{Method: method, Endpoint: e, Key: key, Params: p}
						got := presignURL(newSigner(t, c, "eu-central-1", time.Hour), o)
						if want := sdkURL(t, c, "eu-central-1", time.Hour, o); got != want {
							t.Fatalf("%s %s, params %s, key %q:\n got %s\nwant %s",
								method, where, which, key, got, want)
						}
					}
				}
			}
		}
	}
}

// TestDocumentedExample signs the example of AWS's documentation:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func TestDocumentedExample(t *testing.T) {
	c := Credentials{
		AccessKeyID:     "AKIAIOSFODNN7EXAMPLE",
		SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	}
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	s, err := NewSigner(c, "us-east-1", at, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got := presignURL(s, &Object{
		Method:   "GET",
		Endpoint: newEndpoint("https", "s3.amazonaws.com", "examplebucket", false),
		Key:      "test.txt",
	})
	want := "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
		"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOnlyHostIsSigned(t *testing.T) {
	s := newSigner(t, session, "eu-central-1", time.Hour)
	for _, key := range specialKeys {
		u := presignURL(s, &Object{Method: "GET", Endpoint: endpoint, Key: key})
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatalf("key %q: %v", key, err)
		}
		if got := parsed.Query()["X-Amz-SignedHeaders"]; len(got) != 1 || got[0] != "host" {
			t.Errorf("key %q: X-Amz-SignedHeaders = %q, want host", key, got)
		}
		const host = "my-bucket.s3.eu-central-1.amazonaws.com"
		if parsed.Host != host || parsed.Path != "/"+key {
			t.Errorf("key %q: URL with host %q and path %q, want %q and %q",
				key, parsed.Host, parsed.Path, host, "/"+key)
		}
	}
}

func TestNewSignerChecksArguments(t *testing.T) {
	for _, c := range []struct {
		credentials Credentials
		lifetime    time.Duration
		ok          bool
	}{
		{session, -time.Hour, false},
		{session, 0, false},
		{session, time.Second - 1, false},
		{session, time.Second, true},
		{session, MaxLifetime, true},
		{session, MaxLifetime + time.Second, false},
		{Credentials{}, time.Hour, false},
	} {
		_, err := NewSigner(c.credentials, "us-east-1", signedAt, c.lifetime)
		if (err == nil) != c.ok {
			t.Errorf("NewSigner with lifetime %v, empty credentials %v: %v, want success %v",
				c.lifetime, c.credentials == Credentials{}, err, c.ok)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	sig := newSigner(t, session, "us-east-1", time.Hour).
		Sign(&Object{Method: "GET", Endpoint: endpoint, Key: "k"})
	type nested struct{ C Credentials }
	var log strings.Builder
	for _, h := range []slog.Handler{
		slog.NewJSONHandler(&log, nil),
		slog.NewTextHandler(&log, nil),
	} {
		slog.New(h).Info("x", "credentials", session, "in", nested{session}, "signature", sig)
	}
	printed := fmt.Sprintf("%v %+v %#v %s", session, session, session, session) +
		fmt.Sprintf("%v %+v", nested{session}, []Credentials{session}) +
		fmt.Sprintf("%s %#v", sig, sig) + log.String()
	for _, secret := range []string{
		session.AccessKeyID,
		session.SecretAccessKey,
		session.SessionToken[:40],
		fmt.Sprintf("%x", [32]byte(sig)),
	} {
		if strings.Contains(printed, secret) {
			t.Errorf("%q is printed in %s", secret, printed)
		}
	}
}

func FuzzURLsMatchSDK(f *testing.F) {
	for i, key := range specialKeys {
		f.Add(key, i%2 == 0, "attachment", "v"+key)
	}
	signer := newSigner(f, session, "eu-central-1", time.Hour)
	f.Fuzz(func(t *testing.T, key string, head bool, disposition, version string) {
		if key == "" {
			t.Skip("S3 has no empty key")
		}
		o := &Object{Method: "GET", Endpoint: endpoint, Key: key}
		if head {
			o.Method = "HEAD"
		}
		p := &Params{ResponseContentDisposition: disposition, VersionID: version}
		o.Params = p.Canonical()
		got, want := presignURL(signer, o), sdkURL(t, session, "eu-central-1", time.Hour, o)
		if got != want {
			t.Errorf("key %q:\n got %s\nwant %s", key, got, want)
		}
	})
}

func TestAllocations(t *testing.T) {
	s := newSigner(t, session, "eu-central-1", time.Hour)
	o := &Object{Method: "GET", Endpoint: endpoint, Key: "a/b c/photo.jpg"}
	buf := make([]byte, 0, 8192)
	n := testing.AllocsPerRun(1000, func() { buf = s.AppendURL(buf[:0], o, s.Sign(o)) })
	if n > 0 && !raceEnabled {
		t.Errorf("signing allocates %v times, want 0", n)
	}
}

// newBenchmark returns a signer with a session token of a typical length, so that a URL has 1.7 kB.
func newBenchmark(b *testing.B) (*Signer, *Object) {
	c := Credentials{
		AccessKeyID:     "ASIAEXAMPLEEXAMPLE00",
		SecretAccessKey: "secret",
		SessionToken:    strings.Repeat("IQoJb3JpZ2luX2VjEXAMPLE+/", 45),
	}
	return newSigner(b, c, "eu-central-1", time.Hour), &Object{
		Method:   "GET",
		Endpoint: endpoint,
		Key:      "some/folder/with/a/key/of/usual/length/photo-0001.jpg",
	}
}

func BenchmarkSign(b *testing.B) {
	s, o := newBenchmark(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(o)
	}
}

// BenchmarkFloor measures the minimum cost of a signature: the SHA-256 of the canonical request,
// and one HMAC.
func BenchmarkFloor(b *testing.B) {
	s, o := newBenchmark(b)
	request := s.appendCanonicalRequest(nil, o)
	const prefix = "AWS4-HMAC-SHA256\n20260101T000000Z\n20260101/eu-central-1/s3/aws4_request\n"
	toSign := make([]byte, len(prefix)+2*sha256.Size)
	mac := hmac.New(sha256.New, make([]byte, sha256.Size))
	var sum []byte
	b.ReportAllocs()
	for b.Loop() {
		digest := sha256.Sum256(request)
		copy(toSign, digest[:])
		mac.Reset()
		mac.Write(toSign)
		sum = mac.Sum(sum[:0])
	}
}

func BenchmarkAppendURL(b *testing.B) {
	s, o := newBenchmark(b)
	buf, sig := make([]byte, 0, 8192), s.Sign(o)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.AppendURL(buf[:0], o, sig)
	}
}
