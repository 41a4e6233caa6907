package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrChanged says that a file is not what it was when it was read: somebody else has written it meanwhile.
var ErrChanged = errors.New("the file has changed meanwhile; nothing was written")

// Save replaces a file, or makes one, all at once: whoever reads it finds the old text or the new one, whole, whatever
// happens. Old is what the file held when it was read, nil where there was none; if that is no longer so, the error wraps
// [ErrChanged]. The file keeps its mode and, where that is allowed, its owner; a new one can be read by its owner alone.
func Save(path string, old, text []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays a link
	}
	if old != nil {
		// Of two who save at once the second waits here, and then finds the file changed.
		unlock, err := lock(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return explain(path, err)
		} else if err == nil {
			defer unlock()
		}
	}
	if err := unchanged(path, old); err != nil {
		return err
	}
	temporary, err := writeBeside(path, text)
	if err != nil {
		return explain(path, err)
	}
	defer os.Remove(temporary) // it is gone already, if all went well
	if err := unchanged(path, old); err != nil {
		return err
	}
	if old == nil {
		err = os.Link(temporary, path) // which, unlike a rename, replaces nothing
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

// Writable tells beforehand whether Save could write a file, as far as that can be told: it makes a file beside it.
func Writable(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	name, err := writeBeside(path, nil)
	if err != nil {
		return explain(path, err)
	}
	return os.Remove(name)
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

// writeBeside writes a file in the same folder, with the mode and the owner of the one that it is to replace, and has it on
// the disk before it returns.
func writeBeside(path string, text []byte) (name string, err error) {
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
		keepOwner(f, info)
		if err := f.Chmod(info.Mode().Perm()); err != nil {
			return "", err
		}
	}
	if _, err := f.Write(text); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

func explain(path string, err error) error {
	switch dir := filepath.Dir(path); {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s was not written: a new file cannot be made in %s; run this as a user who may write there", path, dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s was not written: there is no directory %s", path, dir)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s was not written, and is what it was: the disk is full", path)
	}
	return fmt.Errorf("%s was not written: %w", path, err)
}
