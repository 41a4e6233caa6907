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

func TestRedirectLeadsToTheObject(t *testing.T) {
	w := newWorld(t)
	for _, l := range []locator.Locator{
		{Bucket: "bucket", Key: "photo.jpg"}, {Bucket: "team-a", Key: "a//b/ü +%.txt"}, {Bucket: "photos", Key: "/"}, {Bucket: "scans", Key: "s"},
	} {
		w.put(l.Bucket, l.Key, "content of "+l.String())
		for _, method := range []string{"GET", "HEAD"} {
			resp := w.ask(method, l.Path())
			if resp.StatusCode != 302 || resp.ContentLength != 0 {
				t.Fatalf("%s %s: %d, %d bytes", method, l, resp.StatusCode, resp.ContentLength)
			}
			for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Vary": "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest"} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			var maxAge int
			if n, err := fmt.Sscanf(resp.Header.Get("Cache-Control"), "private, max-age=%d", &maxAge); n != 1 || err != nil || maxAge < 1 || maxAge > 1800 {
				t.Errorf("Cache-Control: %s", resp.Header.Get("Cache-Control"))
			}
			u, _ := url.Parse(resp.Header.Get("Location"))
			if got := u.Query()["X-Amz-SignedHeaders"]; len(got) != 1 || got[0] != "host" {
				t.Errorf("X-Amz-SignedHeaders: %q", got)
			}
			got, body := w.fetch(method, u)
			if got.StatusCode != 200 || method == "GET" && body != "content of "+l.String() {
				t.Errorf("%s %s: S3 says %d %s", method, l, got.StatusCode, body)
			}
			// A signature is for its own method only: that is why HEAD has one of its own.
			if got, _ := w.fetch(map[string]string{"GET": "HEAD", "HEAD": "GET"}[method], u); got.StatusCode != 403 {
				t.Errorf("%s's URL is good for another method: %d", method, got.StatusCode)
			}
		}
	}
}

func TestParameters(t *testing.T) {
	w := newWorld(t)
	old := w.put("team-a", "k.txt", "old")
	w.put("team-a", "k.txt", "new")
	w.put("bucket", "k.txt", "b")
	for _, c := range []struct {
		target, body string
		header       map[string]string
		problem      string
	}{
		{target: "/s3/team-a/k.txt", body: "new"},
		{target: "/s3/team-a/k.txt?versionId=" + url.QueryEscape(old), body: "old"},
		{target: "/s3/team-a/k.txt?response-content-type=text%2Fcsv%3B+charset%3Dutf-8", header: map[string]string{"Content-Type": "text/csv; charset=utf-8"}},
		{target: "/s3/team-a/k.txt?response-cache-control=max-age%3D60&response-content-language=de&response-content-encoding=identity&response-expires=Thu,%2001%20Dec%202044%2016:00:00%20GMT&response-content-disposition=inline&response-content-type=text/plain",
			header: map[string]string{"Cache-Control": "max-age=60", "Content-Language": "de", "Content-Encoding": "identity",
				"Expires": "Thu, 01 Dec 2044 16:00:00 GMT", "Content-Disposition": "inline"}},
		{target: "/s3/team-a/k.txt?download", header: map[string]string{"Content-Disposition": "attachment"}},
		{target: "/s3/team-a/k.txt?download=a+b.txt", header: map[string]string{"Content-Disposition": `attachment; filename="a b.txt"`}},
		{target: "/s3/team-a/k.txt?download=%C3%BC%22.txt", header: map[string]string{"Content-Disposition": `attachment; filename*=utf-8''%C3%BC%22.txt`}},
		{target: "/s3/team-a/k.txt?response-content-type=", header: map[string]string{"Content-Type": "text/plain"}},
		{target: "/s3/team-a/k.txt?_=123&utm_source=x&X-Amz-Signature=00&x-id=PutObject&%zz&=&&partNumber=1", body: "new"},

		{target: "/s3/bucket/k.txt?versionId=abc", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?versionId=", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?versionId=a&versionId=b", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-content-type=a%0d%0aSet-Cookie:x", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-content-type=%00", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-content-type=%ff", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-content-type=%zz", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?download=a%0ab", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?download=a&response-content-disposition=inline", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-content-disposition=inline&download", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-expires=" + strings.Repeat("x", 1025), problem: "bad_query"},
	} {
		if c.problem != "" {
			resp := w.ask("GET", c.target)
			if p := problemIn(t, resp); p.Code != c.problem || resp.StatusCode != 400 {
				t.Errorf("%.80s: %d %s, want %s", c.target, resp.StatusCode, p.Code, c.problem)
			}
			continue
		}
		resp, body := w.fetch("GET", w.redirect("GET", c.target))
		if resp.StatusCode != 200 || c.body != "" && body != c.body {
			t.Errorf("%s: %d %s", c.target, resp.StatusCode, body)
		}
		for name, want := range c.header {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", c.target, name, got, want)
			}
		}
	}
}

