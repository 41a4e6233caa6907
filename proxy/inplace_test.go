package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/inplace"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

const playlist = "#EXTM3U\n#EXTINF:2,\nsegment1.ts\n#EXT-X-ENDLIST\n"

// countingStore counts the requests that reach a store.
type countingStore struct {
	http.RoundTripper
	requests atomic.Int32
	latency  time.Duration
	fail     error
}

func (s *countingStore) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests.Add(1)
	time.Sleep(s.latency)
	if s.fail != nil {
		return nil, s.fail
	}
	return s.RoundTripper.RoundTrip(r)
}

// newInPlaceWorld returns a world that answers playlists of the bucket "bucket" in place.
func newInPlaceWorld(t *testing.T, options ...worldOption) (*world, *countingStore) {
	store := &countingStore{}
	options = append(options, func(c *config.Config, o *Options) {
		c.Integrations[0].InPlace = &config.InPlace{
			Suffixes: []string{".m3u8", ".vtt", ".css"},
			MaxBytes: 1 << 10,
		}
		o.Transport = store
	})
	w := newWorld(t, options...)
	store.RoundTripper = fakeaws.InMemory{Handler: w.cloud.S3()}
	w.putType("film/film.m3u8", "application/vnd.apple.mpegurl", playlist)
	w.put("bucket", "film/segment1.ts", "segment")
	return w, store
}

func (w *world) putType(key, contentType, text string) {
	w.cloud.Put(locator.Locator{Bucket: "bucket", Key: key},
		fakeaws.Object{ContentType: contentType, Data: []byte(text)})
}

