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

// shared is how often a replica counted a result of its looks into the common store.
func (w *world) shared(result string) (n int) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.options.Metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	series := fmt.Sprintf("s3redirect_shared_sessions_total{integration=%q,result=%q} ", "lab", result)
	_, value, ok := strings.Cut(rec.Body.String(), series)
	if _, err := fmt.Sscan(value, &n); !ok || err != nil {
		w.t.Fatalf("no series %s: %v", series, err)
	}
	return n
}

// nameNow is the name of the session of the window that now is.
func (w *world) nameNow() string {
	i := w.bucket("bucket").Integration
	return i.keeper.sharedName(i.keeper.plan.index(w.clock()))
}

// A store that is away when the next window's session is to be fetched, and comes back ahead of the window, has been waited for: the window
// is shared. One that stays away is not waited for too long: each replica has a session of its own before the window begins.
func TestFleetWaitsForItsStoreAheadOfTime(t *testing.T) {
	for name, c := range map[string]struct {
		back            time.Duration // after the turn of the window before, which is half an hour long
		calls, sessions int
	}{
		"it comes back": {28 * time.Minute, 2, 1},
		"it stays away": {time.Hour, 4, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sts, store := &fakeSTS{}, newCommonStore()
				replicas := newFleet(t, 3, sts, store, nil)
				replicas[0].sleepUntilTurn("bucket")
				began := time.Now()
				for time.Since(began) < 29*time.Minute+59*time.Second {
					askAll(t, replicas)
					since := time.Since(began)
					store.set(func(s *commonStore) {
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
				if len(seen) != c.sessions || !time.Now().Equal(now) {
					t.Errorf("%d sessions, after %v", len(seen), time.Since(now))
				}
				closeAll(replicas)
			})
		})
	}
}

// While the store hangs, or is slow, a request that has its session takes no time at all, over all the turns of the windows.
func TestFleetHitsDoNotWait(t *testing.T) {
	for name, mood := range map[string]func(s *commonStore){
		"hangs": func(s *commonStore) { s.err, s.takes = context.DeadlineExceeded, 500*time.Millisecond },
		"slow":  func(s *commonStore) { s.takes = 450 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sts, store := &fakeSTS{}, newCommonStore()
				replicas := newFleet(t, 2, sts, store, nil)
				replicas[0].sleepUntilTurn("bucket")
				askAll(t, replicas)
				store.set(mood)
				windows := map[string]bool{}
				for range 2 * 60 * 60 { // two hours
					for _, r := range replicas {
						began := time.Now()
						windows[signature(t, r.mustWindow("bucket"))] = true
						if took := time.Since(began); took != 0 {
							t.Fatalf("a hit took %v", took)
						}
					}
					time.Sleep(time.Second)
				}
				if len(windows) < 4 {
					t.Errorf("%d windows", len(windows))
				}
				closeAll(replicas)
			})
		})
	}
}

// A lease that never ends is garbage, and holds nobody up for ever: after a while they go on, and still share what the first of them stores.
func TestFleetLeaseWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 3, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		store.set(func(s *commonStore) { s.values[replicas[0].nameNow()+":lease"] = []byte("of nobody") })
		began := time.Now()
		askAll(t, replicas)
		if took := time.Since(began); took < leaseWait || took > leaseWait+time.Second {
			t.Errorf("it took %v", took)
		}
		closeAll(replicas)
	})
}

// A call that outlives its lease has another replica call STS as well: both end with the session that was stored first.
func TestFleetCallOutlivesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return leaseTTL + time.Second, time.Hour, nil
		}}
		store := newCommonStore()
		replicas := newFleet(t, 3, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		askAll(t, replicas)
		if n := sts.count("lab"); n != 2 {
			t.Errorf("%d calls", n)
		}
		closeAll(replicas)
	})
}

// Somebody writes into the store between a replica's look and its storing: what is there is replaced, or taken if it is genuine.
func TestFleetStoresInPlaceOfGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store *commonStore
		var name string
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			store.set(func(s *commonStore) { s.values[name] = []byte("garbage") })
			return 100 * time.Millisecond, time.Hour, nil
		}}
		store = newCommonStore()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		name = replicas[0].nameNow()
		askAll(t, replicas)
		if n := sts.count("lab"); n != 1 || replicas[0].shared("refused")+replicas[1].shared("refused") == 0 {
			t.Errorf("%d calls", n)
		}
		closeAll(replicas)
	})
}

