package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// memory accepts connections in memory.
type memory chan net.Conn

func (l memory) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l memory) Close() error   { close(l); return nil }
func (l memory) Addr() net.Addr { return &net.TCPAddr{} }

// dial returns a connection in memory.
func (l memory) dial(t *testing.T) (c net.Conn, in *bufio.Reader) {
	t.Helper()
	c, theirs := net.Pipe()
	t.Cleanup(func() { _ = c.Close() })
	l <- theirs
	return c, bufio.NewReader(c)
}

// exchangeOn sends a request on a connection, and reports whether the response closes it.
func exchangeOn(t *testing.T, c net.Conn, in *bufio.Reader, method, target string) (closes bool) {
	t.Helper()
	go func() { _, _ = io.WriteString(c, method+" "+target+" HTTP/1.1\r\nHost: h\r\n\r\n") }()
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Close
}

// During the drain delay, new and old connections are served, each for one more request, and idle
// ones stay open: a load balancer may be sending on one. Both servers behave alike.
func TestResponsesCloseConnectionsDuringDrainDelay(t *testing.T) {
	const delay = 10 * time.Second
	for name, target := range map[string]string{"wire": "/s3/scans/k", "net/http": "/other"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := newTestServer(t, w, delay)
			s.wire = newWire(ServerOptions{Wire: w, Log: s.log}, s.viewers)
			viewers, admin := make(memory), make(memory)
			_ = s.viewersListener.Close()
			_ = s.adminListener.Close()
			s.viewersListener, s.adminListener = viewers, admin
			ctx, signal := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()

			old, oldIn := viewers.dial(t)
			idle, idleIn := viewers.dial(t)
			probe, probeIn := admin.dial(t)
			if exchangeOn(t, old, oldIn, "GET", target) || exchangeOn(t, idle, idleIn, "GET", target) ||
				exchangeOn(t, probe, probeIn, "GET", "/readyz") {
				t.Errorf("%s: a response closes its connection before the signal", name)
			}
			signal()
			synctest.Wait()
			start := time.Now()
			fresh, freshIn := viewers.dial(t)
			for _, c := range []struct {
				what   string
				conn   net.Conn
				in     *bufio.Reader
				target string
			}{
				{"an old connection", old, oldIn, target},
				{"a new connection", fresh, freshIn, target},
				{"the administrators' connection", probe, probeIn, "/readyz"},
			} {
				if !exchangeOn(t, c.conn, c.in, "GET", c.target) {
					t.Errorf("%s: the response on %s has no Connection: close", name, c.what)
				}
				if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
					t.Errorf("%s: after the response on %s: got %q, %v, want the end",
						name, c.what, rest, err)
				}
			}
			if took := time.Since(start); took >= delay {
				t.Errorf("%s: the connections closed after %v, want less than %v", name, took, delay)
			}
			if rest, err := io.ReadAll(idleIn); len(rest) > 0 || err != nil {
				t.Errorf("%s: on the idle connection: got %q, %v, want the end", name, rest, err)
			}
			if took := time.Since(start); took < delay {
				t.Errorf("%s: the idle connection closed after %v, want at least %v", name, took, delay)
			}
			if err := <-ended; err != nil {
				t.Errorf("%s: Run() = %v, want nil", name, err)
			}
		})
	}
}

// Over HTTP/2, a retired server answers, and says with GOAWAY that it takes no further streams.
func TestRetiredServerSendsGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		})
		c := startHTTP2(t, s.closeWhenRetired(h))
		frames := make(chan string, 100)
		go func() {
			defer close(frames)
			for {
				f, err := c.frame.ReadFrame()
				if err != nil {
					return
				}
				what := f.Header().Type.String()
				if g, ok := f.(*http2.GoAwayFrame); ok {
					what += " " + g.ErrCode.String()
				}
				frames <- what
			}
		}()
		for _, stream := range []uint32{1, 3} {
			if err := c.headerOf(stream, "GET", true, true); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			s.retired.Store(true)
		}
		var got []string
		for f := range frames { // until the server closes the connection
			got = append(got, f)
		}
		text := strings.Join(got, ", ")
		_, after, _ := strings.Cut(text, "HEADERS")
		if strings.Count(after, "HEADERS") != 1 || strings.Count(after, "GOAWAY NO_ERROR") != 1 ||
			strings.Count(text, "GOAWAY") != 1 {
			t.Errorf("got the frames %s, want two responses, and GOAWAY NO_ERROR with the second", text)
		}
	})
}
