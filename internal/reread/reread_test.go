package reread

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestValueReloads(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
		if err := os.Chtimes(name, now, now); err != nil {
			t.Fatal(err)
		}
	}
	reads := 0
	load := func() (string, error) {
		reads++
		one, err := os.ReadFile(a)
		other, err2 := os.ReadFile(b)
		if string(one) == "broken" {
			err = errors.New("the file is broken")
		}
		return string(one) + string(other), errors.Join(err, err2)
	}
	var log strings.Builder
	newValue := func() (*Value[string], error) {
		clock := func() time.Time { return now }
		return New(load, clock, slog.New(slog.NewTextHandler(&log, nil)), a, b)
	}
	if _, err := newValue(); err == nil || err.Error() != "no such file or directory" {
		t.Fatalf("New with missing files = %v, want no such file or directory", err)
	}
	write(a, "1")
	write(b, "1")
	v, err := newValue()
	if err != nil {
		t.Fatal(err)
	}
	want := func(text string, wait time.Duration) {
		t.Helper()
		now = now.Add(wait)
		if got := v.Get(); got != text {
			t.Errorf("Get() = %q, want %q; log: %s", got, text, log.String())
		}
	}
	want("11", Every)
	write(a, "2")
	want("11", Every-2*time.Second)
	want("21", Every)
	write(b, "2") // the same size
	want("22", Every)
	write(a, "broken")
	want("22", Every)
	if got := log.String(); !strings.Contains(got, "the file is broken") {
		t.Errorf("log = %q, want the error of the reload", got)
	}
	write(a, "3")
	want("32", Every)
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	want("32", Every)
	if got := log.String(); !strings.Contains(got, `error="no such file or directory"`) {
		t.Errorf("log = %q, want that a file is missing", got)
	}
	before := reads
	for range 100 {
		want("32", 0)
	}
	if reads != before {
		t.Errorf("%d reads within one interval, want none", reads-before)
	}
	// Files are checked again after the clock was set back.
	write(b, "4")
	now = now.Add(-24 * time.Hour)
	want("34", 0)
	// A path may come from a variable that holds a secret.
	if got := log.String(); strings.Contains(got, a) || strings.Contains(got, b) {
		t.Errorf("log = %q, want no paths", got)
	}
}

// An error of the load function is reported without the path too.
func TestErrorsHaveNoPath(t *testing.T) {
	dir := t.TempDir() // can be examined but not read as a file
	load := func() (string, error) {
		text, err := os.ReadFile(dir)
		if err != nil {
			err = fmt.Errorf("load: %w", err)
		}
		return string(text), err
	}
	_, err := New(load, time.Now, slog.New(slog.DiscardHandler), dir)
	if err == nil || err.Error() != "is a directory" {
		t.Errorf("New = %v, want is a directory", err)
	}
}

// A file that is swapped for one of the same size and modification time is loaded again.
func TestSwappedFiles(t *testing.T) {
	for name, swap := range map[string]func(t *testing.T, name, next string){
		"renamed": func(t *testing.T, name, next string) {
			if err := os.Rename(next, name); err != nil {
				t.Fatal(err)
			}
		},
		"another target of a link": func(t *testing.T, name, next string) {
			link := name + ".link"
			if err := os.Symlink(next, link); err != nil {
				t.Skip(err)
			}
			if err := os.Rename(link, name); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			dir := t.TempDir()
			file, next := filepath.Join(dir, "file"), filepath.Join(dir, "next")
			for name, text := range map[string]string{file: "old", next: "new"} {
				if err := errors.Join(os.WriteFile(name, []byte(text), 0o600),
					os.Chtimes(name, now, now)); err != nil {
					t.Fatal(err)
				}
			}
			v := newFileValue(t, file, func() time.Time { return now })
			swap(t, file, next)
			now = now.Add(Every)
			if got := v.Get(); got != "new" {
				t.Errorf("Get() = %q, want new", got)
			}
		})
	}
}

// Reload loads a value at once. If that fails, the previous value is kept.
func TestReload(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	v := newFileValue(t, file, func() time.Time { return now })
	write("new")
	if err := v.Reload(); err != nil || v.Get() != "new" {
		t.Errorf("Reload = %v and Get() = %q, want nil and new", err, v.Get())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := v.Reload(); !errors.Is(err, fs.ErrNotExist) || v.Get() != "new" {
		t.Errorf("without the file: Reload = %v and Get() = %q, want %v and new", err, v.Get(),
			fs.ErrNotExist)
	}
}

// newFileValue returns a value that is the text of a file.
func newFileValue(t *testing.T, name string, clock func() time.Time) *Value[string] {
	t.Helper()
	v, err := New(func() (string, error) {
		text, err := os.ReadFile(name)
		return string(text), err
	}, clock, slog.New(slog.DiscardHandler), name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVersionsOf(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	missing := VersionsOf(name)
	if !missing.Equal(VersionsOf(name)) {
		t.Error("the versions of a missing file differ, want them equal")
	}
	if err := os.WriteFile(name, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := VersionsOf(name)
	if first.Equal(missing) || missing.Equal(first) || !first.Equal(VersionsOf(name)) {
		t.Error("the version of a created file equals that of a missing one, or changes")
	}
	if err := os.WriteFile(name, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if VersionsOf(name).Equal(first) {
		t.Error("the versions of a changed file are equal, want them to differ")
	}
}
