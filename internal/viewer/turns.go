package viewer

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// maxWaiting and maxWaitingEach bound the requests that wait for a turn, of all addresses and of each.
	maxWaiting     = 10_000
	maxWaitingEach = 250
)

// turns lets a few requests of each address proceed at a time, in the order in which they came. However many one address
// sends, a request of another waits for those few at most.
type turns struct {
	each int64 // how many proceed at a time

	mu      sync.Mutex
	lines   map[netip.Addr]*line
	waiting int // in all lines, including those that proceed
}

// line is the requests of an address.
type line struct {
	places  *semaphore.Weighted
	waiting int
}

func newTurns(each int) *turns {
	return &turns{each: int64(each), lines: map[netip.Addr]*line{}}
}

// wait waits for a turn, whose end the caller reports with done. The error is [ErrUnavailable] if too many wait already, or
// the context's.
func (t *turns) wait(ctx context.Context, from netip.Addr) (done func(), err error) {
	l := t.join(from)
	if l == nil {
		return nil, ErrUnavailable
	}
	if l.places.Acquire(ctx, 1) != nil {
		t.leave(from, l)
		return nil, context.Cause(ctx)
	}
	return func() {
		l.places.Release(1)
		t.leave(from, l)
	}, nil
}

// join adds a request to its address's line, which it returns, or nil if too many wait.
func (t *turns) join(from netip.Addr) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.lines[from]
	if !ok {
		l = &line{places: semaphore.NewWeighted(t.each)}
	}
	if t.waiting >= maxWaiting || l.waiting >= maxWaitingEach {
		return nil
	}
	t.lines[from] = l
	l.waiting++
	t.waiting++
	return l
}

func (t *turns) leave(from netip.Addr, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
	if l.waiting--; l.waiting == 0 {
		delete(t.lines, from)
	}
}
