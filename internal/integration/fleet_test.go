package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// commonStore is what replicas share, in memory, with moods.
type commonStore struct {
	mu     sync.Mutex
	values map[string][]byte
	until  map[string]time.Time
	err    error         // of everything
	takes  time.Duration // each call
	asked  int
	meet   func() // called before a lease is taken, once
}

func newCommonStore() *commonStore {
	return &commonStore{values: map[string][]byte{}, until: map[string]time.Time{}}
}

func (s *commonStore) set(change func(s *commonStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// enter counts a call, takes its time, and drops what has expired.
func (s *commonStore) enter() error {
	s.mu.Lock()
	takes := s.takes
	s.mu.Unlock()
	time.Sleep(takes)
	s.mu.Lock()
	s.asked++
	for name, until := range s.until {
		if !time.Now().Before(until) {
			delete(s.values, name)
			delete(s.until, name)
		}
	}
	return s.err
}

func (s *commonStore) Get(_ context.Context, name string) ([]byte, error) {
	err := s.enter()
	defer s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	value, ok := s.values[name]
	switch {
	case !ok:
		return nil, ErrNotStored
	case string(value) == "garbage":
		return nil, ErrNotAuthentic
	}
	return value, nil
}

func (s *commonStore) Add(_ context.Context, name string, value []byte, lives time.Duration) (bool, error) {
	err := s.enter()
	defer s.mu.Unlock()
	if _, taken := s.values[name]; err != nil || taken {
		return false, err
	}
	s.values[name], s.until[name] = value, time.Now().Add(lives)
	return true, nil
}

func (s *commonStore) Delete(_ context.Context, name string) error {
	err := s.enter()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.values, name)
	}
	return err
}

func (s *commonStore) Lease(_ context.Context, name string, lives time.Duration) (func(), bool, error) {
	s.mu.Lock()
	meet := s.meet
	s.meet = nil
	s.mu.Unlock()
	if meet != nil {
		meet()
	}
	err := s.enter()
	defer s.mu.Unlock()
	if _, taken := s.values[name]; err != nil || taken {
		return nil, false, err
	}
	s.values[name], s.until[name] = []byte("lease"), time.Now().Add(lives)
	return func() { _ = s.Delete(context.Background(), name) }, true, nil
}

// newFleet is some replicas with one STS and one common store.
func newFleet(t *testing.T, n int, sts *fakeSTS, store *commonStore, log *strings.Builder) (replicas []*world) {
	t.Helper()
	for range n {
		replicas = append(replicas, newWorld(t, sts, []config.Integration{role("lab", "bucket")}, func(_ *config.Config, o *Options) {
			o.Shared = store
			if log != nil {
				o.Log = slog.New(slog.NewTextHandler(log, nil))
			}
		}))
	}
	return replicas
}

// closeAll ends the replicas before their bubble does.
func closeAll(replicas []*world) {
	for _, r := range replicas {
		r.Close()
	}
}

func signature(t *testing.T, w *Window) string {
	t.Helper()
	return w.session.credentials.AccessKeyID + " " + w.SignedAt.String() + " " + w.Expires.String()
}

// askAll asks every replica at once, and wants one and the same window of all.
func askAll(t *testing.T, replicas []*world) string {
	t.Helper()
	got := make([]string, len(replicas))
	var wg sync.WaitGroup
	for n, r := range replicas {
		wg.Go(func() {
			w, err := r.window("bucket")
			if err != nil {
				t.Error(err)
				return
			}
			got[n] = signature(t, w)
		})
	}
	wg.Wait()
	for n := range got {
		if got[n] != got[0] {
			t.Errorf("replica %d signs with %s, the first with %s", n, got[n], got[0])
		}
	}
	return got[0]
}