// read sends a request of an anonymous client, and returns the response with its body.
func (w *world) read(method, target string, header ...string) (*http.Response, string) {
	w.t.Helper()
	resp := w.as("", method, target, header...)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

func TestInPlace(t *testing.T) {
	w, store := newInPlaceWorld(t)
	resp, body := w.read("GET", "/s3/bucket/film/film.m3u8")
	if resp.StatusCode != 200 || body != playlist {
		t.Fatalf("got %d %q, want the playlist", resp.StatusCode, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/vnd.apple.mpegurl", "Content-Length": "46", "Accept-Ranges": "bytes",
		"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "sandbox; default-src 'none'", "Referrer-Policy": "no-referrer",
		"Location": "", "X-Amz-Request-Id": "", "Server": "",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	etag, modified := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	if etag == "" || modified == "" {
		t.Fatalf("ETag = %q, Last-Modified = %q, want both", etag, modified)
	}
	for _, c := range []struct {
		name   string
		method string
		header []string
		status int
		body   string
	}{
		{"HEAD", "HEAD", nil, 200, ""},
		{"the same entity tag", "GET", []string{"If-None-Match", etag}, 304, ""},
		{"not modified", "GET", []string{"If-Modified-Since", modified}, 304, ""},
		{"another entity tag", "GET", []string{"If-None-Match", `"other"`}, 200, playlist},
		{"a range", "GET", []string{"Range", "bytes=0-6"}, 206, "#EXTM3U"},
		{"a range of another version", "GET", []string{"Range", "bytes=0-6", "If-Range", `"o"`}, 200, playlist},
		{"an element of another origin", "GET", []string{"Sec-Fetch-Mode", "cors"}, 200, playlist},
		{"a track without crossorigin", "GET", []string{"Sec-Fetch-Mode", "same-origin"}, 200, playlist},
	} {
		resp, body := w.read(c.method, "/s3/bucket/film/film.m3u8", c.header...)
		if resp.StatusCode != c.status || body != c.body {
			t.Errorf("%s: got %d %q, want %d %q", c.name, resp.StatusCode, body, c.status, c.body)
		}
	}
	if got := store.requests.Load(); got != 9 {
		t.Errorf("9 requests made %d fetches, want 9", got)
	}
	w.redirect("GET", "/s3/bucket/film/segment1.ts")
	w.redirect("GET", "/s3/photos/film/film.m3u8") // of another integration
	if got := store.requests.Load(); got != 9 {
		t.Errorf("a redirect made a fetch")
	}
	resp, _ = w.read("GET", "/s3/bucket/film/film.m3u8?download=a.m3u8")
	if got, want := resp.Header.Get("Content-Disposition"), "attachment; filename=a.m3u8"; got != want {
		t.Errorf("Content-Disposition = %q, want %q", got, want)
	}
}

// TestInPlaceConditionsThatFail checks that conditions and ranges that a document does not satisfy
// get problems, without the document's own fields, and count as such.
func TestInPlaceConditionsThatFail(t *testing.T) {
	w, _ := newInPlaceWorld(t, func(_ *config.Config, o *Options) {
		o.CORS = &config.CORS{AllowedOrigins: []string{"https://app.example.com"}}
	})
	w.cloud.Put(locator.Locator{Bucket: "bucket", Key: "a.vtt"}, fakeaws.Object{
		ContentType: "text/vtt", Data: []byte(playlist)})
	w.redirect("GET", "/s3/bucket/other") // an integration has series once it is used
	for _, c := range []struct {
		name         string
		header       []string
		status       int
		code, result string
		contentRange string
	}{
		{"past the end", []string{"Range", "bytes=100-"}, 416, "range_not_satisfiable",
			"range_not_satisfiable", "bytes */46"},
		{"an invalid range", []string{"Range", "bytes=b-a"}, 416, "range_not_satisfiable",
			"range_not_satisfiable", ""},
		{"another entity tag", []string{"If-Match", `"other"`}, 412, "precondition_failed",
			"precondition_failed", ""},
		{"changed since", []string{"If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"}, 412,
			"precondition_failed", "precondition_failed", ""},
		{"satisfied", []string{"Range", "bytes=0-6"}, 206, "", "served", "bytes 0-6/46"},
		{"not modified", []string{"If-None-Match", "*"}, 304, "", "served", ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			name := method + ", " + c.name
			counted, served := inPlaceCount(t, w, c.result), inPlaceCount(t, w, "served")
			resp, body := w.read(method, "/s3/bucket/film/film.m3u8",
				append(c.header, "Origin", "https://app.example.com")...)
			if resp.StatusCode != c.status || resp.Header.Get("Content-Range") != c.contentRange {
				t.Errorf("%s: got %d with Content-Range %q, want %d with %q", name, resp.StatusCode,
					resp.Header.Get("Content-Range"), c.status, c.contentRange)
			}
			if got := inPlaceCount(t, w, c.result); got != counted+1 {
				t.Errorf("%s: in_place_total{result=%q} = %d, want %d", name, c.result, got, counted+1)
			}
			if c.code == "" {
				continue
			}
			if got := inPlaceCount(t, w, "served"); got != served {
				t.Errorf("%s: counted as served", name)
			}
			for field, want := range map[string]string{
				"Content-Type": "application/problem+json", "Cache-Control": "no-store", "ETag": "",
				"Last-Modified": "", "Accept-Ranges": "", "Content-Security-Policy": "",
				"Access-Control-Allow-Origin": "https://app.example.com",
			} {
				if got := resp.Header.Get(field); got != want {
					t.Errorf("%s: %s = %q, want %q", name, field, got, want)
				}
			}
			if got, err := strconv.Atoi(resp.Header.Get("Content-Length")); err != nil ||
				method == "GET" && got != len(body) {
				t.Errorf("%s: Content-Length = %d, %v, want that of %s", name, got, err, body)
			}
			if method == "GET" && (!strings.Contains(body, `"code":"`+c.code+`"`) || strings.Contains(body, "\n")) {
				t.Errorf("%s: got %q, want only the problem %s", name, body, c.code)
			}
		}
	}
}

// TestInPlacePanic checks that a panic in a fetch is a problem for all who wait for it, and counts.
func TestInPlacePanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, store := newInPlaceWorld(t)
		w.redirect("GET", "/s3/bucket/film/segment1.ts") // a session
		store.latency = time.Second
		store.RoundTripper = panicking{}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				resp, body := w.read("GET", "/s3/bucket/film/film.m3u8")
				if resp.StatusCode != 500 || !strings.Contains(body, `"code":"internal_error"`) {
					t.Errorf("got %d %s, want 500 internal_error", resp.StatusCode, body)
				}
			})
		}
		all.Wait()
		if got := inPlaceCount(t, w, "internal_error"); got != 5 {
			t.Errorf("in_place_total{result=\"internal_error\"} = %d, want 5", got)
		}
		if got := w.log.String(); !strings.Contains(got, "panic") || strings.Contains(got, "X-Amz-Signature") {
			t.Errorf("the log has %s, want the panic without the URL", got)
		}
	})
}

