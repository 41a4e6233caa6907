package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
)

const (
	userHeader   = "X-Auth-Request-Email"
	groupsHeader = "X-Auth-Request-Groups"
	linkSecret   = "canary-of-a-link-with-32-bytes!!"
)

// withViewers has a proxy in front that knows ann and bob, each with a folder of their own, and signed links.
func withViewers(c *config.Config, _ *Options) {
	c.Viewers = config.Viewers{
		Forwarded: &config.Forwarded{UserHeader: userHeader, GroupsHeader: groupsHeader, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		Links:     &config.Links{Keys: []config.LinkKey{{ID: "k1", Secret: linkSecret}}, MaxLifetime: 24 * time.Hour},
		Rules: []config.Rule{
			{Users: []string{"ann", "bob"}, Locators: []string{"s3://bucket/users/{user}/*"}},
			{Users: []string{"ann"}, Locators: []string{"s3://photos/*", "s3://elsewhere/*"}},
		},
	}
}

// as sends a request that the proxy in front says is a user's; "" is nobody's.
func (w *world) as(user, method, target string, header ...string) *http.Response {
	w.t.Helper()
	return w.send(user, method, target, "", header...)
}

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

func wantCode(t *testing.T, what string, resp *http.Response, status int, code string) {
	t.Helper()
	if p := problemIn(t, resp); resp.StatusCode != status || p.Code != code || resp.Header.Get("Location") != "" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d %s, want %d %s; %v", what, resp.StatusCode, p.Code, status, code, resp.Header)
	}
}

// That one viewer was given a URL is no reason to give it to another.
func TestWarmCacheServesNobodyElse(t *testing.T) {
	w := newWorld(t, withViewers)
	const own = "/s3/bucket/users/ann/diary.txt"
	for range 3 {
		if resp := w.as("ann", "GET", own); resp.StatusCode != 302 {
			t.Fatalf("ann: %d", resp.StatusCode)
		}
		wantCode(t, "bob", w.as("bob", "GET", own), 403, "viewer_denied")
		wantCode(t, "nobody", w.as("", "GET", own), 401, "viewer_unknown")
		wantCode(t, "bob, HEAD", w.as("bob", "HEAD", own), 403, "viewer_denied")
		wantCode(t, "bob, by another spelling", w.as("bob", "GET", "/s3/bucket/users/%61nn/diary.txt"), 403, "viewer_denied")
		wantCode(t, "bob, by his own folder", w.as("bob", "GET", "/s3/bucket/users/bob/../ann/diary.txt"), 400, "bad_locator")
		wantCode(t, "bob, with a parameter", w.as("bob", "GET", own+"?download"), 403, "viewer_denied")
	}
	// Who may not read learns nothing of what is there, and who is unknown not even which buckets are served.
	wantCode(t, "nobody, no bucket", w.as("", "GET", "/s3/nobodys/k"), 401, "viewer_unknown")
	wantCode(t, "bob, no bucket", w.as("bob", "GET", "/s3/nobodys/k"), 403, "viewer_denied")
	wantCode(t, "ann, no bucket", w.as("ann", "GET", "/s3/elsewhere/k"), 404, "bucket_not_permitted")
	if n := w.urls.Len(); n != 1 {
		t.Errorf("%d URLs are kept: a refusal made one", n)
	}
	resp := w.as("ann", "GET", own)
	if got := resp.Header.Get("Vary"); got != "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest, Authorization, Cookie, X-Auth-Request-Email, X-Auth-Request-Groups" {
		t.Errorf("Vary: %s", got)
	}
	if got := resp.Header.Get("Cache-Control"); !strings.HasPrefix(got, "private, ") {
		t.Errorf("Cache-Control: %s", got)
	}
}