// What has no meaning is not part of the cache's key, and what has, is.
func TestWhatMakesAnotherURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		base := w.redirect("GET", "/s3/team-a/k").String()
		for _, same := range []string{"/s3/team-a/k?", "/s3/team-a/k?_=1", "/s3/team-a/%6b", "http://evil.example/s3/team-a/k", "/s3/team-a/k?Download"} {
			if got := w.redirect("GET", same).String(); got != base {
				t.Errorf("%s is another URL", same)
			}
		}
		if n := w.urls.Len(); n != 1 {
			t.Errorf("%d entries for one URL", n)
		}
		seen := map[string]string{}
		for _, other := range []string{"/s3/team-a/k", "/s3/team-a/k/", "/s3/team-a//k", "/s3/team-a/k%2Fk", "/s3/team-a/K", "/s3/team-a/k%3Fdownload", "/s3/team-a/k?download",
			"/s3/team-a/k?download=k", "/s3/team-a/k?versionId=1", "/s3/team-b/k", "/s3/photos/k", "/s3/bucket/k"} {
			got := w.redirect("GET", other).String()
			if twin, ok := seen[got]; ok {
				t.Errorf("%s and %s have one URL", other, twin)
			}
			seen[got] = other
			if head := w.redirect("HEAD", other).String(); head == got {
				t.Errorf("%s: HEAD has GET's URL", other)
			}
		}
	})
}

// Within a window the same request has the same URL to the byte: again, after an eviction, and from
// another process where the session is the same, as static keys are.
func TestURLIsAFunctionOfItsWindow(t *testing.T) {
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
					t.Fatalf("%s changed by an eviction", target)
				}
				if u != last[target] {
					now := time.Now()
					if since := now.Sub(lastChange[target]); last[target] != "" && lastChange[target].Unix() > 946684800 && since < 29*time.Minute {
						t.Errorf("%s changed after %v", target, since)
					}
					last[target], lastChange[target] = u, now
				}
			}
			if mine, theirs := w.redirect("GET", "/s3/scans/k"), other.redirect("GET", "/s3/scans/k"); *mine != *theirs {
				t.Fatalf("two processes with the same keys: %v and %v", mine, theirs)
			}
			time.Sleep(time.Minute)
		}
		if got := w.urls.Evictions().Capacity; got < 1000 {
			t.Errorf("%d evictions: the test did not test", got)
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
				t.Errorf("%s %s: %d %s, want %d %s", c.method, c.target, p.Status, p.Code, c.status, c.code)
			}
			if allow := resp.Header.Get("Allow"); (c.status == 405) != (allow == "GET, HEAD, OPTIONS") {
				t.Errorf("%s: Allow: %q", c.method, allow)
			}
		}
		if calls := w.cloud.Calls().AssumeRole; calls != 0 {
			t.Errorf("%d AssumeRole calls for nothing", calls)
		}
		resp := w.ask("OPTIONS", "/s3/bucket/key")
		if resp.StatusCode != 204 || resp.Header.Get("Location") != "" || resp.Header.Get("Allow") == "" {
			t.Errorf("OPTIONS: %d %v", resp.StatusCode, resp.Header)
		}
	})
}