// panicking is a transport that panics with the URL.
type panicking struct{}

func (panicking) RoundTrip(r *http.Request) (*http.Response, error) { panic(r.URL.String()) }

// TestInPlaceCORS checks that a page of an allowed origin can read a document.
func TestInPlaceCORS(t *testing.T) {
	w, _ := newInPlaceWorld(t, func(c *config.Config, o *Options) {
		o.CORS = &config.CORS{AllowedOrigins: []string{"https://app.example.com"}}
	})
	resp, _ := w.read("GET", "/s3/bucket/film/film.m3u8", "Origin", "https://app.example.com")
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "https://app.example.com" {
		t.Errorf("Access-Control-Allow-Origin = %q, want the origin", got)
	}
	if got := resp.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "ETag") {
		t.Errorf("Access-Control-Expose-Headers = %q, want ETag in it", got)
	}
	resp, _ = w.read("GET", "/s3/bucket/film/film.m3u8", "Origin", "https://evil.example.com")
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("Access-Control-Allow-Origin = %q, want none", got)
	}
}

// TestNotInPlace checks the responses that are not documents.
func TestNotInPlace(t *testing.T) {
	w, store := newInPlaceWorld(t)
	w.putType("large.m3u8", "application/vnd.apple.mpegurl", strings.Repeat("#", 1<<10+1))
	w.putType("largest.m3u8", "application/vnd.apple.mpegurl", strings.Repeat("#", 1<<10))
	w.putType("UPPER.M3U8", "application/vnd.apple.mpegurl", playlist)
	w.putType("page.vtt", "text/html", "<script>alert(1)</script>")
	w.putType("worker.css", "text/javascript", "alert(1)")
	w.putType("typeless.vtt", "", "<script>alert(1)</script>")
	w.redirect("GET", "/s3/bucket/other") // an integration has series once it is used
	for _, c := range []struct {
		method, target string
		status         int
		code, result   string
	}{
		{"GET", "/s3/bucket/largest.m3u8", 200, "", "served"},
		{"GET", "/s3/bucket/UPPER.M3U8", 200, "", "served"},
		{"GET", "/s3/bucket/large.m3u8", 302, "", "too_large"},
		{"HEAD", "/s3/bucket/large.m3u8", 302, "", "too_large"},
		{"GET", "/s3/bucket/page.vtt", 302, "", "active_type"},
		{"GET", "/s3/bucket/worker.css", 302, "", "active_type"},
		{"GET", "/s3/bucket/typeless.vtt", 200, "", "served"},
		{"GET", "/s3/bucket/missing.m3u8", 403, "object_denied", "denied"},
	} {
		before := inPlaceCount(t, w, c.result)
		resp, body := w.read(c.method, c.target)
		if resp.StatusCode != c.status || c.code != "" && !strings.Contains(body, `"code":"`+c.code+`"`) {
			t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.target, resp.StatusCode, body, c.status, c.code)
		}
		if strings.Contains(body, "AccessDenied") {
			t.Errorf("%s %s: the store's own error was passed on: %s", c.method, c.target, body)
		}
		if got := inPlaceCount(t, w, c.result); got != before+1 {
			t.Errorf("%s %s: in_place_total{result=%q} = %v, want %v", c.method, c.target, c.result, got, before+1)
		}
	}
	// A redirect has the method's own signature.
	u := w.redirect("HEAD", "/s3/bucket/large.m3u8")
	if resp, _ := w.fetch("HEAD", u); resp.StatusCode != 200 {
		t.Errorf("HEAD of the redirect: got %d, want 200", resp.StatusCode)
	}
	store.fail = io.ErrClosedPipe
	resp, body := w.read("GET", "/s3/bucket/film/film.m3u8")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "5" || !strings.Contains(body, "s3_unavailable") {
		t.Errorf("store down: got %d %s, want 503 s3_unavailable", resp.StatusCode, body)
	}
	got := w.log.String()
	if !strings.Contains(got, "document not fetched") || strings.Contains(got, "X-Amz-Signature") {
		t.Errorf("the log has %s, want the failure without the URL", got)
	}
}

