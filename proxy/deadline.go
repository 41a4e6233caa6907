package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"s3redirect/internal/wire"
)

// lazyListener accepts connections with lazy deadlines. net/http sets about six deadlines per
// request, and each resets a timer of the runtime. Together they cost more than a cached redirect.
type lazyListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l lazyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &lazyConn{
		Conn:  c,
		read:  lazyDeadline{set: c.SetReadDeadline, accepted: now},
		write: lazyDeadline{set: c.SetWriteDeadline, accepted: now},
	}, nil
}

// lazyConn records its deadlines without setting them on the connection, which keeps an earlier
// deadline from a previous request. When that passes, lazyConn sets a later one and continues the
// call, unless the recorded deadline has passed too.
type lazyConn struct {
	net.Conn
	read, write lazyDeadline
}

// NetConn returns the connection without lazy deadlines.
func (c *lazyConn) NetConn() net.Conn { return c.Conn }

// CloseWrite shuts down the writing side. net/http calls it so that a client can read the response
// to a request of which a part was not read.
func (c *lazyConn) CloseWrite() error {
	return wire.CloseWrite(c.Conn)
}

// Read implements [net.Conn].
func (c *lazyConn) Read(p []byte) (int, error) {
	if !c.read.begin() {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.read.end()
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || c.read.over() {
			return n, err
		}
	}
}

// Write implements [net.Conn].
func (c *lazyConn) Write(p []byte) (written int, err error) {
	if !c.write.begin() {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.write.end()
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.write.over() {
			return written, err
		}
	}
}

// SetDeadline implements [net.Conn].
func (c *lazyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *lazyConn) SetReadDeadline(t time.Time) error { return c.read.want(t) }

// SetWriteDeadline implements [net.Conn].
func (c *lazyConn) SetWriteDeadline(t time.Time) error { return c.write.want(t) }

// lazyStep is the furthest that a connection's deadline is set ahead. An idle connection wakes up
// once per step. Deadlines that are requested within a step cost nothing.
const lazyStep = readTimeout

// lazyDeadline is a deadline that is not set on the connection while an earlier one is.
type lazyDeadline struct {
	set      func(time.Time) error // sets the connection's deadline
	accepted time.Time             // when the connection was accepted

	mu     sync.Mutex // guards the fields below, and calls of set
	wanted time.Time  // the requested deadline; zero means none
	actual time.Time  // the connection's deadline; zero means none
	calls  int        // reads or writes in progress
}

// want records a deadline. It sets the connection's deadline only if that would pass too late.
func (d *lazyDeadline) want(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	switch {
	case d.calls == 0 && d.past(t):
		// net/http aborts its background read by setting a past deadline. If no Read is in
		// progress, there is nothing to interrupt.
		return nil
	case d.past(d.actual):
		// The past deadline has interrupted a Read. It must not interrupt the next one as well.
		d.stepLocked(time.Now())
	case t.IsZero(), !d.actual.IsZero() && !t.Before(d.actual):
		return nil
	default:
		d.actual = t
	}
	return d.set(d.actual)
}

// past reports whether t is a deadline that interrupts calls in progress.
func (d *lazyDeadline) past(t time.Time) bool { return !t.IsZero() && t.Before(d.accepted) }

// begin records the start of a call, and reports whether it may start. If it may, the caller must
// call end after it.
func (d *lazyDeadline) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.past(d.wanted) {
		return false
	}
	d.calls++
	return true
}

func (d *lazyDeadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls--
}

// stepLocked moves d.actual a step ahead, or to the wanted deadline if that is sooner.
func (d *lazyDeadline) stepLocked(now time.Time) {
	d.actual = now.Add(lazyStep)
	if !d.wanted.IsZero() && d.wanted.Before(d.actual) {
		d.actual = d.wanted
	}
}

// over is called when the connection's deadline has passed. It reports whether the wanted deadline
// has passed too. If not, it sets a later one on the connection.
func (d *lazyDeadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if !d.wanted.IsZero() && !now.Before(d.wanted) {
		return true
	}
	d.stepLocked(now)
	return d.set(d.actual) != nil
}
