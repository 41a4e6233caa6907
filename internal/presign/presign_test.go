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
	endpoint = NewEndpoint("eu-central-1", "my-bucket", false)
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

// sdkURL is what the SDK's signer makes of the same request: an implementation that shares nothing with ours.
func sdkURL(t testing.TB, c Credentials, region string, lifetime time.Duration, o *Object) string {
	t.Helper()
	// The SDK takes the path as it is to be sent; url.URL's own encoding of it is another than S3's.
	escaped := sdkPath(o.Endpoint.path + "/" + o.Key)
	query := "X-Amz-Expires=" + fmt.Sprint(int(lifetime.Seconds()))
	if o.Params != "" {
		query += "&" + o.Params
	}
	req := &http.Request{Method: o.Method, Host: o.Endpoint.Host, Header: http.Header{}, URL: &url.URL{
		Scheme: "https", Host: o.Endpoint.Host, Opaque: "//" + o.Endpoint.Host + escaped, RawQuery: query,
	}}
	creds := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), creds, req, "UNSIGNED-PAYLOAD", "s3", region, signedAt,
		func(so *v4.SignerOptions) { so.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// sdkPath encodes a path by way of the standard library, byte by byte: slow, and not ours.
func sdkPath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
		segments[i] = s
	}
	return strings.Join(segments, "/")
}

// oddKeys are keys that broke one peer or another.
var oddKeys = []string{
	"a", "photo.jpg", "dir/photo.jpg", "a b", " lead", "trail ", "a+b", "+", "a%b", "100%", "%41", "%2F", "a%2Fb", "%25",
	"/lead", "//lead", "a//b", "a///b", "trail/", "trail//", "/", "//", ".a", "a.", "..a", "a..", "...", "a/.../b",
	"Grüße.txt", "Gru\u0308ße.txt", "日本語/キー.png", "🐈/🐕.gif", "\u202egnp.exe", "\u00a0", "\ufeffbom",
	"a?b", "a#b", "a&b=c", "a=b", "a;b", "a:b", "a@b", "a!b", "a*b", "a'b", "a(b)", "a,b", "a~b", "a$b", `a"b`, `a\b`,
	"a^b", "a`b", "a|b", "a{b}", "a[b]", "a<b>", "-_.~", "X-Amz-Signature=00", "?X-Amz-Expires=9", "s3://other/key",
	"http://evil.example/", "@evil.example", strings.Repeat("k", 1024), strings.Repeat("ü", 512), strings.Repeat("a/", 512),
}

func TestURLIsTheSDKsByteForByte(t *testing.T) {
	static := Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "s"}
	store, _ := url.Parse("https://MinIO.internal:9000")
	ported, _ := url.Parse("https://store.example:443")
	endpoints := map[string]*Endpoint{
		"virtual host": endpoint,
		"dotted":       NewEndpoint("eu-central-1", "my.dotted.bucket", false),
		"path style":   NewEndpoint("eu-central-1", "my-bucket", true),
		"china":        NewEndpoint("cn-north-1", "my-bucket", false),
		"gov":          NewEndpoint("us-gov-west-1", "my-bucket", false),
		"custom":       NewCustomEndpoint(store, "my-bucket", true),
		"default port": NewCustomEndpoint(ported, "my-bucket", false),
	}
	params := map[string]string{
		"none": "",
		"all": (&Params{
			ResponseCacheControl: "private, max-age=60", ResponseContentDisposition: `attachment; filename="a b.txt"; filename*=UTF-8''%C3%BC`,
			ResponseContentEncoding: "gzip", ResponseContentLanguage: "de, en", ResponseContentType: "text/plain; charset=utf-8",
			ResponseExpires: "Thu, 01 Dec 1994 16:00:00 GMT", VersionID: "3/L4kqtJ+lcpXro=", RequesterPays: true,
		}).Canonical(),
		"version": (&Params{VersionID: "null"}).Canonical(),
	}
	for _, c := range []Credentials{session, static} {
		for _, method := range []string{"GET", "HEAD"} {
			for where, e := range endpoints {
				for which, p := range params {
					for _, key := range oddKeys {
						o := &Object{Method: method, Endpoint: e, Key: key, Params: p}
						got := presignURL(newSigner(t, c, "eu-central-1", time.Hour), o)
						if want := sdkURL(t, c, "eu-central-1", time.Hour, o); got != want {
							t.Fatalf("%s %s, params %s, key %q:\n got %s\nwant %s", method, where, which, key, got, want)
						}
					}
				}
			}
		}
	}
}

