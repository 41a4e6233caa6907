package wire

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// echo answers requests with a redirect that repeats what it saw. Its two methods give the same
// response.
type echo struct{}

func seen(values func(string) []string) string {
	return strings.Join(values("Cookie"), "|") + ";" + strings.Join(values("x-mixed"), "|") + ";" +
		strings.Join(values("Host"), "|")
}

func (echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead ||
		!strings.HasPrefix(r.RequestURI, "/s3/") {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, r.Method+" "+r.RequestURI)
		return
	}
	w.Header().Set("Content-Length", "0")
	w.Header().Set("Location", "https://store.example"+r.RequestURI)
	w.Header().Set("X-Seen", seen(r.Header.Values))
	w.WriteHeader(http.StatusFound)
}

func (echo) AppendResponse(dst []byte, r *Request) ([]byte, bool) {
	dst = append(dst, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: https://store.example"...)
	dst = append(append(dst, r.Target...), "\r\nX-Seen: "...)
	dst = append(append(dst, seen(r.Values)...), "\r\n"...)
	return r.AppendEnd(dst, time.Now()), true
}

// handlerFunc is a Handler.
type handlerFunc func(dst []byte, r *Request) ([]byte, bool)

func (f handlerFunc) AppendResponse(dst []byte, r *Request) ([]byte, bool) { return f(dst, r) }

// lines receives what is written to a log.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// newHTTP returns a net/http server with a handler.
func newHTTP(h http.Handler) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			Return(w, r, http.StatusFound)
		}),
		ConnContext:                  ConnContext,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
}

// newServer returns a server that overwrites each request after its response.
func newServer(h Handler) *Server {
	return &Server{
		Handler:       h,
		Prefixes:      []string{"/s3/"},
		HTTP:          newHTTP(echo{}),
		Log:           slog.New(slog.DiscardHandler),
		HeaderTimeout: time.Minute,
		WriteTimeout:  time.Minute,
		IdleTimeout:   time.Minute,
		poison:        true,
	}
}

// listen returns a listener on loopback.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start serves connections until the test ends, and returns the address.
func (s *Server) startOn(t testing.TB, l net.Listener) string {
	t.Helper()
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l, s.HTTP.Serve) })
	t.Cleanup(func() {
		_ = s.Close()
		done.Wait()
	})
	return l.Addr().String()
}

// dial connects to an address.
func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// write sends text.
func write(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// plainGet returns a plain request.
func plainGet(key string, fields ...string) string {
	return "GET /s3/bucket/" + key + " HTTP/1.1\r\nHost: h\r\n" + strings.Join(fields, "") + "\r\n"
}

// memoryListener accepts connections in memory.
type memoryListener chan net.Conn

func (l memoryListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l memoryListener) Close() error   { close(l); return nil }
func (l memoryListener) Addr() net.Addr { return &net.TCPAddr{} }

// pipe starts a server on one connection in memory, for tests in a bubble of virtual time.
func (s *Server) pipe(t testing.TB) net.Conn {
	t.Helper()
	l := make(memoryListener, 1)
	ours, theirs := net.Pipe()
	l <- theirs
	s.startOn(t, l)
	t.Cleanup(func() { _ = ours.Close() })
	return ours
}
