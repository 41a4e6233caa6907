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

// holdLock locks a file as another program would.
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

// savedFile is a file with the text "old" in a directory of its own.
func savedFile(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantFile wants a file to hold a text, and its directory nothing else.
func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("the file holds %q, %v, want %q", text, err, want)
	}
	wantNothingElse(t, filepath.Dir(path), filepath.Base(path))
}

// Save waits for another program's lock for five seconds, and no longer.
func TestSaveGivesUpOnALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := savedFile(t)
		release := holdLock(t, path)
		began := time.Now()
		err := Save(t.Context(), path, []byte("old"), []byte("new"))
		if waited := time.Since(began); !errors.Is(err, ErrLocked) ||
			!strings.Contains(err.Error(), path+" was not written: another program has kept it locked for 5s") ||
			waited != 5*time.Second {
			t.Errorf("Save() = %v after %v, want ErrLocked after 5s", err, waited)
		}
		wantFile(t, path, "old")
		release()
		if err := Save(t.Context(), path, []byte("old"), []byte("new")); err != nil {
			t.Errorf("Save() = %v once the lock is free", err)
		}
		wantFile(t, path, "new")
	})
}

func TestSaveWaitsForALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := savedFile(t)
		time.AfterFunc(4*time.Second, holdLock(t, path))
		began := time.Now()
		err := Save(t.Context(), path, []byte("old"), []byte("new"))
		if waited := time.Since(began); err != nil || waited < 4*time.Second || waited > 4*time.Second+lockInterval {
			t.Errorf("Save() = %v after %v, want success when the lock is free, after 4s", err, waited)
		}
		wantFile(t, path, "new")
	})
}

// A request that is gone does not wait any longer, and nothing is written for it, even if the lock
// is free at the same instant.
func TestSaveEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := savedFile(t)
		release := holdLock(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, func() { cancel(); release() })
		began := time.Now()
		err := Save(ctx, path, []byte("old"), []byte("new"))
		if waited := time.Since(began); !errors.Is(err, context.Canceled) || waited > time.Second+lockInterval {
			t.Errorf("Save() = %v after %v, want context.Canceled after 1s", err, waited)
		}
		wantFile(t, path, "old")
	})
}

// endingContext is done from its n-th question on.
type endingContext struct {
	context.Context
	questions, n int
	asked        func()
}

func (c *endingContext) Err() error {
	c.questions++
	if c.asked != nil {
		c.asked()
	}
	if c.questions >= c.n {
		return context.Canceled
	}
	return nil
}

// Save asks whether the request is gone when everything is ready for the rename, as the last thing before it.
func TestSaveAsksForTheRequestLast(t *testing.T) {
	path := savedFile(t)
	for n := 1; ; n++ {
		ready := false
		ctx := &endingContext{Context: t.Context(), n: n, asked: func() {
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
		if ctx.questions < n {
			if err != nil || !ready {
				t.Errorf("Save() = %v; at its last question the new file was ready: %v, want true", err, ready)
			}
			wantFile(t, path, "new")
			return
		}
		if err == nil || n > 100 {
			t.Fatalf("Save() = nil with a request that is gone at question %d", n)
		}
		wantFile(t, path, "old")
	}
}

// For a new file, too.
func TestSaveOfANewFileEndsWithItsRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Save(ctx, path, nil, []byte("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("Save() = %v, want context.Canceled", err)
	}
	wantNothingElse(t, filepath.Dir(path))
}

// Root keeps both, the owner and the group.
func TestSaveKeepsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
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
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != 4241 || s.Gid != 4242 || info.Mode().Perm() != 0o640 {
		t.Errorf("the file is of user %d and group %d with mode %o, want 4241, 4242 and 640", s.Uid,
			s.Gid, info.Mode().Perm())
	}
}
