// Package wire answers plain HTTP/1.1 requests on the connection, and hands all other connections
// over to net/http.
//
// Each connection starts in a loop that reads the head of a request into a pooled buffer. If the
// head is plain, the loop writes the [Handler]'s response. If it is not, or if the handler would
// have to wait, net/http gets the connection, with the bytes that were read: for one response if
// the handler would have to wait ([Return]), otherwise for the rest of its life. The loop itself
// waits for nothing but the client.
//
// A request is plain if it is in this subset of RFC 9112:
//
//   - The method is GET or HEAD, and the version is HTTP/1.1.
//   - The target begins with one of the server's prefixes. It consists of visible ASCII characters
//     except #, and each % in its path is followed by two hexadecimal digits.
//   - Every line ends with CRLF, and contains no other CR or LF.
//   - Each field has a name of token characters, a colon, and a value of visible ASCII characters,
//     spaces and tabs. No line begins with a space or a tab.
//   - Host occurs once, and consists of letters, digits and "._:[]-".
//   - Connection occurs at most once, and is keep-alive or close. Content-Length, Expect, TE,
//     Trailer, Transfer-Encoding and Upgrade are absent.
//   - The head has at most 16 kB and 100 fields.
//
// The package recognises easy input and does not parse difficult input: what is not obviously
// plain is net/http's to answer, including every error. Both servers therefore agree on where each
// request ends, and a plain request gets the same bytes from either.
package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Handler answers plain requests.
type Handler interface {
	// AppendResponse appends the complete response to r to dst, and returns the result. It returns
	// false if it would have to wait; it must then have no effects, because net/http answers the
	// request. r and its strings are valid only during the call.
	AppendResponse(dst []byte, r *Request) (response []byte, ok bool)
}

// Server answers requests of one listener. The fields must not change after [Server.Serve].
type Server struct {
	// Handler answers plain requests.
	Handler Handler
	// Prefixes begin the targets of plain requests.
	Prefixes []string
	// HTTP answers all other requests.
	HTTP *http.Server
	// Log gets the panics of Handler.
	Log *slog.Logger
	// HeaderTimeout bounds the time from the first byte of a head to its last, and from a
	// connection's start to its first head. WriteTimeout bounds a write, and IdleTimeout the time
	// between two requests.
	HeaderTimeout, WriteTimeout, IdleTimeout time.Duration

	dates  dates
	poison bool // overwrite each request after its response, for tests
	// draining is set once, with mu held. It is read without mu to write Connection: close.
	draining atomic.Bool
	retired  atomic.Bool  // each response closes its connection
	tick     atomic.Int64 // counts the calls of wakeUnchecked, from 1

	mu       sync.Mutex // guards the fields below, and the start of draining
	listener net.Listener
	handoff  *handoff
	conns    map[*conn]struct{} // connections that net/http has not taken over
	empty    chan struct{}      // closed while the server drains and conns is empty
	stopped  chan struct{}      // closed when the server drains
}

// drainGrace is how long an idle connection stays open after Shutdown has begun, so that a request
// in flight still gets a response.
const drainGrace = 100 * time.Millisecond

// Serve accepts and serves connections until [Server.Shutdown] or [Server.Close]. It returns
// [http.ErrServerClosed] then, or the error that made accepting fail. serve must serve the
// connections that are handed over; it is usually s.HTTP.Serve.
func (s *Server) Serve(l net.Listener, serve func(net.Listener) error) error {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		_ = l.Close()
		return http.ErrServerClosed
	}
	s.listener, s.handoff = l, newHandoff(l.Addr())
	s.conns, s.empty = map[*conn]struct{}{}, make(chan struct{})
	s.stopped = make(chan struct{})
	s.tick.Store(1)
	s.mu.Unlock()
	go s.accept(l)
	go s.watch()
	return serve(s.handoff)
}