// Over three windows, and a replica that starts anew: one call and one session for each window, whoever is asked.
func TestFleetSharesSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 4, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		seen := map[string]bool{}
		for window := 1; window <= 3; window++ {
			for range 30 {
				seen[askAll(t, replicas)] = true
				time.Sleep(time.Minute)
			}
		}
		// The last look-ahead may have fetched the fourth.
		if n := sts.count("lab"); len(seen) != 3 || n < 3 || n > 4 {
			t.Errorf("%d signatures and %d calls for 3 windows", len(seen), n)
		}
		late := newFleet(t, 1, sts, store, nil)
		before := sts.count("lab")
		askAll(t, append(replicas, late...))
		if sts.count("lab") != before {
			t.Error("a replica that starts anew called STS")
		}
		closeAll(append(replicas, late...))
	})
}

// Between one replica's look and its lease another has had the lease, and the session: the first takes that.
func TestFleetMeets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		store.set(func(s *commonStore) { s.meet = func() { replicas[1].mustWindow("bucket") } })
		askAll(t, replicas[:1])
		askAll(t, replicas)
		if n := sts.count("lab"); n != 1 {
			t.Errorf("%d calls", n)
		}
		closeAll(replicas)
	})
}

// A replica dies while it holds the lease: another takes over, and everybody has a session within seconds.
func TestFleetOutlivesItsLeaseHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 3, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		i := replicas[0].bucket("bucket").Integration
		name := i.keeper.sharedName(i.keeper.plan.index(time.Now())) + ":lease"
		store.set(func(s *commonStore) {
			s.values[name], s.until[name] = []byte("of a dead one"), time.Now().Add(leaseTTL)
		})
		began := time.Now()
		askAll(t, replicas)
		if took := time.Since(began); took < leaseTTL || took > leaseTTL+time.Second || sts.count("lab") != 1 {
			t.Errorf("it took %v, and %d calls", took, sts.count("lab"))
		}
		closeAll(replicas)
	})
}

// With the common store away, or slow, every replica goes on alone, and says so once; when it is back, the next window is shared.
func TestFleetWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas = append(replicas, newFleet(t, 1, sts, store, &log)...)
		store.set(func(s *commonStore) { s.err, s.takes = errors.New("connection refused"), 500*time.Millisecond })
		replicas[0].sleepUntilTurn("bucket")
		for _, r := range replicas {
			began := time.Now()
			r.mustWindow("bucket")
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
		}
		if n := sts.count("lab"); n != 3 {
			t.Errorf("%d calls of three replicas that are alone", n)
		}
		// A window that has its session does not look at the store.
		store.set(func(s *commonStore) { s.asked = 0 })
		for range 100 {
			replicas[0].mustWindow("bucket")
		}
		if store.asked != 0 {
			t.Errorf("the store was asked %d times by hits", store.asked)
		}
		time.Sleep(5 * time.Minute)
		store.set(func(s *commonStore) { s.err, s.takes = nil, 0 })
		replicas[0].sleepUntilTurn("bucket")
		time.Sleep(time.Minute)
		before := sts.count("lab")
		askAll(t, replicas)
		if n := sts.count("lab") - before; n > 1 {
			t.Errorf("%d calls in the next window", n)
		}
		synctest.Wait()
		if got := log.String(); strings.Count(got, "shared store unreachable") != 1 || strings.Count(got, "reachable again") > 1 {
			t.Errorf("%s", got)
		}
		closeAll(replicas)
	})
}

