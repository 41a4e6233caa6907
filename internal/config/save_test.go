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
		t.Errorf("Stat() of a new file = %v, %v, want mode 600", info, err)
	}
	if err := Save(t.Context(), path, nil, []byte("two")); !errors.Is(err, ErrChanged) {
		t.Errorf("Save() over a file that did not exist before = %v, want ErrChanged", err)
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
		t.Errorf("Lstat() of the link = %v, %v, want a symbolic link", info, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("Stat() after Save = %v, %v, want mode 640", info, err)
	}
	if err := Save(t.Context(), path, []byte("one"), []byte("four")); !errors.Is(err, ErrChanged) {
		t.Errorf("Save() of a changed file = %v, want ErrChanged", err)
	}
	if text, err := os.ReadFile(path); string(text) != "three" {
		t.Errorf("the file holds %q, %v, want three", text, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), path, []byte("three"), []byte("five")); !errors.Is(err, ErrChanged) {
		t.Errorf("Save() of a removed file = %v, want ErrChanged", err)
	}
	err := Save(t.Context(), filepath.Join(dir, "none", "config.yaml"), nil, []byte("x"))
	if err == nil || !strings.Contains(err.Error(), "there is no directory") {
		t.Errorf("Save() to a missing directory = %v, want an error about it", err)
	}
	wantNothingElse(t, dir, "link.yaml")
}

// Save replaces the file instead of overwriting it, so a reader that has it open still reads the
// old content.
func TestSaveReplacesFile(t *testing.T) {
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
		t.Errorf("the open file holds %d bytes, %v, want the %d old ones", len(got), err, len(old))
	}
}

// wantNothingElse checks that dir holds only the named files, so no temporary files.
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
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}

// Of concurrent saves with the same old content one succeeds, and all others fail with ErrChanged.
func TestConcurrentSaves(t *testing.T) {
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
				text := fmt.Appendf(nil, "round %d, writer %d", round, n)
				switch err := Save(t.Context(), path, old, text); {
				case err == nil:
					saved.Add(1)
				case !errors.Is(err, ErrChanged):
					t.Errorf("Save() = %v, want nil or ErrChanged", err)
				}
			})
		}
		all.Wait()
		if saved.Load() != 1 {
			t.Fatalf("%d of 8 saves succeed, want 1", saved.Load())
		}
	}
}
