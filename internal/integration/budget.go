package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// budget bounds the calls that are on their way at once, so that those that hang hold up nobody else's and do not use up the
// process's sockets. Calls to one server are half of all at most. Those of integrations whose last call made no session, or that
// have made none yet, are a quarter of all at one server, and three quarters altogether: for what has worked before there is a
// place, however many others hang.
type budget struct {
	limits
	calls int64

	mu      sync.Mutex
	servers map[string]*server
}

// limits are for all calls, and for the doubtful ones among them.
type limits struct{ all, doubtful *semaphore.Weighted }

// server is where calls go to: an STS, or an integration's store.
type server struct {
	limits
	users int // that have a call there, or wait for one
}

// busyWait is how long a call waits for its turn.
const busyWait = 5 * time.Second

// errBusy is for calls that were not made.
var errBusy = errors.New("too many calls are on their way already")

func newBudget(calls int64) *budget {
	return &budget{calls: calls, limits: limits{all: semaphore.NewWeighted(calls), doubtful: semaphore.NewWeighted(calls - calls/4)}, servers: map[string]*server{}}
}

// enter waits for a call's turn. Its error wraps [errBusy], or is the context's.
func (b *budget) enter(ctx context.Context, name string, proven bool) (leave func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, busyWait)
	defer cancel()
	at := b.visit(name)
	// Whoever holds one waits for the next, always in this order.
	needed := []*semaphore.Weighted{at.doubtful, b.doubtful, at.all, b.all}
	if proven {
		needed = []*semaphore.Weighted{at.all, b.all}
	}
	for n, s := range needed {
		if s.Acquire(waiting, 1) != nil {
			b.leave(name, at, needed[:n])
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("%w: there was no place for this one within %v", errBusy, busyWait)
		}
	}
	return func() { b.leave(name, at, needed) }, nil
}

func (b *budget) visit(name string) *server {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.servers[name]
	if !ok {
		at = &server{limits: limits{all: semaphore.NewWeighted(b.calls / 2), doubtful: semaphore.NewWeighted(b.calls / 4)}}
		b.servers[name] = at
	}
	at.users++
	return at
}

func (b *budget) leave(name string, at *server, held []*semaphore.Weighted) {
	for _, s := range held {
		s.Release(1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.users--; at.users == 0 {
		delete(b.servers, name)
	}
}

// maxWaiters bounds the requests that wait for calls, over all integrations. One may have as many of them as there are places left
// for all others: half, if it is alone. A tenant whose STS hangs cannot fill the memory of all, nor keep another from waiting.
const maxWaiters = 20_000

// errCrowd is for requests that find too many others waiting.
var errCrowd = errors.New("too many requests wait already")

// join has a request wait with the others, if there is room. Who has joined must part.
func (i *Integration) join() bool {
	if all, own := i.crowd.Add(1), i.waiting.Add(1); own+all <= maxWaiters {
		return true
	}
	i.part()
	return false
}

func (i *Integration) part() {
	i.waiting.Add(-1)
	i.crowd.Add(-1)
}
