package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
)

// logged returns the line of an exchange in a format.
func logged(x *exchange, format string, elapsed time.Duration) string {
	return string((&AccessLog{format: format}).line(nil, x, &viewer.Gate{}, elapsed))
}

// loggedExchange returns an exchange with a value for every field of the log.
func loggedExchange() *exchange {
	return &exchange{
		Request: viewer.Request{
			Header: http.Header{
				"User-Agent":  {`Probe/1.0 "x"`},
				"Traceparent": {"00-" + testTrace + "-00f067aa0ba902b7-01"},
				"Referer":     {"https://app.example.com/?canary"},
			},
			RemoteAddr: "192.0.2.1:1234",
			Peer:       netip.MustParseAddr("192.0.2.1"),
		},
		method:  "GET",
		path:    "/s3/bucket/canary",
		query:   "canary",
		proto:   "HTTP/1.1",
		id:      requestID{made: 0xab},
		now:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		viewer:  viewer.As("anna lee"),
		counts:  metrics.New("").Integration("lab"),
		locator: locator.Locator{Bucket: "bucket", Key: `a "b"?ü`},
		answer:  answer{status: 302},
		hit:     true,
	}
}

const testTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

func TestAccessLogFormats(t *testing.T) {
	anonymous := loggedExchange()
	anonymous.viewer, anonymous.status, anonymous.sent = viewer.Viewer{}, 404, 120
	anonymous.locator, anonymous.path = locator.Locator{}, "/canary"
	anonymous.counts, anonymous.hit = metrics.New("").Integration(metrics.NoIntegration), false
	anonymous.Header, anonymous.id = http.Header{}, requestID{given: "a/b=c"}
	batch := *anonymous
	batch.method, batch.path, batch.status, batch.proto = "POST", pathPresign, 200, "HTTP/2.0"
	for _, c := range []struct {
		x            *exchange
		format, want string
	}{
		{loggedExchange(), "json", `{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"request",` +
			`"remote":"192.0.2.1:1234","viewer":"anna lee","method":"GET","bucket":"bucket",` +
			`"key":"a \"b\"?ü","status":302,"hit":true,"microseconds":12,"integration":"lab",` +
			`"request_id":"00000000000000ab","trace_id":"` + testTrace + `",` +
			`"user_agent":"Probe/1.0 \"x\""}`},
		{loggedExchange(), "text", `time=2026-01-02T03:04:05Z level=INFO msg=request ` +
			`remote=192.0.2.1:1234 viewer="anna lee" method=GET bucket=bucket key="a \"b\"?ü" ` +
			`status=302 hit=true microseconds=12 integration=lab request_id="00000000000000ab" ` +
			`trace_id=` + testTrace + ` user_agent="Probe/1.0 \"x\""`},
		{loggedExchange(), "combined", `192.0.2.1 - anna\x20lee [02/Jan/2026:03:04:05 +0000] ` +
			`"GET /s3/bucket/a%20%22b%22%3F%C3%BC HTTP/1.1" 302 - "-" "Probe/1.0 \"x\""`},
		{anonymous, "json", `{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"request",` +
			`"remote":"192.0.2.1:1234","viewer":"","method":"GET","bucket":"","key":"",` +
			`"status":404,"hit":false,"microseconds":12,"integration":"-","request_id":"a/b=c",` +
			`"user_agent":""}`},
		{anonymous, "combined", `192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] ` +
			`"GET - HTTP/1.1" 404 120 "-" "-"`},
		{&batch, "combined", `192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] ` +
			`"POST /presign HTTP/2.0" 200 120 "-" "-"`},
	} {
		if got := logged(c.x, c.format, 12*time.Microsecond); got != c.want+"\n" {
			t.Errorf("%s: got %swant %s", c.format, got, c.want)
		}
	}
}

var combinedFormat = regexp.MustCompile(`^(\S+) - (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) ` +
	`(\d+|-) "-" "((?:[^"\\]|\\.)*)"\n$`)

