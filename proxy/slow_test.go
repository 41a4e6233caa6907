package proxy

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Clients that send nothing, a header byte by byte, or half a body, and clients that do not read
// the response, lose their connections after a timeout.
func TestSlowClients(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			w.Header().Set("Location", strings.Repeat("x", 8000))
			w.WriteHeader(http.StatusFound)
		}
	})
	for name, c := range map[string]struct {
		send func(net.Conn) // in the background
		read bool
		most time.Duration
	}{
		"nothing": {func(net.Conn) {}, true, readTimeout},
		"a byte a second": {func(c net.Conn) {
			trickle(c, "GET /s3/bucket/key HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 1000))
		}, true, readTimeout},
		"half a body": {func(c net.Conn) {
			_, _ = io.WriteString(
				c, "POST /presign HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{",
			)
		}, true, readTimeout},
		"never reads the response": {func(c net.Conn) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		}, false, writeTimeout},
		"idle after a request": {func(c net.Conn) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		}, true, idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				ended := &closing{Conn: there, closed: make(chan struct{})}
				listener := make(oneConnection, 1)
				listener <- ended
				s := newServer(echo, slog.New(slog.DiscardHandler))
				go func() { _ = s.Serve(lazyListener{listener}) }()
				go c.send(here)
				if c.read {
					go func() { _, _ = bufio.NewReader(here).WriteTo(io.Discard) }()
				}
				began := time.Now()
				<-ended.closed
				if took := time.Since(began); took > c.most+time.Second || took < time.Second {
					t.Errorf("the connection closed after %v, want 1s to %v", took, c.most)
				}
				close(listener)
				_ = here.Close()
				_ = s.Close()
				time.Sleep(2 * time.Second) // until clients that still send get an error
			})
		})
	}
}

// trickle sends a byte a second.
func trickle(c net.Conn, text string) {
	for n := range len(text) {
		if _, err := io.WriteString(c, text[n:n+1]); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// closing closes a channel when the connection is closed.
type closing struct {
	net.Conn
	closed chan struct{}
}

func (c *closing) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.Conn.Close()
}

func TestHeaderSizeLimit(t *testing.T) {
	here, there := net.Pipe()
	listener := make(oneConnection, 1)
	listener <- there
	s := newServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	go func() { _ = s.Serve(listener) }()
	defer func() { close(listener); _ = here.Close(); _ = s.Close() }()
	go func() {
		value := strings.Repeat("x", 2*maxHeaderBytes)
		_, _ = io.WriteString(here, "GET / HTTP/1.1\r\nHost: h\r\nX: "+value+"\r\n\r\n")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(here), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("header over the limit: got %v, %v, want status 431", resp, err)
	}
}
