//go:build unix

package proxy

import (
	"io/fs"
	"os"
	"syscall"
)

// lockDirectory waits for a lock on a directory. The kernel releases it when the process ends.
func lockDirectory(path string) (unlock func(), err error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		_ = dir.Close()
		return nil, err
	}
	return func() { _ = dir.Close() }, nil
}

// restrictSocket sets the mode that the socket's file will have. Linux applies it when the socket is
// bound; elsewhere it may fail or have no effect, and the umask applies for a moment.
func restrictSocket(raw syscall.RawConn, mode fs.FileMode) error {
	return raw.Control(func(fd uintptr) {
		_ = syscall.Fchmod(int(fd), uint32(mode.Perm()))
	})
}