// The example of https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func TestDocumentedExample(t *testing.T) {
	c := Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	s, err := NewSigner(c, "us-east-1", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got := presignURL(s, &Object{Method: "GET", Endpoint: newEndpoint("https", "s3.amazonaws.com", "examplebucket", false), Key: "test.txt"})
	want := "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z" +
		"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOnlyTheHostIsSigned(t *testing.T) {
	for _, key := range oddKeys {
		u := presignURL(newSigner(t, session, "eu-central-1", time.Hour), &Object{Method: "GET", Endpoint: endpoint, Key: key})
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatalf("key %q: %v", key, err)
		}
		if got := parsed.Query()["X-Amz-SignedHeaders"]; len(got) != 1 || got[0] != "host" {
			t.Errorf("key %q: X-Amz-SignedHeaders=%q", key, got)
		}
		if parsed.Host != "my-bucket.s3.eu-central-1.amazonaws.com" || parsed.Path != "/"+key {
			t.Errorf("key %q: the URL is of host %q, path %q", key, parsed.Host, parsed.Path)
		}
	}
}

func TestLifetimeIsWithinS3sBounds(t *testing.T) {
	for _, lifetime := range []time.Duration{-time.Hour, 0, time.Second - 1, MaxLifetime + time.Second} {
		if _, err := NewSigner(session, "us-east-1", signedAt, lifetime); err == nil {
			t.Errorf("%v was accepted", lifetime)
		}
	}
	for _, lifetime := range []time.Duration{time.Second, MaxLifetime} {
		if _, err := NewSigner(session, "us-east-1", signedAt, lifetime); err != nil {
			t.Errorf("%v: %v", lifetime, err)
		}
	}
	if _, err := NewSigner(Credentials{}, "us-east-1", signedAt, time.Hour); err == nil {
		t.Error("empty credentials were accepted")
	}
}

func TestNothingSecretPrints(t *testing.T) {
	sig := newSigner(t, session, "us-east-1", time.Hour).Sign(&Object{Method: "GET", Endpoint: endpoint, Key: "k"})
	var log strings.Builder
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "credentials", session, "in", struct{ C Credentials }{session}, "signature", sig)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %v %+v %x %s %#v", session, session, session, session, struct{ C Credentials }{session},
		[]Credentials{session}, "", sig, sig) + log.String()
	for _, secret := range []string{session.AccessKeyID, session.SecretAccessKey, session.SessionToken[:40], fmt.Sprintf("%x", [32]byte(sig))} {
		if strings.Contains(printed, secret) {
			t.Errorf("%q shows in %s", secret, printed)
		}
	}
}

func FuzzURLIsTheSDKs(f *testing.F) {
	for i, key := range oddKeys {
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
		o.Params = (&Params{ResponseContentDisposition: disposition, VersionID: version}).Canonical()
		if got, want := presignURL(signer, o), sdkURL(t, session, "eu-central-1", time.Hour, o); got != want {
			t.Errorf("key %q:\n got %s\nwant %s", key, got, want)
		}
	})
}

func TestAllocations(t *testing.T) {
	s := newSigner(t, session, "eu-central-1", time.Hour)
	o := &Object{Method: "GET", Endpoint: endpoint, Key: "a/b c/photo.jpg"}
	buf := make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(1000, func() { buf = s.AppendURL(buf[:0], o, s.Sign(o)) }); n > 0 && !raceEnabled {
		t.Errorf("a signature costs %v allocations", n)
	}
}

// benched is what the benchmarks sign, with a token as long as AWS's tend to be: 1.7 kB of URL.
func benched(b *testing.B) (*Signer, *Object) {
	c := Credentials{AccessKeyID: "ASIAEXAMPLEEXAMPLE00", SecretAccessKey: "secret", SessionToken: strings.Repeat("IQoJb3JpZ2luX2VjEXAMPLE+/", 45)}
	return newSigner(b, c, "eu-central-1", time.Hour), &Object{Method: "GET", Endpoint: endpoint, Key: "some/folder/with/a/key/of/usual/length/photo-0001.jpg"}
}

func BenchmarkSign(b *testing.B) {
	s, o := benched(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(o)
	}
}

// BenchmarkFloor is the least that a signature can cost: the SHA-256 of its canonical request, which no other object shares, and one HMAC.
func BenchmarkFloor(b *testing.B) {
	s, o := benched(b)
	request := s.appendCanonicalRequest(nil, o)
	toSign := make([]byte, len("AWS4-HMAC-SHA256\n20260101T000000Z\n20260101/eu-central-1/s3/aws4_request\n")+2*sha256.Size)
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
	s, o := benched(b)
	buf, sig := make([]byte, 0, 8192), s.Sign(o)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.AppendURL(buf[:0], o, sig)
	}
}
