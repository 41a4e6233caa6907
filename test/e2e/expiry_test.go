package e2e

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// With sessions of three seconds and URLs of two, each redirect has a URL that is valid at once and
// half a second later. This test and the next are slow because real sessions expire in them.
func TestURLsStayValidWhileSessionsExpire(t *testing.T) {
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
`+strings.ReplaceAll(asTrusted, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"),
		append(g.env(), "STS="+sts.url)...)
	g.createBucket(t, "short-sessions")
	body := randomBytes(1000)
	g.put(t, "short-sessions", "key", body)

	// check fetches from the store. min_remaining promises a second; if the machine took longer,
	// the result means nothing.
	check := func(url string, asked time.Time, when string) {
		a, err := try(t, http.MethodGet, url)
		if err != nil {
			t.Error(err)
			return
		}
		valid := a.status == http.StatusOK && bytes.Equal(a.body, body)
		if !valid && time.Since(asked) < time.Second {
			t.Errorf("GET of the URL %s: status %d, body %s, want 200 and the stored bytes",
				when, a.status, a.body)
		}
	}
	var urls []string // one per window
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
	// Count the windows that began meanwhile, the one before and a partial one.
	windows := int(time.Since(begin)/time.Second) + 2
	t.Logf("%d requests, %d URLs in %d windows, %d sessions",
		requests, len(urls), windows, sessions)
	if len(urls) < 8 {
		t.Errorf("%d URLs in %d windows, want at least 8", len(urls), windows)
	}
	// If STS is slow, an older session signs the first URLs of a window.
	if sessions < len(urls)/2 || sessions > windows+1 {
		t.Errorf("%d sessions for %d URLs in %d windows, want one per window and one ahead",
			sessions, len(urls), windows)
	}
	if a := fetch(t, http.MethodGet, urls[0]); a.status != http.StatusForbidden {
		t.Errorf("status of the first, expired URL = %d, want 403", a.status)
	}
}

// While STS is unavailable, the proxy continues with its current session, and it stops before the
// session expires rather than issue an expired URL. It recovers when STS does.
func TestSTSOutage(t *testing.T) {
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
`+strings.ReplaceAll(asTrusted, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"),
		append(g.env(), "STS="+sts.url)...)
	g.createBucket(t, "outage")
	body := randomBytes(1000)
	g.put(t, "outage", "key", body)

	// ask sends one request and reports whether it was redirected. A redirect must lead to the
	// stored bytes; the only other valid answer is 503.
	ask := func() bool {
		asked := time.Now()
		a := fetch(t, http.MethodGet, p.url(path("outage", "key")))
		if a.status == http.StatusServiceUnavailable {
			err := a.checkProblem(http.StatusServiceUnavailable, "sts_unavailable")
			if retry := a.header.Get("Retry-After"); err != nil || retry == "" {
				t.Errorf("%v; Retry-After = %q, want no error and a Retry-After", err, retry)
			}
			return false
		}
		if err := a.checkRedirect(); err != nil {
			t.Error(err)
		}
		// During an outage a URL is valid for at least a quarter of min_remaining.
		got := fetch(t, http.MethodGet, a.header.Get("Location"))
		if !bytes.Equal(got.body, body) && time.Since(asked) < 500*time.Millisecond {
			t.Errorf("GET of the URL: status %d, body %s, want 200 and the stored bytes",
				got.status, got.body)
		}
		return true
	}
	// until calls ask until it returns redirected, and returns the time of that.
	until := func(redirected bool, atMost time.Duration) time.Time {
		for end := time.Now().Add(atMost); ask() != redirected; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) || t.Failed() {
				t.Fatalf("no request with redirected = %v within %v", redirected, atMost)
			}
		}
		return time.Now()
	}

	until(true, 0)
	sts.down.Store(true)
	down := time.Now()
	expires := sts.session(t).Expires
	stopped := until(false, time.Minute)
	t.Logf("before the last session expired: STS down %v, last redirect %v",
		expires.Sub(down), expires.Sub(stopped))
	// The proxy may stop half a second before the end, and expiry times are whole seconds.
	if left := expires.Sub(stopped); left > 2*time.Second {
		t.Errorf("the last redirect was %v before the session expired, want at most 2s", left)
	}
	for range 10 {
		if ask() {
			t.Error("the proxy redirected after its session expired")
		}
	}
	sts.down.Store(false)
	until(true, time.Minute)
}
