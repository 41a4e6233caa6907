package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lazyListener accepts connections whose deadlines are cheap. net/http sets half a dozen for each request, to be moved on by
// the next one, and each costs the run-time a timer: together more than all that a cached redirect does.
type lazyListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l lazyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &lazyConn{Conn: c, read: lazyDeadline{set: c.SetReadDeadline, since: now}, write: lazyDeadline{set: c.SetWriteDeadline, since: now}}, nil
}

// lazyConn keeps its deadlines to itself. The connection has an earlier one, of some requests ago; when that comes, it is
// put right and the call goes on, unless the time really is up.
type lazyConn struct {
	net.Conn
	read, write lazyDeadline
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

// lazyStep is how far ahead a deadline is moved at most: an idle connection wakes so often, and the deadlines that follow
// within it cost nothing.
const lazyStep = readTimeout

// lazyDeadline is a deadline that is not set as long as an earlier one is.
type lazyDeadline struct {
	set   func(time.Time) error // the connection's
	since time.Time             // when that was accepted

	mu     sync.Mutex
	wanted time.Time // zero is none
	actual time.Time // the connection's; zero is none
	calls  int       // that are under way
}

// want notes a deadline. It is set at once only if the connection's own would come too late.
func (d *lazyDeadline) want(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	switch {
	case d.calls == 0 && d.past(t): // net/http ends the read that it begins with each request, which tends not to have come so far
		return nil
	case d.past(d.actual): // it has ended one that had: that must not end the next one as well
		d.step(time.Now())
	case t.IsZero(), !d.actual.IsZero() && !t.Before(d.actual):
		return nil
	default:
		d.actual = t
	}
	return d.set(d.actual)
}

// past tells whether a deadline is one that is to end calls at once.
func (d *lazyDeadline) past(t time.Time) bool { return !t.IsZero() && t.Before(d.since) }

// begin tells whether a call has time at all. If so, end must be called after it.
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

// step moves the connection's deadline on, to what is wanted or a step ahead.
func (d *lazyDeadline) step(now time.Time) {
	d.actual = now.Add(lazyStep)
	if !d.wanted.IsZero() && d.wanted.Before(d.actual) {
		d.actual = d.wanted
	}
}

// over tells whether the connection's deadline, which has come, is the one that is wanted. If not, another is set.
func (d *lazyDeadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if !d.wanted.IsZero() && !now.Before(d.wanted) {
		return true
	}
	d.step(now)
	return d.set(d.actual) != nil
}
