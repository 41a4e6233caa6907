package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// readResponse reads a response and returns what it redirects to.
func readResponse(t testing.TB, in *bufio.Reader) (location string, closes bool) {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return strings.TrimPrefix(resp.Header.Get("Location"), "https://store.example/s3/bucket/"),
		resp.Close
}

// counting counts the requests that a handler answers.
func counting(h Handler) (Handler, *atomic.Int64) {
	var n atomic.Int64
	return handlerFunc(func(dst []byte, r *Request) ([]byte, bool) {
		n.Add(1)
		return h.AppendResponse(dst, r)
	}), &n
}

// A request may arrive in any two parts.
func TestSplitReads(t *testing.T) {
	for name, text := range clients {
		for n := 1; n < len(text); n++ {
			synctest.Test(t, func(t *testing.T) {
				h, answered := counting(echo{})
				c := newServer(h).pipe(t)
				in := bufio.NewReader(c)
				go func() {
					_, _ = io.WriteString(c, text[:n])
					synctest.Wait() // the server has read the first part
					_, _ = io.WriteString(c, text[n:])
				}()
				readResponse(t, in)
				if got := answered.Load(); got != 1 {
					t.Errorf("%s, cut at %d: %d requests on the wire, want 1", name, n, got)
				}
			})
		}
	}
}

func TestByteByByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, answered := counting(echo{})
		c := newServer(h).pipe(t)
		text := clients["Chromium"] + plainGet("k") + clients["curl"]
		go func() {
			for n := range text {
				_, _ = io.WriteString(c, text[n:n+1])
			}
		}()
		in := bufio.NewReader(c)
		for range 3 {
			readResponse(t, in)
		}
		if got := answered.Load(); got != 3 {
			t.Errorf("%d requests on the wire, want 3", got)
		}
	})
}

// After what ends a wait, the connection must be closed, without a response.
func TestTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		send string
		want time.Duration
	}{
		"no request":              {"", 15 * time.Second},
		"half of the first head":  {"GET /s3/", 15 * time.Second},
		"idle":                    {plainGet("k"), 120*time.Second + deadlineSlack},
		"half of the second head": {plainGet("k") + "GET /s3/", 15 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(echo{})
			s.HeaderTimeout, s.IdleTimeout = 15*time.Second, 120*time.Second
			conn := s.pipe(t)
			start := time.Now()
			if c.send != "" {
				write(t, conn, c.send)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || strings.Count(string(answer), "HTTP/1.1") != strings.Count(c.send, "\r\n\r\n") {
				t.Errorf("%s: got %q, %v", name, answer, err)
			}
			if took := time.Since(start); took != c.want {
				t.Errorf("%s: closed after %v, want %v", name, took, c.want)
			}
		})
	}
}

// A client cannot extend the deadline of a head by sending it slowly.
func TestSlowHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(echo{})
		s.HeaderTimeout, s.IdleTimeout = 15*time.Second, 120*time.Second
		conn := s.pipe(t)
		in := bufio.NewReader(conn)
		go func() { _, _ = io.WriteString(conn, plainGet("k")) }()
		readResponse(t, in)
		start := time.Now()
		for range 100 {
			if _, err := io.WriteString(conn, "G"); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 17*time.Second {
			t.Errorf("a slow head is read for %v, want 15 s", took)
		}
	})
}

// A client that does not read holds its connection for no longer than the write timeout.
func TestClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(echo{})
		s.WriteTimeout = 30 * time.Second
		conn := s.pipe(t)
		write(t, conn, plainGet("k"))
		start := time.Now()
		time.Sleep(31*time.Second + deadlineSlack)
		if _, err := io.WriteString(conn, plainGet("k")); err == nil {
			t.Errorf("after %v the connection is open, want it closed", time.Since(start))
		}
	})
}

// What has no line end, or is too long, is net/http's to reject.
func TestLongHead(t *testing.T) {
	h, answered := counting(echo{})
	address := newServer(h).startOn(t, listen(t))
	c := dial(t, address)
	go func() {
		_, _ = io.WriteString(c, "GET /s3/"+strings.Repeat("x", 1<<20))
		_ = c.CloseWrite()
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("a megabyte without a line end: got %v, %v, want 431", resp, err)
	}
	if got := answered.Load(); got != 0 {
		t.Errorf("%d requests on the wire, want 0", got)
	}
}

