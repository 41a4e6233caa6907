package proxy

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"s3redirect/internal/config"
)

// These tests count allocations and bytes instead of measuring time, because counts are the same on
// every machine.

// oneConnection is a listener for a single connection in memory.
type oneConnection chan net.Conn

func (l oneConnection) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l oneConnection) Close() error   { return nil }
func (l oneConnection) Addr() net.Addr { return loopback }

// loopback is the address of both ends of connections in memory.
var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}

// memoryConn is the server's end of a connection in memory. Unlike a net.Pipe's, its deadlines
// allocate nothing. net/http sets some per request only if its background read has begun by then,
// which depends on scheduling.
type memoryConn struct {
	net.Conn // nil; the methods below are the ones that net/http calls

	mu              sync.Mutex
	changed         sync.Cond
	in, out         bytes.Buffer // from the client, and to the client
	aborted, closed bool
}

func newMemoryConn() *memoryConn {
	c := &memoryConn{}
	c.changed.L = &c.mu
	return c
}

// set changes the connection's state and wakes waiting calls.
func (c *memoryConn) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.changed.Broadcast()
}

func (c *memoryConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.in.Len() == 0 && !c.aborted && !c.closed {
		c.changed.Wait()
	}
	switch {
	case c.aborted:
		return 0, os.ErrDeadlineExceeded
	case c.closed:
		return 0, io.EOF
	}
	return c.in.Read(p)
}

func (c *memoryConn) Write(p []byte) (n int, err error) {
	c.set(func() { n, err = c.out.Write(p) })
	return n, err
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.set(func() { c.aborted = !t.IsZero() && t.Before(time.Now()) })
	return nil
}

func (c *memoryConn) Close() error {
	c.set(func() { c.closed = true })
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return loopback }
func (c *memoryConn) RemoteAddr() net.Addr             { return loopback }

// ask sends a request and reports whether the response is a redirect.
func (c *memoryConn) ask(request []byte) (redirected bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Reset()
	c.in.Write(request)
	c.changed.Broadcast()
	for !bytes.Contains(c.out.Bytes(), []byte("\r\n\r\n")) {
		c.changed.Wait()
	}
	return bytes.Contains(c.out.Bytes(), []byte("\r\nLocation: "))
}

// allocations returns the number of allocations per request of a net/http server, over a connection
// that is kept alive. The client allocates nothing.
func allocations(t *testing.T, h http.Handler, target func(n int) string) float64 {
	t.Helper()
	conn := newMemoryConn()
	listener := make(oneConnection, 1)
	listener <- conn
	s := newServer(h, slog.New(slog.DiscardHandler))
	go func() { _ = s.Serve(lazyListener{listener}) }()
	defer func() {
		close(listener)
		_ = conn.Close()
		_ = s.Close()
	}()
	const requests = 2000
	lines := make([][]byte, 3*requests+100)
	for n := range lines {
		lines[n] = []byte("GET " + target(n) + " HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	n := 0
	ask := func() {
		if !conn.ask(lines[n]) {
			t.Fatal("the response is not a redirect")
		}
		n++
	}
	for range 50 {
		ask()
	}
	least := testing.AllocsPerRun(requests, ask)
	for range 2 { // a garbage collection during a run empties the pools
		least = min(least, testing.AllocsPerRun(requests, ask))
	}
	return least
}

// bare returns a handler that does the minimum for a redirect.
func bare(location string) http.Handler {
	locations, ages := []string{location}, []string{"private, max-age=1234"}
	policies, vary := []string{"no-referrer"}, []string{"Origin, Sec-Fetch-Mode, Sec-Fetch-Dest"}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Location"], h["Cache-Control"], h["Referrer-Policy"] = locations, ages, policies
		h["Vary"], h["Content-Length"] = vary, noContent
		w.WriteHeader(http.StatusFound)
	})
}

