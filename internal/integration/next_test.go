package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// next returns the world with another configuration.
func (w *world) next(integrations ...config.Integration) *world {
	w.t.Helper()
	old := w.Set
	set, err := old.Next(&config.Config{
		Integrations: pointers(integrations),
		Cache:        config.Cache{URLs: 100, Credentials: 100},
	}, w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	old.Retire(set)
	return &world{Set: set, t: w.t, sts: w.sts, clock: w.clock, options: w.options}
}

func TestNextKeepsUnchangedIntegrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{},
			[]config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		w.sleepUntilTurn("bucket")
		lab, other := w.mustWindow("bucket"), w.mustWindow("other-bucket")

		changed := role("other", "other-bucket")
		changed.ExternalID = "another"
		n := w.next(role("lab", "bucket"), changed, role("new", "new-bucket"))
		defer n.Close()
		if n.mustWindow("bucket") != lab {
			t.Error("an unchanged integration has another window")
		}
		if got := n.sts.count("lab"); got != 1 {
			t.Errorf("%d calls for an unchanged integration, want 1", got)
		}
		if n.mustWindow("other-bucket") == other {
			t.Error("with another external ID the window is the same")
		}
		if got := n.sts.count("other"); got < 2 {
			t.Errorf("%d calls for an integration with another external ID, want 2", got)
		}
		n.mustWindow("new-bucket")
		if got := n.sts.count("new"); got != 1 {
			t.Errorf("%d calls for a new integration, want 1", got)
		}
		// The integration leaves and comes back: its sessions do not.
		again := n.next(changed).next(role("lab", "bucket"))
		if again.mustWindow("bucket") == lab {
			t.Error("an integration that was removed and added has its old window")
		}
		if got := again.sts.count("lab"); got != 2 {
			t.Errorf("%d calls for an integration that was removed and added, want 2", got)
		}
	})
}

// The windows of static keys are kept as well, and so the signers of cached signatures.
func TestNextKeepsTheWindowsOfStaticKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{staticKeys("keys", "one")})
		before := w.mustWindow("one")
		n := w.next(staticKeys("keys", "one"), role("new", "new-bucket"))
		defer n.Close()
		// Without its snapshot, the keeper must find the same window again.
		n.keeper("one").snapshot.Store(nil)
		if got := n.mustWindow("one"); got != before {
			t.Errorf("the window is %p after an unrelated change, want %p", got, before)
		}
	})
}

func TestNextStopsRemovedIntegrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{},
			[]config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		w.sleepUntilTurn("bucket")
		lab := w.mustWindow("bucket")
		n := w.next(role("other", "other-bucket"))
		defer n.Close()
		if _, ok := n.Find(locator.Locator{Bucket: "bucket"}, n.clock()); ok {
			t.Error("Find of a removed integration's bucket = true, want false")
		}
		if got := n.sessions.Len(); got != 0 {
			t.Errorf("%d entries in the credentials cache, want none", got)
		}
		if n.Windows()[lab] {
			t.Error("a removed integration has a window")
		}
		// A request that began before the change must not start calls.
		if _, err := w.window("bucket"); !errors.Is(err, errRemoved) {
			t.Errorf("Window() of a removed integration = %v, want %v", err, errRemoved)
		}
		if got := w.sts.count("lab"); got > 2 {
			t.Errorf("%d calls for a removed integration, want at most 2", got)
		}
		if got := n.sessions.Len(); got != 0 {
			t.Errorf("%d entries in the credentials cache, want none", got)
		}
	})
}

// A call in flight during the change serves the requests of both sets.
func TestNextDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		w.sleepUntilTurn("bucket")
		var wg sync.WaitGroup
		var before *Window
		wg.Go(func() { before = w.mustWindow("bucket") })
		synctest.Wait()
		n := w.next(role("lab", "bucket"), role("new", "new-bucket"))
		defer n.Close()
		after := n.mustWindow("bucket")
		wg.Wait()
		if before != after {
			t.Errorf("the sets have windows %p and %p, want the same", before, after)
		}
		if got := n.sts.count("lab"); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

// With other buckets the window changes, so that signatures for removed buckets can be purged.
func TestNextWithOtherBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{staticKeys("keys", "one", "two")})
		before := w.mustWindow("one")
		n := w.next(staticKeys("keys", "one"))
		defer n.Close()
		after := n.mustWindow("one")
		if after == before {
			t.Error("the window is the same, want another")
		}
		if all := n.Windows(); all[before] || !all[after] {
			t.Errorf("Windows() holds the old window: %v, the new one: %v", all[before], all[after])
		}
		if _, ok := n.Find(locator.Locator{Bucket: "two"}, n.clock()); ok {
			t.Error("Find of a removed bucket = true, want false")
		}
	})
}

