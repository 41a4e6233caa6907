package viewer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"s3redirect/internal/config"
)

// Guesses from one address do not delay a login from another, with or without a rate limit: it waits for the comparisons
// that run when it comes, and for no other.
func TestGuessersDelayNobodyElse(t *testing.T) {
	file := htpasswdOf(t, "ann")
	for what, limit := range map[string]*config.RateLimit{"no limit": nil, "a large burst": {PerSecond: 50, Burst: 500}} {
		synctest.Test(t, func(t *testing.T) {
			g := newGate(t, &config.Viewers{Basic: &config.Basic{HtpasswdFile: file}, RateLimit: limit}, nil)
			g.basic.slots, g.basic.queue = make(chan struct{}, 2), newFairQueue(1)
			var mu sync.Mutex
			var passwords []string
			compare := make(chan struct{})
			g.basic.compare = func(hash, password []byte) error {
				mu.Lock()
				passwords = append(passwords, string(password))
				mu.Unlock()
				<-compare
				return bcrypt.CompareHashAndPassword(hash, password)
			}
			var wg sync.WaitGroup
			var good, bad outcomes
			login := func(o *outcomes, remote, password string) {
				wg.Go(func() {
					_, err := g.Identify(request(remote, "Authorization", basic("ann", password)), time.Now())
					o.count(t, err)
				})
			}
			for n := range 40 {
				login(&bad, fmt.Sprint("192.0.2.1:", n), fmt.Sprint("guess-", n))
			}
			synctest.Wait()
			for range 3 {
				login(&good, "192.0.2.2:1", "ann")
			}
			synctest.Wait()
			mu.Lock()
			if len(passwords) != 2 || !strings.HasPrefix(passwords[0], "guess-") || passwords[1] != "ann" {
				t.Errorf("%s: %q are compared at once, want one guess and ann", what, passwords)
			}
			mu.Unlock()
			close(compare)
			wg.Wait()
			bad.want(t, what, 0, 40, 0, 0)
			good.want(t, what, 3, 0, 0, 0)
			if n := len(passwords); n != 41 {
				t.Errorf("%s: %d comparisons, want 41: three logins at once need one", what, n)
			}
			if g.basic.queue.queued != 0 || len(g.basic.queue.queues) != 0 {
				t.Errorf("%s: %d still wait, in %d lines", what, g.basic.queue.queued, len(g.basic.queue.queues))
			}
		})
	}
}

// Clients of one address wait up to a bound, and those that hang up leave.
func TestWaitingForATurnIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue := newFairQueue(2)
		addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }
		ctx, hangUp := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		var proceed, left, refused atomic.Int32
		var wg sync.WaitGroup
		enter := func(n int) {
			wg.Go(func() {
				switch done, err := queue.acquire(ctx, addr(n)); {
				case err == nil:
					proceed.Add(1)
					<-ctx.Done()
					done()
				case errors.Is(err, gone):
					left.Add(1)
				case errors.Is(err, ErrUnavailable):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		for range maxQueuedEach + 10 {
			enter(0)
		}
		synctest.Wait()
		if p, r := proceed.Load(), refused.Load(); p != 2 || r != 10 {
			t.Errorf("%d proceed and %d are refused, want 2 and 10", p, r)
		}
		for n := range maxQueued - maxQueuedEach + 10 {
			enter(1 + n)
		}
		synctest.Wait()
		if p, r := proceed.Load(), refused.Load(); p != 2+maxQueued-maxQueuedEach || r != 20 {
			t.Errorf("%d proceed and %d are refused in all, want %d and 20", p, r, 2+maxQueued-maxQueuedEach)
		}
		hangUp(gone)
		wg.Wait()
		if n := left.Load(); n != maxQueuedEach-2 || queue.queued != 0 || len(queue.queues) != 0 {
			t.Errorf("%d left, %d still wait in %d lines, want %d, 0 and 0", n, queue.queued, len(queue.queues), maxQueuedEach-2)
		}
	})
}
