//go:build unix

package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// keepAccess gives f the owner, group, mode and access control lists of the file at path, which f
// is to replace. The owner is kept only if the process may change it; otherwise it is the process's
// own, which could write the file anyway.
func keepAccess(f *os.File, path string, info fs.FileInfo) error {
	lists, err := readACLs(path)
	if err != nil {
		return &accessError{"access control list", err}
	}
	mode := info.Mode().Perm()
	// Without lists, the group does not matter if it has the same permissions as others.
	groupMatters := mode>>3&7 != mode&7 || len(lists) > 0
	if had, ok := info.Sys().(*syscall.Stat_t); ok && f.Chown(int(had.Uid), int(had.Gid)) != nil {
		if err := f.Chown(-1, int(had.Gid)); err != nil && groupMatters {
			return &accessError{fmt.Sprintf("group %d", had.Gid), err}
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := writeACLs(f, lists); err != nil {
		return &accessError{"access control list", err}
	}
	return nil
}

// syncDir syncs the entries of a directory to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock locks a file or directory. It waits at most LockTimeout for another program's lock. The lock
// belongs to the inode: a file that replaces it has its own.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, LockTimeout, ErrLocked)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(lockInterval):
		}
	}
}
