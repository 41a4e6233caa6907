package proxy

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

func newLostCounter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "lost"})
}

// accessLine is a decoded line of the JSON format.
type accessLine struct {
	Time                                            time.Time
	Level, Msg, Remote, Viewer, Method, Bucket, Key string
	Status, Microseconds                            int
	Hit                                             bool
}

func TestAccessLogWritesALinePerRequest(t *testing.T) {
	var out lockedBuffer
	w := newWorld(t, func(_ *config.Config, o *Options) {
		o.AccessLog = NewAccessLog(&out, "json", o.Log, o.Metrics.AccessLogLost)
	})
	const callers, requests = 8, 500
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range requests {
				w.ask("GET", "/s3/bucket/a%22b%5Cc%3Cü%E2%80%A8%F0%9F%8E%AC")
			}
		})
	}
	wg.Wait()
	w.ask("HEAD", "/s3/nobodys/key")
	w.accessLog.Close()
	w.accessLog.Close() // a second Close is allowed
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != callers*requests+1 {
		t.Fatalf("got %d lines, want %d", len(lines), callers*requests+1)
	}
	var first, last accessLine
	decode := func(line string, into *accessLine) {
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Fatalf("decoding %s: %v", line, err)
		}
	}
	decode(lines[0], &first)
	decode(lines[len(lines)-1], &last)
	if first.Time.IsZero() || first.Level != "INFO" || first.Msg != "request" ||
		first.Remote == "" || first.Method != "GET" || first.Bucket != "bucket" ||
		first.Key != "a\"b\\c<ü\u2028🎬" || first.Status != 302 {
		t.Errorf("first line: got %+v, want the GET request with status 302", first)
	}
	if last.Method != "HEAD" || last.Bucket != "nobodys" || last.Status != 404 || last.Hit {
		t.Errorf("last line: got %+v, want the HEAD request with status 404", last)
	}
	hits := strings.Count(out.String(), `"hit":true`)
	if hits < callers*requests-callers || hits >= callers*requests {
		t.Errorf("got %d hits, want %d to %d", hits, callers*requests-callers, callers*requests-1)
	}
}

// Behind trusted proxies the log has the client's address. It never has text of X-Forwarded-For
// that is not an address.
func TestAccessLogHasClientAddress(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out lockedBuffer
		w := newWorld(t, func(c *config.Config, o *Options) {
			c.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			o.AccessLog = NewAccessLog(&out, format, o.Log, o.Metrics.AccessLogLost)
		})
		cases := []struct{ remote, forwardedFor, want string }{
			{"192.0.2.1:1234", "", "192.0.2.1:1234"},
			{"192.0.2.1:1234", "198.51.100.7", "192.0.2.1:1234"},
			{"10.0.0.1:1234", "", "10.0.0.1:1234"},
			{"10.0.0.1:1234", "198.51.100.7", "198.51.100.7"},
			{"10.0.0.1:1234", "198.51.100.7:4711", "198.51.100.7"},
			{"10.0.0.1:1234", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"},
			{"10.0.0.1:1234", "2001:db8::1", "2001:db8::1"},
			{"10.0.0.1:1234", "::ffff:198.51.100.7", "198.51.100.7"},
			{"10.0.0.1:1234", `canary", "viewer":"eve`, "10.0.0.1:1234"},
			{"10.0.0.1:1234", "198.51.100.7, canary, 10.0.0.2", "10.0.0.2"},
		}
		for _, c := range cases {
			r := httptest.NewRequest("GET", "/s3/bucket/k", nil)
			r.RemoteAddr = c.remote
			if c.forwardedFor != "" {
				r.Header.Set("X-Forwarded-For", c.forwardedFor)
			}
			w.ServeHTTP(httptest.NewRecorder(), r)
		}
		w.accessLog.Close()
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(cases) {
			t.Fatalf("%d lines, want %d", len(lines), len(cases))
		}
		for n, c := range cases {
			want := `"remote":"` + c.want + `","viewer":""`
			if format == "text" {
				want = ` remote=` + c.want + ` viewer=""`
			}
			if !strings.Contains(lines[n], want) {
				t.Errorf("%s with X-Forwarded-For %q: got %s, want %s", c.remote, c.forwardedFor,
					lines[n], want)
			}
		}
		if strings.Contains(out.String(), "canary") {
			t.Errorf("the log contains text of the header: %s", out.String())
		}
	}
}

