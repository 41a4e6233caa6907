package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"s3redirect/internal/config"
	"s3redirect/internal/wire"
)

// TestSuiteOnTheWire runs the package's tests again, with all plain requests answered like the
// wire's.
func TestSuiteOnTheWire(t *testing.T) {
	if onWire {
		t.Skip("this is the second run")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.skip=^TestSuiteOnTheWire$", "-test.short")
	cmd.Env = append(os.Environ(), "PROXY_TEST_ON_WIRE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("on the wire: %v\n%s", err, out)
	}
}

var dateField = regexp.MustCompile("Date: [^\r]*\r\n")

// serve starts a server. If handler is nil, it has no wire. stop ends it.
func (w *world) serve(t *testing.T, handler wire.Handler) (address string, stop func()) {
	t.Helper()
	s, stop := w.start(t, handler)
	return s.Addr.String(), stop
}

// start is serve that returns the server.
func (w *world) start(t *testing.T, handler wire.Handler) (s *Server, stop func()) {
	t.Helper()
	s, err := Listen(ServerOptions{
		Listen:      []string{"127.0.0.1:0"},
		AdminListen: []string{"127.0.0.1:0"},
		Viewers:     w.Handler,
		Wire:        handler,
		Metrics:     w.metrics,
		Log:         slog.New(slog.DiscardHandler),
		Clock:       w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// onBoth sends a request to a server with the wire and to one without, and returns what each
// answers until it closes the connection, without dates.
func onBoth(t *testing.T, w *world, request string) (onWire, netHTTP string) {
	t.Helper()
	return onBothWith(t, w, request, func(*Server) {})
}

// onBothWith is onBoth with servers that prepare has changed.
func onBothWith(
	t *testing.T, w *world, request string, prepare func(*Server),
) (onWire, netHTTP string) {
	t.Helper()
	converse := func(handler wire.Handler) string {
		s, stop := w.start(t, handler)
		defer stop()
		prepare(s)
		c, err := net.Dial("tcp", s.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, request)
		_ = c.(*net.TCPConn).CloseWrite()
		answer, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("%q: after %q: %v", request, answer, err)
		}
		return dateField.ReplaceAllString(string(answer), "")
	}
	return converse(w), converse(nil)
}

// The wire's responses have the same bytes as net/http's: redirects and problems, with and without
// CORS, with every header field in the same place.
func TestWireWritesWhatNetHTTPWrites(t *testing.T) {
	hour := time.Now().Truncate(time.Hour).Add(10 * time.Minute)
	frozen := func(_ *config.Config, o *Options) { o.Clock = func() time.Time { return hour } }
	withCORS := func(origins ...string) worldOption {
		return func(_ *config.Config, o *Options) { o.CORS = &config.CORS{AllowedOrigins: origins} }
	}
	for name, w := range map[string]*world{
		"plain": newWorld(t, frozen),
		"logging": newWorld(t, frozen, func(c *config.Config, o *Options) {
			c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			o.AccessLog = NewAccessLog(io.Discard, "json", o.Log, o.Metrics.AccessLogLost)
			t.Cleanup(o.AccessLog.Close)
		}),
		"origin":      newWorld(t, frozen, withCORS("https://app.example.com")),
		"all origins": newWorld(t, frozen, withCORS("*")),
		"password": newWorld(t, frozen, func(c *config.Config, _ *Options) {
			c.Viewers.Links = &config.Links{
				Keys:        []config.LinkKey{{ID: "k", Secret: testSecret + testSecret}},
				MaxLifetime: time.Hour,
			}
		}),
	} {
		for _, target := range []string{
			"/s3/scans/photo.jpg", "/s3/scans/a%20b?download=x", "/s3/scans/x?versionId=1",
			"/s3/unserved/x", "/s3/scans/../x", "/s3/scans/", "/s3/UPPER/x", "/s3/",
			"/s3/scans/x?exp=1&kid=k&sig=x",
			"/authorize/s3/scans/photo.jpg", "/authorize/s3/scans/x?versionId=1", "/authorize/s3/",
		} {
			for _, method := range []string{"GET", "HEAD"} {
				for _, fields := range []string{
					"",
					"Origin: https://app.example.com\r\nSec-Fetch-Mode: cors\r\n",
					"Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: image\r\nOrigin: null\r\n",
					"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: video\r\n",
					"Sec-Fetch-Mode: same-origin\r\n",
					"Connection: close\r\n",
				} {
					fields += "X-Request-ID: a-1\r\n"
					head := method + " " + target + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"
					got, want := onBoth(t, w, head)
					if got != want || want == "" {
						t.Errorf("%s: %q:\nthe wire answers %q\nnet/http answers %q",
							name, head, got, want)
					}
					got, want = onBothWith(t, w, head, (*Server).retire)
					if got != want || strings.Count(want, "Connection: close\r\n") != 1 {
						t.Errorf("%s, retired: %q:\nthe wire answers %q\nnet/http answers %q",
							name, head, got, want)
					}
				}
			}
		}
	}
}

// A client that may not read an object must not learn whether its bucket has a session: the response
// has the same bytes, and leaves the connection open, whether the wire hands the request over or not.
func TestDeniedClientsLearnNothingOfSessions(t *testing.T) {
	for name, viewers := range map[string]config.Viewers{
		"unknown": {Links: &config.Links{
			Keys:        []config.LinkKey{{ID: "k", Secret: testSecret + testSecret}},
			MaxLifetime: time.Hour,
		}},
		"denied": {Anonymous: true, Rules: []config.Rule{
			{Anonymous: true, Locators: []string{"s3://bucket/public/*"}},
		}},
	} {
		w := newWorld(t, func(c *config.Config, _ *Options) { c.Viewers = viewers })
		for _, target := range []string{"/s3/bucket/k", "/s3/team-a/k", "/s3/unserved/k"} {
			got, want := onBoth(t, w, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n")
			if got != want || strings.Contains(got, "Connection: close") {
				t.Errorf("%s: GET %s: with the wire %q, without %q, want the same and no close",
					name, target, got, want)
			}
		}
	}
}

// After a request that had to wait, the connection returns to the wire: after one that waited for a
// session, for a document that is answered in place, and for an object that the viewer may not read.
// A document with an encoding has chunks, so its connection stays with net/http.
func TestConnectionReturnsAfterWait(t *testing.T) {
	w, store := newInPlaceWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers = config.Viewers{Anonymous: true, Rules: []config.Rule{
			{Anonymous: true, Locators: []string{"s3://photos/private/*"}, Deny: true},
			{Anonymous: true, Locators: []string{"s3://*/*"}},
		}}
	})
	w.putType("encoded.vtt", "text/vtt", playlist)
	objects := store.RoundTripper
	store.RoundTripper = transportFunc(func(r *http.Request) (*http.Response, error) {
		resp, err := objects.RoundTrip(r)
		if strings.Contains(r.URL.Path, "encoded") {
			resp.Header.Set("Content-Encoding", "gzip")
		}
		return resp, err
	})
	address, stop := w.serve(t, w)
	defer stop()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	for n, step := range []struct {
		method, target, fields string
		status                 int
		server                 string
	}{
		{"GET", "/s3/photos/private/k", "", 403, "net_http"}, // there is no session yet
		{"GET", "/s3/bucket/k", "", 302, "net_http"},
		{"GET", "/s3/bucket/k", "", 302, "wire"},
		{"GET", "/s3/bucket/film/film.m3u8", "", 200, "net_http"},
		{"GET", "/s3/bucket/film/segment1.ts", "", 302, "wire"},
		{"HEAD", "/s3/bucket/film/film.m3u8", "", 200, "net_http"},
		{"GET", "/s3/bucket/film/film.m3u8", "If-None-Match: *\r\n", 304, "net_http"},
		{"GET", "/s3/bucket/film/film.m3u8", "Range: bytes=0-3\r\n", 206, "net_http"},
		{"GET", "/s3/bucket/film/film.m3u8", "Range: bytes=99-\r\n", 416, "net_http"},
		{"GET", "/s3/bucket/missing.m3u8", "", 403, "net_http"},
		{"HEAD", "/s3/bucket/k", "", 302, "wire"},
		{"GET", "/s3/bucket/encoded.vtt", "", 200, "net_http"},
		{"GET", "/s3/bucket/k", "", 302, "net_http"},
		{"GET", "/s3/bucket/k", "", 302, "wire"},
	} {
		series := `s3redirect_server_requests_total{server="` + step.server + `"} `
		before := scrapeText(t, w)
		_, err := io.WriteString(c, step.method+" "+step.target+" HTTP/1.1\r\nHost: h\r\n"+step.fields+"\r\n")
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, &http.Request{Method: step.method})
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		if resp.StatusCode != step.status || resp.Close {
			t.Errorf("step %d: status %d, close %v, want %d and an open connection", n, resp.StatusCode,
				resp.Close, step.status)
		}
		if valueOf(t, scrapeText(t, w), series) != valueOf(t, before, series)+1 {
			t.Errorf("step %d, %s %s: not answered by %s", n, step.method, step.target, step.server)
		}
	}
}

// valueOf returns the value of a series in the text of metrics.
func valueOf(t *testing.T, text, series string) int {
	t.Helper()
	_, after, _ := strings.Cut(text, series)
	value, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A password that was not checked before is checked by net/http; nothing is counted on the wire.
func TestPasswordsAreCheckedOffTheWire(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers.Basic = &config.Basic{HtpasswdFile: file}
		c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 5}
	})
	ask := func() (answered bool) {
		_, answered = w.AppendResponse(nil, readPlain(t, "GET /s3/scans/k HTTP/1.1\r\nHost: h\r\n"+
			"Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n"))
		return answered
	}
	for range 10 {
		if ask() {
			t.Error("before the check: the wire answers")
		}
	}
	r := httptest.NewRequest("GET", "/s3/scans/k", nil)
	r.SetBasicAuth("ann", "secret")
	rec := httptest.NewRecorder()
	w.Handler.ServeHTTP(rec, r)
	if rec.Code != http.StatusFound {
		t.Errorf("net/http: status %d, want 302", rec.Code)
	}
	if !ask() {
		t.Error("after the check: the wire does not answer")
	}
	if got := w.metrics.Total().Requests; got != 2 {
		t.Errorf("%d requests were counted, want 2", got)
	}
}