// A client may close its side right after a request, on a new connection and on an old one.
func TestHalfClosedConnections(t *testing.T) {
	address := newServer(echo{}).startOn(t, listen(t))
	for _, before := range []int{0, 1, trustedAfter, 3 * trustedAfter} {
		c := dial(t, address)
		in := bufio.NewReader(c)
		for n := range before {
			write(t, c, plainGet(strconv.Itoa(n)))
			readResponse(t, in)
		}
		write(t, c, plainGet("last"))
		_ = c.CloseWrite()
		if got, _ := readResponse(t, in); got != "last" {
			t.Errorf("got %s, want last", got)
		}
		if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
			t.Errorf("after %d requests: got %q, %v, want the end", before, rest, err)
		}
	}
}

func TestPanic(t *testing.T) {
	log := make(lines, 1)
	s := newServer(handlerFunc(func(dst []byte, r *Request) ([]byte, bool) {
		if strings.HasSuffix(r.Target, "panic") {
			panic("canary")
		}
		return echo{}.AppendResponse(dst, r)
	}))
	s.Log = slog.New(slog.NewTextHandler(log, nil))
	address := s.startOn(t, listen(t))
	other := dial(t, address)
	c := dial(t, address)
	write(t, c, plainGet("panic"))
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("after a panic: got %q, %v, want a closed connection", got, err)
	}
	write(t, other, plainGet("k"))
	if got, _ := readResponse(t, bufio.NewReader(other)); got != "k" {
		t.Errorf("another connection: got %s, want k", got)
	}
	if text := <-log; !strings.Contains(text, "a string") || strings.Contains(text, "canary") {
		t.Errorf("log: got %s, want the panic's type and not its value", text)
	}
}

// brokenListener fails a few times before it accepts.
type brokenListener struct {
	net.Listener
	failures atomic.Int64
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestTemporaryAcceptErrors(t *testing.T) {
	l := &brokenListener{Listener: listen(t)}
	l.failures.Store(3)
	c := dial(t, newServer(echo{}).startOn(t, l))
	write(t, c, plainGet("k"))
	if got, _ := readResponse(t, bufio.NewReader(c)); got != "k" {
		t.Errorf("got %s, want k", got)
	}
}

func TestServeReturnsAcceptErrors(t *testing.T) {
	l := listen(t)
	_ = l.Close()
	s := newServer(echo{})
	if err := s.Serve(l, s.HTTP.Serve); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want %v", err, net.ErrClosed)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := s.Serve(listen(t), s.HTTP.Serve); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve after Shutdown = %v, want %v", err, http.ErrServerClosed)
	}
}

// Idle connections are closed, both the wire's and net/http's.
func TestShutdownClosesIdleConnections(t *testing.T) {
	s := newServer(echo{})
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, s.HTTP.Serve) }()
	for _, text := range []string{"", plainGet("k"), "GET /other HTTP/1.1\r\nHost: h\r\n\r\n"} {
		c := dial(t, l.Addr().String())
		write(t, c, text)
		if text != "" {
			readResponse(t, bufio.NewReader(c))
		}
		defer func() {
			if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
				t.Errorf("after %q: got %q, %v, want the end", text, rest, err)
			}
		}()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve = %v, want %v", err, http.ErrServerClosed)
	}
}

// loop is a connection in memory that the loop reads from and writes to, without a goroutine.
type loop struct {
	net.Conn
	in  *bytes.Reader
	out int
}

func (l *loop) Read(p []byte) (int, error)       { return l.in.Read(p) }
func (l *loop) Write(p []byte) (int, error)      { l.out += len(p); return len(p), nil }
func (l *loop) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (l *loop) SetReadDeadline(time.Time) error  { return nil }
func (l *loop) SetWriteDeadline(time.Time) error { return nil }

func TestRequestsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := newServer(handlerFunc(func(dst []byte, r *Request) ([]byte, bool) {
		r.Values("Cookie")
		return r.AppendEnd(append(dst, "HTTP/1.1 302 Found\r\n"...), time.Now()), true
	}))
	for name, text := range clients {
		if strings.Contains(text, "Connection: close") {
			continue
		}
		l := &loop{in: bytes.NewReader(nil)}
		c := newConn(s, l)
		data := []byte(text)
		var err error
		ask := func() {
			copy(data, text) // the last request was overwritten
			l.in.Reset(data)
			err, c.end = errors.Join(err, c.readAndAnswer()), nil
		}
		least := testing.AllocsPerRun(1000, ask)
		for range 2 { // a garbage collection during a run empties the pools
			least = min(least, testing.AllocsPerRun(1000, ask))
		}
		if err != nil || l.out < 3000*len("HTTP/1.1 302 Found") {
			t.Fatalf("%s: readAndAnswer = %v and %d bytes", name, err, l.out)
		}
		if least > 0 {
			t.Errorf("%s: a request allocates %v times, want 0", name, least)
		}
	}
}