// Control characters of keys are escaped in both formats, also those that JSON allows.
func FuzzAccessLogEscapesKeys(f *testing.F) {
	for _, key := range []string{
		"Icon\r", "a\nb", "\x01\x1b[2J\x7f", "\u0085\u009b2J", "ä\u00a0", `"\`,
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if locator.CheckKey(key) != nil {
			return
		}
		line := func(format string) string {
			var out lockedBuffer
			a := NewAccessLog(&out, format, slog.New(slog.DiscardHandler), newLostCounter())
			x := &exchange{
				Request: viewer.Request{Header: http.Header{}, RemoteAddr: "127.0.0.1:1"},
				locator: locator.Locator{Bucket: "bucket", Key: key},
			}
			a.add(a.line(nil, x, &viewer.Gate{}, 0))
			a.Close()
			line := strings.TrimSuffix(out.String(), "\n")
			if strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("the key %q is logged as %q, want no control characters", key, line)
			}
			return line
		}
		var got accessLine
		if err := json.Unmarshal([]byte(line("json")), &got); err != nil || got.Key != key {
			t.Errorf("the key %q is logged as %q (%v)", key, got.Key, err)
		}
		if text := line("text"); !strings.Contains(text, " key="+strconv.Quote(key)+" ") {
			t.Errorf("the key %q is logged in %s, want it quoted", key, text)
		}
	})
}

func TestAccessLogTextFormat(t *testing.T) {
	var out lockedBuffer
	a := NewAccessLog(&out, "text", slog.New(slog.DiscardHandler), newLostCounter())
	x := &exchange{
		Request: viewer.Request{Header: http.Header{}, RemoteAddr: "127.0.0.1:1"},
		method:  "GET",
		now:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		locator: locator.Locator{Bucket: "bucket", Key: `a "b"`},
		answer:  answer{status: 302},
		hit:     true,
	}
	a.add(a.line(nil, x, &viewer.Gate{}, 12*time.Microsecond))
	a.Close()
	want := `time=2026-01-02T03:04:05Z level=INFO msg=request remote=127.0.0.1:1 viewer="" ` +
		`method=GET bucket=bucket key="a \"b\"" status=302 hit=true microseconds=12` + "\n"
	if got := out.String(); got != want {
		t.Errorf("got %swant %s", got, want)
	}
}

// blockedWriter blocks writes until opened is closed.
type blockedWriter struct {
	opened chan struct{}
	lockedBuffer
}

func (w *blockedWriter) Write(p []byte) (int, error) {
	<-w.opened
	return w.lockedBuffer.Write(p)
}

// Requests do not wait for a slow writer. Dropped lines are counted and logged.
func TestSlowAccessLogCountsDroppedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &blockedWriter{opened: make(chan struct{})}
		log, lost := &lockedBuffer{}, newLostCounter()
		a := NewAccessLog(out, "json", slog.New(slog.NewJSONHandler(log, nil)), lost)
		line := bytes.Repeat([]byte("x"), 1023)
		line = append(line, '\n')
		const lines = 20_000 // five times maxAccessLog
		for range lines {
			a.add(line)
		}
		synctest.Wait()
		close(out.opened)
		a.Close()
		written := strings.Count(out.String(), "\n")
		missing := int(testutil.ToFloat64(lost))
		if missing == 0 || written == 0 || written+missing != lines {
			t.Errorf("got %d lines written and %d lost, want both, %d in total",
				written, missing, lines)
		}
		if !strings.Contains(log.String(), "cannot keep up") {
			t.Errorf("log: got %s, want a warning that the log cannot keep up", log.String())
		}
	})
}

func TestAccessLogWritesWithinDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &lockedBuffer{}
		a := NewAccessLog(out, "json", slog.New(slog.DiscardHandler), newLostCounter())
		defer a.Close()
		for range 3 {
			time.Sleep(time.Hour)
			a.add([]byte("line\n"))
			time.Sleep(accessLogDelay + time.Millisecond)
			synctest.Wait()
			if !strings.HasSuffix(out.String(), "line\n") {
				t.Fatalf("got %q after the delay, want the line", out.String())
			}
			out.b.Reset()
		}
	})
}
