//go:build !unix

package proxy

import (
	"io/fs"
	"syscall"
)

// lockDirectory does nothing: two processes that start at once may both replace an old socket.
func lockDirectory(string) (unlock func(), err error) { return func() {}, nil }

// restrictSocket does nothing: sockets have no mode here.
func restrictSocket(syscall.RawConn, fs.FileMode) error { return nil }
