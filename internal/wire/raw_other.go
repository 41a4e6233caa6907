//go:build !unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// rawConn returns nil: an idle connection keeps its buffer.
func rawConn(net.Conn) syscall.RawConn { return nil }

func readSocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func wouldBlock(error) bool { return false }