// What is stored lives for as long as the session, to the second that STS said.
func TestFleetStoresForTheSessionsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 700 * time.Millisecond, 47 * time.Minute, nil
		}}
		store := newCommonStore()
		replicas := newFleet(t, 1, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		w := replicas[0].mustWindow("bucket")
		if until := store.until[replicas[0].nameNow()]; !until.Equal(w.session.expires) || !until.Equal(sts.expiry(w).Truncate(time.Second)) {
			t.Errorf("stored until %v, the session lives until %v", until, sts.expiry(w))
		}
		closeAll(replicas)
	})
}

// Sessions that are shorter than their window are replaced before min_remaining is reached, for all, and not taken from the store again.
func TestFleetShortSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 100 * time.Millisecond, 20 * time.Minute, nil
		}}
		replicas := newFleet(t, 3, sts, newCommonStore(), nil)
		replicas[0].sleepUntilTurn("bucket")
		first := askAll(t, replicas)
		time.Sleep(6 * time.Minute) // 14 are left, and 15 are wanted
		second := askAll(t, replicas)
		if n := sts.count("lab"); second == first || n != 2 {
			t.Errorf("%d calls; the same session as before: %v", n, second == first)
		}
		closeAll(replicas)
	})
}

// All replicas are purged, one after the other while viewers ask: they end with one new session, and none takes the old one again,
// whether it had it or not.
func TestFleetPurgeOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{}
		replicas := newFleet(t, 4, sts, newCommonStore(), nil)
		replicas[0].sleepUntilTurn("bucket")
		old := askAll(t, replicas[1:]) // the first is not in use
		time.Sleep(10 * time.Minute)
		for _, r := range replicas {
			r.Purge("")
			if signature(t, r.mustWindow("bucket")) == old {
				t.Error("a session that was purged signs again")
			}
			time.Sleep(5 * time.Second)
		}
		if fresh := askAll(t, replicas); fresh == old || sts.count("lab") != 2 {
			t.Errorf("%d calls", sts.count("lab"))
		}
		closeAll(replicas)
	})
}

// A replica's clock is ten minutes ahead. Its session would have the others sign in the future: they do without, do not ask again and again,
// and leave what is stored to those who can use it.
func TestFleetWithClocksApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 2, sts, store, nil)
		ahead := newWorld(t, sts, []config.Integration{role("lab", "bucket")}, func(_ *config.Config, o *Options) {
			o.Shared, o.Clock = store, func() time.Time { return time.Now().Add(10 * time.Minute) }
		})
		replicas[0].sleepUntilTurn("bucket")
		time.Sleep(time.Minute)
		theirs := signature(t, ahead.mustWindow("bucket"))
		stored := string(store.values[replicas[0].nameNow()])
		for _, r := range replicas {
			if w := r.mustWindow("bucket"); signature(t, w) == theirs || w.SignedAt.After(time.Now()) {
				t.Error("a replica signs in the future")
			}
		}
		store.set(func(s *commonStore) { s.asked = 0 })
		for range 100 {
			replicas[0].mustWindow("bucket")
		}
		if store.asked != 0 || sts.count("lab") != 3 || stored == "" || string(store.values[replicas[0].nameNow()]) != stored {
			t.Errorf("the store was asked %d times, STS %d times", store.asked, sts.count("lab"))
		}
		// A clock that is a minute off is nothing: that is what most are.
		late := newWorld(t, sts, []config.Integration{role("lab", "bucket")}, func(_ *config.Config, o *Options) {
			o.Shared, o.Clock = store, func() time.Time { return time.Now().Add(7 * time.Minute) }
		})
		if got := signature(t, late.mustWindow("bucket")); got != theirs {
			t.Errorf("a clock that is three minutes behind has another session: %s", got)
		}
		closeAll(append(replicas, ahead, late))
	})
}

// A replica that is closed while another has the lease ends at once, says nothing of the store, and leaves nothing behind: the bubble
// would not end.
func TestFleetClosesWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 1, sts, store, &log)
		replicas[0].sleepUntilTurn("bucket")
		store.set(func(s *commonStore) { s.values[replicas[0].nameNow()+":lease"] = []byte("of another") })
		failed := make(chan error)
		go func() {
			_, err := replicas[0].window("bucket")
			failed <- err
		}()
		time.Sleep(time.Second)
		began := time.Now()
		replicas[0].Close()
		if err := <-failed; err == nil || !time.Now().Equal(began) || sts.count("lab") != 0 || strings.Contains(log.String(), "shared store") {
			t.Errorf("%v after %v, %d calls\n%s", err, time.Since(began), sts.count("lab"), log.String())
		}
	})
}