// A request that has to wait leaves no trace on the wire: it is counted, logged and limited once,
// by net/http.
func TestWaitingRequestsLeaveTheWire(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *Options) {
		c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 3}
	})
	ask := func(target string) (answered bool) {
		t.Helper()
		r := readPlain(t, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		text, ok := w.AppendResponse([]byte("kept"), r)
		if !strings.HasPrefix(string(text), "kept") || !ok && string(text) != "kept" {
			t.Errorf("%s: AppendResponse = %q, %v, want what dst held, and nothing more if not ok",
				target, text, ok)
		}
		return ok
	}
	for range 10 {
		if ask("/s3/bucket/k") { // no session yet
			t.Error("without a session: the wire answers")
		}
		if ask("/s3/team-a/k") { // a pattern, and no session yet
			t.Error("for a new bucket of a pattern: the wire answers")
		}
	}
	if got := w.metrics.Total().Requests; got != 0 {
		t.Errorf("%d requests were counted, want 0", got)
	}
	if calls := w.cloud.Calls().AssumeRole; calls != 0 {
		t.Errorf("STS was called %d times, want 0", calls)
	}
	for range 3 { // no token of the rate limit was taken
		w.redirect("GET", "/s3/bucket/k")
	}
	if !ask("/s3/bucket/k") {
		t.Error("with a session: the wire does not answer")
	}
	if !ask("/s3/unserved/k") {
		t.Error("for a bucket that no integration serves: the wire does not answer")
	}
	if got, want := w.metrics.Total().Requests, uint64(5); got != want {
		t.Errorf("%d requests were counted, want %d", got, want)
	}
	if onWire {
		return
	}
	for series, want := range map[string]string{"wire": "2", "net_http": "3"} {
		line := fmt.Sprintf("s3redirect_server_requests_total{server=%q} %s\n", series, want)
		if text := metricsOf(t, w); !strings.Contains(text, line) {
			t.Errorf("metrics lack %q", line)
		}
	}
}

