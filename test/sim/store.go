package sim

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"

	"s3redirect/internal/integration"
	"s3redirect/internal/sessionstore"
)

// The faults of the shared store.
const (
	storeDown      = "down"
	storeSlow      = "slow"      // takes 600 ms to 3 s; the client gives up after a second
	storeReadOnly  = "read-only" // a replica of the store that was not promoted
	storePartition = "partition" // one replica of the proxy cannot reach it
	storeCorrupt   = "corrupt"   // its values are not authentic
	storeLossy     = "lossy"     // half of its answers are lost, after the operation
)

var storeFaultKinds = []string{
	storeDown, storeSlow, storeReadOnly, storePartition, storeCorrupt, storeLossy,
}

// store is the store that the replicas share.
type store struct {
	mu     sync.Mutex // guards the fields below
	values map[string]stored
	backup map[string]stored // what Restore restores
	fault  string
	victim int // the replica that a partition separates
	tokens int
}

type stored struct {
	value   string
	expires time.Time
}

func newStore() *store { return &store{values: map[string]stored{}, backup: map[string]stored{}} }

// setFault sets the fault, "" for none.
func (s *store) setFault(fault string, victim int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.victim = fault, victim
}

// flush deletes all values, and keeps them as the backup.
func (s *store) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backup, s.values = s.values, map[string]stored{}
}

// restore replaces all values by those of the last backup, and makes a new one.
func (s *store) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backup, s.values = maps.Clone(s.values), maps.Clone(s.backup)
}

// handle is the store as one replica reaches it. It implements [integration.Shared].
type handle struct {
	*store
	replica *replica
}

var (
	errStoreDown     = errors.New("the store is unreachable")
	errStoreReadOnly = errors.New("READONLY You can't write against a read only replica")
)

// do performs an operation with the store's faults. write reports whether it changes a value.
func (h *handle) do(
	ctx context.Context, name string, write bool, operation func(now time.Time) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, sessionstore.Timeout)
	defer cancel()
	h.mu.Lock()
	fault, victim := h.fault, h.victim
	h.mu.Unlock()
	delay := h.replica.delay(name, 200*time.Microsecond, 2*time.Millisecond)
	switch {
	case fault == storeDown, fault == storePartition && victim == h.replica.number:
		return errStoreDown
	case fault == storeReadOnly && write:
		return errStoreReadOnly
	case fault == storeSlow:
		delay = h.replica.delay(name, 600*time.Millisecond, 3*time.Second)
	}
	if err := wait(ctx, delay/2); err != nil {
		return err
	}
	h.mu.Lock()
	err := operation(time.Now())
	h.mu.Unlock()
	lost := fault == storeLossy && h.replica.draw("lost "+name) < 0.5
	if lost {
		return errStoreDown
	}
	if e := wait(ctx, delay/2); e != nil {
		return e
	}
	return err
}

// wait waits for a time, or returns the context's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// getLocked returns a value that has not expired.
func (h *handle) getLocked(name string, now time.Time) (string, bool) {
	v, ok := h.values[name]
	return v.value, ok && now.Before(v.expires)
}

// Get implements [integration.Shared].
func (h *handle) Get(ctx context.Context, name string) (value []byte, err error) {
	err = h.do(ctx, name, false, func(now time.Time) error {
		text, ok := h.getLocked(name, now)
		switch {
		case !ok:
			return integration.ErrNotStored
		case h.fault == storeCorrupt:
			return integration.ErrNotAuthentic
		}
		value = []byte(text)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}

// Add implements [integration.Shared].
func (h *handle) Add(
	ctx context.Context, name string, value []byte, ttl time.Duration,
) (added bool, err error) {
	err = h.do(ctx, name, true, func(now time.Time) error {
		if _, taken := h.getLocked(name, now); !taken {
			h.values[name] = stored{string(value), now.Add(max(ttl, time.Millisecond))}
			added = true
		}
		return nil
	})
	return added && err == nil, err
}

// Delete implements [integration.Shared].
func (h *handle) Delete(ctx context.Context, name string) error {
	return h.do(ctx, name, true, func(time.Time) error {
		delete(h.values, name)
		return nil
	})
}

// Lease implements [integration.Shared].
func (h *handle) Lease(
	ctx context.Context, name string, ttl time.Duration,
) (release func(), ok bool, err error) {
	token := ""
	err = h.do(ctx, name, true, func(now time.Time) error {
		if _, taken := h.getLocked(name, now); !taken {
			h.tokens++
			token = strconv.Itoa(h.tokens)
			h.values[name] = stored{token, now.Add(ttl)}
		}
		return nil
	})
	if err != nil || token == "" {
		return nil, false, err
	}
	return func() {
		_ = h.do(context.Background(), name, true, func(now time.Time) error {
			if held, ok := h.getLocked(name, now); ok && held == token {
				delete(h.values, name)
			}
			return nil
		})
	}, true, nil
}