func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{},
			[]config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		lab, other := w.mustWindow("bucket"), w.mustWindow("other-bucket")
		if got := w.Purge("lab"); len(got) != 1 || got[0] != "lab" {
			t.Errorf("Purge(lab) = %v, want [lab]", got)
		}
		if got := w.Purge("unknown"); len(got) != 0 {
			t.Errorf("Purge(unknown) = %v, want none", got)
		}
		time.Sleep(time.Second)
		if got := w.mustWindow("bucket"); got == lab || got.session == lab.session {
			t.Error("after the purge the old session signs")
		}
		if n := w.sts.count("lab"); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		if w.mustWindow("other-bucket") != other {
			t.Error("the purge changed another integration's window")
		}
		if got := w.Purge(""); len(got) != 2 || w.sessions.Len() != 0 {
			t.Errorf("Purge of all = %v, leaving %d sessions, want 2 names and none",
				got, w.sessions.Len())
		}
		// See keeper.finish for the interleaving.
		var wg sync.WaitGroup
		var arrived *Window
		wg.Go(func() { arrived = w.mustWindow("bucket") })
		synctest.Wait() // the third call is in flight
		w.Purge("lab")
		wg.Wait()
		if got := arrived.session.credentials.AccessKeyID; got != "ASIA-lab-4" {
			t.Errorf("the session is %s, want ASIA-lab-4, requested after the purge", got)
		}
	})
}

func TestNextKeepsRegions(t *testing.T) {
	asked := 0
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		asked++
		return hasRegion(r, "eu-west-3"), nil
	})
	auto := role("lab", "bucket")
	auto.Region = config.RegionAuto
	w := newWorld(t, &fakeSTS{}, []config.Integration{auto}, withTransport(transport))
	for n, w := range []*world{w, w.next(auto, role("new", "new-bucket"))} {
		p, _, err := w.bucket("bucket").locate(context.Background(), w.clock())
		if err != nil || p.Region != "eu-west-3" {
			t.Errorf("set %d: Place() = %+v, %v, want eu-west-3", n, p, err)
		}
	}
	if asked != 1 {
		t.Errorf("the store was asked %d times, want once", asked)
	}
}

// A set takes over the integrations that its configuration shares with the previous one, with their
// buckets, and makes no other.
func TestNextSharesIntegrations(t *testing.T) {
	w := newWorld(t, &fakeSTS{}, nil)
	same, changed := role("same", "bucket"), role("changed", "other-bucket")
	scoped := role("scoped", "films")
	scoped.Prefix = "tenant-a/"
	configOf := func(all ...*config.Integration) *config.Config {
		return &config.Config{Integrations: all, Cache: config.Cache{URLs: 100, Credentials: 100}}
	}
	first, err := w.Next(configOf(&same, &changed, &scoped), w.options)
	if err != nil {
		t.Fatal(err)
	}
	again := changed
	again.ListBucket = true
	second, err := first.Next(configOf(&again, &scoped, &same), w.options)
	if err != nil {
		t.Fatal(err)
	}
	find := func(s *Set, bucket string) *Bucket {
		t.Helper()
		b, ok := s.Find(locator.Locator{Bucket: bucket, Key: "tenant-a/key"}, time.Now())
		if !ok {
			t.Fatalf("Find(%q) = false, want true", bucket)
		}
		return b
	}
	for _, bucket := range []string{"bucket", "films"} {
		if find(first, bucket) != find(second, bucket) {
			t.Errorf("the unchanged integration of %s has another bucket", bucket)
		}
	}
	before, after := find(first, "other-bucket"), find(second, "other-bucket")
	if before == after || before.Integration == after.Integration {
		t.Error("the changed integration is the same one")
	}
	if after.Integration.config != &again {
		t.Error("the changed integration has its previous configuration")
	}
	if first.integrations[0] != second.integrations[2] {
		t.Error("the unchanged integration is another one")
	}
	const unchanged = 1000
	many := []*config.Integration{&same}
	for n := range unchanged {
		i := role(fmt.Sprint("i", n), fmt.Sprint("bucket-", n))
		many = append(many, &i)
	}
	first, err = second.Next(configOf(many...), w.options)
	if err != nil {
		t.Fatal(err)
	}
	allocations := testing.AllocsPerRun(5, func() {
		if _, err := first.Next(configOf(many...), w.options); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > unchanged/10 {
		t.Errorf("Next makes %v allocations for %d unchanged integrations, want at most %d",
			allocations, unchanged, unchanged/10)
	}
}
