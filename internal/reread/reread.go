// Package reread keeps what was made of files, and makes it again when the files have changed.
//
// It looks at the files when it is asked, and not more often than every few seconds: there is nothing to watch and nothing
// to stop. What cannot be read again changes nothing: a renewal writes several files, one after the other.
package reread

import (
	"log/slog"
	"os"
	"sync"
	"time"
)

// Every is how often, at most, the files are looked at.
const Every = 5 * time.Second

// Value is what was made of files. It is safe for concurrent use.
type Value[T any] struct {
	names []string
	load  func() (T, error)
	clock func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	checked time.Time
	read    []stamp // what the files were when they were last read
	current T
}

// stamp tells one version of a file from another.
type stamp struct {
	changed time.Time
	size    int64
}

// New makes the value for the first time. The function load reads the files of these names.
func New[T any](load func() (T, error), clock func() time.Time, log *slog.Logger, names ...string) (*Value[T], error) {
	v := &Value[T]{names: names, load: load, clock: clock, log: log, checked: clock()}
	return v, v.make()
}

func (v *Value[T]) make() error {
	read, err := v.stamps()
	if err != nil {
		return err
	}
	current, err := v.load()
	if err != nil {
		return err
	}
	v.read, v.current = read, current
	return nil
}

func (v *Value[T]) stamps() ([]stamp, error) {
	stamps := make([]stamp, len(v.names))
	for i, name := range v.names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		stamps[i] = stamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

// Get is the value, made again if the files have changed.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock()
	if since := now.Sub(v.checked); since >= 0 && since < Every {
		return v.current
	}
	v.checked = now
	stamps, err := v.stamps()
	if err == nil && v.same(stamps) {
		return v.current
	}
	if err == nil {
		err = v.make()
	}
	if err != nil {
		v.log.Error("a file cannot be read again; what was read last is used", "files", v.names, "error", err.Error())
	} else {
		v.log.Info("read again", "files", v.names)
	}
	return v.current
}

func (v *Value[T]) same(stamps []stamp) bool {
	for i, s := range stamps {
		if !s.changed.Equal(v.read[i].changed) || s.size != v.read[i].size {
			return false
		}
	}
	return true
}
