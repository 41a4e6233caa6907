package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

const (
	userHeader   = "X-Auth-Request-Email"
	groupsHeader = "X-Auth-Request-Groups"
	linkSecret   = "canary-of-a-link-with-32-bytes!!"
)

// withViewers configures a trusted proxy that identifies viewers, rules that give ann and bob a
// folder each, and signed links.
func withViewers(c *config.Config, _ *Options) {
	c.Viewers = config.Viewers{
		Forwarded: &config.Forwarded{
			GroupsSeparator: ",",
			UserHeader:      userHeader,
			GroupsHeader:    groupsHeader,
			Proxies:         []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		},
		Links: &config.Links{
			Keys:        []config.LinkKey{{ID: "k1", Secret: linkSecret}},
			MaxLifetime: 24 * time.Hour,
		},
		Rules: []config.Rule{
			{Users: []string{"ann", "bob"}, Locators: []string{"s3://bucket/users/{user}/*"}},
			{Users: []string{"ann"}, Locators: []string{"s3://photos/*", "s3://elsewhere/*"}},
		},
	}
}

// as sends a request of a user, or an anonymous one if user is "".
func (w *world) as(user, method, target string, header ...string) *http.Response {
	w.t.Helper()
	return w.send(user, method, target, "", header...)
}

// send sends a request of a user with a body, and headers in pairs of name and value.
func (w *world) send(user, method, target, body string, header ...string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, "http://proxy.localhost/", strings.NewReader(body))
	r.RequestURI, r.RemoteAddr = target, "10.0.0.1:1234"
	if r.Header.Set(groupsHeader, "-"); user != "" {
		r.Header.Set(userHeader, user)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result()
}

// wantCode checks that a response is a problem with the given status and code.
func wantCode(t *testing.T, what string, resp *http.Response, status int, code string) {
	t.Helper()
	p := problemIn(t, resp)
	if resp.StatusCode != status || p.Code != code || resp.Header.Get("Location") != "" ||
		resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: got %d %s, want %d %s; header %v",
			what, resp.StatusCode, p.Code, status, code, resp.Header)
	}
}

// A URL in the cache is not given to viewers who may not read its object.
func TestCachedURLsAreCheckedForEachViewer(t *testing.T) {
	w := newWorld(t, withViewers)
	const own = "/s3/bucket/users/ann/diary.txt"
	for range 3 {
		if resp := w.as("ann", "GET", own); resp.StatusCode != 302 {
			t.Fatalf("ann: status %d, want 302", resp.StatusCode)
		}
		wantCode(t, "bob", w.as("bob", "GET", own), 403, "viewer_denied")
		wantCode(t, "anonymous", w.as("", "GET", own), 401, "viewer_unknown")
		wantCode(t, "bob, HEAD", w.as("bob", "HEAD", own), 403, "viewer_denied")
		wantCode(t, "bob, another spelling", w.as("bob", "GET", "/s3/bucket/users/%61nn/diary.txt"),
			403, "viewer_denied")
		wantCode(t, "bob, through his folder",
			w.as("bob", "GET", "/s3/bucket/users/bob/../ann/diary.txt"), 400, "bad_locator")
		wantCode(t, "bob, with a parameter", w.as("bob", "GET", own+"?download"), 403,
			"viewer_denied")
	}
	// Denied viewers do not learn whether a bucket is served.
	wantCode(t, "anonymous, unserved bucket", w.as("", "GET", "/s3/nobodys/k"), 401,
		"viewer_unknown")
	wantCode(t, "bob, unserved bucket", w.as("bob", "GET", "/s3/nobodys/k"), 403, "viewer_denied")
	wantCode(t, "ann, unserved bucket", w.as("ann", "GET", "/s3/elsewhere/k"), 404,
		"bucket_not_permitted")
	if n := w.urls.Len(); n != 1 {
		t.Errorf("the cache has %d URLs, want 1: a denied request must not add one", n)
	}
	resp := w.as("ann", "GET", own)
	want := "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest, Authorization, Cookie, " +
		"X-Auth-Request-Email, X-Auth-Request-Groups"
	if got := resp.Header.Get("Vary"); got != want {
		t.Errorf("Vary: got %q, want %q", got, want)
	}
	if got := resp.Header.Get("Cache-Control"); !strings.HasPrefix(got, "private, ") {
		t.Errorf("Cache-Control: got %q, want private", got)
	}
}