// A redirect allocates as much as a bare handler plus its Location: a string and the slice that
// holds it. The bare handler's Location is a constant.
func TestRedirectAllocations(t *testing.T) {
	if raceEnabled || onWire {
		t.Skip("the race detector allocates, and so do the tests' requests on the wire")
	}
	w := newWorld(t, withContentTypes, func(c *config.Config, o *Options) { o.URLs = 100_000 })
	same := func(int) string { return "/s3/bucket/some/folder/photo.jpg" }
	typed := func(int) string { return "/s3/bucket/some/folder/drawing.SVG" }
	another := func(n int) string { return fmt.Sprintf("/s3/bucket/some/folder/photo-%d.jpg", n) }
	least := allocations(t, bare("https://s3.localhost/?"+strings.Repeat("x", 1700)), same)
	const location = 2
	if hit := allocations(t, w, same); hit > least+location {
		t.Errorf("a hit makes %v allocations, want at most %v + %d", hit, least, location)
	}
	if hit := allocations(t, w, typed); hit > least+location {
		t.Errorf("a hit with a content type makes %v allocations, want at most %v + %d", hit, least,
			location)
	}
	prefixed := newWorld(t, withPrefixes("whole"))
	under := func(int) string { return "/s3/films/tenant-a/some/folder/photo.jpg" }
	if hit := allocations(t, prefixed, under); hit > least+location {
		t.Errorf("a hit under a prefix makes %v allocations, want at most %v + %d", hit, least, location)
	}
	logging := newWorld(t, withAccessLog("json"))
	if hit := allocations(t, logging, same); hit > least+location {
		t.Errorf("a hit with an access log makes %v allocations, want at most %v + %d", hit, least,
			location)
	}
	if miss := allocations(t, w, another); miss > least+location {
		t.Errorf("a miss makes %v allocations, want at most %v + %d", miss, least, location)
	}
}

// The garbage collector does not scan an array whose elements hold no pointers.
func TestCachedSignaturesHoldNoPointers(t *testing.T) {
	var check func(reflect.Type)
	check = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Struct:
			for i := range of.NumField() {
				check(of.Field(i).Type)
			}
		case reflect.Array:
			check(of.Elem())
		case reflect.Uint8, reflect.Uint32:
		default:
			t.Errorf("a signature contains a %v, want only uint8 and uint32", of)
		}
	}
	check(reflect.TypeFor[signature]())
	if size := reflect.TypeFor[signature]().Size(); size != 40 {
		// With its ID and 8 bytes of the table it fills a cache line.
		t.Errorf("a signature takes %d bytes, want 40", size)
	}
}

// Keys have about 80 bytes. The cache allocates its memory at the start, for twice as many entries
// as the first part of the test uses.
func TestBytesPerCachedURL(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs additional memory")
	}
	const entries, most, mostWhenFull = 65_536, 280, 80
	before := liveBytes()
	w := newWorld(t, func(c *config.Config, o *Options) { o.URLs = 2 * entries })
	r := httptest.NewRequest("GET", "/s3/bucket/x", nil)
	out := discard{http.Header{}}
	ask := func(n int) {
		r.RequestURI = fmt.Sprintf("/s3/bucket/albums/2026/a-folder-with-a-name/"+
			"another-folder-of-usual-length/photo-%010d.jpg", n)
		w.ServeHTTP(out, r)
	}
	for n := range entries {
		ask(n)
	}
	if per := float64(liveBytes()-before) / entries; per > most || w.urls.Len() < entries {
		t.Errorf("%d entries take %.0f bytes each, want at most %d", w.urls.Len(), per, most)
	} else {
		t.Logf("%.0f bytes per entry in a half-full cache", per)
	}
	for n := entries; w.urls.Len() < entries*2*99/100; n++ {
		ask(n)
	}
	if per := float64(liveBytes()-before) / float64(w.urls.Len()); per > mostWhenFull {
		t.Errorf("%d entries take %.0f bytes each, want at most %d", w.urls.Len(), per,
			mostWhenFull)
	} else {
		t.Logf("%.0f bytes per entry in a full cache", per)
	}
	runtime.KeepAlive(w)
}

func liveBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // collects what finalizers and pools released
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
