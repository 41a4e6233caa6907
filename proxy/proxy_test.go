package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

func TestRedirectLeadsToObject(t *testing.T) {
	w := newWorld(t)
	for _, l := range []locator.Locator{
		{Bucket: "bucket", Key: "photo.jpg"},
		{Bucket: "team-a", Key: "a//b/ü +%.txt"},
		{Bucket: "photos", Key: "/"},
		{Bucket: "scans", Key: "s"},
	} {
		w.put(l.Bucket, l.Key, "content of "+l.String())
		for _, method := range []string{"GET", "HEAD"} {
			resp := w.ask(method, l.Path())
			if resp.StatusCode != 302 || resp.ContentLength != 0 {
				t.Fatalf("%s %s: status %d with %d bytes, want 302 with 0 bytes", method, l,
					resp.StatusCode, resp.ContentLength)
			}
			for name, want := range map[string]string{
				"Referrer-Policy": "no-referrer",
				"Vary":            "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			var maxAge int
			cacheControl := resp.Header.Get("Cache-Control")
			n, err := fmt.Sscanf(cacheControl, "private, max-age=%d", &maxAge)
			if n != 1 || err != nil || maxAge < 1 || maxAge > 1800 {
				t.Errorf("Cache-Control: got %q, want a max-age of 1 to 1800", cacheControl)
			}
			u, _ := url.Parse(resp.Header.Get("Location"))
			if got := u.Query()["X-Amz-SignedHeaders"]; len(got) != 1 || got[0] != "host" {
				t.Errorf("X-Amz-SignedHeaders: got %q, want host", got)
			}
			got, body := w.fetch(method, u)
			if got.StatusCode != 200 || method == "GET" && body != "content of "+l.String() {
				t.Errorf("%s %s: S3 answers %d %s, want 200 and the object", method, l,
					got.StatusCode, body)
			}
			// A signature is valid for one method only, so HEAD needs another one.
			other := map[string]string{"GET": "HEAD", "HEAD": "GET"}[method]
			if got, _ := w.fetch(other, u); got.StatusCode != 403 {
				t.Errorf("%s with the URL for %s: status %d, want 403", other, method,
					got.StatusCode)
			}
		}
	}
}

// Only parts of a request that change the URL are part of the cache key.
func TestURLsAndCacheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		base := w.redirect("GET", "/s3/team-a/k").String()
		for _, same := range []string{
			"/s3/team-a/k?", "/s3/team-a/k?_=1", "/s3/team-a/%6b",
			"http://evil.example/s3/team-a/k", "/s3/team-a/k?Download",
		} {
			if got := w.redirect("GET", same).String(); got != base {
				t.Errorf("%s: got %s, want %s", same, got, base)
			}
		}
		if n := w.urls.Len(); n != 1 {
			t.Errorf("one URL has %d cache entries, want 1", n)
		}
		seen := map[string]string{}
		for _, other := range []string{
			"/s3/team-a/k", "/s3/team-a/k/", "/s3/team-a//k", "/s3/team-a/k%2Fk", "/s3/team-a/K",
			"/s3/team-a/k%3Fdownload", "/s3/team-a/k?download", "/s3/team-a/k?download=k",
			"/s3/team-a/k?versionId=1", "/s3/team-b/k", "/s3/photos/k", "/s3/bucket/k",
		} {
			got := w.redirect("GET", other).String()
			if twin, ok := seen[got]; ok {
				t.Errorf("%s and %s have the same URL, want different ones", other, twin)
			}
			seen[got] = other
			if head := w.redirect("HEAD", other).String(); head == got {
				t.Errorf("HEAD %s has the URL for GET, want another one", other)
			}
		}
	})
}

// Within a window the same request gets the same URL: when repeated, after an eviction, and from
// another process with the same session, such as static keys.
func TestURLIsStableWithinWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small := func(c *config.Config, o *Options) { o.URLs = 1 }
		w, other := newWorld(t, small), newWorld(t)
		defer w.set.Close()
		defer other.set.Close()
		lastChange := map[string]time.Time{}
		last := map[string]string{}
		for range 4 * 60 {
			for _, target := range []string{"/s3/bucket/k", "/s3/scans/k"} {
				u := w.redirect("GET", target).String()
				w.redirect("GET", "/s3/photos/evicts-the-other")
				if again := w.redirect("GET", target).String(); again != u {
					t.Fatalf("%s after an eviction: got %s, want %s", target, again, u)
				}
				if u != last[target] {
					now := time.Now()
					since := now.Sub(lastChange[target])
					if last[target] != "" && lastChange[target].Unix() > 946684800 &&
						since < 29*time.Minute {
						t.Errorf("%s changed after %v, want at least 29m", target, since)
					}
					last[target], lastChange[target] = u, now
				}
			}
			mine, theirs := w.redirect("GET", "/s3/scans/k"), other.redirect("GET", "/s3/scans/k")
			if *mine != *theirs {
				t.Fatalf("two processes with the same keys: got %v and %v, want one URL", mine,
					theirs)
			}
			time.Sleep(time.Minute)
		}
		if got := w.urls.Evictions().Capacity; got < 1000 {
			t.Errorf("got %d evictions, want at least 1000", got)
		}
	})
}

func TestProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		for _, c := range []struct {
			method, target string
			status         int
			code           string
		}{
			{"GET", "/", 404, "not_found"},
			{"GET", "/s3", 404, "not_found"},
			{"GET", "/s3/", 400, "bad_locator"},
			{"GET", "/s3//key", 400, "bad_locator"},
			{"GET", "/s3/bucket/", 400, "bad_locator"},
			{"GET", "/s3/bucket/../photos/key", 400, "bad_locator"},
			{"GET", "/s3/nobodys/key", 404, "bucket_not_permitted"},
			{"POST", "/s3/bucket/key", 405, "method_not_allowed"},
			{"PUT", "/s3/bucket/key", 405, "method_not_allowed"},
			{"DELETE", "/s3/bucket/key", 405, "method_not_allowed"},
			{"BREW", "/s3/bucket/key", 405, "method_not_allowed"},
		} {
			resp := w.ask(c.method, c.target)
			if p := problemIn(t, resp); p.Status != c.status || p.Code != c.code {
				t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.target, p.Status, p.Code,
					c.status, c.code)
			}
			allow := resp.Header.Get("Allow")
			if (c.status == 405) != (allow == "GET, HEAD, OPTIONS") {
				t.Errorf("%s: status %d with Allow %q", c.method, c.status, allow)
			}
		}
		if calls := w.cloud.Calls().AssumeRole; calls != 0 {
			t.Errorf("got %d AssumeRole calls, want 0", calls)
		}
		resp := w.ask("OPTIONS", "/s3/bucket/key")
		if resp.StatusCode != 204 || resp.Header.Get("Location") != "" ||
			resp.Header.Get("Allow") == "" {
			t.Errorf("OPTIONS: got %d %v, want 204 with Allow", resp.StatusCode, resp.Header)
		}
	})
}

