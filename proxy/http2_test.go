package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"s3redirect/internal/config"
)

// h2Client is an HTTP/2 client that sends nothing unless told to.
type h2Client struct {
	raw   net.Conn
	conn  *tls.Conn
	frame *http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder
	// reset is closed when the server resets stream 1, and closed when it closes the connection.
	reset, closed chan struct{}
}

// startHTTP2 serves one connection in memory, like [Server.Run]. It returns once the client has
// sent its preface and its settings.
func startHTTP2(t *testing.T, h http.Handler, settings ...http2.Setting) *h2Client {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, 1, time.Now())
	here, there := net.Pipe()
	ended := &closing{Conn: there, closed: make(chan struct{})}
	listener := make(oneConnection, 1)
	listener <- ended
	log := slog.New(slog.DiscardHandler)
	s := newServer(h, log)
	var err error
	files := config.TLS{CertFile: certFile, KeyFile: keyFile}
	if s.TLSConfig, err = tlsConfig(files, time.Now, log); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.ServeTLS(lazyListener{listener}, "", "") }()
	c := &h2Client{raw: here, reset: make(chan struct{}), closed: ended.closed}
	c.hpack = hpack.NewEncoder(&c.block)
	c.conn = tls.Client(here, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	t.Cleanup(func() {
		close(listener)
		_ = here.Close()
		_ = s.Close()
		time.Sleep(10 * time.Second) // until clients that still send get an error
	})
	if err := c.conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.frame = http2.NewFramer(c.conn, c.conn)
	go func() { // the pipe has no buffer, so a write may have to wait for the server
		// Without the preface the server closes the connection.
		_, _ = io.WriteString(c.conn, http2.ClientPreface)
		_ = c.frame.WriteSettings(settings...)
	}()
	synctest.Wait()
	return c
}

// header writes the header of stream 1.
func (c *h2Client) header(method string, end, whole bool) error {
	return c.headerOf(1, method, end, whole)
}

func (c *h2Client) headerOf(stream uint32, method string, end, whole bool) error {
	c.block.Reset()
	for _, f := range [][2]string{
		{":method", method}, {":scheme", "https"}, {":authority", "h"}, {":path", "/"},
	} {
		if err := c.hpack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	return c.frame.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: whole,
	})
}

// read reads until the connection is closed. With pongs, it answers pings.
func (c *h2Client) read(pongs bool) {
	out := http2.NewFramer(c.conn, nil) // the client may be writing
	for {
		f, err := c.frame.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.PingFrame:
			if pongs && !f.IsAck() {
				_ = out.WritePing(true, f.Data) // the connection may be gone
			}
		case *http2.RSTStreamFrame:
			close(c.reset)
		}
	}
}

// Slow HTTP/2 clients lose their connections after the same timeouts as HTTP/1.1 clients.
func TestSlowHTTP2Clients(t *testing.T) {
	big := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
		}
	})
	const second = time.Second
	silent := pingAfter + pongTimeout
	noWindow := http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}
	for name, c := range map[string]struct {
		do       func(*h2Client)
		settings []http2.Setting
		// When the stream is reset (0 means never), and when the connection is closed.
		reset, closed time.Duration
	}{
		"never reads": {
			func(c *h2Client) { _ = c.header("GET", true, true) }, nil, 0, writeTimeout,
		},
		"reads three frames, then stops": {func(c *h2Client) {
			go func() { _ = c.header("GET", true, true) }()
			for range 3 {
				_, _ = c.frame.ReadFrame()
			}
		}, nil, 0, writeTimeout},
		"reads a byte a second": {func(c *h2Client) {
			go func() { _ = c.header("GET", true, true) }()
			for one := make([]byte, 1); ; time.Sleep(second) {
				if _, err := c.raw.Read(one); err != nil {
					return
				}
			}
		}, nil, 0, writeTimeout},
		"zero window, no pongs": {func(c *h2Client) {
			go c.read(false)
			_ = c.header("GET", true, true)
		}, []http2.Setting{noWindow}, writeTimeout, silent},
		"zero window": {func(c *h2Client) {
			go c.read(true)
			_ = c.header("GET", true, true)
		}, []http2.Setting{noWindow}, writeTimeout, writeTimeout + idleTimeout},
		"half a header": {func(c *h2Client) {
			go c.read(false)
			_ = c.header("GET", true, false)
			for range 100 {
				time.Sleep(5 * second)
				if c.frame.WriteContinuation(1, false, nil) != nil {
					return
				}
			}
		}, nil, 0, silent},
		"half a body": {func(c *h2Client) {
			go c.read(true)
			_ = c.header("POST", false, true)
			_ = c.frame.WriteData(1, false, []byte("{"))
		}, nil, 0, readTimeout + idleTimeout},
		"idle":   {func(c *h2Client) { go c.read(true) }, nil, 0, idleTimeout},
		"silent": {func(c *h2Client) { go c.read(false) }, nil, 0, silent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := startHTTP2(t, big, c.settings...)
				began := time.Now()
				go c.do(client)
				if c.reset > 0 {
					select {
					case <-client.reset:
					case <-client.closed:
						t.Error("the connection was closed, want the stream reset first")
					}
					if took := time.Since(began); took < c.reset-second || took > c.reset+second {
						t.Errorf("the stream was reset after %v, want %v", took, c.reset)
					}
				}
				select {
				case <-client.closed:
				case <-time.After(time.Hour):
					t.Fatalf("the connection is open after an hour, want it closed after %v",
						c.closed)
				}
				if took := time.Since(began); took < c.closed-second || took > c.closed+5*second {
					t.Errorf("the connection was closed after %v, want %v", took, c.closed)
				}
			})
		})
	}
}

// The server announces and enforces its limits for a connection.
func TestHTTP2Limits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		c := startHTTP2(t, http.HandlerFunc(hang))
		go func() {
			for n := range uint32(maxStreams + 1) {
				_ = c.headerOf(2*n+1, "GET", true, true) // one stream over the limit
			}
		}()
		settings, window, refused := map[http2.SettingID]uint32{}, uint32(65535), uint32(0)
		for refused == 0 {
			f, err := c.frame.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				_ = f.ForeachSetting(func(s http2.Setting) error {
					settings[s.ID] = s.Val
					return nil
				})
			case *http2.WindowUpdateFrame:
				window += f.Increment
			case *http2.RSTStreamFrame:
				refused = f.StreamID
			}
		}
		for what, v := range map[string]struct{ got, want uint32 }{
			"the stream that is refused": {refused, 2*maxStreams + 1},
			"streams":                    {settings[http2.SettingMaxConcurrentStreams], maxStreams},
			"a frame":                    {settings[http2.SettingMaxFrameSize], 16 << 10},
			"a stream's window":          {settings[http2.SettingInitialWindowSize], maxUpload},
			"the connection's window":    {window, maxUpload},
			"a header": {
				settings[http2.SettingMaxHeaderListSize], maxHeaderBytes + 320,
			},
		} {
			if v.got != v.want {
				t.Errorf("%s: got %d, want %d", what, v.got, v.want)
			}
		}
	})
}
