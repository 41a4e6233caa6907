package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// budget bounds the calls in flight, so that calls that hang neither block the others nor use up
// the process's sockets.
//
// One endpoint gets at most half of all calls. Unproven callers are integrations whose last call
// failed and integrations that have made none: they get at most a quarter of all calls at one
// endpoint, and three quarters in total. A healthy integration thus always finds a free slot,
// however many of the others hang.
type budget struct {
	slots
	calls int64

	mu        sync.Mutex // guards endpoints and their users
	endpoints map[string]*endpointLimit
}

// slots limit all calls, and the calls of unproven callers among them.
type slots struct{ all, unproven *semaphore.Weighted }

// endpointLimit limits the calls to one endpoint: an STS, or an integration's store.
type endpointLimit struct {
	slots
	users int // calls in flight and waiting
}

// busyWait bounds how long a call waits for a free slot.
const busyWait = 5 * time.Second

// errBusy means that a call was not made.
var errBusy = errors.New("too many calls in flight")

func newBudget(calls int64) *budget {
	return &budget{
		calls: calls,
		slots: slots{
			all:      semaphore.NewWeighted(calls),
			unproven: semaphore.NewWeighted(calls - calls/4),
		},
		endpoints: map[string]*endpointLimit{},
	}
}

// enter waits for a free slot. The caller must call leave after its call. The error wraps
// [errBusy], or is the context's.
func (b *budget) enter(
	ctx context.Context, endpoint string, healthy bool,
) (leave func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, busyWait)
	defer cancel()
	at := b.acquireEndpoint(endpoint)
	// A caller holds some while it waits for the next. The order is always the same: no deadlock.
	needed := []*semaphore.Weighted{at.unproven, b.unproven, at.all, b.all}
	if healthy {
		needed = []*semaphore.Weighted{at.all, b.all}
	}
	for n, s := range needed {
		if s.Acquire(waiting, 1) != nil {
			b.release(endpoint, at, needed[:n])
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("%w: no slot became free within %v", errBusy, busyWait)
		}
	}
	return func() { b.release(endpoint, at, needed) }, nil
}

// acquireEndpoint returns an endpoint's limit, which is kept until release.
func (b *budget) acquireEndpoint(endpoint string) *endpointLimit {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.endpoints[endpoint]
	if !ok {
		at = &endpointLimit{slots: slots{
			all:      semaphore.NewWeighted(b.calls / 2),
			unproven: semaphore.NewWeighted(b.calls / 4),
		}}
		b.endpoints[endpoint] = at
	}
	at.users++
	return at
}

func (b *budget) release(endpoint string, at *endpointLimit, held []*semaphore.Weighted) {
	for _, s := range held {
		s.Release(1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.users--; at.users == 0 {
		delete(b.endpoints, endpoint)
	}
}

// maxWaiters bounds the requests that wait for calls, over all integrations. One integration may
// use as many places as are left for all others: half if it is the only one. An integration whose
// STS hangs can thus neither fill the memory nor keep another's requests from waiting.
const maxWaiters = 20_000

// errTooManyWaiters is returned to requests that would have to wait but find no place.
var errTooManyWaiters = errors.New("too many requests are waiting")

// enqueue counts a request that is about to wait. It reports whether there is a place; if so, the
// caller must call dequeue.
func (k *keeper) enqueue() bool {
	if all, own := k.pool.waiters.Add(1), k.waiting.Add(1); own+all <= maxWaiters {
		return true
	}
	k.dequeue()
	return false
}

func (k *keeper) dequeue() {
	k.waiting.Add(-1)
	k.pool.waiters.Add(-1)
}