// metricsOf returns what a scrape prints.
func metricsOf(t *testing.T, w *world) string {
	t.Helper()
	rec := httptest.NewRecorder()
	w.metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}

// A pooled exchange keeps its shard, and a new one gets the next.
func TestExchangesHaveShards(t *testing.T) {
	w := newWorld(t)
	first, second := w.begin(time.Time{}), w.begin(time.Time{})
	if first.shard == second.shard {
		t.Errorf("two exchanges have the shard %d, want different ones", first.shard)
	}
	shard := first.shard
	w.recycle(first)
	if first.shard != shard {
		t.Errorf("a recycled exchange has the shard %d, want %d", first.shard, shard)
	}
}

// readPlain returns a plain request.
func readPlain(t testing.TB, head string) *wire.Request {
	t.Helper()
	r, ok := wire.ReadRequest([]byte(head), plainPrefixes, "192.0.2.1:1")
	if !ok {
		t.Fatalf("%q is not plain", head)
	}
	return r
}

func TestRedirectsOnTheWireDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, format := range []string{"", "json", "text", "combined"} {
		w := newWorld(t, withFeatures, withAccessLog(format), func(c *config.Config, o *Options) { o.URLs = 100_000 })
		w.redirect("GET", "/s3/bucket/warm")
		for name, next := range map[string]int{"hit": 0, "miss": 1} {
			if n := w.allocationsOnWire(next); n > 0 {
				t.Errorf("a %s with the access log %q allocates %v times, want 0", name, format, n)
			}
		}
	}
}

