package integration

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// next gives a world another configuration.
func (w *world) next(integrations ...config.Integration) *world {
	w.t.Helper()
	old := w.Set
	set, err := old.Next(&config.Config{Integrations: integrations, Cache: config.Cache{URLs: 100, Credentials: 100}}, w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	old.Retire(set)
	return &world{Set: set, t: w.t, sts: w.sts, clock: w.clock, options: w.options}
}

// What stays the same keeps its session and its window; what is new has its own; what has another identity, too.
func TestNextKeepsWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		w.sleepUntilTurn("bucket")
		lab, other := w.mustWindow("bucket"), w.mustWindow("other-bucket")

		changed := role("other", "other-bucket")
		changed.ExternalID = "another"
		n := w.next(role("lab", "bucket"), changed, role("new", "new-bucket"))
		defer n.Close()
		if got := n.mustWindow("bucket"); got != lab || n.sts.count("lab") != 1 {
			t.Errorf("lab has another window, after %d calls", n.sts.count("lab"))
		}
		if got := n.mustWindow("other-bucket"); got == other || n.sts.count("other") < 2 {
			t.Errorf("other kept its window with another external ID, after %d calls", n.sts.count("other"))
		}
		n.mustWindow("new-bucket")
		if n.sts.count("new") != 1 {
			t.Errorf("%d calls for what is new", n.sts.count("new"))
		}
		// A configuration without it, and one with it again: nothing is left of the first time.
		again := n.next(changed).next(role("lab", "bucket"))
		if got := again.mustWindow("bucket"); got == lab || again.sts.count("lab") != 2 {
			t.Errorf("lab came back with its old window, after %d calls", again.sts.count("lab"))
		}
	})
}

func TestNextStopsWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		w.sleepUntilTurn("bucket")
		lab := w.mustWindow("bucket")
		n := w.next(role("other", "other-bucket"))
		defer n.Close()
		if _, ok := n.Find("bucket", n.clock()); ok {
			t.Error("the bucket is served still")
		}
		if n.sessions.Len() != 0 || n.Windows()[lab] {
			t.Errorf("%d sessions are left, %d windows", n.sessions.Len(), len(n.Windows()))
		}
		// Whoever was on the way is told so, and does not have STS asked for ever.
		if _, err := w.window("bucket"); err == nil || !errors.Is(err, errRemoved) || w.sts.count("lab") > 2 {
			t.Errorf("%v after %d calls", err, w.sts.count("lab"))
		}
		if n.sessions.Len() != 0 {
			t.Error("a session of what is gone was kept")
		}
	})
}

// A session that is on its way while the configuration changes arrives, and serves those who wait for it.
func TestNextDuringAFetch(t *testing.T) {
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
		if before != after || n.sts.count("lab") != 1 {
			t.Errorf("two windows of %d calls", n.sts.count("lab"))
		}
	})
}

// With other buckets, sessions are kept and windows are not, so that what was signed for buckets that are gone can be told.
func TestNextWithOtherBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := config.Integration{Name: "keys", PermittedBuckets: []string{"one", "two"}, Region: "us-east-1", AccessKeyID: "AKIA", SecretAccessKey: "s",
			URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute}
		w := newWorld(t, &fakeSTS{}, []config.Integration{keys})
		before := w.mustWindow("one")
		keys.PermittedBuckets = []string{"one"}
		n := w.next(keys)
		defer n.Close()
		if after := n.mustWindow("one"); after == before || n.Windows()[before] || !n.Windows()[after] {
			t.Error("the window was kept")
		}
		if _, ok := n.Find("two", n.clock()); ok {
			t.Error("the bucket that is gone is served")
		}
	})
}

// A purge has a new session assumed, and one that was asked for before it is not used.
func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		lab, other := w.mustWindow("bucket"), w.mustWindow("other-bucket")
		if got := w.Purge("lab"); len(got) != 1 || got[0] != "lab" {
			t.Errorf("%v", got)
		}
		if got := w.Purge("nobody"); len(got) != 0 {
			t.Errorf("%v", got)
		}
		time.Sleep(time.Second)
		if got := w.mustWindow("bucket"); got == lab || got.session == lab.session || w.sts.count("lab") != 2 {
			t.Errorf("the old session, after %d calls", w.sts.count("lab"))
		}
		if w.mustWindow("other-bucket") != other {
			t.Error("another integration's window went too")
		}
		if got := w.Purge(""); len(got) != 2 || w.sessions.Len() != 0 {
			t.Errorf("%v, %d sessions left", got, w.sessions.Len())
		}
		var wg sync.WaitGroup
		var arrived *Window
		wg.Go(func() { arrived = w.mustWindow("bucket") })
		synctest.Wait() // the call is on its way
		w.Purge("lab")
		wg.Wait()
		if got := arrived.session.credentials.AccessKeyID; got != "ASIA-lab-4" {
			t.Errorf("the session is that of call %s: it was asked for before the purge", got)
		}
	})
}

// That a region is known outlives the configuration.
func TestNextKeepsRegions(t *testing.T) {
	asked := 0
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		asked++
		return &http.Response{StatusCode: 403, Header: http.Header{"X-Amz-Bucket-Region": {"eu-west-3"}}, Body: http.NoBody, Request: r}, nil
	})
	auto := role("lab", "bucket")
	auto.Region = config.RegionAuto
	w := newWorld(t, &fakeSTS{}, []config.Integration{auto}, func(_ *config.Config, o *Options) { o.Transport = transport })
	for _, w := range []*world{w, w.next(auto, role("new", "new-bucket"))} {
		if p, _, err := w.bucket("bucket").Place(context.Background(), w.clock()); err != nil || p.Region != "eu-west-3" {
			t.Errorf("%+v %v", p, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
