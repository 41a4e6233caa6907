package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// asTrusted is how radosgw is reached by the principal whom the role trusts.
const asTrusted = `
    endpoint: ${ENDPOINT}
    path_style: true
    region: us-east-1
    role_arn: ${ROLE}
    sts_endpoint: ${ENDPOINT}
    access_key_id: ${TRUSTED_KEY}
    secret_access_key: ${TRUSTED_SECRET}
`

// Sessions of three seconds, URLs of two: whoever asks, at any time, gets a URL that is good now, and still is a moment
// later. This test, and the next, take their time: real sessions expire meanwhile.
func TestSessionsExpire(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	sts := g.sts(t)
	p := startProxy(t, `
integrations:
  - name: short
    bucket: short-sessions
    session_duration: 3s
    url_lifetime: 2s
    min_remaining: 1s
`+strings.ReplaceAll(asTrusted, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"), append(g.env(), "STS="+sts.url)...)
	g.createBucket(t, "short-sessions")
	body := randomBytes(1000)
	g.put(t, "short-sessions", "key", body)

	// check fetches from the store. What is promised of a URL is a second; a machine that took longer shows nothing.
	check := func(url string, asked time.Time, when string) {
		a, err := try(t, http.MethodGet, url)
		switch {
		case err != nil:
			t.Error(err)
		case time.Since(asked) < time.Second && (a.status != http.StatusOK || !bytes.Equal(a.body, body)):
			t.Errorf("the store's answer %s: %d %s", when, a.status, a.body)
		}
	}
	var urls []string // one a window
	var later sync.WaitGroup
	requests, begin := 0, time.Now()
	for len(urls) < 8 && time.Since(begin) < time.Minute && !t.Failed() {
		requests++
		asked := time.Now()
		url := p.location(t, http.MethodGet, path("short-sessions", "key"))
		check(url, asked, "at once")
		if len(urls) == 0 || url != urls[len(urls)-1] {
			urls = append(urls, url)
		}
		if requests%10 == 0 {
			later.Go(func() {
				time.Sleep(500 * time.Millisecond)
				check(url, asked, "half a second later")
			})
		}
		time.Sleep(10 * time.Millisecond)
	}
	later.Wait()

	sessions := int(p.scrape(t)[`s3redirect_assume_role_total{integration="short",result="ok"}`])
	windows := int(time.Since(begin)/time.Second) + 2 // that began meanwhile, and the one before
	t.Logf("%d requests, %d URLs in %d windows, %d sessions", requests, len(urls), windows, sessions)
	if len(urls) < 8 {
		t.Errorf("%d URLs in %d windows: they do not turn over", len(urls), windows)
	}
	// Where STS was slow, an older session may have signed for a window before its own was there.
	if sessions < len(urls)/2 || sessions > windows+1 {
		t.Errorf("%d sessions for %d URLs in %d windows: want one for each window, and one ahead", sessions, len(urls), windows)
	}
	if a := fetch(t, http.MethodGet, urls[0]); a.status != http.StatusForbidden {
		t.Errorf("the first URL is good for ever: %d", a.status)
	}
}

// While STS is down the proxy goes on with the session that it has, for as long as that is true: never with a URL that is
// dead, and then with none. When STS is back, so is the proxy.
func TestOutage(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	sts := g.sts(t)
	p := startProxy(t, `
integrations:
  - name: short
    bucket: outage
    session_duration: 6s
    url_lifetime: 3s
    min_remaining: 2s
`+strings.ReplaceAll(asTrusted, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"), append(g.env(), "STS="+sts.url)...)
	g.createBucket(t, "outage")
	body := randomBytes(1000)
	g.put(t, "outage", "key", body)

	// ask asks once, and tells whether there was a redirect. One must lead to the bytes, anything else must be a 503.
	ask := func() bool {
		asked := time.Now()
		a := fetch(t, http.MethodGet, p.url(path("outage", "key")))
		if a.status == http.StatusServiceUnavailable {
			if err := a.checkProblem(http.StatusServiceUnavailable, "sts_unavailable"); err != nil || a.header.Get("Retry-After") == "" {
				t.Errorf("%v; Retry-After: %q", err, a.header.Get("Retry-After"))
			}
			return false
		}
		if err := a.checkRedirect(); err != nil {
			t.Error(err)
		}
		// A quarter of min_remaining is the least that a URL may have left.
		if got := fetch(t, http.MethodGet, a.header.Get("Location")); !bytes.Equal(got.body, body) && time.Since(asked) < 500*time.Millisecond {
			t.Errorf("a dead URL: %d %s", got.status, got.body)
		}
		return true
	}
	// until asks until the answer is yes or no, and returns when that was.
	until := func(redirected bool, atMost time.Duration) time.Time {
		for end := time.Now().Add(atMost); ask() != redirected; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) || t.Failed() {
				t.Fatalf("redirected: not %v within %v", redirected, atMost)
			}
		}
		return time.Now()
	}

	until(true, 0)
	sts.down.Store(true)
	down := time.Now()
	expires := sts.session(t).Expires
	stopped := until(false, time.Minute)
	t.Logf("STS went down %v before the last session's end, the proxy stopped %v before it", expires.Sub(down), expires.Sub(stopped))
	// Half a second is the least that a URL may have left; and the clock counts in seconds.
	if left := expires.Sub(stopped); left > 2*time.Second {
		t.Errorf("no URL %v before the session's end, and it was good until then", left)
	}
	for range 10 {
		if ask() {
			t.Error("a redirect after all, without a session")
		}
	}
	sts.down.Store(false)
	until(true, time.Minute)
}

// The role's trust policy decides who may assume it. Who may not gets no URL, and no other integration steps in.
func TestTrustPolicy(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	p := startProxy(t, `
integrations:
  - name: default
    permitted_buckets: ["trust-*"]
`+asTrusted+`
  - name: stranger
    bucket: trust-stranger
`+strings.NewReplacer("TRUSTED_KEY", "STRANGER_KEY", "TRUSTED_SECRET", "STRANGER_SECRET").Replace(asTrusted)+`
  - name: no-role
    bucket: trust-no-role
`+strings.ReplaceAll(asTrusted, "${ROLE}", "arn:aws:iam:::role/no-such-role")+`
  - name: wrong-secret
    bucket: trust-wrong-secret
`+strings.ReplaceAll(asTrusted, "${TRUSTED_SECRET}", "${STRANGER_SECRET}"), g.env()...)
	for _, bucket := range []string{"trust-default", "trust-stranger", "trust-no-role", "trust-wrong-secret"} {
		g.createBucket(t, bucket)
		g.put(t, bucket, "key", []byte(bucket))
	}
	if a := fetch(t, http.MethodGet, p.location(t, http.MethodGet, path("trust-default", "key"))); string(a.body) != "trust-default" {
		t.Errorf("the principal who is trusted: status %d: %s", a.status, a.body)
	}
	for _, name := range []string{"stranger", "no-role", "wrong-secret"} {
		for range 3 {
			p.wantProblem(t, path("trust-"+name, "key"), http.StatusBadGateway, "assume_role_denied")
		}
		if n := p.scrape(t)[fmt.Sprintf(`s3redirect_assume_role_total{integration="%s",result="denied"}`, name)]; n != 1 {
			t.Errorf("%s: STS was asked %v times; a no is to be remembered for a while", name, n)
		}
	}
}

// The session policy narrows a session to reading the integration's own buckets, whatever else the role may do.
func TestSessionPolicy(t *testing.T) {
	t.Parallel()
	s := minio(t)
	narrow, wide := s.sts(t), s.sts(t)
	p := startProxy(t, `
integrations:
  - name: narrow
    permitted_buckets: [narrow, "narrow-*"]
    external_id: 9d0c3a53-6d1f-4f0e-9f55-1f1f1f1f1f1f
    session_name: media
    session_duration: 2h
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${NARROW}")+`
  - name: wide
    bucket: wide
    session_policy: false
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${WIDE}"), append(s.env(), "NARROW="+narrow.url, "WIDE="+wide.url)...)
	for _, bucket := range []string{"narrow", "narrow-2", "wide", "elsewhere"} {
		s.createBucket(t, bucket)
		s.put(t, bucket, "key", []byte(bucket))
	}
	for _, bucket := range []string{"narrow", "narrow-2", "wide"} {
		if a := fetch(t, http.MethodGet, p.location(t, http.MethodGet, path(bucket, "key"))); string(a.body) != bucket {
			t.Errorf("%s: status %d: %s", bucket, a.status, a.body)
		}
	}

	asked := narrow.question(t)
	for param, want := range map[string]string{"ExternalId": "9d0c3a53-6d1f-4f0e-9f55-1f1f1f1f1f1f", "RoleSessionName": "media", "DurationSeconds": "7200",
		"RoleArn": "arn:minio:iam:::role/reader"} {
		if asked.Get(param) != want {
			t.Errorf("AssumeRole's %s: %q, want %q", param, asked.Get(param), want)
		}
	}
	if asked := wide.question(t); asked.Has("Policy") || asked.Has("ExternalId") {
		t.Errorf("AssumeRole without session policy and external ID: %v", asked)
	}

	// The sessions that STS gave, in the hands of somebody who wants more.
	attempts := map[string]func(context.Context, *s3.Client) error{
		"to read elsewhere": func(ctx context.Context, c *s3.Client) error {
			return done(c.GetObject(ctx, &s3.GetObjectInput{Bucket: new("elsewhere"), Key: new("key")}))
		},
		"to write": func(ctx context.Context, c *s3.Client) error {
			return done(c.PutObject(ctx, &s3.PutObjectInput{Bucket: new("narrow"), Key: new("new"), Body: strings.NewReader("x")}))
		},
		"to list": func(ctx context.Context, c *s3.Client) error {
			return done(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: new("narrow")}))
		},
		"to delete": func(ctx context.Context, c *s3.Client) error {
			return done(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: new("narrow-2"), Key: new("key")}))
		},
	}
	for what, attempt := range attempts {
		err := attempt(t.Context(), s.client(narrow.session(t)))
		if api, ok := errors.AsType[interface {
			error
			ErrorCode() string
		}](err); !ok || api.ErrorCode() != "AccessDenied" {
			t.Errorf("%s with the narrow session: %v, want AccessDenied", what, err)
		}
		if err := attempt(t.Context(), s.client(wide.session(t))); err != nil {
			t.Errorf("%s with the wide session: %v", what, err)
		}
	}
}

