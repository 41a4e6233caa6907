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

// withFileSize runs f while no file may grow beyond so many bytes.
func withFileSize(t *testing.T, bytes uint64, f func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ) // so that the write fails instead
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

// A write that fails leaves the old file, and nothing else. A limit of the process's file size
// stands for a disk that is full.
func TestSaveThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	withFileSize(t, 16<<20, func() { // more than the log of the test itself holds
		if err := Save(t.Context(), path, []byte("old"), bytes.Repeat([]byte("x"), 17<<20)); err == nil {
			t.Error("it was written")
		}
	})
	if text, err := os.ReadFile(path); string(text) != "old" {
		t.Errorf("%.20s %v", text, err)
	}
	wantNothingElse(t, dir, "config.yaml")
	if got := explain("d/config.yaml", &fs.PathError{Err: syscall.ENOSPC}).Error(); !strings.Contains(got,
		"the disk is full") || !strings.Contains(got, "is what it was") {
		t.Error(got)
	}
	if got := explain("d/config.yaml", &fs.PathError{Err: syscall.EROFS}).Error(); !strings.Contains(got,
		"cannot be made in d") {
		t.Error(got)
	}
}
