package proxy

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/metrics"
)

// headerV2 returns a header of version 2: a command, a family with a protocol, and the rest.
func headerV2(command, family byte, rest string) string {
	return signatureV2 + string([]byte{0x20 | command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

// Addresses and ports in headers of version 2: 203.0.113.7:4711 and [2001:db8::7]:4711, to a server.
const (
	addressV4 = "\xcb\x00\x71\x07\x7f\x00\x00\x01\x12\x67\x1f\x90"
	addressV6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x67\x1f\x90"
)

// namedConn is a connection from an address.
type namedConn struct {
	net.Conn
	remote string
}

func (c namedConn) RemoteAddr() net.Addr { return namedAddr(c.remote) }

type namedAddr string

func (namedAddr) Network() string  { return "tcp" }
func (a namedAddr) String() string { return string(a) }

// trustsLoopback trusts 127.0.0.1 only.
func trustsLoopback(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }

// The client's address comes from the header. Bytes that follow the header, and nothing else, remain
// to be read.
func TestAnnouncedAddresses(t *testing.T) {
	const peer = "127.0.0.1:1"
	for name, c := range map[string]struct {
		peer, header, want string // want is the client's address, or "" if the connection is refused
	}{
		"v1, IPv4":       {peer, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 8080\r\n", "203.0.113.7:4711"},
		"v1, IPv6":       {peer, "PROXY TCP6 2001:db8::7 2001:db8::1 4711 8080\r\n", "[2001:db8::7]:4711"},
		"v1, unknown":    {peer, "PROXY UNKNOWN\r\n", peer},
		"v2, IPv4":       {peer, headerV2(1, 0x11, addressV4), "203.0.113.7:4711"},
		"v2, IPv6":       {peer, headerV2(1, 0x21, addressV6), "[2001:db8::7]:4711"},
		"v2, with TLVs":  {peer, headerV2(1, 0x11, addressV4+"\x04\x00\x03abc"), "203.0.113.7:4711"},
		"v2, local":      {peer, headerV2(0, 0x00, ""), peer},
		"v2, local, TCP": {peer, headerV2(0, 0x11, addressV4), peer},

		"an untrusted peer":         {"127.0.0.2:1", "PROXY TCP4 203.0.113.7 127.0.0.1 4711 8080\r\n", ""},
		"an untrusted Unix socket":  {config.UnixProxy, headerV2(1, 0x11, addressV4), ""},
		"a request without header":  {peer, "GET /s3/bucket/k HTTP/1.1\r\nHost: h\r\n\r\n", ""},
		"a TLS client":              {peer, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", ""},
		"v1, a line without end":    {peer, "PROXY TCP4 " + strings.Repeat("1", 200), ""},
		"v1, a bare LF":             {peer, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 8080\n", ""},
		"v1, no address":            {peer, "PROXY TCP4 x 127.0.0.1 4711 8080\r\n", ""},
		"v1, a zone":                {peer, "PROXY TCP6 fe80::1%unix 2001:db8::1 4711 8080\r\n", ""},
		"v1, half a header":         {peer, "PROXY TCP4 203.0.1", ""},
		"v2, half a header":         {peer, headerV2(1, 0x11, addressV4)[:20], ""},
		"v2, too short for address": {peer, headerV2(1, 0x11, addressV4[:8]), ""},
		"v2, too long":              {peer, headerV2(1, 0x11, addressV4+strings.Repeat("x", 8<<10)), ""},
		"v2, a Unix socket":         {peer, headerV2(1, 0x31, strings.Repeat("/", 216)), ""},
		"nothing":                   {peer, "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			defer here.Close()
			go func() {
				_, _ = io.WriteString(here, c.header+"GET /")
			}()
			a := &announcer{trusted: trustsLoopback, log: slog.New(slog.DiscardHandler)}
			start := time.Now()
			got, err := a.accept(namedConn{there, c.peer})
			if c.want == "" {
				if err == nil {
					t.Errorf("%s: got a connection from %s, want none", name, got.RemoteAddr())
				}
				if _, err := here.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("%s: reading = %v, want a closed connection", name, err)
				}
				if took := time.Since(start); took > announceTimeout {
					t.Errorf("%s: refused after %v, want at most %v", name, took, announceTimeout)
				}
				return
			}
			if err != nil || got.RemoteAddr().String() != c.want {
				t.Fatalf("%s: accept() = %v, %v, want a connection from %s", name, got, err, c.want)
			}
			time.Sleep(time.Hour) // the deadline of the header must not remain
			rest := make([]byte, 5)
			if _, err := io.ReadFull(got, rest); err != nil || string(rest) != "GET /" {
				t.Errorf("%s: after the header: got %q, %v, want GET /", name, rest, err)
			}
		})
	}
}

// startListening serves a world with options, until the test ends.
func startListening(t *testing.T, w *world, o ServerOptions) *Server {
	t.Helper()
	o.Viewers, o.Wire, o.Metrics, o.Clock = w, w, w.metrics, time.Now
	o.Log = slog.New(slog.DiscardHandler)
	if o.AdminListen == nil {
		o.AdminListen = []string{"127.0.0.1:0"}
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a header of the PROXY protocol, if any, and a request, and returns the response's status,
// or 0 if there is no response.
func ask(t *testing.T, network, address, header, method string) int {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, header+method+" /s3/scans/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// The rate limit counts by the announced address, on the wire and in net/http, over TCP and over a
// Unix socket.
func TestRateLimitOfAnnouncedClients(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		socket := filepath.Join(shortDir(t), "s")
		w := newWorld(t, func(c *config.Config, o *Options) {
			now := time.Now()
			o.Clock = func() time.Time { return now } // no token comes back
			c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 2}
		})
		s := startListening(t, w, ServerOptions{
			Listen:    []string{"127.0.0.1:0", "unix:" + socket},
			Announced: func(a netip.Addr) bool { return a == config.UnixPeer || trustsLoopback(a) },
		})
		address := map[string]string{"tcp": s.Addr.String(), "unix": socket}[network]
		for _, client := range []string{"203.0.113.7", "203.0.113.8"} {
			header := "PROXY TCP4 " + client + " 127.0.0.1 4711 8080\r\n"
			for n, want := range []int{302, 302, 429} {
				if got := ask(t, network, address, header, "GET"); got != want {
					t.Errorf("%s: request %d of %s: got %d, want %d", network, n, client, got, want)
				}
			}
		}
		if got := ask(t, network, address, "", "GET"); got != 0 {
			t.Errorf("%s: without a header: got %d, want a closed connection", network, got)
		}
	}
}

// shortDir returns a directory whose path is short enough for Unix sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// A server answers on all of its addresses. Over a Unix socket, net/http and the wire see the same
// peer, and only unix in trusted_proxies makes X-Forwarded-For count.
func TestUnixSocket(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		socket := filepath.Join(shortDir(t), "s")
		w := newWorld(t, func(c *config.Config, o *Options) {
			now := time.Now()
			o.Clock = func() time.Time { return now } // no token comes back
			c.Viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 2}
			if trusted {
				c.Proxies = []netip.Prefix{netip.PrefixFrom(config.UnixPeer, 128)}
			}
		})
		s := startListening(t, w, ServerOptions{
			Listen:      []string{"127.0.0.1:0", "unix:" + socket + "?mode=0620"},
			AdminListen: []string{"unix:" + socket + "a", "127.0.0.1:0"},
		})
		info, err := os.Stat(socket)
		if err != nil || info.Mode() != os.ModeSocket|0o620 {
			t.Errorf("the socket has mode %v, %v, want 0620", info.Mode(), err)
		}
		if info, err := os.Stat(socket + "a"); err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("the default mode is %v, %v, want 0600", info.Mode(), err)
		}
		if got := ask(t, "tcp", s.Addr.String(), "", "GET"); got != 302 {
			t.Errorf("over TCP: got %d, want 302", got)
		}
		codes := ""
		for n := range 4 {
			header := "X-Forwarded-For: 192.0.2." + string(rune('1'+n)) + "\r\n"
			request := "GET /s3/scans/k HTTP/1.1\r\nHost: h\r\n" + header
			if n%2 == 1 {
				request += "Content-Length: 0\r\n" // for net/http
			}
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, request+"\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			_ = c.Close()
			codes += " " + resp.Status[:3]
		}
		want := " 302 302 429 429" // one limiter for all
		if trusted {
			want = " 302 302 302 302"
		}
		if codes != want {
			t.Errorf("trusted %v: got%s, want%s", trusted, codes, want)
		}
		if _, err := Listen(unixOptions(socket)); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("a second server: %v, want an error that the address is in use", err)
		}

	}
}

func unixOptions(path string) ServerOptions {
	return ServerOptions{
		Listen:      []string{"unix:" + path},
		AdminListen: []string{"127.0.0.1:0"},
		Metrics:     metrics.New("test"),
		Log:         slog.New(slog.DiscardHandler),
		Clock:       time.Now,
	}
}

// The socket of a dead process is replaced, a file is not, and a server removes its socket.
func TestOldUnixSockets(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	s, err := Listen(unixOptions(path))
	if err != nil {
		t.Fatalf("in place of a dead socket: %v", err)
	}
	closeAll([]net.Listener{s.viewersListener, s.adminListener})
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after closing, the socket's file: %v, want none", err)
	}
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(unixOptions(path)); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("in place of a file: %v, want an error", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "text" {
		t.Errorf("the file: %q, %v, want it unchanged", text, err)
	}
	o := unixOptions(path)
	o.Listen = []string{"127.0.0.1:0", "systemd:viewers"}
	if _, err := Listen(o); err == nil || !strings.Contains(err.Error(), "FileDescriptorName") {
		t.Errorf("without systemd: %v, want an error that names FileDescriptorName", err)
	}
}