func done[T any](_ T, err error) error { return err }

// A session policy of many buckets makes a session token of 3.6 kB, and it is in every URL.
func TestLongURL(t *testing.T) {
	t.Parallel()
	s := minio(t)
	var buckets []string
	for i := range 23 {
		buckets = append(buckets, fmt.Sprintf("long-%02d-%s", i, strings.Repeat("x", 52)))
	}
	p := startProxy(t, `
integrations:
  - name: many
    permitted_buckets: [`+strings.Join(buckets, ", ")+`]
`+withRole, s.env()...)
	bucket := s.createBucket(t, buckets[len(buckets)-1])
	body := randomBytes(1000)
	s.put(t, bucket, "key", body)
	url := p.location(t, http.MethodGet, path(bucket, "key"))
	if a := fetch(t, http.MethodGet, url); !bytes.Equal(a.body, body) {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	if a := fetch(t, http.MethodHead, p.location(t, http.MethodHead, path(bucket, "key"))); a.length != int64(len(body)) {
		t.Errorf("HEAD: status %d, length %d", a.status, a.length)
	}
	series := p.scrape(t)
	t.Logf("a URL of %d bytes", len(url))
	if len(url) < 3500 || series["s3redirect_url_bytes_sum"] != float64(2*len(url)) || series["s3redirect_url_bytes_count"] != 2 {
		t.Errorf("url_bytes says %v bytes in %v URLs; the test had two of %d, and wants them longer than 3,500",
			series["s3redirect_url_bytes_sum"], series["s3redirect_url_bytes_count"], len(url))
	}
}

// However many wait for a session, STS is asked once; who waits for another STS, or for none, is not held up.
func TestSlowSTS(t *testing.T) {
	t.Parallel()
	s := minio(t)
	slow := s.sts(t)
	p := startProxy(t, `
integrations:
  - name: slow
    bucket: slow
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}")+`
  - name: role
    bucket: swift-role
`+withRole+`
  - name: keys
    bucket: swift-keys
`+withKeys, append(s.env(), "STS="+slow.url)...)
	release := slow.hold(t)
	var waiting sync.WaitGroup
	for i := range 200 {
		waiting.Go(func() {
			a, err := try(t, http.MethodGet, p.url(path("slow", strconv.Itoa(i))))
			if err == nil {
				err = a.checkRedirect()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := p.await("STS asked", func() bool { return slow.arrived.Load() > 0 }); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"swift-role", "swift-keys"} {
		p.location(t, http.MethodGet, path(bucket, "key")) // now, while the other STS is still held
	}
	if n := slow.arrived.Load(); n != 1 {
		t.Errorf("%d calls to STS on behalf of 200 who wait", n)
	}
	release()
	waiting.Wait()
	if n := slow.arrived.Load(); n > 2 { // the next window's session may be fetched ahead
		t.Errorf("STS was asked %d times", n)
	}
}

// Without STS there is no URL, and the answer says when to come back.
func TestNoSTS(t *testing.T) {
	t.Parallel()
	s := minio(t)
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, `
integrations:
  - name: down
    bucket: down
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", fmt.Sprintf("sts_endpoint: http://127.0.0.1:%d", ports[0])), s.env()...)
	a := p.wantProblem(t, path("down", "key"), http.StatusServiceUnavailable, "sts_unavailable")
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
	}
	// One role that fails is no reason to take the whole proxy out.
	if !answersOK(p.admin+"/readyz") || !answersOK(p.admin+"/healthz") {
		t.Error("not ready because STS is down")
	}
}
