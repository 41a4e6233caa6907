package wire

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxOutput is how many bytes of responses are collected before they are written.
	maxOutput = 16 << 10
	// lingerTimeout bounds how long a drained connection waits for its client to close it.
	lingerTimeout = 5 * time.Second
)

// buffer holds the bytes of a connection that were read, and the request at their start.
type buffer struct {
	data    [maxHead]byte
	size    int
	request Request
}

var (
	buffers = sync.Pool{New: func() any { return &buffer{} }}
	outputs = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}
)

// conn is a connection in the loop. Its goroutine owns the fields above unchecked.
type conn struct {
	net.Conn
	server     *Server
	remoteAddr string
	peer       netip.Addr
	raw        syscall.RawConn // nil: reading needs a buffer, also while waiting
	buffer     *buffer         // nil while a socket is idle
	// end is called when the connection leaves the loop: it closes the connection or hands it over.
	// Within RawConn.Read, closing would wait for that call.
	end func()

	now             time.Time // when the last read returned
	batches         int       // reads with requests that were answered
	headBegun       bool      // a part of a head was read, and readBy is its deadline
	readBy, writeBy time.Time // the deadlines that are set

	// unchecked is the server's tick at which the loop began to wait without having seen that there
	// is nothing to read, or 0. See [Server.wakeUnchecked].
	unchecked atomic.Int64
	woken     atomic.Bool // wake has ended the wait

	// mu serializes the setting of read deadlines by the loop, by drain and by wake, and guards
	// leaving.
	mu      sync.Mutex
	leaving bool // the connection leaves the loop; only its goroutine or net/http sets deadlines
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		Conn:       nc,
		server:     s,
		remoteAddr: nc.RemoteAddr().String(),
		peer:       peerOf(nc.RemoteAddr().String()),
		now:        time.Now(),
	}
	c.raw = rawConn(nc)
	return c
}

// serve is the loop. It begins with bytes that were read ahead.
func (c *conn) serve(ahead []byte) {
	defer func() {
		if v := recover(); v != nil {
			LogPanic(c.server.Log, v)
			c.close()
		}
	}()
	read := c.readAndAnswer
	if c.raw != nil {
		read = c.socketReader()
	}
	if len(ahead) > 0 {
		c.takeBuffer()
		c.answerMore(copy(c.buffer.data[:], ahead))
	}
	for c.end == nil {
		err := c.setReadDeadline()
		if err == nil {
			err = read()
		}
		switch {
		case err == nil:
		case c.woken.Swap(false) && errors.Is(err, os.ErrDeadlineExceeded):
			if c.applyReadDeadline() != nil {
				c.end = c.close
			}
		case errors.Is(err, io.EOF) && c.buffer != nil && c.buffer.size >= c.minHead():
			// net/http decides what half a head deserves.
			c.end = func() { c.handOver(0, false) }
		default:
			c.end = c.close
		}
	}
	c.end()
}

