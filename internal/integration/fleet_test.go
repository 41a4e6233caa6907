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

// fakeShared is a [Shared] in memory that can be slow and fail.
type fakeShared struct {
	mu          sync.Mutex
	values      map[string][]byte // the value "garbage" is not authentic
	until       map[string]time.Time
	err         error         // of every operation
	takes       time.Duration // each operation
	operations  int
	beforeLease func() // called once, before a lease is taken
}

func newFakeShared() *fakeShared {
	return &fakeShared{values: map[string][]byte{}, until: map[string]time.Time{}}
}

func (s *fakeShared) set(change func(s *fakeShared)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// enter counts an operation, takes its time, drops what has expired, and returns with mu held.
func (s *fakeShared) enter() error {
	s.mu.Lock()
	takes := s.takes
	s.mu.Unlock()
	time.Sleep(takes)
	s.mu.Lock()
	s.operations++
	for name, until := range s.until {
		if !time.Now().Before(until) {
			delete(s.values, name)
			delete(s.until, name)
		}
	}
	return s.err
}

func (s *fakeShared) Get(_ context.Context, name string) ([]byte, error) {
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

func (s *fakeShared) Add(
	_ context.Context, name string, value []byte, ttl time.Duration,
) (bool, error) {
	err := s.enter()
	defer s.mu.Unlock()
	if _, taken := s.values[name]; err != nil || taken {
		return false, err
	}
	s.values[name], s.until[name] = value, time.Now().Add(ttl)
	return true, nil
}

func (s *fakeShared) Delete(_ context.Context, name string) error {
	err := s.enter()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.values, name)
	}
	return err
}

func (s *fakeShared) Lease(
	_ context.Context, name string, ttl time.Duration,
) (func(), bool, error) {
	s.mu.Lock()
	before := s.beforeLease
	s.beforeLease = nil
	s.mu.Unlock()
	if before != nil {
		before()
	}
	err := s.enter()
	defer s.mu.Unlock()
	if _, taken := s.values[name]; err != nil || taken {
		return nil, false, err
	}
	s.values[name], s.until[name] = []byte("lease"), time.Now().Add(ttl)
	return func() { _ = s.Delete(context.Background(), name) }, true, nil
}

func withShared(s Shared) worldOption {
	return func(_ *config.Config, o *Options) { o.Shared = s }
}

// newFleet returns n replicas with one STS and one store. log gets their log, if it is not nil.
func newFleet(
	t *testing.T, n int, sts *fakeSTS, store *fakeShared, log *strings.Builder,
) (replicas []*world) {
	t.Helper()
	logTo := func(_ *config.Config, o *Options) {
		if log != nil {
			o.Log = slog.New(slog.NewTextHandler(log, nil))
		}
	}
	for range n {
		replicas = append(replicas,
			newWorld(t, sts, []config.Integration{role("lab", "bucket")}, withShared(store), logTo))
	}
	return replicas
}

// closeAll closes the replicas, before their bubble ends.
func closeAll(replicas []*world) {
	for _, r := range replicas {
		r.Close()
	}
}

// signature describes what a window's URLs are signed with.
func signature(t *testing.T, w *Window) string {
	t.Helper()
	return fmt.Sprint(w.session.credentials.AccessKeyID, " ", w.SignedAt, " ", w.Expires)
}

// requestAll sends a request to every replica at once. All must sign alike; it returns the
// signature.
func requestAll(t *testing.T, replicas []*world) string {
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
			t.Errorf("replica %d signs with %s, replica 0 with %s", n, got[n], got[0])
		}
	}
	return got[0]
}

func TestFleetSharesOneSessionPerWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 4, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		seen := map[string]bool{}
		for window := 1; window <= 3; window++ {
			for range 30 {
				seen[requestAll(t, replicas)] = true
				time.Sleep(time.Minute)
			}
		}
		if len(seen) != 3 {
			t.Errorf("%d signatures in 3 windows, want 3", len(seen))
		}
		// The session of the fourth window may have been fetched.
		if n := sts.count("lab"); n < 3 || n > 4 {
			t.Errorf("%d calls in 3 windows, want 3 or 4", n)
		}
		late := newFleet(t, 1, sts, store, nil)
		before := sts.count("lab")
		requestAll(t, append(replicas, late...))
		if n := sts.count("lab") - before; n != 0 {
			t.Errorf("%d calls by a replica that starts later, want none", n)
		}
		closeAll(append(replicas, late...))
	})
}