// withAccessLog gives a world an access log in a format, or none if the format is "".
func withAccessLog(format string) worldOption {
	return func(_ *config.Config, o *Options) {
		if format != "" {
			o.AccessLog = NewAccessLog(io.Discard, format, o.Log, o.Metrics.AccessLogLost)
		}
	}
}

// allocationsOnWire returns the number of allocations per request on the wire, for objects of which
// each is next after the last.
func (w *world) allocationsOnWire(next int) float64 {
	const requests = 2000
	var heads []*wire.Request
	for n := range 3*requests + 10 {
		heads = append(heads, readPlain(w.t, fmt.Sprintf("GET /s3/bucket/some/folder/photo-%d.jpg "+
			"HTTP/1.1\r\nHost: h\r\nSec-Fetch-Mode: no-cors\r\nCookie: a=b\r\n"+
			"User-Agent: Probe/1.0\r\n\r\n", n)))
	}
	dst := make([]byte, 0, 64<<10)
	n := 0
	ask := func() {
		text, ok := w.AppendResponse(dst, heads[n])
		if !ok || !bytes.HasPrefix(text, []byte("HTTP/1.1 302 ")) {
			w.t.Fatalf("AppendResponse = %q, %v, want a redirect", text, ok)
		}
		n += next
	}
	least := testing.AllocsPerRun(requests, ask)
	for range 2 { // a garbage collection during a run empties the pools
		least = min(least, testing.AllocsPerRun(requests, ask))
	}
	return least
}

func BenchmarkWire(b *testing.B) { benchmarkWire(b, "") }

func BenchmarkWireWithAccessLog(b *testing.B) {
	for _, format := range []string{"json", "text", "combined"} {
		b.Run(format, func(b *testing.B) { benchmarkWire(b, format) })
	}
}

func benchmarkWire(b *testing.B, format string) {
	const keys = 10_000
	w := newWorld(b, withAccessLog(format), func(_ *config.Config, o *Options) { o.URLs = 2 * keys })
	resp := w.ask("GET", "/s3/bucket/k")
	if resp.StatusCode != http.StatusFound {
		b.Fatalf("status %d, want 302", resp.StatusCode)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var requests []*wire.Request
		for n := range keys {
			requests = append(requests, readPlain(b, fmt.Sprintf(
				"GET /s3/bucket/some/folder/photo-%d.jpg HTTP/1.1\r\nHost: h\r\nUser-Agent: Probe/1.0\r\n\r\n", n)))
		}
		dst := make([]byte, 0, 8<<10)
		for n := rand.IntN(keys); pb.Next(); n++ {
			if _, ok := w.AppendResponse(dst, requests[n%keys]); !ok {
				b.Error("the wire does not answer")
			}
		}
	})
}