// What was tampered with, what is of another window, and what is almost over, is not used, but counted, and replaced for everybody.
func TestFleetRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, value := range map[string]string{
			"garbage": "garbage", "no JSON": "{",
			"another window's": `{"window":1,"issued":1,"expires":9999999999,"access_key_id":"old","secret_access_key":"s"}`,
			"without a key":    `{"window":%d,"issued":1,"expires":9999999999,"access_key_id":"old"}`,
			"expired":          `{"window":%d,"issued":1,"expires":1000,"access_key_id":"old","secret_access_key":"s"}`,
			"over in a minute": `{"window":%d,"issued":1,"expires":%s,"access_key_id":"old","secret_access_key":"s"}`,
			"over in two":      `{"window":%d,"issued":1,"expires":%t,"access_key_id":"old","secret_access_key":"s"}`,
		} {
			sts, store := &fakeSTS{}, newCommonStore()
			replicas := newFleet(t, 2, sts, store, nil)
			replicas[0].sleepUntilTurn("bucket")
			i := replicas[0].bucket("bucket").Integration
			value = strings.NewReplacer("%d", fmt.Sprint(i.keeper.plan.index(time.Now())), "%s", fmt.Sprint(time.Now().Add(time.Minute).Unix()),
				"%t", fmt.Sprint(time.Now().Add(2*time.Minute-time.Second).Unix())).Replace(value)
			store.set(func(s *commonStore) { s.values[replicas[0].nameNow()] = []byte(value) })
			if got := askAll(t, replicas); !strings.HasPrefix(got, "ASIA-lab-1 ") || sts.count("lab") != 1 {
				t.Errorf("%s: %s, %d calls", name, got, sts.count("lab"))
			}
			if n := replicas[0].shared("refused") + replicas[1].shared("refused"); n == 0 {
				t.Errorf("%s: it is not counted", name)
			}
			closeAll(replicas)
		}
	})
}

// A denial is everybody's, and nobody waits for ever.
func TestFleetDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) { return 0, 0, status(403) }}
		replicas := newFleet(t, 3, sts, newCommonStore(), nil)
		replicas[0].sleepUntilTurn("bucket")
		for _, r := range replicas {
			var failed *AssumeRoleError
			if _, err := r.window("bucket"); !errors.As(err, &failed) || failed.Result != Denied {
				t.Errorf("%v", err)
			}
		}
		if n := sts.count("lab"); n != 3 {
			t.Errorf("%d calls", n)
		}
		closeAll(replicas)
	})
}

// After a purge the old session is not taken from the common store again.
func TestFleetPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newCommonStore()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		old := askAll(t, replicas)
		time.Sleep(10 * time.Second) // it is newer than what others may have assumed since they were purged
		replicas[0].Purge("")
		fresh := signature(t, replicas[0].mustWindow("bucket"))
		if fresh == old || sts.count("lab") != 2 {
			t.Errorf("%s after a purge, %d calls", fresh, sts.count("lab"))
		}
		// Who starts now has the new one.
		late := newFleet(t, 1, sts, store, nil)
		if got := signature(t, late[0].mustWindow("bucket")); got != fresh {
			t.Errorf("%s, want %s", got, fresh)
		}
		closeAll(append(replicas, late...))
	})
}

// The names in the common store tell nothing of a secret key, and all else of an integration makes another name.
func TestSharedNames(t *testing.T) {
	of := func(mend func(*config.Integration)) (string, *Integration) {
		c := role("lab", "bucket")
		c.AccessKeyID, c.SecretAccessKey = "AKIA", "one"
		mend(&c)
		w := newWorld(t, &fakeSTS{}, []config.Integration{c})
		i := w.bucket("bucket").Integration
		return i.keeper.sharedName(7), i
	}
	name, i := of(func(*config.Integration) {})
	_, other := of(func(c *config.Integration) { c.SecretAccessKey = "two" })
	other.keeper.plan = i.keeper.plan
	if got := other.keeper.sharedName(7); got != name {
		t.Error("the name depends on the secret key")
	}
	if i.keeper.sharedName(8) == name {
		t.Error("two windows have one name")
	}
	for what, mend := range map[string]func(*config.Integration){
		"the external ID": func(c *config.Integration) { c.ExternalID = "other" }, "the role": func(c *config.Integration) { c.RoleARN += "x" },
		"the access key": func(c *config.Integration) { c.AccessKeyID = "AKIB" }, "the session policy": func(c *config.Integration) { c.SessionPolicy = false },
	} {
		_, changed := of(mend)
		changed.keeper.plan = i.keeper.plan
		if changed.keeper.sharedName(7) == name {
			t.Errorf("the name does not depend on %s", what)
		}
	}
}