// See fleet.assumeForAll for the interleaving.
func TestFleetLooksAgainOnceItHasTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		store.set(func(s *fakeShared) {
			s.beforeLease = func() { replicas[1].mustWindow("bucket") }
		})
		requestAll(t, replicas[:1])
		requestAll(t, replicas)
		if n := sts.count("lab"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		closeAll(replicas)
	})
}

// A replica dies while it holds the lease: another takes over within seconds.
func TestFleetOutlivesItsLeaseHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 3, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		name := replicas[0].currentName() + ":lease"
		store.set(func(s *fakeShared) {
			s.values[name], s.until[name] = []byte("a dead replica's"), time.Now().Add(leaseTTL)
		})
		began := time.Now()
		requestAll(t, replicas)
		if took := time.Since(began); took < leaseTTL || took > leaseTTL+time.Second {
			t.Errorf("it took %v, want about %v", took, leaseTTL)
		}
		if n := sts.count("lab"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		closeAll(replicas)
	})
}

// While the store fails, every replica uses its own sessions. The log says so once. When the store
// works again, the next window is shared.
func TestFleetWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas = append(replicas, newFleet(t, 1, sts, store, &log)...)
		store.set(func(s *fakeShared) {
			s.err, s.takes = errors.New("connection refused"), 500*time.Millisecond
		})
		replicas[0].sleepUntilTurn("bucket")
		for _, r := range replicas {
			began := time.Now()
			r.mustWindow("bucket")
			if took := time.Since(began); took > time.Second {
				t.Errorf("a request took %v, want at most a second", took)
			}
		}
		if n := sts.count("lab"); n != 3 {
			t.Errorf("%d calls by three replicas, want 3", n)
		}
		store.set(func(s *fakeShared) { s.operations = 0 })
		for range 100 {
			replicas[0].mustWindow("bucket")
		}
		if store.operations != 0 {
			t.Errorf("%d operations by hits, want none", store.operations)
		}
		time.Sleep(5 * time.Minute)
		store.set(func(s *fakeShared) { s.err, s.takes = nil, 0 })
		replicas[0].sleepUntilTurn("bucket")
		time.Sleep(time.Minute)
		before := sts.count("lab")
		requestAll(t, replicas)
		if n := sts.count("lab") - before; n > 1 {
			t.Errorf("%d calls in the next window, want at most 1", n)
		}
		synctest.Wait()
		got := log.String()
		if n := strings.Count(got, "shared store unreachable"); n != 1 {
			t.Errorf("the failure is logged %d times, want once:\n%s", n, got)
		}
		if n := strings.Count(got, "reachable again"); n > 1 {
			t.Errorf("the recovery is logged %d times, want at most once:\n%s", n, got)
		}
		closeAll(replicas)
	})
}

// An unusable stored session is counted, and replaced for all replicas.
func TestFleetRejectsUnusableSessions(t *testing.T) {
	for name, c := range map[string]struct {
		value string        // %d is the current window, %e the expiry
		lives time.Duration // from now
	}{
		"altered":           {value: "garbage"},
		"not JSON":          {value: "{"},
		"of another window": {storedIn("1"), time.Hour},
		"without a secret key": {
			strings.Replace(storedIn("%d"), "secret_access_key", "other", 1), time.Hour,
		},
		"expired":          {storedIn("%d"), -time.Hour},
		"expires in 1m":    {storedIn("%d"), time.Minute},
		"expires in 1m59s": {storedIn("%d"), 2*time.Minute - time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sts, store := &fakeSTS{}, newFakeShared()
				replicas := newFleet(t, 2, sts, store, nil)
				replicas[0].sleepUntilTurn("bucket")
				value := strings.NewReplacer(
					"%d", fmt.Sprint(replicas[0].keeper("bucket").plan.index(time.Now())),
					"%e", fmt.Sprint(time.Now().Add(c.lives).Unix()),
				).Replace(c.value)
				store.set(func(s *fakeShared) {
					s.values[replicas[0].currentName()] = []byte(value)
				})
				got := requestAll(t, replicas)
				if !strings.HasPrefix(got, "ASIA-lab-1 ") {
					t.Errorf("the replicas sign with %s, want ASIA-lab-1", got)
				}
				if n := sts.count("lab"); n != 1 {
					t.Errorf("%d calls, want 1", n)
				}
				if n := replicas[0].shared("refused") + replicas[1].shared("refused"); n == 0 {
					t.Error("no session is counted as refused")
				}
				closeAll(replicas)
			})
		})
	}
}

