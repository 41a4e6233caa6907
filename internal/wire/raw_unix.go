//go:build unix

package wire

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// rawConn returns the socket of a connection, or nil if the connection is not a socket.
func rawConn(nc net.Conn) syscall.RawConn {
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readSocket reads from a socket without waiting.
func readSocket(fd uintptr, p []byte) (n int, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// wouldBlock reports whether an error of readSocket means that there is nothing to read.
func wouldBlock(err error) bool { return errors.Is(err, syscall.EAGAIN) }
