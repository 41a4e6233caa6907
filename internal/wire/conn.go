package wire

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// maxOutput is how many bytes of responses are collected before they are written.
	maxOutput = 32 << 10
	// deadlineSlack is how much later than necessary a deadline is set. Setting one moves a timer
	// of the runtime, so a busy connection does it once per deadlineSlack.
	deadlineSlack = 5 * time.Second
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

// conn is a connection in the loop. Its goroutine owns all fields above mu.
type conn struct {
	net.Conn
	server     *Server
	remoteAddr string
	peer       netip.Addr

	raw     syscall.RawConn // nil: the connection is no socket, or the system has no such calls
	tryRead func(fd uintptr) (done bool)
	buffer  *buffer // nil while the connection is idle
	read    int     // the result of the last read
	readErr error

	now             time.Time // when the last read returned
	served          bool      // a request was answered
	headBegun       bool      // a part of a head was read, and readBy is its deadline
	readBy, writeBy time.Time // the deadlines that are set

	// mu serializes the setting of read deadlines by the loop and by drain, and guards handedOver.
	mu         sync.Mutex
	handedOver bool // net/http sets the deadlines
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		Conn:       nc,
		server:     s,
		remoteAddr: nc.RemoteAddr().String(),
		peer:       peerOf(nc),
		now:        time.Now(),
	}
	c.prepareRaw()
	return c
}

// serve is the loop.
func (c *conn) serve() {
	defer func() {
		if v := recover(); v != nil {
			c.server.logPanic(v)
			c.close()
		}
	}()
	for c.fill() && c.answer() {
	}
}

func (c *conn) close() {
	_ = c.Close()
	c.server.forget(c)
}

// fill reads more bytes. It returns false if the connection does not stay in the loop.
func (c *conn) fill() (ok bool) {
	if err := c.setReadDeadline(); err != nil {
		c.close()
		return false
	}
	err := c.readMore()
	c.now = time.Now()
	switch {
	case err == nil:
		return true
	case errors.Is(err, io.EOF) && c.buffer != nil && c.buffer.size >= c.minHead():
		c.handOver(0, false) // net/http decides what half a head deserves
	default:
		c.releaseBuffer()
		c.close()
	}
	return false
}

// setReadDeadline sets the deadline of the next read, unless the deadline that is set is good
// enough.
func (c *conn) setReadDeadline() error {
	limit, slack := c.server.IdleTimeout, deadlineSlack
	partial := c.buffer != nil && c.buffer.size > 0
	if partial || !c.served {
		limit, slack = c.server.HeaderTimeout, 0
	}
	enough := !c.readBy.Before(c.now.Add(limit))
	if partial {
		enough = c.headBegun || !c.served // the first head has the deadline of the new connection
	}
	enough = enough && !c.readBy.IsZero()
	c.headBegun = partial
	if enough {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// drain sets a short deadline, which must not be replaced:
	//
	//	1: setReadDeadline: the server does not drain
	//	2: Shutdown: draining is set; drain sets a short deadline
	//	1: setReadDeadline: sets a long one; Shutdown waits for it
	//
	// With mu held, either the short deadline comes last or the loop sees that the server drains.
	if c.server.draining.Load() {
		limit, slack = min(limit, drainGrace), 0
	}
	c.readBy = c.now.Add(limit + slack)
	return c.SetReadDeadline(c.readBy)
}

// drain lets a read in progress end soon.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.handedOver {
		_ = c.SetReadDeadline(time.Now().Add(drainGrace))
	}
}

// readMore reads into the buffer. While it waits, an idle connection on a socket has no buffer.
func (c *conn) readMore() error {
	if c.raw != nil {
		if err := c.raw.Read(c.tryRead); err != nil {
			return err
		}
	} else {
		c.takeBuffer()
		c.read, c.readErr = c.Read(c.buffer.data[c.buffer.size:])
	}
	if c.read > 0 {
		c.buffer.size += c.read
		return nil
	}
	return c.readErr
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
// responses are long. It returns false if the connection does not stay in the loop.
func (c *conn) answer() (ok bool) {
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
	for {
		if b.size-start < c.minHead() {
			break
		}
		v := r.read(b.data[start:b.size], c.server.Prefix)
		if v == incomplete && b.size-start < maxHead {
			break
		}
		answered := false
		if v == plain {
			out, answered = c.server.Handler.AppendResponse(out, r)
		}
		if !answered {
			if c.write(out) {
				c.handOver(start, v == plain)
			}
			return false
		}
		c.served = true
		closes := r.closes
		end := start + r.size
		if c.server.poison {
			for i := range b.data[start:end] {
				b.data[start+i] = 0xff
			}
		}
		start = end
		c.beginRequest()
		if closes {
			if c.write(out) {
				c.releaseBuffer()
				c.close()
			}
			return false
		}
		if len(out) >= maxOutput {
			if !c.write(out) {
				return false
			}
			out = out[:0]
		}
	}
	if !c.write(out) {
		return false
	}
	c.keep(start)
	return true
}

// minHead returns how many bytes net/http waits for before it reads a head. It closes a connection
// that ends before them without a response.
func (c *conn) minHead() int {
	if c.served {
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

// write writes responses. If that fails, it closes the connection and returns false.
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
	c.releaseBuffer()
	c.close()
	return false
}

// handOver passes the connection to net/http, with the buffer's bytes from start on. waits reports
// whether that is because a plain request would have had to wait.
func (c *conn) handOver(start int, waits bool) {
	ahead := slices.Clone(c.buffer.data[start:c.buffer.size])
	c.releaseBuffer()
	c.mu.Lock()
	c.handedOver = true
	err := c.SetDeadline(time.Time{})
	c.mu.Unlock()
	if err != nil {
		c.close()
		return
	}
	c.server.handoff.pass(&handedOver{
		Conn:   c.Conn,
		ahead:  ahead,
		waits:  waits,
		forget: func() { c.server.forget(c) },
	})
}