// Who asks anonymously for what the anonymous may not read is asked who they are, if there is a way to say it.
func TestAnonymousMayHaveToSayWhoTheyAre(t *testing.T) {
	rules := []config.Rule{{Anonymous: true, Locators: []string{"s3://photos/public/*"}}}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:$2y$05$8jUGCzsPKzJYFTE2yctiC.Y5IuZFroQSzi4uAEoXAbTZaKpJGjm.u"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := newWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers = config.Viewers{Anonymous: true, Basic: &config.Basic{HtpasswdFile: file}, Rules: rules}
	})
	resp := asked.as("", "GET", "/s3/photos/private/k")
	wantCode(t, "with passwords", resp, 401, "viewer_unknown")
	if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Errorf("WWW-Authenticate: %q", got)
	}
	wantCode(t, "with a password, and no rule", asked.as("", "GET", "/s3/photos/private/k", "Authorization", "Basic YW5uOnNlY3JldA=="), 403, "viewer_denied")
	wantCode(t, "with a wrong password, for what all may read", asked.as("", "GET", "/s3/photos/public/k", "Authorization", "Basic YW5uOndyb25n"), 401, "viewer_unknown")
	if resp := asked.as("", "GET", "/s3/photos/public/k"); resp.StatusCode != 302 {
		t.Errorf("what all may read: %d", resp.StatusCode)
	}
	open := newWorld(t, func(c *config.Config, _ *Options) { c.Viewers = config.Viewers{Anonymous: true, Rules: rules} })
	wantCode(t, "without any way", open.as("", "GET", "/s3/photos/private/k"), 403, "viewer_denied")
}

func TestCORS(t *testing.T) {
	exact := newWorld(t, withViewers, func(_ *config.Config, o *Options) {
		o.CORS = &config.CORS{AllowedOrigins: []string{"https://example.com"}}
	})
	every := newWorld(t, withViewers, func(_ *config.Config, o *Options) { o.CORS = &config.CORS{AllowedOrigins: []string{"*"}} })
	off := newWorld(t, withViewers)
	for _, c := range []struct {
		w           *world
		origin      string
		allow, send string // the header's value, and whether cookies may be sent
	}{
		{exact, "https://example.com", "https://example.com", "true"},
		{exact, "https://evil-example.com", "", ""}, {exact, "https://example.com.evil.example", "", ""}, {exact, "http://example.com", "", ""},
		{exact, "https://example.com:8443", "", ""}, {exact, "https://EXAMPLE.com", "", ""}, {exact, "null", "", ""}, {exact, "", "", ""}, {exact, "*", "", ""},
		{every, "https://anywhere.example", "*", ""}, {every, "null", "*", ""},
		{off, "https://example.com", "", ""},
	} {
		for what, resp := range map[string]*http.Response{
			"302":       c.w.as("ann", "GET", "/s3/photos/k", "Origin", c.origin),
			"401":       c.w.as("", "GET", "/s3/photos/k", "Origin", c.origin),
			"403":       c.w.as("bob", "GET", "/s3/photos/k", "Origin", c.origin),
			"404":       c.w.as("ann", "GET", "/s3/elsewhere/k", "Origin", c.origin),
			"405":       c.w.as("ann", "PUT", "/s3/photos/k", "Origin", c.origin),
			"preflight": c.w.as("", "OPTIONS", "/s3/photos/k", "Origin", c.origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "range,x-trace"),
		} {
			h := resp.Header
			if h.Get("Access-Control-Allow-Origin") != c.allow || h.Get("Access-Control-Allow-Credentials") != c.send || !strings.HasPrefix(h.Get("Vary"), "Origin") {
				t.Errorf("%s from %s: %v", what, c.origin, h)
			}
			if what != "preflight" {
				continue
			}
			if resp.StatusCode != 204 || h.Get("Location") != "" || (h.Get("Access-Control-Allow-Methods") == "GET, HEAD") != (c.allow != "") ||
				(h.Get("Access-Control-Allow-Headers") == "range,x-trace") != (c.allow != "") {
				t.Errorf("preflight from %s: %d %v", c.origin, resp.StatusCode, h)
			}
		}
	}
	resp := exact.as("", "OPTIONS", "/presign", "Origin", "https://example.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Methods") != "POST" || resp.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("preflight of /presign: %d %v", resp.StatusCode, resp.Header)
	}
	for _, asked := range []string{"x\r\ny", "a;b", strings.Repeat("x", 1025)} {
		r := httptest.NewRequest("OPTIONS", "/s3/photos/k", nil)
		r.Header = http.Header{"Origin": {"https://example.com"}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {asked}}
		rec := httptest.NewRecorder()
		exact.ServeHTTP(rec, r)
		if got := rec.Header().Get("Access-Control-Allow-Headers"); got != "" {
			t.Errorf("%.20q is repeated to who asks", asked)
		}
	}
	if resp := exact.as("ann", "GET", "/s3/photos/k", "Origin", "https://example.com", "Origin", "https://evil.example"); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("two origins")
	}
}