// inPlaceCount returns the value of in_place_total of the integration lab for a result.
func inPlaceCount(t *testing.T, w *world, result string) int {
	t.Helper()
	return valueOf(t, scrapeText(t, w), `s3redirect_in_place_total{integration="lab",result="`+result+`"} `)
}

// TestInPlaceAfterAdmission checks that a viewer who may read the playlist and not the segments gets
// the playlist and 403s, and that no document is fetched for a client that may not read it.
func TestInPlaceAfterAdmission(t *testing.T) {
	w, store := newInPlaceWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers = config.Viewers{Anonymous: true, Rules: []config.Rule{
			{Anonymous: true, Locators: []string{"s3://bucket/film/hd/*"}, Deny: true},
			{Anonymous: true, Locators: []string{"s3://bucket/film/*"}},
		}}
	})
	w.putType("film/hd/hd.m3u8", "application/vnd.apple.mpegurl", playlist)
	if resp, body := w.read("GET", "/s3/bucket/film/film.m3u8"); resp.StatusCode != 200 {
		t.Errorf("the playlist: got %d %s, want 200", resp.StatusCode, body)
	}
	fetched := store.requests.Load()
	for _, target := range []string{"/s3/bucket/film/hd/1.ts", "/s3/bucket/film/hd/hd.m3u8"} {
		if resp, body := w.read("GET", target); resp.StatusCode != 403 || !strings.Contains(body, "viewer_denied") {
			t.Errorf("%s: got %d %s, want 403 viewer_denied", target, resp.StatusCode, body)
		}
	}
	if got := store.requests.Load(); got != fetched {
		t.Errorf("a denied request made %d fetches, want none", got-fetched)
	}
}

// TestManyViewersOfADocument checks that 500 concurrent viewers cost one fetch.
func TestManyViewersOfADocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, store := newInPlaceWorld(t)
		w.redirect("GET", "/s3/bucket/film/segment1.ts") // a session
		store.latency = time.Second
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				resp, body := w.read("GET", "/s3/bucket/film/film.m3u8")
				if resp.StatusCode != 200 || body != playlist {
					t.Errorf("got %d %s, want the playlist", resp.StatusCode, body)
				}
			})
		}
		all.Wait()
		if got := store.requests.Load(); got != 1 {
			t.Errorf("500 viewers made %d fetches, want 1", got)
		}
		w.reading.mu.Lock()
		defer w.reading.mu.Unlock()
		if w.reading.held != 0 {
			t.Errorf("%d bytes are still held, want none", w.reading.held)
		}
	})
}

