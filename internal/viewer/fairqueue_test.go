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

// Guesses from one address do not delay a login from another, with or without a rate limit: the
// login waits only for the comparisons in progress when it arrives.
func TestGuessesDoNotDelayLoginsFromOtherAddresses(t *testing.T) {
	file := htpasswdOf(t, "ann")
	for name, limit := range map[string]*config.RateLimit{
		"no limit":      nil,
		"a large burst": {PerSecond: 50, Burst: 500},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := basicViewers(file)
			c.RateLimit = limit
			g := newGate(t, c, nil)
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
					_, err := g.Identify(NewRequest(withPassword(remote, "ann", password)), time.Now())
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
			if len(passwords) != 2 || !strings.HasPrefix(passwords[0], "guess-") ||
				passwords[1] != "ann" {
				t.Errorf("%s: passwords compared at once: %q, want one guess and ann",
					name, passwords)
			}
			mu.Unlock()
			close(compare)
			wg.Wait()
			bad.want(t, name, 0, 40, 0, 0)
			good.want(t, name, 3, 0, 0, 0)
			if n := len(passwords); n != 41 {
				t.Errorf("%s: %d comparisons, want 41 (three logins share one)", name, n)
			}
			if q := g.basic.queue; q.queued != 0 || len(q.queues) != 0 {
				t.Errorf("%s: %d requests in %d queues, want none", name, q.queued, len(q.queues))
			}
		})
	}
}

// The queues are bounded, and requests whose context ends leave them.
func TestFairQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue := newFairQueue(2)
		addr := func(n int) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
		}
		ctx, hangUp := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		var admitted, left, rejected atomic.Int32
		var wg sync.WaitGroup
		enter := func(n int) {
			wg.Go(func() {
				switch release, err := queue.acquire(ctx, addr(n)); {
				case err == nil:
					admitted.Add(1)
					<-ctx.Done()
					release()
				case errors.Is(err, gone):
					left.Add(1)
				case errors.Is(err, ErrUnavailable):
					rejected.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		for range maxQueuedEach + 10 {
			enter(0)
		}
		synctest.Wait()
		if a, r := admitted.Load(), rejected.Load(); a != 2 || r != 10 {
			t.Errorf("one address: %d admitted and %d rejected, want 2 and 10", a, r)
		}
		for n := range maxQueued - maxQueuedEach + 10 {
			enter(1 + n)
		}
		synctest.Wait()
		want := int32(2 + maxQueued - maxQueuedEach)
		if a, r := admitted.Load(), rejected.Load(); a != want || r != 20 {
			t.Errorf("all addresses: %d admitted and %d rejected, want %d and 20", a, r, want)
		}
		hangUp(gone)
		wg.Wait()
		if n := left.Load(); n != maxQueuedEach-2 {
			t.Errorf("%d requests left their queues, want %d", n, maxQueuedEach-2)
		}
		if queue.queued != 0 || len(queue.queues) != 0 {
			t.Errorf("%d requests in %d queues, want none", queue.queued, len(queue.queues))
		}
	})
}