func TestProblemsOfSTS(t *testing.T) {
	for _, c := range []struct {
		fault  fakeaws.Fault
		status int
		code   string
	}{
		{fakeaws.Fault{Status: 403, Code: "AccessDenied", Message: "canary of STS"}, 502, "assume_role_denied"},
		{fakeaws.Fault{Status: 400, Code: "Throttling", Message: "canary of STS"}, 503, "sts_unavailable"},
		{fakeaws.Fault{Status: 500, Code: "InternalFailure", Message: "canary of STS"}, 503, "sts_unavailable"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.set.Close()
			w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error { return &c.fault })
			resp := w.ask("GET", "/s3/bucket/key")
			p := problemIn(t, resp)
			if p.Status != c.status || p.Code != c.code || strings.Contains(p.Detail, "canary") {
				t.Errorf("%+v", p)
			}
			if retry := resp.Header.Get("Retry-After"); (c.status == 503) != (retry != "") {
				t.Errorf("%d with Retry-After: %q", c.status, retry)
			}
			if !strings.Contains(w.log.String(), "canary of STS") {
				t.Errorf("the log does not say what STS said: %s", w.log)
			}
			// Others are served, and this one is again once STS is well.
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
	if err := testutil.ScrapeAndCompare(scrape(t, w), strings.NewReader(`
# HELP s3redirect_requests_total Requests answered on the viewers' listener, by integration (- if none serves the bucket), method and status code.
# TYPE s3redirect_requests_total counter
s3redirect_requests_total{code="302",integration="keys",method="GET"} 0
s3redirect_requests_total{code="302",integration="keys",method="HEAD"} 0
s3redirect_requests_total{code="403",integration="keys",method="GET"} 0
s3redirect_requests_total{code="502",integration="keys",method="GET"} 0
s3redirect_requests_total{code="503",integration="keys",method="GET"} 0
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
# HELP s3redirect_cache_lookups_total Lookups in the two caches (urls, credentials), by integration and result (hit, miss). A credentials miss is a request that waited for STS.
# TYPE s3redirect_cache_lookups_total counter
s3redirect_cache_lookups_total{cache="credentials",integration="keys",result="hit"} 0
s3redirect_cache_lookups_total{cache="credentials",integration="keys",result="miss"} 0
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="hit"} 2
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="miss"} 1
s3redirect_cache_lookups_total{cache="credentials",integration="shared",result="hit"} 0
s3redirect_cache_lookups_total{cache="credentials",integration="shared",result="miss"} 1
s3redirect_cache_lookups_total{cache="urls",integration="keys",result="hit"} 0
s3redirect_cache_lookups_total{cache="urls",integration="keys",result="miss"} 0
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="hit"} 1
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="miss"} 2
s3redirect_cache_lookups_total{cache="urls",integration="shared",result="hit"} 0
s3redirect_cache_lookups_total{cache="urls",integration="shared",result="miss"} 1
# HELP s3redirect_cache_entries Entries in the two caches (urls, credentials).
# TYPE s3redirect_cache_entries gauge
s3redirect_cache_entries{cache="credentials"} 2
s3redirect_cache_entries{cache="urls"} 3
`), "s3redirect_requests_total", "s3redirect_cache_lookups_total", "s3redirect_cache_entries"); err != nil {
		t.Error(err)
	}
	if got := w.Handler.metrics.Total(); got.Requests != 6 || got.URLHits != 1 || got.URLMisses != 3 {
		t.Errorf("%+v", got)
	}
}

func scrape(t *testing.T, w *world) string {
	t.Helper()
	s := httptest.NewServer(w.Handler.metrics.Handler())
	t.Cleanup(s.Close)
	return s.URL
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func BenchmarkHit(b *testing.B) {
	w := newWorld(b)
	r := httptest.NewRequest("GET", "/s3/bucket/some/folder/with/a/key/of/usual/length/photo-0001.jpg", nil)
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
	targets := make([]string, 1<<18) // four times as many as are kept
	for i := range targets {
		targets[i] = fmt.Sprintf("/s3/bucket/some/folder/with/a/key/of/usual/length/photo-%06d.jpg", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.RequestURI = targets[i%len(targets)]
		w.ServeHTTP(out, r)
	}
}