// accept accepts connections. It retries temporary errors, such as too many open files, with a
// back-off, like net/http.
func (s *Server) accept(l net.Listener) {
	var pause time.Duration
	for {
		c, err := l.Accept()
		if err == nil {
			pause = 0
			s.start(c)
			continue
		}
		if s.draining.Load() {
			return // the HTTP server's Shutdown or Close ends Serve
		}
		//nolint:staticcheck // Temporary is deprecated, but net/http uses it here too
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Temporary() {
			s.handoff.fail(err)
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.Log.Debug("accept failed; retrying", "error", err.Error(), "pause", pause.String())
		time.Sleep(pause)
	}
}

// start starts the loop of a new connection.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		_ = nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	go c.serve(nil)
}

// readmit registers a connection that net/http is about to return. That must happen before net/http
// forgets it, so that Shutdown waits for it without a gap.
func (s *Server) readmit(nc net.Conn) *conn {
	c := newConn(s, nc)
	c.batches = 1    // it is like a connection that has been idle since its last response
	c.leaving = true // net/http sets the deadlines until it returns the connection
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() && len(s.conns) == 0 {
		s.empty = make(chan struct{})
	}
	s.conns[c] = struct{}{}
	return c
}

// resume starts the loop with bytes that were read ahead. While the server drains, the connection
// closes soon. There are at most maxHead bytes: net/http's buffer is smaller, and it reads no more
// until those of the handover are used up. If there were more, the loop would not know where the
// next request begins, so it closes the connection.
func (c *conn) resume(ahead []byte) {
	if len(ahead) > maxHead {
		c.close()
		return
	}
	c.mu.Lock()
	c.leaving = false
	c.mu.Unlock()
	go c.serve(ahead)
}

// forget removes a connection that was closed, or that net/http has taken over.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.signalEmptyLocked()
}

// watch calls wakeUnchecked every second.
func (s *Server) watch() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.wakeUnchecked()
		case <-s.stopped:
			return
		}
	}
}

// wakeUnchecked wakes the connections that have waited since the last call without having seen that
// there is nothing to read. It matters for a client that closed its side right after a request:
//
//	client: sends a request, closes its side; the kernel reports both at once
//	loop:   reads the request, and writes the response
//	loop:   waits; there will be no further report
//
// The response was not delayed. After one or two seconds the connection is closed.
func (s *Server) wakeUnchecked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	tick := s.tick.Add(1)
	for c := range s.conns {
		if since := c.unchecked.Load(); since != 0 && since < tick-1 {
			c.wake()
		}
	}
}

func (s *Server) signalEmptyLocked() {
	if s.draining.Load() && len(s.conns) == 0 {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

// Retire makes each further response close its connection. It does not close idle connections, and
// new ones are still accepted and served.
func (s *Server) Retire() { s.retired.Store(true) }

// Shutdown stops accepting, closes idle connections, and waits for responses in flight, first of
// the loop and then of net/http. Each further response of the loop carries Connection: close.
// Shutdown returns the context's error if that takes too long.
func (s *Server) Shutdown(ctx context.Context) error {
	if !s.drain(func(c *conn) { c.drain() }) {
		return s.HTTP.Shutdown(ctx)
	}
	// Until the loop has no connections, some may be handed over; until net/http has none, some may
	// be returned. Those are not handed over again: net/http does not accept any more.
	if err := s.waitEmpty(ctx); err != nil {
		return err
	}
	if err := s.HTTP.Shutdown(ctx); err != nil {
		return err
	}
	return s.waitEmpty(ctx)
}

// waitEmpty waits until the loop has no connections. The server must drain.
func (s *Server) waitEmpty(ctx context.Context) error {
	s.mu.Lock()
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the listener and all connections.
func (s *Server) Close() error {
	s.drain(func(c *conn) { _ = c.Close() })
	return s.HTTP.Close()
}

// drain stops accepting and calls each for all connections. It reports whether the server was
// started.
func (s *Server) drain(each func(*conn)) (started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	if s.listener == nil {
		return false
	}
	_ = s.listener.Close()
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
	for c := range s.conns {
		each(c)
	}
	s.signalEmptyLocked()
	return true
}

// LogPanic logs a panic. Its value could hold a secret, so only the text of a run-time error is
// logged: it has numbers and types only, like the stack.
func LogPanic(log *slog.Logger, v any) {
	what := fmt.Sprintf("a %T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	log.Error("panic", "panic", what, "stack", string(debug.Stack()))
}
