package wire

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// waiting returns a server whose handler would have to wait for keys that end in "wait", and counts
// its other calls.
func waiting(calls *atomic.Int64) *Server {
	return newServer(handlerFunc(func(dst []byte, r *Request) ([]byte, bool) {
		if strings.HasSuffix(r.Target, "wait") {
			return dst, false
		}
		calls.Add(1)
		return echo{}.AppendResponse(dst, r)
	}))
}

// A request that would have to wait is answered by net/http, which then returns the connection. The
// next requests are answered on the wire, also if they were sent ahead, in whole or in part.
func TestHandlerThatWouldWait(t *testing.T) {
	long := "X-Long: " + strings.Repeat("x", 3000) + "\r\n"
	for name, pieces := range map[string][]string{
		"one by one": {"1", "wait", "2", "3", "wait", "4"},
		"pipelined":  {"1 wait 2 wait wait 3 4", "5"},
		"long":       {"wait 1 2 3 4 wait", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			c := dial(t, waiting(&calls).startOn(t, listen(t)))
			in, onWire := bufio.NewReader(c), int64(0)
			for _, piece := range pieces {
				keys, text := strings.Fields(piece), ""
				for _, key := range keys {
					if name == "long" {
						text += plainGet(key, long)
					} else {
						text += plainGet(key)
					}
				}
				write(t, c, text[:len(text)-10])
				write(t, c, text[len(text)-10:])
				for _, key := range keys {
					if got, closes := readResponse(t, in); got != key || closes {
						t.Errorf("got %s, close %v, want %s and an open connection", got, closes, key)
					}
					if key != "wait" {
						onWire++
					}
				}
			}
			if got := calls.Load(); got != onWire {
				t.Errorf("%d requests were answered on the wire, want %d", got, onWire)
			}
		})
	}
}

// A connection is not returned after a response that ends it, or whose end the loop cannot know.
func TestConnectionsThatAreNotReturned(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		header  http.Header
		closes  bool
	}{
		"the client closes": {plainGet("wait", "Connection: close\r\n"), nil, true},
		"the server closes": {plainGet("wait"), http.Header{"Connection": {"close"}}, true},
		"chunks":            {plainGet("wait"), http.Header{"Content-Length": nil}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			s := waiting(&calls)
			s.HTTP.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Length"] = []string{"4"}
				maps.Copy(w.Header(), c.header)
				_, _ = io.WriteString(w, "body")
				Return(w, r, http.StatusOK)
			})
			conn := dial(t, s.startOn(t, listen(t)))
			in := bufio.NewReader(conn)
			write(t, conn, c.request)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "body" || err != nil || resp.Close != c.closes {
				t.Errorf("got %q, %v, close %v, want the body, close %v", body, err, resp.Close, c.closes)
			}
			if c.closes {
				if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
					t.Errorf("after the response: got %q, %v, want the end", rest, err)
				}
				return
			}
			write(t, conn, plainGet("1"))
			if resp, err = http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("the next request: got %v, %v, want net/http's response", resp, err)
			}
			if got := calls.Load(); got != 0 {
				t.Errorf("%d requests were answered on the wire, want 0", got)
			}
		})
	}
}

// A connection that is returned while the server drains is closed.
func TestConnectionReturnsWhileDraining(t *testing.T) {
	var calls atomic.Int64
	s := waiting(&calls)
	began, proceed := make(chan struct{}), make(chan struct{})
	s.HTTP.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // before the server drains, so it keeps the connection
		close(began)
		<-proceed
		Return(w, r, http.StatusOK)
	})
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, s.HTTP.Serve) }()
	c := dial(t, l.Addr().String())
	write(t, c, plainGet("wait"))
	<-began
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	<-s.stopped
	close(proceed)
	if err := <-done; err != nil {
		t.Errorf("Shutdown = %v, want no error", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve = %v, want %v", err, http.ErrServerClosed)
	}
	in := bufio.NewReader(c)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v, want 200", resp, err)
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Errorf("after the response: got %q, %v, want the end", rest, err)
	}
}
