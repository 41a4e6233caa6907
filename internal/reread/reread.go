// Package reread holds values that are loaded from files, and reloads them when the files change.
//
// It checks the files when a value is used, at most once per [Every], so there is no watcher to
// stop. If a reload fails, the previous value is kept, because a renewal may have written only
// some of several files.
package reread

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Every is the minimum time between two checks of the files.
const Every = 5 * time.Second

// Value is a value that is loaded from files. It is safe for concurrent use.
type Value[T any] struct {
	names []string
	load  func() (T, error)
	clock func() time.Time
	log   *slog.Logger

	mu      sync.Mutex // guards the fields below
	checked time.Time
	loaded  []stamp // the versions of the files that current was loaded from
	current T
}

// stamp identifies a version of a file. A program can replace a file with one of the same size, and
// can set its modification time, but not its change time. Where the system has no change time, a
// replaced file still has another inode.
type stamp struct {
	info    os.FileInfo
	changed time.Time // the change time (ctime), or zero if it is unknown
}

// equal reports whether two stamps are of the same version.
func (s stamp) equal(other stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == other.info
	}
	return s.info.ModTime().Equal(other.info.ModTime()) && s.info.Size() == other.info.Size() &&
		s.changed.Equal(other.changed) && os.SameFile(s.info, other.info)
}

// Versions identifies the versions of files. Files that do not exist, or are not accessible, count
// as one version.
type Versions []stamp

// VersionsOf returns the current versions of the files with the given names.
func VersionsOf(names ...string) Versions {
	versions := make(Versions, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			versions[i] = stamp{info, ChangeTime(info)}
		}
	}
	return versions
}

// Equal reports whether v and other are the same versions of the same number of files.
func (v Versions) Equal(other Versions) bool { return slices.EqualFunc(v, other, stamp.equal) }

// New loads a value. load reads the files with the given names. Errors and log lines do not contain
// these names, which may come from a variable that holds a secret; log should have an attribute
// that identifies the files.
func New[T any](
	load func() (T, error), clock func() time.Time, log *slog.Logger, names ...string,
) (*Value[T], error) {
	v := &Value[T]{names: names, load: load, clock: clock, log: log, checked: clock()}
	return v, v.loadLocked()
}

// loadLocked loads the value. The stamps are taken first: if a file changes during the load, its
// stamp differs at the next check, and the value is loaded again.
func (v *Value[T]) loadLocked() error {
	loaded, err := v.stamps()
	if err != nil {
		return err
	}
	current, err := v.load()
	if err != nil {
		return withoutPath(err)
	}
	v.loaded, v.current = loaded, current
	return nil
}

// stamps returns the current versions of the files.
func (v *Value[T]) stamps() ([]stamp, error) {
	stamps := make([]stamp, len(v.names))
	for i, name := range v.names {
		info, err := os.Stat(name) // of the target, if it is a symbolic link
		if err != nil {
			return nil, withoutPath(err)
		}
		stamps[i] = stamp{info, ChangeTime(info)}
	}
	return stamps, nil
}

// withoutPath returns err, or its cause if err contains a path.
func withoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// Get returns the value. It reloads the value first if the files have changed.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock()
	if since := now.Sub(v.checked); since >= 0 && since < Every {
		return v.current
	}
	v.checked = now
	stamps, err := v.stamps()
	if err == nil && !v.changedLocked(stamps) {
		return v.current
	}
	if err == nil {
		err = v.loadLocked()
	}
	if err != nil {
		v.log.Error("reload failed; keeping the previous version", "error", err.Error())
	} else {
		v.log.Info("files reloaded")
	}
	return v.current
}

// changedLocked reports whether stamps differ from those of the loaded files.
func (v *Value[T]) changedLocked(stamps []stamp) bool {
	for i, s := range stamps {
		if !s.equal(v.loaded[i]) {
			return true
		}
	}
	return false
}

// Reload loads the value even if the files seem unchanged. If that fails, the previous value is
// kept.
func (v *Value[T]) Reload() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.checked = v.clock()
	return v.loadLocked()
}
