package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// shared returns the replica's count of lookups in the shared store with a result.
func (w *world) shared(result string) (n int) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.options.Metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	series := fmt.Sprintf(`s3redirect_shared_sessions_total{integration="lab",result=%q} `, result)
	_, value, ok := strings.Cut(rec.Body.String(), series)
	if _, err := fmt.Sscan(value, &n); !ok || err != nil {
		w.t.Fatalf("/metrics lacks %s: %v", series, err)
	}
	return n
}

// currentName returns the name of the current window's session in the shared store.
func (w *world) currentName() string {
	k := w.keeper("bucket")
	return k.sharedName(k.plan.index(w.clock()))
}

// The store fails while the next window's session is to be fetched. If it recovers before the
// window begins, the window is shared. If it does not, each replica has its own session in time.
func TestFleetRetriesItsStoreAheadOfTheWindow(t *testing.T) {
	for name, c := range map[string]struct {
		back            time.Duration // from the start of the window before, of 30 minutes
		calls, sessions int
	}{
		"it recovers":         {28 * time.Minute, 2, 1},
		"it does not recover": {time.Hour, 4, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sts, store := &fakeSTS{}, newFakeShared()
				replicas := newFleet(t, 3, sts, store, nil)
				replicas[0].sleepUntilTurn("bucket")
				began := time.Now()
				for time.Since(began) < 29*time.Minute+59*time.Second {
					requestAll(t, replicas)
					since := time.Since(began)
					store.set(func(s *fakeShared) {
						s.err = nil
						if since > time.Minute && since < c.back {
							s.err = errors.New("connection refused")
						}
					})
					time.Sleep(time.Second)
				}
				if n := sts.count("lab"); n != c.calls {
					t.Errorf("%d calls before the window, want %d", n, c.calls)
				}
				time.Sleep(2 * time.Second)
				now, seen := time.Now(), map[string]bool{}
				for _, r := range replicas {
					seen[signature(t, r.mustWindow("bucket"))] = true
				}
				if len(seen) != c.sessions {
					t.Errorf("the replicas use %d sessions, want %d", len(seen), c.sessions)
				}
				if waited := time.Since(now); waited != 0 {
					t.Errorf("requests in the window waited %v, want 0", waited)
				}
				closeAll(replicas)
			})
		})
	}
}

// While the store hangs or is slow, a request never waits if there is a session.
func TestFleetHitsDoNotWait(t *testing.T) {
	for name, fault := range map[string]func(s *fakeShared){
		"hangs": func(s *fakeShared) {
			s.err, s.takes = context.DeadlineExceeded, 500*time.Millisecond
		},
		"slow": func(s *fakeShared) { s.takes = 450 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sts, store := &fakeSTS{}, newFakeShared()
				replicas := newFleet(t, 2, sts, store, nil)
				replicas[0].sleepUntilTurn("bucket")
				requestAll(t, replicas)
				store.set(fault)
				windows := map[string]bool{}
				for range 2 * 60 * 60 { // two hours
					for _, r := range replicas {
						began := time.Now()
						windows[signature(t, r.mustWindow("bucket"))] = true
						if took := time.Since(began); took != 0 {
							t.Fatalf("a hit took %v, want 0", took)
						}
					}
					time.Sleep(time.Second)
				}
				if len(windows) < 4 {
					t.Errorf("%d windows in two hours, want at least 4", len(windows))
				}
				closeAll(replicas)
			})
		})
	}
}

// A lease without a TTL is not a replica's. It delays the replicas by leaseWait.
func TestFleetLeaseWithoutTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 3, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		store.set(func(s *fakeShared) {
			s.values[replicas[0].currentName()+":lease"] = []byte("foreign")
		})
		began := time.Now()
		requestAll(t, replicas)
		if took := time.Since(began); took < leaseWait || took > leaseWait+time.Second {
			t.Errorf("it took %v, want about %v", took, leaseWait)
		}
		closeAll(replicas)
	})
}

// If a call outlives its lease, a second replica calls STS as well. Both use the session that is
// stored first.
func TestFleetCallOutlivesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return leaseTTL + time.Second, time.Hour, nil
		}}
		store := newFakeShared()
		replicas := newFleet(t, 3, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		requestAll(t, replicas)
		if n := sts.count("lab"); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		closeAll(replicas)
	})
}

// A foreign value appears between a replica's lookup and its Add.
func TestFleetReplacesAForeignValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store *fakeShared
		var name string
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			store.set(func(s *fakeShared) { s.values[name] = []byte("garbage") })
			return 100 * time.Millisecond, time.Hour, nil
		}}
		store = newFakeShared()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		name = replicas[0].currentName()
		requestAll(t, replicas)
		if n := sts.count("lab"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		if n := replicas[0].shared("refused") + replicas[1].shared("refused"); n == 0 {
			t.Error("no value is counted as refused")
		}
		closeAll(replicas)
	})
}

func TestFleetStoresForTheSessionsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 700 * time.Millisecond, 47 * time.Minute, nil
		}}
		store := newFakeShared()
		replicas := newFleet(t, 1, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		w := replicas[0].mustWindow("bucket")
		until := store.until[replicas[0].currentName()]
		if want := sts.expiry(w).Truncate(time.Second); !until.Equal(want) {
			t.Errorf("stored until %v, want the session's expiry %v", until, want)
		}
		if !until.Equal(w.session.expires) {
			t.Errorf("stored until %v, want the replica's expiry %v", until, w.session.expires)
		}
		closeAll(replicas)
	})
}

// Sessions shorter than their window are replaced for all replicas when min_remaining is reached,
// and not accepted from the store again.
func TestFleetShortSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 100 * time.Millisecond, 20 * time.Minute, nil
		}}
		replicas := newFleet(t, 3, sts, newFakeShared(), nil)
		replicas[0].sleepUntilTurn("bucket")
		first := requestAll(t, replicas)
		time.Sleep(6 * time.Minute) // 14 minutes are left, min_remaining is 15
		second := requestAll(t, replicas)
		if second == first {
			t.Errorf("the replicas still sign with %s, want another session", second)
		}
		if n := sts.count("lab"); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		closeAll(replicas)
	})
}

// All replicas are purged, one after the other, between requests. They share one new session, and
// none accepts the purged one, whether it had used it or not.
func TestFleetPurgeOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{}
		replicas := newFleet(t, 4, sts, newFakeShared(), nil)
		replicas[0].sleepUntilTurn("bucket")
		old := requestAll(t, replicas[1:]) // replica 0 is not in use
		time.Sleep(10 * time.Minute)
		for n, r := range replicas {
			r.Purge("")
			if signature(t, r.mustWindow("bucket")) == old {
				t.Errorf("replica %d signs with the purged session %s", n, old)
			}
			time.Sleep(5 * time.Second)
		}
		if fresh := requestAll(t, replicas); fresh == old {
			t.Errorf("the replicas sign with the purged session %s", old)
		}
		if n := sts.count("lab"); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		closeAll(replicas)
	})
}

// A replica's clock is ten minutes ahead. The others would sign in the future with its session.
// They use their own, do not ask the store again, and leave the stored session to replicas that can
// use it.
func TestFleetWithClocksApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 2, sts, store, nil)
		aheadBy := func(d time.Duration) *world {
			return newWorld(t, sts, []config.Integration{role("lab", "bucket")}, withShared(store),
				withClock(func() time.Time { return time.Now().Add(d) }))
		}
		ahead := aheadBy(10 * time.Minute)
		replicas[0].sleepUntilTurn("bucket")
		time.Sleep(time.Minute)
		theirs := signature(t, ahead.mustWindow("bucket"))
		stored := string(store.values[replicas[0].currentName()])
		if stored == "" {
			t.Fatal("the replica ahead has stored no session")
		}
		for n, r := range replicas {
			w := r.mustWindow("bucket")
			if signature(t, w) == theirs || w.SignedAt.After(time.Now()) {
				t.Errorf("replica %d signs at %v, in the future", n, w.SignedAt)
			}
		}
		store.set(func(s *fakeShared) { s.operations = 0 })
		for range 100 {
			replicas[0].mustWindow("bucket")
		}
		if store.operations != 0 {
			t.Errorf("%d operations by hits, want none", store.operations)
		}
		if n := sts.count("lab"); n != 3 {
			t.Errorf("%d calls, want 3", n)
		}
		if got := string(store.values[replicas[0].currentName()]); got != stored {
			t.Errorf("the stored session is now %s, want %s", got, stored)
		}
		// Three minutes between two clocks do not matter.
		late := aheadBy(7 * time.Minute)
		if got := signature(t, late.mustWindow("bucket")); got != theirs {
			t.Errorf("a replica three minutes behind signs with %s, want %s", got, theirs)
		}
		closeAll(append(replicas, ahead, late))
	})
}

// A replica is closed while another holds the lease: it ends at once, does not blame the store, and
// leaves no goroutine behind, or the bubble would not end.
func TestFleetClosesWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 1, sts, store, &log)
		replicas[0].sleepUntilTurn("bucket")
		store.set(func(s *fakeShared) {
			s.values[replicas[0].currentName()+":lease"] = []byte("another replica's")
		})
		failed := make(chan error)
		go func() {
			_, err := replicas[0].window("bucket")
			failed <- err
		}()
		time.Sleep(time.Second)
		began := time.Now()
		replicas[0].Close()
		if err := <-failed; err == nil {
			t.Error("Window() of a closed set = nil error")
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("Close waited %v, want 0", waited)
		}
		if n := sts.count("lab"); n != 0 {
			t.Errorf("%d calls, want none", n)
		}
		if strings.Contains(log.String(), "shared store") {
			t.Errorf("log = %s, want nothing about the shared store", log.String())
		}
	})
}