func TestPresignBatch(t *testing.T) {
	w := newWorld(t, withViewers)
	w.put("bucket", "users/ann/ü +1", "hers")
	asked := []string{"s3://bucket/users/ann/ü +1", "s3://bucket/users/bob/x", "s3://elsewhere/x", "nonsense", "s3://photos/../x", "s3://photos/y", "s3://bucket/users/ann/ü +1"}
	body, err := json.Marshal(map[string]any{"locators": asked})
	if err != nil {
		t.Fatal(err)
	}
	resp := w.send("ann", "POST", "/presign", string(body), "Content-Type", "application/json; charset=utf-8")
	var answer struct {
		URLs []struct {
			Locator, URL, Error string
			ExpiresAt           time.Time `json:"expires_at"`
		}
	}
	text, _ := io.ReadAll(resp.Body)
	if strings.Contains(string(text), `\u0026`) {
		t.Error("URLs that nobody can read")
	}
	if err := json.Unmarshal(text, &answer); err != nil || resp.StatusCode != 200 || len(answer.URLs) != len(asked) || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", resp.StatusCode, err, text)
	}
	for i, wantError := range []string{"", "viewer_denied", "bucket_not_permitted", "bad_locator", "bad_locator", "", ""} {
		got := answer.URLs[i]
		if got.Locator != asked[i] || got.Error != wantError || (got.URL != "") != (wantError == "") {
			t.Errorf("%s: %+v, want %q", asked[i], got, wantError)
		}
		if wantError == "" && got.ExpiresAt.Before(time.Now().Add(15*time.Minute-time.Second)) {
			t.Errorf("%s: until %v", asked[i], got.ExpiresAt)
		}
	}
	if location := w.as("ann", "GET", "/s3/bucket/users/ann/%C3%BC%20+1").Header.Get("Location"); answer.URLs[0].URL != location || answer.URLs[6].URL != location {
		t.Errorf("another URL than the redirect's:\n%s\n%s", answer.URLs[0].URL, location)
	}
	u, err := url.Parse(answer.URLs[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	if resp, text := w.fetch("GET", u); resp.StatusCode != 200 || text != "hers" {
		t.Errorf("%d %s", resp.StatusCode, text)
	}

	if got := scrapeText(t, w); !strings.Contains(got, `s3redirect_requests_total{code="200",integration="-",method="POST"} 1`) {
		t.Errorf("the batch is not counted as one request of no integration:\n%s", got)
	}

	many := `{"locators": [` + strings.TrimSuffix(strings.Repeat(`"s3://photos/x",`, 1001), ",") + `]}`
	const kind = "Content-Type"
	wantCode(t, "nobody", w.send("", "POST", "/presign", string(body), kind, "application/json"), 401, "viewer_unknown")
	wantCode(t, "too many", w.send("ann", "POST", "/presign", many, kind, "application/json"), 400, "bad_request")
	wantCode(t, "none", w.send("ann", "POST", "/presign", `{"locators": []}`, kind, "application/json"), 400, "bad_request")
	wantCode(t, "no JSON", w.send("ann", "POST", "/presign", `{"locators"`, kind, "application/json"), 400, "bad_request")
	wantCode(t, "another key", w.send("ann", "POST", "/presign", `{"locator": "s3://photos/x"}`, kind, "application/json"), 400, "bad_request")
	wantCode(t, "something after it", w.send("ann", "POST", "/presign", `{"locators": ["s3://photos/x"]} {}`, kind, "application/json"), 400, "bad_request")
	wantCode(t, "a form, which any page could send", w.send("ann", "POST", "/presign", string(body), kind, "text/plain"), 415, "not_json")
	wantCode(t, "5 MB", w.send("ann", "POST", "/presign", `{"locators": ["`+strings.Repeat("x", 5<<20)+`"]}`, kind, "application/json"), 413, "too_large")
	for _, method := range []string{"GET", "HEAD", "PUT"} {
		resp := w.as("ann", method, "/presign")
		wantCode(t, method, resp, 405, "method_not_allowed")
		if resp.Header.Get("Allow") != "POST, OPTIONS" {
			t.Errorf("Allow: %v", resp.Header)
		}
	}
	wantCode(t, "POST elsewhere", w.send("ann", "POST", "/s3/photos/x", "", kind, "application/json"), 405, "method_not_allowed")
}

// Sessions that do not come must not take the answer with them: what there is, is told in time.
func TestPresignBatchDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
			time.Sleep(9 * time.Second)
			return &fakeaws.Fault{Status: 503, Code: "ServiceUnavailable", Message: "no"}
		})
		began := time.Now()
		body := `{"locators": ["s3://scans/x", "s3://bucket/x", "s3://photos/x", "s3://bucket/y", "s3://scans/y"]}`
		resp := w.send("", "POST", "/presign", body, "Content-Type", "application/json")
		text, _ := io.ReadAll(resp.Body)
		if took := time.Since(began); took > presignTimeout || resp.StatusCode != 200 {
			t.Fatalf("%d after %v: %s", resp.StatusCode, took, text)
		}
		if strings.Count(string(text), `"error":"sts_unavailable"`) != 3 || strings.Count(string(text), `"url":`) != 2 {
			t.Errorf("%s", text)
		}
	})
}

func TestSignedLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, func(_ *config.Config, o *Options) { o.PublicURL = "https://media.example.com/" })
		defer w.set.Close()
		w.put("bucket", "users/ann/trip/ü +1", "hers")
		make := func(user, locator, lifetime string) (*http.Response, string) {
			resp := w.send(user, "POST", "/link", fmt.Sprintf(`{"locator": %q, "lifetime": %q}`, locator, lifetime), "Content-Type", "application/json")
			var answer struct {
				URL, Query string
				ExpiresAt  time.Time `json:"expires_at"`
			}
			if resp.StatusCode == 200 {
				wantNoSniff(t, resp)
				if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || !strings.HasSuffix(answer.URL, "?"+answer.Query) {
					t.Fatalf("%v %+v", err, answer)
				}
			}
			return resp, strings.TrimPrefix(answer.URL, "https://media.example.com")
		}
		_, link := make("ann", "s3://bucket/users/ann/trip/ü +1", "10m")
		if !strings.HasPrefix(link, "/s3/bucket/users/ann/trip/") {
			t.Fatalf("no link: %s", link)
		}
		for _, method := range []string{"GET", "HEAD"} {
			resp := w.as("", method, link)
			u, err := resp.Location()
			if err != nil {
				t.Fatal(resp.StatusCode, err)
			}
			if s3, text := w.fetch(method, u); s3.StatusCode != 200 || method == "GET" && text != "hers" || strings.Contains(u.RawQuery, "kid") {
				t.Errorf("%s: %d %s", method, s3.StatusCode, u)
			}
			// The redirect is not kept for longer than the link lives.
			if got := resp.Header.Get("Cache-Control"); got != "private, max-age=600" {
				t.Errorf("Cache-Control: %s", got)
			}
		}
		wantCode(t, "PUT", w.as("", "PUT", link), 405, "method_not_allowed")
		wantCode(t, "another object", w.as("", "GET", strings.Replace(link, "trip/", "trap/", 1)), 401, "viewer_unknown")
		wantCode(t, "tampered, by one who may read it without", w.as("ann", "GET", strings.Replace(link, "exp=", "exp=1", 1)), 401, "viewer_unknown")

		_, folder := make("ann", "s3://bucket/users/ann/trip/*", "10m")
		query := folder[strings.IndexByte(folder, '?'):]
		for path, status := range map[string]int{
			"/s3/bucket/users/ann/trip/x": 302, "/s3/bucket/users/ann/trip/a/b": 302, "/s3/bucket/users/ann/trip%2Fx": 302, "/s3/bucket/users/ann/trips/x": 401,
			"/s3/bucket/users/ann/diary": 401, "/s3/bucket/users/ann/trip/../diary": 400, "/s3/bucket/users/ann/trip/%2e%2e/diary": 400, "/s3/bucket/users/ann/trip%2F..%2Fdiary": 400,
			"/s3/bucket/users/ann//trip/x": 401, "/s3/photos/users/ann/trip/x": 401, "/s3/bucket/users/ann/tr%C4%B1p/x": 401,
		} {
			if resp := w.as("", "GET", path+query); resp.StatusCode != status {
				t.Errorf("%s: %d, want %d", path, resp.StatusCode, status)
			}
		}
		for what, c := range map[string]struct {
			user, locator, lifetime string
			status                  int
			code                    string
		}{
			"nobody":                      {"", "s3://bucket/users/ann/x", "1h", 401, "viewer_unknown"},
			"another":                     {"bob", "s3://bucket/users/ann/x", "1h", 403, "viewer_denied"},
			"more than one may read":      {"ann", "s3://bucket/users/*", "1h", 403, "viewer_denied"},
			"too long":                    {"ann", "s3://bucket/users/ann/x", "25h", 400, "bad_request"},
			"already over":                {"ann", "s3://bucket/users/ann/x", "-1h", 400, "bad_request"},
			"no duration":                 {"ann", "s3://bucket/users/ann/x", "soon", 400, "bad_request"},
			"no locator":                  {"ann", "bucket/users/ann/x", "1h", 400, "bad_request"},
			"a bucket that is not served": {"ann", "s3://elsewhere/x", "1h", 404, "bucket_not_permitted"},
		} {
			resp, _ := make(c.user, c.locator, c.lifetime)
			wantCode(t, what, resp, c.status, c.code)
		}
		time.Sleep(10*time.Minute - time.Second)
		if resp := w.as("", "GET", link); resp.StatusCode != 302 || resp.Header.Get("Cache-Control") != "private, max-age=1" {
			t.Errorf("a second before its end: %d %v", resp.StatusCode, resp.Header)
		}
		time.Sleep(time.Second)
		wantCode(t, "at its end", w.as("", "GET", link), 401, "viewer_unknown")
		if strings.Contains(w.log.String(), "canary") || strings.Contains(w.log.String(), "sig=") {
			t.Error("a secret or a signature is in the log")
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, func(c *config.Config, _ *Options) { c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 5} })
		defer w.set.Close()
		for n := range 5 {
			if resp := w.as("ann", "GET", "/s3/photos/k"); resp.StatusCode != 302 {
				t.Fatalf("request %d: %d", n, resp.StatusCode)
			}
		}
		resp := w.as("ann", "GET", "/s3/photos/k")
		wantCode(t, "the sixth", resp, 429, "rate_limited")
		if resp.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After: %v", resp.Header)
		}
		if resp := w.as("bob", "GET", "/s3/bucket/users/bob/k"); resp.StatusCode != 302 {
			t.Errorf("bob: %d", resp.StatusCode)
		}
		time.Sleep(5 * time.Second)
		body := `{"locators": ["s3://photos/a", "s3://photos/b", "s3://photos/c", "s3://photos/d"]}`
		if resp := w.send("ann", "POST", "/presign", body, "Content-Type", "application/json"); resp.StatusCode != 200 {
			t.Errorf("four at once: %d", resp.StatusCode)
		}
		wantCode(t, "four more", w.send("ann", "POST", "/presign", body, "Content-Type", "application/json"), 429, "rate_limited")
	})
}

