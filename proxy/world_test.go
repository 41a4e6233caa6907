package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
	"s3redirect/internal/wire"
	"s3redirect/metrics"
)

const (
	testKey    = "AKIATESTTESTTESTTEST"
	testSecret = "canary-secret/of+the+user"
	storeURL   = "http://s3.localhost"
	labARN     = "arn:aws:iam::123456789012:role/lab"
	sharedARN  = "arn:aws:iam::123456789012:role/shared"
)

// world is a handler with a fake AWS account, in memory.
type world struct {
	*Handler
	t     testing.TB
	cloud *fakeaws.Cloud
	set   *integration.Set
	log   *lockedBuffer
}

// lockedBuffer is a buffer for concurrent use.
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

// testIntegrations returns an integration for one bucket, one for several buckets with versions,
// and one with static keys.
func testIntegrations() []*config.Integration {
	base := config.Integration{
		SessionDuration: time.Hour,
		SessionPolicy:   true,
		Region:          "us-east-1",
		URLLifetime:     45 * time.Minute,
		MinRemaining:    15 * time.Minute,
		Endpoint:        storeURL,
		PathStyle:       true,
		STSEndpoint:     "http://sts.localhost",
		AccessKeyID:     testKey,
		SecretAccessKey: testSecret,
	}
	lab, shared, keys := base, base, base
	lab.Name, lab.Bucket, lab.SessionName = "lab", "bucket", "s3redirect-lab"
	lab.RoleARN, lab.ExternalID = labARN, "id-lab"
	shared.Name, shared.PermittedBuckets = "shared", []string{"photos", "team-*"}
	shared.RoleARN, shared.SessionName = sharedARN, "s3redirect-shared"
	shared.FileVersioning = true
	keys.Name, keys.Bucket, keys.STSEndpoint, keys.RequesterPays = "keys", "scans", "", true
	return []*config.Integration{&lab, &shared, &keys}
}

// testCloud returns the account that testIntegrations refers to.
func testCloud() *fakeaws.Cloud {
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{
		AccessKeyID:     testKey,
		SecretAccessKey: testSecret,
		Buckets:         []string{"scans"},
	})
	cloud.AddRole(fakeaws.Role{
		ARN:        labARN,
		ExternalID: "id-lab",
		Trusts:     []string{testKey},
		Buckets:    []string{"bucket"},
	})
	cloud.AddRole(fakeaws.Role{
		ARN:      sharedARN,
		Trusts:   []string{testKey},
		Buckets:  []string{"photos", "team-*"},
		Versions: true,
	})
	for _, b := range []string{"bucket", "photos", "team-a", "scans"} {
		cloud.CreateBucket(b, "us-east-1")
	}
	return cloud
}

type worldOption func(*config.Config, *Options)

func newWorld(t testing.TB, options ...worldOption) *world {
	t.Helper()
	cloud := testCloud()
	w := &world{t: t, cloud: cloud, log: &lockedBuffer{}}
	c := &config.Config{
		Integrations: testIntegrations(),
		Cache:        config.Cache{URLs: 1000, Credentials: 100},
	}
	o := Options{
		Metrics:        metrics.New("test"),
		Clock:          time.Now,
		URLs:           1000,
		ReferrerPolicy: "no-referrer",
		Log: slog.New(
			slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}),
		),
	}
	for _, option := range options {
		option(c, &o)
	}
	var err error
	w.set, err = integration.NewSet(c, w.integrationOptions(o.Log, o.Metrics))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.set.Close)
	o.Integrations = w.set
	if c.Viewers.Links == nil && c.Viewers.JWT == nil && c.Viewers.Basic == nil &&
		c.Viewers.Forwarded == nil {
		c.Viewers.Anonymous = true
	}
	o.Gate, err = viewer.New(&c.Viewers, viewer.Options{
		Clock:          o.Clock,
		Log:            o.Log,
		TrustedProxies: c.Proxies,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Gate.Close)
	if w.Handler, err = New(o); err != nil {
		t.Fatal(err)
	}
	if o.AccessLog != nil {
		t.Cleanup(o.AccessLog.Close)
	}
	if o.Audit != nil {
		t.Cleanup(o.Audit.Close)
	}
	return w
}

// integrationOptions returns options for integrations that use the account.
func (w *world) integrationOptions(log *slog.Logger, m *metrics.Metrics) integration.Options {
	sts := &http.Client{Transport: fakeaws.InMemory{Handler: w.cloud.STS()}}
	return integration.Options{
		Clock:     time.Now,
		Log:       log,
		Metrics:   m,
		Transport: fakeaws.InMemory{Handler: w.cloud.S3()},
		STS:       &integration.AWSSTS{HTTPClient: sts},
	}
}

// put stores an object, and returns its version.
func (w *world) put(bucket, key, text string) (version string) {
	o := fakeaws.Object{ContentType: "text/plain", Data: []byte(text)}
	return w.cloud.Put(locator.Locator{Bucket: bucket, Key: key}, o)
}

// onWire makes tests answer plain GET requests like the wire. TestSuiteOnTheWire sets it. The
// response to HEAD has no body on the wire, but an httptest.ResponseRecorder keeps it.
var onWire = os.Getenv("PROXY_TEST_ON_WIRE") != ""

// ask sends a request to the handler.
func (w *world) ask(method, target string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, "http://proxy.localhost/", nil)
	r.RequestURI = target
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result()
}

// ServeHTTP answers like the handler, or like the wire if onWire is set and the wire answers r.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if onWire && r.Method == http.MethodGet {
		if resp := w.answerOnWire(r); resp != nil {
			maps.Copy(rw.Header(), resp.Header)
			rw.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(rw, resp.Body)
			return
		}
	}
	w.Handler.ServeHTTP(rw, r)
}

// answerOnWire returns the response to a request as the wire answers it, or nil if net/http must.
func (w *world) answerOnWire(r *http.Request) *http.Response {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: h\r\n", r.Method, r.RequestURI)
	_ = r.Header.Write(&head) // a buffer's Write does not fail
	head.WriteString("\r\n")
	plain, ok := wire.ReadRequest(head.Bytes(), plainPrefixes, r.RemoteAddr)
	if !ok {
		return nil
	}
	text, ok := w.AppendResponse(nil, plain)
	if !ok {
		return nil
	}
	for n := range head.Bytes() { // a string that was kept would change
		head.Bytes()[n] = 0xff
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), r)
	if err != nil {
		panic(fmt.Sprintf("%s %s: %v in %q", r.Method, r.RequestURI, err, text))
	}
	resp.Header.Del("Date")
	return resp
}

// redirect requests an object, checks that the response is a redirect, and returns its URL.
func (w *world) redirect(method, target string) *url.URL {
	w.t.Helper()
	resp := w.ask(method, target)
	if resp.StatusCode != http.StatusFound {
		body, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("%s %s: got %d %s, want 302", method, target, resp.StatusCode, body)
	}
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// fetch sends a request for a presigned URL to the store, and returns the response and its body.
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

// problemIn returns a response's problem. It checks what all problems have in common.
func problemIn(t testing.TB, resp *http.Response) (p problem) {
	t.Helper()
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type: got %q, want application/problem+json", got)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: got %q, want no-store", got)
	}
	wantNoSniff(t, resp)
	if got := resp.Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy: got %q, want no-referrer", got)
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Status != resp.StatusCode || p.Code == "" || p.Detail == "" || p.Title == "" ||
		p.Type != "about:blank" {
		t.Errorf("status %d: got problem %+v, want all fields", resp.StatusCode, p)
	}
	return p
}