// linger closes the connection of a client that may have sent further requests. If they were unread
// then, the kernel would reset the connection, and the client might lose responses (RFC 9112,
// section 9.6).
func (c *conn) linger() {
	if c.leave(time.Now().Add(lingerTimeout)) == nil && CloseWrite(c.Conn) == nil {
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	c.close()
}

func (c *conn) close() {
	c.releaseBuffer()
	_ = c.Close()
	c.server.forget(c)
}

// readAndAnswer waits for bytes and answers the plain requests in them.
func (c *conn) readAndAnswer() error {
	c.takeBuffer()
	n, err := c.Read(c.buffer.data[c.buffer.size:])
	if n > 0 {
		c.answerMore(n)
		return nil
	}
	return err
}

// trustedAfter is the number of batches after which the loop waits without having seen that there
// is nothing to read.
const trustedAfter = 4

// socketReader returns a function like readAndAnswer for a socket. While that waits, an idle
// connection has no buffer. It is made once per connection, so that a read does not allocate.
//
// The function answers within [syscall.RawConn.Read], which saves a system call per request. A read
// that returns less than there was room for has emptied the socket (epoll(7), question 9), so what
// comes later makes the socket readable again, and the loop can wait without a read that returns
// EAGAIN. There is one exception: a client may have closed its side at the same time. The first
// batches are therefore followed by that read, and later Server.wakeUnchecked sees to it.
func (c *conn) socketReader() func() error {
	var failed error
	step := func(fd uintptr) (done bool) {
		for {
			c.takeBuffer()
			free := c.buffer.data[c.buffer.size:]
			n, err := readSocket(fd, free)
			switch {
			case n > 0:
				c.answerMore(n)
				if c.end == nil {
					failed = c.setReadDeadline()
				}
				if c.end != nil || failed != nil {
					return true
				}
				if n < len(free) && c.batches > trustedAfter {
					c.markUnchecked()
					return false
				}
			case wouldBlock(err):
				c.unchecked.Store(0)
				if c.buffer.size == 0 {
					c.releaseBuffer()
				}
				return false
			default:
				failed = err
				return true
			}
		}
	}
	return func() error {
		failed = nil
		return errors.Join(c.raw.Read(step), failed)
	}
}

// markUnchecked notes that the loop waits without having seen that there is nothing to read.
func (c *conn) markUnchecked() {
	if tick := c.server.tick.Load(); c.unchecked.Load() != tick {
		c.unchecked.Store(tick)
	}
}

// answerMore answers the requests in the buffer after a read of n bytes.
func (c *conn) answerMore(n int) {
	c.now = time.Now()
	c.buffer.size += n
	c.answer()
}

func (c *conn) takeBuffer() {
	if c.buffer != nil {
		return
	}
	c.buffer = buffers.Get().(*buffer)
	c.buffer.size = 0
	c.beginRequest()
}

func (c *conn) releaseBuffer() {
	if c.buffer != nil {
		buffers.Put(c.buffer)
		c.buffer = nil
	}
}

// beginRequest prepares the buffer's request for the next head.
func (c *conn) beginRequest() {
	r := &c.buffer.request
	r.reset()
	r.server, r.RemoteAddr, r.Peer = c.server, c.remoteAddr, c.peer
}

// answer answers the plain requests in the buffer, in order and with one write unless their
// responses are long. It sets end if the connection leaves the loop.
func (c *conn) answer() {
	pooled := outputs.Get().(*[]byte)
	out := (*pooled)[:0]
	defer func() {
		if cap(out) <= 2*maxOutput {
			*pooled = out[:0]
			outputs.Put(pooled)
		}
	}()
	b := c.buffer
	r, start := &b.request, 0
	for b.size-start >= c.minHead() {
		v := r.read(b.data[start:b.size], c.server.Prefixes)
		if v == incomplete && b.size-start < maxHead {
			break
		}
		answered := false
		if v == plain {
			out, answered = c.server.Handler.AppendResponse(out, r)
		}
		if !answered {
			if c.write(out) {
				from, waits := start, v == plain
				c.end = func() { c.handOver(from, waits) }
			}
			return
		}
		if start == 0 {
			c.batches++
		}
		closes := r.closes
		start += r.size
		if c.server.poison {
			for i := range r.size {
				r.head[i] = 0xff
			}
		}
		c.beginRequest()
		if closes {
			if c.write(out) {
				c.end = c.close
				if c.server.draining.Load() || c.server.retired.Load() {
					c.end = c.linger
				}
			}
			return
		}
		if len(out) >= maxOutput {
			if !c.write(out) {
				return
			}
			out = out[:0]
		}
	}
	if c.write(out) {
		c.keep(start)
	}
}

// minHead returns how many bytes net/http waits for before it reads a head. It closes a connection
// that ends before them without a response.
func (c *conn) minHead() int {
	if c.batches > 0 {
		return 4
	}
	return 1
}

// keep keeps the bytes of the buffer from start on, which are the beginning of a head.
func (c *conn) keep(start int) {
	b := c.buffer
	if start == b.size {
		c.headBegun = false
		c.releaseBuffer()
		return
	}
	if start > 0 {
		c.headBegun = false
		b.size = copy(b.data[:], b.data[start:b.size])
	}
}

// write writes responses. If that fails, it sets end and returns false.
func (c *conn) write(out []byte) (ok bool) {
	if len(out) == 0 {
		return true
	}
	var err error
	if c.writeBy.Before(c.now.Add(c.server.WriteTimeout)) {
		c.writeBy = c.now.Add(c.server.WriteTimeout + deadlineSlack)
		err = c.SetWriteDeadline(c.writeBy)
	}
	if err == nil {
		_, err = c.Write(out)
	}
	if err == nil {
		return true
	}
	c.end = c.close
	return false
}

// handOver passes the connection to net/http, with the buffer's bytes from start on. waits reports
// whether that is because a plain request would have had to wait.
func (c *conn) handOver(start int, waits bool) {
	ahead := slices.Clone(c.buffer.data[start:c.buffer.size])
	c.releaseBuffer()
	if c.leave(time.Time{}) != nil {
		c.close()
		return
	}
	c.server.handoff.pass(&handedOver{
		Conn:   c.Conn,
		ahead:  ahead,
		server: c.server,
		waits:  waits,
		forget: func() { c.server.forget(c) },
	})
}