// writeHtpasswd writes a password file with ann's password, "secret", and returns its name.
func writeHtpasswd(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "htpasswd")
	const ann = "ann:$2y$05$8jUGCzsPKzJYFTE2yctiC.Y5IuZFroQSzi4uAEoXAbTZaKpJGjm.u"
	if err := os.WriteFile(file, []byte(ann), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Anonymous clients without access get 401 if credentials could help, and 403 otherwise.
func TestAnonymousClientsAreChallenged(t *testing.T) {
	rules := []config.Rule{{Anonymous: true, Locators: []string{"s3://photos/public/*"}}}
	file := writeHtpasswd(t)
	challenging := newWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers = config.Viewers{
			Anonymous: true,
			Basic:     &config.Basic{HtpasswdFile: file},
			Rules:     rules,
		}
	})
	resp := challenging.as("", "GET", "/s3/photos/private/k")
	wantCode(t, "passwords enabled", resp, 401, "viewer_unknown")
	if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Errorf("WWW-Authenticate: got %q, want Basic", got)
	}
	const right, wrong = "Basic YW5uOnNlY3JldA==", "Basic YW5uOndyb25n"
	resp = challenging.as("", "GET", "/s3/photos/private/k", "Authorization", right)
	wantCode(t, "a password without a rule", resp, 403, "viewer_denied")
	resp = challenging.as("", "GET", "/s3/photos/public/k", "Authorization", wrong)
	wantCode(t, "a wrong password for a public object", resp, 401, "viewer_unknown")
	if resp := challenging.as("", "GET", "/s3/photos/public/k"); resp.StatusCode != 302 {
		t.Errorf("a public object: status %d, want 302", resp.StatusCode)
	}
	open := newWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers = config.Viewers{Anonymous: true, Rules: rules}
	})
	wantCode(t, "no credentials enabled", open.as("", "GET", "/s3/photos/private/k"), 403,
		"viewer_denied")
}

// After an invalid token, the challenge says so (RFC 6750, section 3.1). It does not say why.
func TestInvalidTokensAreChallenged(t *testing.T) {
	file := writeHtpasswd(t)
	w := newWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers = config.Viewers{
			Anonymous: true,
			JWT: []config.JWT{{
				Issuer:         "https://id.example.com",
				Audience:       []string{"media"},
				AudienceClaims: []string{"aud"},
				Algorithms:     []string{"RS256"},
				Cookie:         "session",
				UserClaim:      "sub",
			}},
			Basic: &config.Basic{HtpasswdFile: file},
			Rules: []config.Rule{{Anonymous: true, Locators: []string{"s3://photos/public/*"}}},
		}
	})
	const basic, invalid = `Basic realm="s3redirect", charset="UTF-8"`, `Bearer error="invalid_token"`
	for _, c := range []struct {
		name   string
		header []string
		want   string
	}{
		{"no credential", nil, "Bearer|" + basic},
		{"a bad token", []string{"Authorization", "Bearer x.y.z"}, invalid + "|" + basic},
		{"a bad cookie", []string{"Cookie", "session=x"}, invalid + "|" + basic},
		{"a bad password", []string{"Authorization", "Basic YW5uOndyb25n"}, "Bearer|" + basic},
	} {
		resp := w.as("", "GET", "/s3/photos/private/k", c.header...)
		wantCode(t, c.name, resp, 401, "viewer_unknown")
		if got := strings.Join(resp.Header.Values("WWW-Authenticate"), "|"); got != c.want {
			t.Errorf("%s: WWW-Authenticate: got %q, want %q", c.name, got, c.want)
		}
	}
}

// withRateLimit limits viewers to a request per second, with bursts of five.
func withRateLimit(c *config.Config, _ *Options) {
	c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 5}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withRateLimit)
		defer w.set.Close()
		for n := range 5 {
			if resp := w.as("ann", "GET", "/s3/photos/k"); resp.StatusCode != 302 {
				t.Fatalf("request %d: status %d, want 302", n, resp.StatusCode)
			}
		}
		resp := w.as("ann", "GET", "/s3/photos/k")
		wantCode(t, "the sixth request", resp, 429, "rate_limited")
		if resp.Header.Get("Retry-After") != "1" {
			t.Errorf("got header %v, want Retry-After: 1", resp.Header)
		}
		if resp := w.as("bob", "GET", "/s3/bucket/users/bob/k"); resp.StatusCode != 302 {
			t.Errorf("bob: status %d, want 302", resp.StatusCode)
		}
		time.Sleep(5 * time.Second)
		body := `{"locators": ["s3://photos/a", "s3://photos/b", "s3://photos/c", "s3://photos/d"]}`
		resp = w.send("ann", "POST", "/presign", body, "Content-Type", "application/json")
		if resp.StatusCode != 200 {
			t.Errorf("a batch of four: status %d, want 200", resp.StatusCode)
		}
		resp = w.send("ann", "POST", "/presign", body, "Content-Type", "application/json")
		wantCode(t, "another batch of four", resp, 429, "rate_limited")
	})
}

func TestAttribution(t *testing.T) {
	w := newWorld(t, withViewers, func(_ *config.Config, o *Options) { o.Attribution = true })
	w.put("photos", "k", "text")
	u, err := w.as("ann", "GET", "/s3/photos/k?x-viewer=eve").Location()
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query()["x-viewer"]; !slices.Equal(got, []string{"ann"}) {
		t.Errorf("x-viewer: got %q, want ann", got)
	}
	if resp, text := w.fetch("GET", u); resp.StatusCode != 200 || text != "text" {
		t.Errorf("the store answers %d %s, want 200 text", resp.StatusCode, text)
	}
	q := u.Query()
	q.Set("x-viewer", "eve")
	u.RawQuery = q.Encode()
	if resp, _ := w.fetch("GET", u); resp.StatusCode != 403 {
		t.Errorf("a URL with another x-viewer: status %d, want 403", resp.StatusCode)
	}
}

// scrapeText returns w's metrics.
func scrapeText(t *testing.T, w *world) string {
	t.Helper()
	rec := httptest.NewRecorder()
	w.Handler.metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}