// No field of a request can add a field or a line to the log, in any format.
func FuzzAccessLogEscapes(f *testing.F) {
	for _, text := range []string{
		"Icon\r", "a\nb", "\x01\x1b[2J\x7f", "\u0085\u009b2J", "ä\u00a0", `"\`, "\xff\xc2", "",
		`x","viewer":"eve`, `x" viewer="eve`, ` [x] "GET / HTTP/1.1" 200 1 "-" "-`, "\\", "-",
		strings.Repeat("ü", 200),
	} {
		f.Add(text, text, text, text)
	}
	f.Fuzz(func(t *testing.T, key, name, agent, proto string) {
		if locator.CheckKey(key) != nil || !utf8.ValidString(name) {
			return
		}
		x := loggedExchange()
		x.locator.Key, x.viewer, x.proto = key, viewer.As(name), proto
		x.Header = http.Header{"User-Agent": {agent}, "X-Request-Id": {agent}, "Traceparent": {agent}}
		for _, format := range []string{"json", "text", "combined"} {
			line := logged(x, format, 0)
			if text, ok := strings.CutSuffix(line, "\n"); !ok || !utf8.ValidString(text) ||
				strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%s: got %q, want one line without control characters", format, line)
			}
			checkLogged(t, format, line, key, name, agent[:min(len(agent), maxUserAgent)])
		}
	})
}

// checkLogged checks that a line's fields have the values of a request.
func checkLogged(t *testing.T, format, line, key, name, agent string) {
	t.Helper()
	switch format {
	case "json":
		var got accessLine
		err := json.Unmarshal([]byte(line), &got)
		if err != nil || got.Key != key || got.Viewer != name ||
			got.UserAgent != string([]rune(agent)) {
			t.Errorf("got %s (%v), want the key %q, the viewer %q and the agent %q",
				line, err, key, name, agent)
		}
	case "text":
		want := " viewer=" + strconv.Quote(name) + " method=GET bucket=bucket key=" +
			strconv.Quote(key) + " status="
		if !strings.Contains(line, want) ||
			!strings.HasSuffix(line, " user_agent="+strconv.Quote(agent)+"\n") {
			t.Errorf("got %s, want %q and the agent %q", line, want, agent)
		}
	case "combined":
		m := combinedFormat.FindStringSubmatch(line)
		if m == nil || !strings.HasPrefix(m[4], "GET /s3/bucket/") || m[5] != "302" {
			t.Errorf("got %s, want a line in the combined format", line)
		}
	}
}

// The log and problems have the request ID of a trusted proxy. Others, and IDs that could change a
// log, are replaced.
func TestRequestIDs(t *testing.T) {
	long := strings.Repeat("x", maxRequestID)
	for _, c := range []struct {
		remote string
		given  []string
		kept   bool
	}{
		{"10.0.0.1:1", []string{"4bf92f35-77b3@a.b:c/d+e=_"}, true},
		{"10.0.0.1:1", []string{long}, true},
		{"10.0.0.1:1", []string{long + "x"}, false},
		{"10.0.0.1:1", []string{"canary", "canary"}, false},
		{"10.0.0.1:1", []string{`canary"x`}, false},
		{"10.0.0.1:1", []string{"canary x"}, false},
		{"10.0.0.1:1", []string{""}, false},
		{"10.0.0.1:1", nil, false},
		{"192.0.2.1:1", []string{"canary"}, false},
	} {
		var out lockedBuffer
		w := newWorld(t, func(cfg *config.Config, o *Options) {
			cfg.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			o.AccessLog = NewAccessLog(&out, "json", o.Log, o.Metrics.AccessLogLost)
		})
		r := httptest.NewRequest("GET", "/s3/nobodys/k", nil)
		r.RemoteAddr, r.Header["X-Request-Id"] = c.remote, c.given
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		w.accessLog.Close()
		var line accessLine
		if err := json.Unmarshal([]byte(out.String()), &line); err != nil {
			t.Fatal(err)
		}
		id := rec.Result().Header.Get("X-Request-Id")
		if id == "" || line.RequestID != id {
			t.Errorf("%s with %q: got %q in the log and %q in the problem, want the same",
				c.remote, c.given, line.RequestID, id)
		}
		made := regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id)
		if c.kept && id != c.given[0] || !c.kept && !made {
			t.Errorf("%s with %q: got %q, want it kept: %v", c.remote, c.given, id, c.kept)
		}
	}
}

