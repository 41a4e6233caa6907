package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
)

const (
	testKey    = "AKIATESTTESTTESTTEST"
	testSecret = "canary-secret/of+the+user"
	storeURL   = "http://s3.localhost"
)

// world is a handler with a make-believe account behind it, all in memory.
type world struct {
	*Handler
	t     testing.TB
	cloud *fakeaws.Cloud
	set   *integration.Set
	log   *lockedBuffer
}

// lockedBuffer is what was logged so far.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testIntegrations are a scoped one, a default one with versions, and one with keys.
func testIntegrations() []config.Integration {
	base := config.Integration{
		SessionDuration: time.Hour, SessionPolicy: true, Region: "us-east-1", URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute,
		Endpoint: storeURL, PathStyle: true, STSEndpoint: "http://sts.localhost", AccessKeyID: testKey, SecretAccessKey: testSecret,
	}
	lab, shared, keys := base, base, base
	lab.Name, lab.Bucket, lab.RoleARN, lab.ExternalID, lab.SessionName = "lab", "bucket", "arn:aws:iam::123456789012:role/lab", "id-lab", "s3redirect-lab"
	shared.Name, shared.PermittedBuckets, shared.RoleARN, shared.SessionName = "shared", []string{"photos", "team-*"}, "arn:aws:iam::123456789012:role/shared", "s3redirect-shared"
	shared.FileVersioning = true
	keys.Name, keys.Bucket, keys.STSEndpoint, keys.RequesterPays = "keys", "scans", "", true
	return []config.Integration{lab, shared, keys}
}

type worldOption func(*config.Config, *Options)

func newWorld(t testing.TB, options ...worldOption) *world {
	t.Helper()
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret, Buckets: []string{"scans"}})
	cloud.AddRole(fakeaws.Role{ARN: "arn:aws:iam::123456789012:role/lab", ExternalID: "id-lab", Trusts: []string{testKey}, Buckets: []string{"bucket"}})
	cloud.AddRole(fakeaws.Role{ARN: "arn:aws:iam::123456789012:role/shared", Trusts: []string{testKey}, Buckets: []string{"photos", "team-*"}, Versions: true})
	for _, b := range []string{"bucket", "photos", "team-a", "scans"} {
		cloud.CreateBucket(b, "us-east-1")
	}
	w := &world{t: t, cloud: cloud, log: &lockedBuffer{}}
	c := &config.Config{Integrations: testIntegrations(), Cache: config.Cache{URLs: 1000, Credentials: 100}}
	o := Options{Metrics: metrics.New("test"), Clock: time.Now, URLs: 1000, ReferrerPolicy: "no-referrer",
		Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, option := range options {
		option(c, &o)
	}
	var err error
	w.set, err = integration.NewSet(c, integration.Options{
		Clock: o.Clock, Log: o.Log, Metrics: o.Metrics, Transport: fakeaws.InMemory{Handler: cloud.S3()},
		STS: &integration.AWSSTS{HTTPClient: &http.Client{Transport: fakeaws.InMemory{Handler: cloud.STS()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.set.Close)
	o.Integrations = w.set
	if c.Viewers.Links == nil && c.Viewers.JWT == nil && c.Viewers.Basic == nil && c.Viewers.Forwarded == nil {
		c.Viewers.Anonymous = true
	}
	if o.Gate, err = viewer.New(&c.Viewers, viewer.Options{Clock: o.Clock, Log: o.Log, TrustedProxies: c.Proxies}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Gate.Close)
	if w.Handler, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) put(bucket, key, text string) (version string) {
	return w.cloud.Put(locator.Locator{Bucket: bucket, Key: key}, fakeaws.Object{ContentType: "text/plain", Data: []byte(text)})
}

// ask sends a request to the handler.
func (w *world) ask(method, target string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, "http://proxy.localhost/", nil)
	r.RequestURI = target
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result()
}

// redirect asks for an object and wants a redirect to its URL.
func (w *world) redirect(method, target string) *url.URL {
	w.t.Helper()
	resp := w.ask(method, target)
	if resp.StatusCode != http.StatusFound {
		body, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("%s %s: %d %s", method, target, resp.StatusCode, body)
	}
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// fetch gets what is at a presigned URL.
func (w *world) fetch(method string, u *url.URL) (*http.Response, string) {
	w.t.Helper()
	r := httptest.NewRequest(method, u.String(), nil)
	resp, err := fakeaws.InMemory{Handler: w.cloud.S3()}.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

// wantNoSniff checks that browsers do not guess the type of a response: the parts of the request
// that it repeats could look like a page.
func wantNoSniff(t testing.TB, resp *http.Response) {
	t.Helper()
	if got := resp.Header["X-Content-Type-Options"]; len(got) != 1 || got[0] != "nosniff" {
		t.Errorf("X-Content-Type-Options: got %q, want nosniff", got)
	}
}

// problemIn reads an answer's problem, after checking what all of them have in common.
func problemIn(t testing.TB, resp *http.Response) (p problem) {
	t.Helper()
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type: %s", got)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a problem with Cache-Control: %s", got)
	}
	wantNoSniff(t, resp)
	if got := resp.Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy: %s", got)
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Status != resp.StatusCode || p.Code == "" || p.Detail == "" || p.Title == "" || p.Type != "about:blank" {
		t.Errorf("status %d: %+v", resp.StatusCode, p)
	}
	return p
}
