package wire

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// handoff is the listener from which net/http accepts the connections that are handed over.
type handoff struct {
	addr  net.Addr
	conns chan net.Conn

	once   sync.Once
	closed chan struct{}
	err    error // why it was closed; set before closed is closed
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, h.err
	}
}

// Close implements [net.Listener].
func (h *handoff) Close() error {
	h.fail(net.ErrClosed)
	return nil
}

// fail makes Accept return err.
func (h *handoff) fail(err error) {
	h.once.Do(func() {
		h.err = err
		close(h.closed)
	})
}

// Addr implements [net.Listener].
func (h *handoff) Addr() net.Addr { return h.addr }

// pass passes a connection to net/http, and closes it if net/http does not accept any more.
func (h *handoff) pass(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

// handedOver is a connection that was handed over.
type handedOver struct {
	net.Conn
	ahead  []byte // read already; only net/http's reading goroutine uses it
	server *Server
	waits  bool // the request at its start would have to wait
	taken  atomic.Bool
	forget func()
}

// Read implements [net.Conn]. It returns the bytes that were read already first.
func (c *handedOver) Read(p []byte) (int, error) {
	c.take()
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
			c.ahead = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// Close implements [net.Conn].
func (c *handedOver) Close() error {
	c.take()
	return c.Conn.Close()
}

// CloseWrite shuts down the writing side. net/http calls it so that a client can read the response
// to a request of which a part was not read.
func (c *handedOver) CloseWrite() error {
	return CloseWrite(c.Conn)
}

// CloseWrite shuts down the writing side of a connection. It returns [errors.ErrUnsupported] if the
// connection cannot do that.
func CloseWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// take removes the connection from the wire's. That must not happen before net/http knows it, which
// it does when it reads for the first time:
//
//	1: pass: net/http's Accept returns the connection; the wire forgets it
//	2: Shutdown: the wire has no connections left; net/http has none yet; returns
//	1: net/http: registers the connection, too late for Shutdown to wait for it
func (c *handedOver) take() {
	if c.taken.CompareAndSwap(false, true) {
		c.forget()
	}
}

type waitsKey struct{}

// ConnContext is the ConnContext of the [net/http.Server] that connections are handed over to. It
// marks the context for [Return].
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	for {
		switch inner := c.(type) {
		case *handedOver:
			if inner.waits {
				return context.WithValue(ctx, waitsKey{}, inner)
			}
			return ctx
		case interface{ NetConn() net.Conn }:
			c = inner.NetConn()
		default:
			return ctx
		}
	}
}

// Return sends the rest of a response and returns its connection to the loop, if the connection was
// handed over because a request would have had to wait, and stays open after the response. It must
// be the handler's last use of w and r, and the response must be complete.
func Return(w http.ResponseWriter, r *http.Request, status int) {
	c, _ := r.Context().Value(waitsKey{}).(*handedOver)
	if c == nil || !endsInOrder(w.Header(), r, status) {
		return
	}
	rc := http.NewResponseController(w)
	if rc.Flush() != nil {
		return
	}
	back := c.server.readmit(c.Conn)
	_, buffered, err := rc.Hijack()
	if err != nil {
		c.server.forget(back)
		return
	}
	// net/http has read everything ahead before it reads from the connection.
	ahead, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	back.resume(append(slices.Clone(ahead), c.ahead...))
}

// endsInOrder reports whether a response leaves the connection open, and has no chunks: net/http
// would send the last one after the handler.
func endsInOrder(header http.Header, r *http.Request, status int) bool {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead, !r.ProtoAtLeast(1, 1), r.Close,
		r.ContentLength != 0, len(header["Connection"]) > 0:
		return false
	case status == http.StatusNoContent, status == http.StatusNotModified:
		return true
	}
	return len(header["Content-Length"]) > 0
}
