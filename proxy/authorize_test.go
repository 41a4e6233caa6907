package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// sameProblem checks that two responses are the same problem, with the same header.
func sameProblem(t *testing.T, what string, got, want *http.Response) {
	t.Helper()
	gotBody, _ := io.ReadAll(got.Body)
	wantBody, _ := io.ReadAll(want.Body)
	got.Header.Del("Date")
	want.Header.Del("Date")
	if got.StatusCode != want.StatusCode || string(gotBody) != string(wantBody) ||
		asJSON(t, got.Header) != asJSON(t, want.Header) {
		t.Errorf("%s: got %d %v %s, want %d %v %s", what, got.StatusCode, got.Header, gotBody,
			want.StatusCode, want.Header, wantBody)
	}
}

// GET and HEAD /authorize/s3/… give 204 where /s3/… redirects, and otherwise the same problem.
func TestAuthorizeJudgesLikeRedirects(t *testing.T) {
	w := newWorld(t, withViewers, withPublicURL)
	_, object := w.createLink("ann", "s3://bucket/users/ann/trip/x", "10m")
	_, folder := w.createLink("ann", "s3://bucket/users/ann/trip/*", "10m")
	query := folder[strings.IndexByte(folder, '?'):]
	allowed := 0
	for _, user := range []string{"", "ann", "bob"} {
		for _, target := range []string{
			"/s3/bucket/users/ann/trip/x", "/s3/bucket/users/%61nn/trip/x",
			"/s3/bucket/users/bob/../ann/x", "/s3/bucket/users/bob%2F..%2Fann/x",
			"/s3/bucket/users/ann/x?download=a.txt", "/s3/bucket/users/bob//x",
			object, strings.Replace(object, "trip/", "trap/", 1), object + "&sig=x",
			"/s3/bucket/users/ann/trip/a%2Fb" + query, "/s3/bucket/users/ann/diary" + query,
			"/s3/photos/k?versionId=1", "/s3/bucket/users/ann/x?versionId=1",
			"/s3/photos/k?versionId=1&versionId=2", "/s3/photos/k?response-content-type=text/html",
			"/s3/photos/k?response-content-type=text%2", "/s3/elsewhere/k", "/s3/nobodys/k",
			"/s3/photos/", "/s3/UPPER/k", "/s3/", "/s3", "/", "", "/presign", "/link", "/authorize",
			"/authorize/s3/photos/k", "s3/photos/k", "/s3/photos/%zz", "/s3/photos/a#b",
			"/S3/photos/k", "//s3/photos/k", "/s3/photos/" + strings.Repeat("k", 1025),
		} {
			for _, method := range []string{"GET", "HEAD"} {
				what := user + ": " + method + " " + target
				got := w.as(user, method, "/authorize"+target)
				want := w.as(user, method, target)
				switch target {
				case "/presign", "/link", "/authorize/s3/photos/k", "s3/photos/k":
					wantCode(t, what, got, 404, "not_found")
					continue
				}
				if want.StatusCode != 302 {
					sameProblem(t, what, got, want)
					continue
				}
				allowed++
				body, _ := io.ReadAll(got.Body)
				header := got.Header
				if got.StatusCode != 204 || len(body) > 0 || len(header["S3redirect-Object"]) != 1 ||
					header.Get("Cache-Control") != "no-store" || header.Get("Location") != "" ||
					header.Get("Vary") != want.Header.Get("Vary") {
					t.Errorf("%s: got %d %v %q, want 204, an object, no-store, no body",
						what, got.StatusCode, header, body)
				}
			}
		}
	}
	if allowed < 20 {
		t.Errorf("%d requests were allowed, want at least 20", allowed)
	}
	wantCode(t, "POST", w.as("ann", "POST", "/authorize/s3/photos/k"), 405, "method_not_allowed")
	if text := w.log.String(); strings.Contains(text, "sig=") || strings.Contains(text, "canary") {
		t.Errorf("the log contains a secret or a signature: %s", text)
	}
}