// Each locator of a batch counts as a request, also beyond the burst.
func TestBatchesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, func(c *config.Config, _ *Options) {
			c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 5}
		})
		defer w.set.Close()
		body := `{"locators": [` + strings.Repeat(`"s3://photos/a", `, 19) + `"s3://photos/b"]}`
		send := func() *http.Response {
			return w.send("ann", "POST", "/presign", body, "Content-Type", "application/json")
		}
		for n := range 3 {
			if resp := send(); resp.StatusCode != 200 {
				t.Fatalf("batch %d of 20 from a full bucket: got %d, want 200", n, resp.StatusCode)
			}
			for name, resp := range map[string]*http.Response{
				"a batch in debt": send(), "an object in debt": w.as("ann", "GET", "/s3/photos/k"),
			} {
				wantCode(t, name, resp, 429, "rate_limited")
				if got := resp.Header.Get("Retry-After"); got != "16" {
					t.Errorf("%s: Retry-After = %q, want 16", name, got)
				}
			}
			time.Sleep(16 * time.Second)
			resp := send()
			wantCode(t, "a batch without debt", resp, 429, "rate_limited")
			if got := resp.Header.Get("Retry-After"); got != "5" {
				t.Errorf("a batch without debt: Retry-After = %q, want 5", got)
			}
			time.Sleep(5 * time.Second)
		}
	})
}