// TestReadingShare checks that a client that does not read its documents cannot hold more of them.
func TestReadingShare(t *testing.T) {
	w, _ := newInPlaceWorld(t)
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "10.0.0.1:1234" // as in world.as
	c := w.gate.Client(&viewer.Viewer{}, viewer.NewRequest(r))
	if !w.reading.take(c, maxReading-int64(len(playlist))+1) {
		t.Fatal("the client's share is used up, want it free")
	}
	resp, body := w.read("GET", "/s3/bucket/film/film.m3u8")
	if resp.StatusCode != 503 || !strings.Contains(body, "overloaded") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 503 overloaded with Retry-After", resp.StatusCode, body)
	}
	w.reading.release(c, maxReading-int64(len(playlist))+1)
	if resp, _ := w.read("GET", "/s3/bucket/film/film.m3u8"); resp.StatusCode != 200 {
		t.Errorf("got %d, want 200", resp.StatusCode)
	}
}

// TestInPlaceIsNotOnTheWire checks that the wire hands over documents before anything is counted.
func TestInPlaceIsNotOnTheWire(t *testing.T) {
	w, store := newInPlaceWorld(t)
	w.redirect("GET", "/s3/bucket/film/segment1.ts") // a session
	r := httptest.NewRequest("GET", "http://proxy.localhost/", nil)
	r.RequestURI = "/s3/bucket/film/film.m3u8"
	if resp := w.answerOnWire(r); resp != nil {
		t.Errorf("the wire answered %d, want it to hand the request over", resp.StatusCode)
	}
	if got := store.requests.Load(); got != 0 {
		t.Errorf("the wire made %d fetches, want none", got)
	}
}

// TestDocumentsOutliveReloads checks that a reload keeps the limits of fetches in flight.
func TestDocumentsOutliveReloads(t *testing.T) {
	w, _ := newInPlaceWorld(t)
	next, err := New(Options{
		Integrations: w.set, Metrics: w.metrics, Clock: time.Now, Log: w.Handler.log, URLs: 10,
		Gate: w.gate, Previous: w.Handler,
	})
	if err != nil {
		t.Fatal(err)
	}
	if next.documents != w.documents || next.reading != w.reading {
		t.Error("the next handler has another fetcher, want the same")
	}
}

// TestOutcomes checks that each error of a fetch has a result.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err    error
		result string
		status int // of the problem; 0: none
	}{
		{inplace.ErrTooLarge, "too_large", 0},
		{inplace.ErrActive, "active_type", 0},
		{&inplace.StatusError{Status: 404}, "not_found", 404},
		{&inplace.StatusError{Status: 403}, "denied", 403},
		{&inplace.StatusError{Status: 301}, "other_status", 0},
		{inplace.ErrOverloaded, "overloaded", 503},
		{inplace.ErrUnavailable, "unavailable", 503},
		{inplace.ErrPanic, "internal_error", 500},
	} {
		result, err := outcome(c.err)
		status := 0
		if err != nil {
			status = (&Handler{}).problemOf(err).Status
		}
		if result != c.result || status != c.status {
			t.Errorf("outcome(%v) = %q, %v, want %q and %d", c.err, result, err, c.result, c.status)
		}
	}
}

// abortingWriter is the writer of middleware that aborts a response.
type abortingWriter struct{ http.ResponseWriter }

func (abortingWriter) Write([]byte) (int, error) { panic(http.ErrAbortHandler) }

// TestAbortedDocumentsAreReleased checks that a response that middleware aborts holds no memory.
func TestAbortedDocumentsAreReleased(t *testing.T) {
	w, _ := newInPlaceWorld(t)
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("recovered %v, want %v", v, http.ErrAbortHandler)
			}
		}()
		r := httptest.NewRequest("GET", "/s3/bucket/film/film.m3u8", nil)
		w.Handler.ServeHTTP(abortingWriter{httptest.NewRecorder()}, r)
	}()
	w.reading.mu.Lock()
	defer w.reading.mu.Unlock()
	if w.reading.held != 0 || len(w.reading.clients) != 0 {
		t.Errorf("%d bytes are still held, want none", w.reading.held)
	}
}
