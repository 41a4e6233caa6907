//go:build unix

package wire

import (
	"errors"
	"io"
	"syscall"
)

// prepareRaw makes readMore take a buffer only when the socket is readable. The function is made
// once per connection, so that a read does not allocate.
func (c *conn) prepareRaw() {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.tryRead = func(fd uintptr) (done bool) {
		c.takeBuffer()
		free := c.buffer.data[c.buffer.size:]
		for {
			c.read, c.readErr = syscall.Read(int(fd), free)
			if !errors.Is(c.readErr, syscall.EINTR) {
				break
			}
		}
		switch {
		case errors.Is(c.readErr, syscall.EAGAIN):
			if c.buffer.size == 0 {
				c.releaseBuffer()
			}
			return false
		case c.readErr == nil && c.read == 0:
			c.readErr = io.EOF
		}
		return true
	}
}