// Without a log, nothing could be found by a request's ID, so problems have none.
func TestNoRequestIDWithoutLog(t *testing.T) {
	resp := newWorld(t).ask("GET", "/s3/nobodys/k")
	if got := resp.Header["X-Request-Id"]; resp.StatusCode != 404 || got != nil {
		t.Errorf("got %d with X-Request-Id %q, want 404 without", resp.StatusCode, got)
	}
}

func TestTraceOf(t *testing.T) {
	const parent = "00f067aa0ba902b7"
	zeros := strings.Repeat("0", 32)
	for _, c := range []struct {
		given   []string
		want    string
		sampled bool
	}{
		{[]string{"00-" + testTrace + "-" + parent + "-01"}, testTrace, true},
		{[]string{"00-" + testTrace + "-" + parent + "-00"}, testTrace, false},
		{[]string{"00-" + testTrace + "-" + parent + "-fe"}, testTrace, false},
		{[]string{"00-" + testTrace + "-" + parent + "-0b"}, testTrace, true},
		{[]string{"cc-" + testTrace + "-" + parent + "-01-what-is-next"}, testTrace, true},
		{[]string{"cc-" + testTrace + "-" + parent + "-01"}, testTrace, true},
		{[]string{"cc-" + testTrace + "-" + parent + "-01.x"}, "", false},
		{[]string{"00-" + testTrace + "-" + parent + "-01-x"}, "", false},
		{[]string{"ff-" + testTrace + "-" + parent + "-01"}, "", false},
		{[]string{"00-" + zeros + "-" + parent + "-01"}, "", false},
		{[]string{"00-" + testTrace + "-" + zeros[:16] + "-01"}, "", false},
		{[]string{"00-" + strings.ToUpper(testTrace) + "-" + parent + "-01"}, "", false},
		{[]string{"00_" + testTrace + "-" + parent + "-01"}, "", false},
		{[]string{"00-" + testTrace + "_" + parent + "-01"}, "", false},
		{[]string{"00-" + testTrace + "-" + parent + "_01"}, "", false},
		{[]string{"00-" + testTrace + "-" + parent + "-0"}, "", false},
		{[]string{"0g-" + testTrace + "-" + parent + "-01"}, "", false},
		{[]string{"00-" + testTrace + "-" + parent + "-0g"}, "", false},
		{[]string{""}, "", false},
		{nil, "", false},
		{[]string{"00-" + testTrace + "-" + parent + "-01", "x"}, "", false},
	} {
		id, sampled := traceOf(http.Header{"Traceparent": c.given})
		if id != c.want || sampled != c.sampled {
			t.Errorf("traceOf(%q) = %q, %v, want %q, %v", c.given, id, sampled, c.want, c.sampled)
		}
	}
}

// The access log costs no allocation.
func TestAccessLogAllocations(t *testing.T) {
	if raceEnabled || onWire {
		t.Skip("the race detector allocates, and so do the tests' requests on the wire")
	}
	for _, format := range []string{"json", "text", "combined"} {
		x, a, gate := loggedExchange(), &AccessLog{format: format}, &viewer.Gate{}
		buf := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() {
			x.id = newRequestID(gate, &x.Request)
			buf = a.line(buf[:0], x, gate, time.Second)
		}); n > 0 {
			t.Errorf("a line in the format %s makes %v allocations, want 0", format, n)
		}
	}
}
