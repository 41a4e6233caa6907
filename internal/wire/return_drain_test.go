package wire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A connection that net/http returns while it shuts down has requests in flight like any other, so
// Shutdown waits for it.
func TestShutdownWaitsForReturnedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, proceed := make(chan struct{}), make(chan struct{})
		s := newServer(handlerFunc(func(dst []byte, r *Request) ([]byte, bool) {
			if strings.HasSuffix(r.Target, "wait") {
				return dst, false
			}
			<-answer
			return echo{}.AppendResponse(dst, r)
		}))
		s.HTTP.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "0")
			_ = http.NewResponseController(w).Flush() // before net/http shuts down, so it keeps the connection
			<-proceed
			Return(w, r, http.StatusOK)
		})
		l := make(memoryListener)
		go func() { _ = s.Serve(l, s.HTTP.Serve) }()
		c, server := net.Pipe()
		l <- server
		in := bufio.NewReader(c)
		go func() { _, _ = io.WriteString(c, plainGet("wait")+plainGet("1")) }()
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v, want 200", resp, err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		time.Sleep(time.Minute) // on the bubble's clock
		close(proceed)
		time.Sleep(time.Minute)
		select {
		case err := <-done:
			t.Errorf("Shutdown returned %v before the second response", err)
		default:
		}
		close(answer)
		if got, closes := readResponse(t, in); got != "1" || !closes {
			t.Errorf("got %s, close %v, want 1, true", got, closes)
		}
		_ = c.Close()
		if err := <-done; err != nil {
			t.Errorf("Shutdown = %v, want no error", err)
		}
	})
}

// A connection with more bytes read ahead than the buffer has room for is closed: without the rest,
// its requests would be other ones.
func TestTooManyBytesReadAhead(t *testing.T) {
	s := newServer(echo{})
	first := dial(t, s.startOn(t, listen(t)))
	write(t, first, plainGet("first"))
	readResponse(t, bufio.NewReader(first)) // so the server has started
	c, server := net.Pipe()
	head := plainGet("k")
	s.readmit(server).resume([]byte(head + strings.Repeat("x", maxHead+1-len(head))))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read = %d, %v, want 0, %v", n, err, io.EOF)
	}
}
