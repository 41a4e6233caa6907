package proxy

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"s3redirect/internal/config"
)

func newLostCounter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "lost"})
}

// accessLine is a decoded line of the JSON format.
type accessLine struct {
	Time                                            time.Time
	Level, Msg, Remote, Viewer, Method, Bucket, Key string
	Integration                                     string
	RequestID                                       string `json:"request_id"`
	TraceID                                         string `json:"trace_id"`
	UserAgent                                       string `json:"user_agent"`
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
		first.Key != "a\"b\\c<ü\u2028🎬" || first.Status != 302 ||
		first.Integration != "lab" || len(first.RequestID) != 16 {
		t.Errorf("first line: got %+v, want the GET request with status 302", first)
	}
	if last.Method != "HEAD" || last.Bucket != "nobodys" || last.Status != 404 || last.Hit ||
		last.Integration != "-" || last.RequestID == first.RequestID {
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
		const lines = 20_000 // five times maxLines
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
			time.Sleep(lineDelay + time.Millisecond)
			synctest.Wait()
			if !strings.HasSuffix(out.String(), "line\n") {
				t.Fatalf("got %q after the delay, want the line", out.String())
			}
			out.b.Reset()
		}
	})
}
