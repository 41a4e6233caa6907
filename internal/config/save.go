package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

var (
	// ErrChanged means that a file is not what it was when it was read.
	ErrChanged = errors.New("the file has changed meanwhile; nothing was written")
	// ErrLocked means that another program kept a file locked for longer than [LockTimeout].
	ErrLocked = fmt.Errorf("another program has kept it locked for %s; try again", LockTimeout)
)

const (
	// LockTimeout bounds how long Save waits for another program's lock.
	LockTimeout = 5 * time.Second
	// lockInterval is how often Save tries to get the lock.
	lockInterval = 20 * time.Millisecond
)

// Save replaces a file, or creates one, atomically: a reader finds either the old content or the
// new one, even after a crash. old is the content when the file was read, nil if it did not exist;
// if the file has other content now, the error wraps [ErrChanged].
//
// Save waits at most [LockTimeout] for another program's lock on the file ([ErrLocked]), and writes
// nothing once ctx is done.
//
// The file keeps its mode, its group, its access control lists and, if the process may change it,
// its owner. If the group or the lists cannot be kept, the file is not written, because others
// could then read it. Only its owner can read a new file.
func Save(ctx context.Context, path string, old, text []byte) error {
	return save(ctx, path, old, text, "", privateMode)
}

const (
	// privateMode is the mode of new files that can hold secrets.
	privateMode fs.FileMode = 0o600
	// sharedMode is the mode of new files without secrets. The user of the service is another than
	// the one that writes them: systemd's dynamic user, or the one of an image.
	sharedMode fs.FileMode = 0o644
	// sharedFolder is the mode of a new folder of such files.
	sharedFolder fs.FileMode = 0o755
)

// save is like Save, but a new file gets the access of the file model, if that exists and the
// process may set it. Without a model it gets a mode, whatever the umask is.
func save(
	ctx context.Context, path string, old, text []byte, model string, mode fs.FileMode,
) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // replace the target, not the link
	}
	if old != nil {
		// If two programs save concurrently, the second waits here and then finds the file changed.
		unlock, err := lock(ctx, path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return explain(path, err)
		} else if err == nil {
			defer unlock()
		}
	}
	if err := unchanged(path, old); err != nil {
		return err
	}
	temporary, err := writeBeside(path, model, text, mode)
	if err != nil {
		return explain(path, err)
	}
	defer os.Remove(temporary) // after a rename there is nothing to remove
	if err := unchanged(path, old); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return explain(path, context.Cause(ctx))
	}
	if old == nil {
		err = os.Link(temporary, path) // unlike a rename, fails if path exists
	} else {
		err = os.Rename(temporary, path)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, ErrChanged)
	} else if err != nil {
		return explain(path, err)
	}
	return syncDir(filepath.Dir(path))
}

// Writable returns an error if Save cannot write a file. It tests this by creating and removing a
// file next to it, so a later Save can still fail.
func Writable(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	name, err := writeBeside(path, "", nil, privateMode)
	if err != nil {
		return explain(path, err)
	}
	return os.Remove(name)
}

// remove removes a file that must hold old, under the same conditions as [Save].
func remove(ctx context.Context, path string, old []byte) error {
	unlock, err := lock(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, ErrChanged)
	} else if err != nil {
		return explain(path, err)
	}
	defer unlock()
	if err := unchanged(path, old); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return explain(path, context.Cause(ctx))
	}
	if err := os.Remove(path); err != nil {
		return explain(path, err)
	}
	return syncDir(filepath.Dir(path))
}

func unchanged(path string, old []byte) error {
	now, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && old == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), err == nil && (old == nil || !bytes.Equal(now, old)):
		return fmt.Errorf("%s: %w", path, ErrChanged)
	}
	return err
}

// writeBeside writes a file in the same directory and syncs it to disk. It has the access of the
// file that it is to replace. If there is none, it has that of the file model, or else the mode. If
// the model's access cannot be kept, only its owner can read it.
func writeBeside(
	path, model string, text []byte, mode fs.FileMode,
) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if info, err := os.Stat(path); err == nil {
		if err := keepAccess(f, path, info); err != nil {
			return "", err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	} else if info, err := os.Stat(model); err != nil || keepAccess(f, model, info) != nil {
		if err == nil {
			mode = privateMode
		}
		if err := f.Chmod(mode); err != nil {
			return "", err
		}
	}
	if _, err := f.Write(text); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

// accessError means that a new file cannot get the group or the access control lists of the file
// that it replaces.
type accessError struct {
	what string
	err  error
}

func (e *accessError) Error() string {
	return fmt.Sprintf("its %s cannot be kept (%v), and without it other users could read the file; "+
		"write it as a user who may set it", e.what, e.err)
}

// explain returns err with what it means for the file at path.
func explain(path string, err error) error {
	_, access := errors.AsType[*accessError](err)
	switch dir := filepath.Dir(path); {
	case access:
		return fmt.Errorf("%s was not written: %w", path, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s was not written: a new file cannot be made in %s; run this as a user "+
			"who may write there", path, dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s was not written: there is no directory %s", path, dir)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("%s was not written: it is mounted into the container as a single file, which "+
			"cannot be replaced; mount its folder %s instead", path, dir)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s was not written, and is what it was: the disk is full", path)
	}
	return fmt.Errorf("%s was not written: %w", path, err)
}
