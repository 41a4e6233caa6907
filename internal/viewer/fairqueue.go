package viewer

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// maxQueued and maxQueuedEach bound the requests in the queues of all addresses and of each.
	maxQueued     = 10_000
	maxQueuedEach = 250
)

// fairQueue admits a few requests of each address at a time, in the order of their arrival. A
// request therefore never waits for more than those few of any other address.
type fairQueue struct {
	each int64 // how many requests of an address are admitted at a time

	mu     sync.Mutex // guards the fields below and the counters of the queues
	queues map[netip.Addr]*addressQueue
	queued int // requests in all queues, including those admitted
}

// addressQueue is the queue of an address.
type addressQueue struct {
	slots  *semaphore.Weighted
	queued int // requests in the queue, including those admitted
}

func newFairQueue(each int) *fairQueue {
	return &fairQueue{each: int64(each), queues: map[netip.Addr]*addressQueue{}}
}

// acquire waits until a request from an address is admitted. The caller must call release when
// the request is done. The error is [ErrUnavailable] if too many requests are queued, or the
// context's cause.
func (f *fairQueue) acquire(ctx context.Context, from netip.Addr) (release func(), err error) {
	q := f.enqueue(from)
	if q == nil {
		return nil, ErrUnavailable
	}
	if q.slots.Acquire(ctx, 1) != nil {
		f.dequeue(from, q)
		return nil, context.Cause(ctx)
	}
	return func() {
		q.slots.Release(1)
		f.dequeue(from, q)
	}, nil
}

// enqueue adds a request to its address's queue and returns the queue, or nil if too many are
// queued.
func (f *fairQueue) enqueue(from netip.Addr) *addressQueue {
	f.mu.Lock()
	defer f.mu.Unlock()
	q, ok := f.queues[from]
	if !ok {
		q = &addressQueue{slots: semaphore.NewWeighted(f.each)}
	}
	if f.queued >= maxQueued || q.queued >= maxQueuedEach {
		return nil
	}
	f.queues[from] = q
	q.queued++
	f.queued++
	return q
}

// dequeue removes a request from its address's queue, and the queue if it is empty.
func (f *fairQueue) dequeue(from netip.Addr, q *addressQueue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queued--
	if q.queued--; q.queued == 0 {
		delete(f.queues, from)
	}
}
