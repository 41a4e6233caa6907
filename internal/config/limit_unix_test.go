//go:build unix

package config

import (
	"bytes"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// withFileSizeLimit runs f while the process cannot write files larger than the given number of
// bytes.
func withFileSizeLimit(t *testing.T, bytes uint64, f func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ) // the write then fails with EFBIG
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limited := old
	limited.Cur = bytes
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// A failed write keeps the old file and leaves no temporary file. The file size limit of the
// process simulates a full disk.
func TestFailedSaveKeepsOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	withFileSizeLimit(t, 16<<20, func() { // the test's own log stays below this
		large := bytes.Repeat([]byte("x"), 17<<20)
		if err := Save(t.Context(), path, []byte("old"), large); err == nil {
			t.Error("Save() = nil, want an error")
		}
	})
	if text, err := os.ReadFile(path); string(text) != "old" {
		t.Errorf("after Save: the file holds %.20q, %v, want old", text, err)
	}
	wantNothingElse(t, dir, "config.yaml")
	got := explain("d/config.yaml", &fs.PathError{Err: syscall.ENOSPC}).Error()
	if !strings.Contains(got, "the disk is full") || !strings.Contains(got, "is what it was") {
		t.Errorf("explain(ENOSPC) = %s, want that the disk is full and the file unchanged", got)
	}
	got = explain("d/config.yaml", &fs.PathError{Err: syscall.EROFS}).Error()
	if !strings.Contains(got, "cannot be made in d") {
		t.Errorf("explain(EROFS) = %s, want that files cannot be made in d", got)
	}
}