// Judging takes no session: no call of STS is made, no URL is signed, and an outage of STS does not
// matter. The wire answers without a session.
func TestAuthorizeNeedsNoSession(t *testing.T) {
	var out lockedBuffer
	w := newWorld(t, func(_ *config.Config, o *Options) {
		o.AccessLog = NewAccessLog(&out, "json", o.Log, o.Metrics.AccessLogLost)
	})
	for _, target := range []string{"/authorize/s3/bucket/k", "/authorize/s3/team-a/k"} {
		r := readPlain(t, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		text, ok := w.AppendResponse(nil, r)
		if !ok || !strings.HasPrefix(string(text), "HTTP/1.1 204 No Content\r\n") {
			t.Errorf("%s: AppendResponse = %q, %v, want 204", target, text, ok)
		}
	}
	if resp := w.ask("HEAD", "/authorize/s3/bucket/k"); resp.StatusCode != 204 {
		t.Errorf("HEAD: status %d, want 204", resp.StatusCode)
	}
	if calls := w.cloud.Calls().AssumeRole; calls != 0 || w.urls.Len() != 0 {
		t.Errorf("%d calls of STS and %d URLs, want none", calls, w.urls.Len())
	}
	text := scrapeText(t, w)
	for _, line := range []string{
		`s3redirect_requests_total{code="204",integration="lab",method="GET"} 1`,
		`s3redirect_requests_total{code="204",integration="lab",method="HEAD"} 1`,
		`s3redirect_requests_total{code="204",integration="shared",method="GET"} 1`,
		`s3redirect_cache_lookups_total{cache="urls",integration="lab",result="miss"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	w.accessLog.Close()
	var line accessLine
	first, _, _ := strings.Cut(out.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil || line.Bucket != "bucket" ||
		line.Key != "k" || line.Status != 204 || line.Hit {
		t.Errorf("access log: got %s, %v, want the bucket, the key and status 204", first, err)
	}
}

// objectOf returns what /authorize says which object a target is for.
func objectOf(t *testing.T, w *world, user, target string, header ...string) string {
	t.Helper()
	resp := w.as(user, "GET", "/authorize"+target, header...)
	got := resp.Header.Get("S3redirect-Object")
	if resp.StatusCode != 204 || len(got) != 43 {
		t.Fatalf("%s: got %d and the object %q, want 204 and 43 characters",
			target, resp.StatusCode, got)
	}
	return got
}

// S3redirect-Object is the same for requests that get the same bytes, whoever the viewer is and
// however the path is spelled, and differs for all others. A cache can use it as its key.
func TestAuthorizeNamesTheObject(t *testing.T) {
	w := newWorld(t, withViewers, withPublicURL,
		func(_ *config.Config, o *Options) { o.Attribution = true },
		func(c *config.Config, _ *Options) {
			c.Viewers.Rules = []config.Rule{
				{Users: []string{"ann", "bob"}, Locators: []string{"s3://*/*"}},
			}
		})
	seen := map[string]string{}
	for _, target := range []string{
		"/s3/photos/a", "/s3/team-a/a", "/s3/photos/A", "/s3/photos/a/b", "/s3/photos/a//b",
		"/s3/photos//a/b", "/s3/photos/a/b/", "/s3/photos/a%252Fb", "/s3/photos/a+b",
		"/s3/photos/a%20b", "/s3/photos/a%252Bb", "/s3/photos/a%0Ab", "/s3/photos/a%0D%0Ab",
		"/s3/photos/%C3%BC", "/s3/photos/u%CC%88", "/s3/photos/a%3FversionId=x",
		"/s3/photos/a%3FversionId%3Dx", "/s3/photos/a?versionId=x", "/s3/photos/a?versionId=X",
		"/s3/photos/a?versionId=x%26response-content-type%3Dtext/plain",
		"/s3/photos/a?versionId=x&response-content-type=text/plain",
		"/s3/photos/a?response-content-type=text/plain", "/s3/photos/a?download",
		"/s3/photos/a?download=b", "/s3/photos/a%3Fdownload=b", "/s3/photos/a%23b",
		"/s3/photos/a?response-content-language=a%20b", "/s3/photos/a?response-content-language=a%2Bb",
		"/s3/photos/a%26download=b", "/s3/photos/a%25", "/s3/photos/a%25%32%35",
	} {
		object := objectOf(t, w, "ann", target)
		same := target == "/s3/photos/a%3FversionId%3Dx" // = needs no escape in a path
		if other, ok := seen[object]; ok != same {
			t.Errorf("%s has the object of %q, want one of its own: %v", target, other, !same)
		}
		seen[object] = target
	}
	_, link := w.createLink("ann", "s3://photos/a", "10m")
	want := objectOf(t, w, "ann", "/s3/photos/a")
	for _, other := range []string{"/s3/photos/%61", "/s3/photos/a?", "/s3/photos/a?v=1&x-viewer=b"} {
		if got := objectOf(t, w, "bob", other); got != want {
			t.Errorf("%s has another object than /s3/photos/a, want the same", other)
		}
	}
	if got := objectOf(t, w, "", link); got != want {
		t.Error("a link has another object than the path, want the same")
	}
	if got := objectOf(t, w, "ann", "/s3/photos/a", "Sec-Fetch-Mode", "cors"); got != want {
		t.Error("a script's request has another object than a page's, want the same")
	}
	a, b := "/s3/photos/a?download=b&versionId=1", "/s3/photos/a?versionId=%31&download=b&c=d"
	if objectOf(t, w, "ann", a) != objectOf(t, w, "ann", b) {
		t.Errorf("%s and %s have different objects, want the same", a, b)
	}
}

// A judgment takes a token of the viewer's rate limit, as a redirect does.
func TestAuthorizeIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withRateLimit)
		defer w.set.Close()
		for n := range 5 {
			target := []string{"/s3/photos/k", "/authorize/s3/photos/k"}[n%2]
			if resp := w.as("ann", "GET", target); resp.StatusCode >= 400 {
				t.Fatalf("request %d: status %d, want 302 or 204", n, resp.StatusCode)
			}
		}
		resp := w.as("ann", "GET", "/authorize/s3/photos/k")
		wantCode(t, "the sixth request", resp, 429, "rate_limited")
		if resp.Header.Get("Retry-After") != "1" {
			t.Errorf("got header %v, want Retry-After: 1", resp.Header)
		}
		time.Sleep(time.Second)
		if resp := w.as("ann", "GET", "/authorize/s3/photos/k"); resp.StatusCode != 204 {
			t.Errorf("a second later: status %d, want 204", resp.StatusCode)
		}
	})
}