func TestSTSProblems(t *testing.T) {
	for _, c := range []struct {
		fault  fakeaws.Fault
		status int
		code   string
	}{
		{fakeaws.Fault{Status: 403, Code: "AccessDenied"}, 502, "assume_role_denied"},
		{fakeaws.Fault{Status: 400, Code: "Throttling"}, 503, "sts_unavailable"},
		{fakeaws.Fault{Status: 500, Code: "InternalFailure"}, 503, "sts_unavailable"},
	} {
		c.fault.Message = "canary of STS"
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.set.Close()
			w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error { return &c.fault })
			resp := w.ask("GET", "/s3/bucket/key")
			p := problemIn(t, resp)
			if p.Status != c.status || p.Code != c.code || strings.Contains(p.Detail, "canary") {
				t.Errorf("STS fails with %s: got %+v, want %d %s without STS's message",
					c.fault.Code, p, c.status, c.code)
			}
			if retry := resp.Header.Get("Retry-After"); (c.status == 503) != (retry != "") {
				t.Errorf("status %d with Retry-After %q", c.status, retry)
			}
			if !strings.Contains(w.log.String(), "canary of STS") {
				t.Errorf("log: got %s, want STS's message", w.log)
			}
			// Other integrations are served, and this one recovers once STS does.
			w.cloud.Intercept(nil)
			w.redirect("GET", "/s3/photos/key")
			time.Sleep(15 * time.Second)
			w.redirect("GET", "/s3/bucket/key")
		})
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.redirect("GET", "/s3/bucket/a")
	w.redirect("GET", "/s3/bucket/a")
	w.redirect("HEAD", "/s3/bucket/a")
	w.redirect("GET", "/s3/team-a/a")
	w.ask("GET", "/s3/nobodys/a")
	w.ask("BREW", "/s3/bucket/a")
	want := strings.NewReader(`
# HELP s3redirect_requests_total Requests answered on the viewers' listener, ` +
		`by integration (- if none serves the bucket), method and status code.
# TYPE s3redirect_requests_total counter
s3redirect_requests_total{code="302",integration="lab",method="GET"} 2
s3redirect_requests_total{code="302",integration="lab",method="HEAD"} 1
s3redirect_requests_total{code="403",integration="lab",method="GET"} 0
s3redirect_requests_total{code="502",integration="lab",method="GET"} 0
s3redirect_requests_total{code="503",integration="lab",method="GET"} 0
s3redirect_requests_total{code="302",integration="shared",method="GET"} 1
s3redirect_requests_total{code="302",integration="shared",method="HEAD"} 0
s3redirect_requests_total{code="403",integration="shared",method="GET"} 0
s3redirect_requests_total{code="502",integration="shared",method="GET"} 0
s3redirect_requests_total{code="503",integration="shared",method="GET"} 0
s3redirect_requests_total{code="404",integration="-",method="GET"} 1
s3redirect_requests_total{code="405",integration="-",method="other"} 1
# HELP s3redirect_cache_lookups_total Lookups in the two caches (urls, credentials), ` +
		`by integration and result (hit, miss). A credentials miss is a request that waited for STS.
# TYPE s3redirect_cache_lookups_total counter
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="hit"} 2
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="miss"} 1
s3redirect_cache_lookups_total{cache="credentials",integration="shared",result="hit"} 0
s3redirect_cache_lookups_total{cache="credentials",integration="shared",result="miss"} 1
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="hit"} 1
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="miss"} 2
s3redirect_cache_lookups_total{cache="urls",integration="shared",result="hit"} 0
s3redirect_cache_lookups_total{cache="urls",integration="shared",result="miss"} 1
# HELP s3redirect_cache_entries Entries in the two caches (urls, credentials).
# TYPE s3redirect_cache_entries gauge
s3redirect_cache_entries{cache="credentials"} 2
s3redirect_cache_entries{cache="urls"} 3
`)
	err := testutil.ScrapeAndCompare(scrape(t, w), want, "s3redirect_requests_total",
		"s3redirect_cache_lookups_total", "s3redirect_cache_entries")
	if err != nil {
		t.Error(err)
	}
	got := w.Handler.metrics.Total()
	if got.Requests != 6 || got.URLHits != 1 || got.URLMisses != 3 {
		t.Errorf("Total() = %+v, want 6 requests, 1 hit and 3 misses", got)
	}
}

// A request that gets no session counts as a miss of the URL cache. One for a bucket whose region
// is not known does not.
func TestURLMissesOfFailedRequests(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *Options) {
		c.Integrations[1].PermittedBuckets = []string{"missing"}
		c.Integrations[1].Region = config.RegionAuto
	})
	w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
		return &fakeaws.Fault{Status: 403, Code: "AccessDenied"}
	})
	wantCode(t, "no session", w.ask("GET", "/s3/bucket/k"), 502, "assume_role_denied")
	wantCode(t, "no region", w.ask("GET", "/s3/missing/k"), 404, "bucket_not_found")
	got := scrapeText(t, w)
	for _, want := range []string{
		`s3redirect_cache_lookups_total{cache="urls",integration="lab",result="miss"} 1`,
		`s3redirect_cache_lookups_total{cache="urls",integration="shared",result="miss"} 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("metrics: want %s, got\n%s", want, got)
		}
	}
}

// scrape serves w's metrics, and returns their URL.
func scrape(t *testing.T, w *world) string {
	t.Helper()
	s := httptest.NewServer(w.Handler.metrics.Handler())
	t.Cleanup(s.Close)
	return s.URL
}

// discard is a ResponseWriter that allocates nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func BenchmarkHit(b *testing.B) {
	w := newWorld(b)
	const target = "/s3/bucket/some/folder/with/a/key/of/usual/length/photo-0001.jpg"
	r := httptest.NewRequest("GET", target, nil)
	out := discard{http.Header{}}
	w.ServeHTTP(out, r)
	b.ReportAllocs()
	for b.Loop() {
		w.ServeHTTP(out, r)
	}
}

func BenchmarkMiss(b *testing.B) {
	w := newWorld(b)
	r := httptest.NewRequest("GET", "/s3/bucket/x", nil)
	out := discard{http.Header{}}
	targets := make([]string, 1<<18) // more than the cache holds
	for i := range targets {
		targets[i] = fmt.Sprintf(
			"/s3/bucket/some/folder/with/a/key/of/usual/length/photo-%06d.jpg", i,
		)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.RequestURI = targets[i%len(targets)]
		w.ServeHTTP(out, r)
	}
}
