//go:build unix

package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// holdLock locks a file as another program would, until release is called or the test ends.
func holdLock(t *testing.T, path string) (release func()) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return func() { _ = f.Close() }
}

// savedFile creates a file with the content "old" in its own directory.
func savedFile(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantFile checks that a file holds a text and that its directory contains nothing else.
func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("the file holds %q, %v, want %q", text, err, want)
	}
	wantNothingElse(t, filepath.Dir(path), filepath.Base(path))
}

// Save waits at most five seconds for another program's lock.
func TestSaveGivesUpOnLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := savedFile(t)
		release := holdLock(t, path)
		began := time.Now()
		err := Save(t.Context(), path, []byte("old"), []byte("new"))
		if waited := time.Since(began); !errors.Is(err, ErrLocked) ||
			!strings.Contains(err.Error(),
				path+" was not written: another program has kept it locked for 5s") ||
			waited != 5*time.Second {
			t.Errorf("Save() = %v after %v, want ErrLocked after 5s", err, waited)
		}
		wantFile(t, path, "old")
		release()
		if err := Save(t.Context(), path, []byte("old"), []byte("new")); err != nil {
			t.Errorf("Save() after the lock is released = %v, want success", err)
		}
		wantFile(t, path, "new")
	})
}

func TestSaveWaitsForLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := savedFile(t)
		time.AfterFunc(4*time.Second, holdLock(t, path))
		began := time.Now()
		err := Save(t.Context(), path, []byte("old"), []byte("new"))
		waited := time.Since(began)
		if err != nil || waited < 4*time.Second || waited > 4*time.Second+lockInterval {
			t.Errorf("Save() = %v after %v, want success after 4s, when the lock is released",
				err, waited)
		}
		wantFile(t, path, "new")
	})
}

// Save stops waiting and writes nothing once its context is canceled, even if the lock is released
// at the same instant.
func TestSaveStopsWhenContextIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := savedFile(t)
		release := holdLock(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, func() { cancel(); release() })
		began := time.Now()
		err := Save(ctx, path, []byte("old"), []byte("new"))
		waited := time.Since(began)
		if !errors.Is(err, context.Canceled) || waited > time.Second+lockInterval {
			t.Errorf("Save() = %v after %v, want context.Canceled after 1s", err, waited)
		}
		wantFile(t, path, "old")
	})
}

// countingContext is canceled from the n-th call of Err on.
type countingContext struct {
	context.Context
	calls, n int
	onErr    func() // called by each Err; optional
}

func (c *countingContext) Err() error {
	c.calls++
	if c.onErr != nil {
		c.onErr()
	}
	if c.calls >= c.n {
		return context.Canceled
	}
	return nil
}

// Save checks its context a last time just before the rename, when the new file is complete.
func TestSaveChecksContextBeforeRename(t *testing.T) {
	path := savedFile(t)
	for n := 1; ; n++ {
		ready := false
		ctx := &countingContext{Context: t.Context(), n: n, onErr: func() {
			names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".config.yaml.*"))
			if err != nil {
				t.Fatal(err)
			}
			ready = len(names) == 1
			if ready {
				text, err := os.ReadFile(names[0])
				ready = err == nil && string(text) == "new"
			}
		}}
		err := Save(ctx, path, []byte("old"), []byte("new"))
		if ctx.calls < n {
			if err != nil || !ready {
				t.Errorf("Save() = %v, want success; new file ready at the last check: %v, want true",
					err, ready)
			}
			wantFile(t, path, "new")
			return
		}
		if err == nil || n > 100 {
			t.Fatalf("Save() = %v with a context canceled at check %d, want an error by check 100",
				err, n)
		}
		wantFile(t, path, "old")
	}
}

// Save creates no file if its context is canceled.
func TestSaveOfNewFileStopsWhenContextIsCanceled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Save(ctx, path, nil, []byte("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("Save() = %v, want context.Canceled", err)
	}
	wantNothingElse(t, filepath.Dir(path))
}

// As root, Save keeps the owner and the group.
func TestSaveKeepsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the owner of files")
	}
	path := savedFile(t)
	if err := errors.Join(os.Chmod(path, 0o640), os.Chown(path, 4241, 4242)); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), path, []byte("old"), []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Uid != 4241 || s.Gid != 4242 || info.Mode().Perm() != 0o640 {
		t.Errorf("the file has user %d, group %d and mode %o, want 4241, 4242 and 640",
			s.Uid, s.Gid, info.Mode().Perm())
	}
}

// All users may read the files of a new configuration, whatever the umask is: the service runs as
// another user than the one that writes them. A file with a secret is an exception.
func TestModesOfNewConfiguration(t *testing.T) {
	before := syscall.Umask(0o077)
	defer syscall.Umask(before)
	for name, c := range map[string]struct {
		secret string
		want   os.FileMode // of the integration's file
	}{
		"without a secret": {"${SCANS_SECRET}", 0o644},
		"with a secret":    {"written-in-the-file", 0o600},
	} {
		f := newFolder(t, nil)
		ch, err := New(f.config(), newFile).Add(Draft{"name": "scans", "bucket": "scans",
			"endpoint": "https://store.example.com", "access_key_id": "A",
			"secret_access_key": c.secret})
		if err != nil {
			t.Fatal(err)
		}
		environment := func(string) (string, bool) { return "a secret", true }
		if err := ch.Save(t.Context(), environment); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]os.FileMode{
			f.config():               0o644,
			filepath.Dir(ch.NewPath): 0o755,
			ch.NewPath:               c.want,
		} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: Stat(%s) = %v, %v, want mode %o", name, path, info.Mode(), err, want)
			}
		}
	}
}