// storedIn returns a stored session of a window.
func storedIn(window string) string {
	return `{"window":` + window +
		`,"issued":1,"expires":%e,"access_key_id":"old","secret_access_key":"s"}`
}

func TestFleetDeniedFailsOnAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 0, 0, status(403)
		}}
		replicas := newFleet(t, 3, sts, newFakeShared(), nil)
		replicas[0].sleepUntilTurn("bucket")
		for n, r := range replicas {
			var failed *AssumeRoleError
			if _, err := r.window("bucket"); !errors.As(err, &failed) || failed.Result != Denied {
				t.Errorf("replica %d: Window() = %v, want %s", n, err, Denied)
			}
		}
		if n := sts.count("lab"); n != 3 {
			t.Errorf("%d calls, want 3", n)
		}
		closeAll(replicas)
	})
}

// A purged session is not accepted from the shared store.
func TestFleetPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, store := &fakeSTS{}, newFakeShared()
		replicas := newFleet(t, 2, sts, store, nil)
		replicas[0].sleepUntilTurn("bucket")
		old := requestAll(t, replicas)
		time.Sleep(10 * time.Second) // less than purgeGrace: its age does not reject it
		replicas[0].Purge("")
		fresh := signature(t, replicas[0].mustWindow("bucket"))
		if fresh == old {
			t.Errorf("after the purge the replica signs with %s, the purged session", fresh)
		}
		if n := sts.count("lab"); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		late := newFleet(t, 1, sts, store, nil)
		if got := signature(t, late[0].mustWindow("bucket")); got != fresh {
			t.Errorf("a replica that starts later signs with %s, want %s", got, fresh)
		}
		closeAll(append(replicas, late...))
	})
}

// The names do not depend on the secret key, or they could be used to test guesses of it. They
// depend on everything else.
func TestSharedNames(t *testing.T) {
	changed := func(change func(*config.Integration)) *keeper {
		c := role("lab", "bucket")
		c.AccessKeyID, c.SecretAccessKey = "AKIA", "one"
		change(&c)
		return newWorld(t, &fakeSTS{}, []config.Integration{c}).keeper("bucket")
	}
	k := changed(func(*config.Integration) {})
	name := k.sharedName(7)
	other := changed(func(c *config.Integration) { c.SecretAccessKey = "two" })
	other.plan = k.plan
	if got := other.sharedName(7); got != name {
		t.Errorf("with another secret key the name is %s, want %s", got, name)
	}
	if k.sharedName(8) == name {
		t.Errorf("two windows have the name %s", name)
	}
	for what, change := range map[string]func(*config.Integration){
		"external ID":     func(c *config.Integration) { c.ExternalID = "other" },
		"role":            func(c *config.Integration) { c.RoleARN += "x" },
		"access key":      func(c *config.Integration) { c.AccessKeyID = "AKIB" },
		"session policy":  func(c *config.Integration) { c.SessionPolicy = false },
		"tag":             func(c *config.Integration) { c.SessionTags = map[string]string{"a": "b"} },
		"source identity": func(c *config.Integration) { c.SourceIdentity = "ab" },
	} {
		k2 := changed(change)
		k2.plan = k.plan
		if k2.sharedName(7) == name {
			t.Errorf("with another %s the name is still %s", what, name)
		}
	}
}