// slowBody waits for 4 seconds and calls meanwhile before its text is read.
type slowBody struct {
	io.Reader
	meanwhile func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.meanwhile != nil {
		time.Sleep(4 * time.Second)
		b.meanwhile()
		b.meanwhile = nil
	}
	return b.Reader.Read(p)
}

// Slow batches cost as much as fast ones: the time that a body takes is not credited twice.
func TestSlowBatchesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, func(c *config.Config, _ *Options) {
			c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 5}
		})
		defer w.set.Close()
		body := `{"locators": [` + strings.Repeat(`"s3://photos/a", `, 4) + `"s3://photos/b"]}`
		r := httptest.NewRequest("POST", "http://proxy.localhost/", &slowBody{
			Reader: strings.NewReader(body),
			meanwhile: func() {
				if resp := w.as("ann", "GET", "/s3/photos/k"); resp.StatusCode != 302 {
					t.Errorf("a request during the batch: got %d, want 302", resp.StatusCode)
				}
			},
		})
		r.RequestURI, r.RemoteAddr = "/presign", "10.0.0.1:1234"
		r.Header.Set(userHeader, "ann")
		r.Header.Set(groupsHeader, "-")
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != 200 {
			t.Fatalf("a slow batch of 5: got %d, want 200", rec.Code)
		}
		wantCode(t, "a request after the batch", w.as("ann", "GET", "/s3/photos/k"), 429, "rate_limited")
	})
}

// A request without a credential is rejected but is no guess: it does not use up its address's rate
// limit, which bad links and passwords of the address share.
func TestRequestsWithoutCredentialsAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, func(c *config.Config, _ *Options) {
			c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 5}
		})
		defer w.set.Close()
		for range 20 {
			wantCode(t, "no credential", w.as("", "GET", "/s3/photos/k"), 401, "viewer_unknown")
		}
		for range 5 {
			resp := w.as("", "GET", "/s3/photos/k?exp=1&kid=k1&sig=x")
			wantCode(t, "a bad link", resp, 401, "viewer_unknown")
		}
		wantCode(t, "the sixth", w.as("", "GET", "/s3/photos/k?exp=1&kid=k1&sig=x"), 429, "rate_limited")
		wantCode(t, "no credential", w.as("", "GET", "/s3/photos/k"), 401, "viewer_unknown")
		if resp := w.as("ann", "GET", "/s3/photos/k"); resp.StatusCode != 302 {
			t.Errorf("ann: got %d, want 302", resp.StatusCode)
		}
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
		t.Errorf("x-viewer: %q", got)
	}
	if resp, text := w.fetch("GET", u); resp.StatusCode != 200 || text != "text" {
		t.Errorf("S3 says %d %s", resp.StatusCode, text)
	}
	q := u.Query()
	q.Set("x-viewer", "eve")
	u.RawQuery = q.Encode()
	if resp, _ := w.fetch("GET", u); resp.StatusCode != 403 {
		t.Errorf("the viewer can be changed: %d", resp.StatusCode)
	}
}

func scrapeText(t *testing.T, w *world) string {
	t.Helper()
	rec := httptest.NewRecorder()
	w.Handler.metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}
