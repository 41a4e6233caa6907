package proxy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// AuditFile appends to a file. When its path names another file, because the file was renamed or
// removed, it opens or creates that one for the next write. It is not safe for concurrent use.
type AuditFile struct {
	path string
	file *os.File
	info os.FileInfo
}

// OpenAuditFile opens a file for appending. It creates it with mode 0600 if it does not exist. The
// errors of OpenAuditFile and of the file do not contain the path, which may be secret.
func OpenAuditFile(path string) (*AuditFile, error) {
	f := &AuditFile{path: path}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// CheckAuditFile returns an error if [OpenAuditFile] would, without creating the file: its owner
// should be the user that writes it, who may not be the caller.
func CheckAuditFile(path string) error {
	if err := checkRegular(path); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return withoutPath(err)
		}
		return file.Close()
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".s3redirect-audit-*")
	if err != nil {
		return withoutPath(err)
	}
	_ = file.Close()
	return withoutPath(os.Remove(file.Name()))
}

// checkRegular returns an error if path does not name a regular file. Opening a named pipe would
// wait for its reader.
func checkRegular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	return withoutPath(err)
}

func (f *AuditFile) open() error {
	if err := checkRegular(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return withoutPath(err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return withoutPath(err)
	}
	if f.file != nil {
		_ = f.file.Close() // all its writes have succeeded
	}
	f.file, f.info = file, info
	return nil
}

// Write implements [io.Writer].
func (f *AuditFile) Write(p []byte) (int, error) {
	if info, err := os.Stat(f.path); err != nil || !os.SameFile(info, f.info) {
		// If that fails, nothing may be written to the previous file, which may be deleted soon.
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(p)
	return n, withoutPath(err)
}

// Close closes the file.
func (f *AuditFile) Close() error { return withoutPath(f.file.Close()) }

// withoutPath returns the cause of an error about a file.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
