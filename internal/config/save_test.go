package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestSave(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "link.yaml")
	if err := Save(t.Context(), path, nil, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file: %v %v", info, err)
	}
	if err := Save(t.Context(), path, nil, []byte("two")); !errors.Is(err, ErrChanged) {
		t.Errorf("a file where none was: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("config.yaml", link); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), link, []byte("one"), []byte("three")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link: %v %v", info, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode: %v %v", info, err)
	}
	if err := Save(t.Context(), path, []byte("one"), []byte("four")); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that changed: %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "three" {
		t.Errorf("%s %v", text, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), path, []byte("three"), []byte("five")); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that is gone: %v", err)
	}
	if err := Save(t.Context(), filepath.Join(dir,
		"none", "config.yaml"), nil, []byte("x")); err == nil ||
		!strings.Contains(err.Error(), "there is no directory") {
		t.Errorf("no directory: %v", err)
	}
	wantNothingElse(t, dir, "link.yaml")
}

// Whoever has the old file open reads it to its end: it is replaced, not written over.
func TestSaveReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	old := bytes.Repeat([]byte("old"), 1000)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := Save(t.Context(), path, old, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, old) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// wantNothingElse wants no temporary files to be left.
func wantNothingElse(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !reflect.DeepEqual(got, names) {
		t.Errorf("the folder holds %q, want %q", got, names)
	}
}

// Of many who save at once for the same text one does, and all others are told.
func TestSaveAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var saved atomic.Int64
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() {
				switch err := Save(t.Context(), path, old, fmt.Appendf(nil, "round %d, writer %d", round, n)); {
				case err == nil:
					saved.Add(1)
				case !errors.Is(err, ErrChanged):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if saved.Load() != 1 {
			t.Fatalf("%d saved", saved.Load())
		}
	}
}
