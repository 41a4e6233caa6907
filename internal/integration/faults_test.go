package integration

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// pauses returns the intervals between calls to an STS that always fails.
func pauses(t *testing.T, n int, failure error, random func() float64) (all []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var called []time.Time
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			called = append(called, time.Now())
			return 0, 0, failure
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")},
			func(_ *config.Config, o *Options) { o.Random = random })
		defer w.Close()
		for len(called) < n+1 {
			_, err := w.window("bucket")
			var failed *AssumeRoleError
			if !errors.As(err, &failed) || failed.RetryAfter <= 0 {
				t.Fatalf("Window() = %v, want an AssumeRoleError with RetryAfter", err)
			}
			time.Sleep(min(failed.RetryAfter, 10*time.Millisecond))
		}
		for i := range n {
			all = append(all, called[i+1].Sub(called[i]).Round(10*time.Millisecond))
		}
	})
	return all
}

func TestPausesBetweenCalls(t *testing.T) {
	asks := func(status int, seconds string) error {
		return &smithyhttp.ResponseError{
			Err: errReset,
			Response: &smithyhttp.Response{Response: &http.Response{
				StatusCode: status,
				Header:     http.Header{"Retry-After": {seconds}},
			}},
		}
	}
	const s = time.Second
	least, most := func() float64 { return 0 }, func() float64 { return 0.9999999 }
	for name, c := range map[string]struct {
		failure error
		random  func() float64
		want    []time.Duration
	}{
		"failure, least jitter": {
			errReset, least, []time.Duration{s / 10, s / 10, s / 10, s / 10},
		},
		"failure, most jitter": {
			errReset, most, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s},
		},
		"throttled, most jitter":   {status(429), most, []time.Duration{s, 2 * s, 4 * s}},
		"denied, least jitter":     {status(403), least, []time.Duration{5 * s, 5 * s}},
		"denied, most jitter":      {status(403), most, []time.Duration{10 * s, 10 * s}},
		"failure with Retry-After": {asks(503, "90"), least, []time.Duration{90 * s, 90 * s}},
		"denied with Retry-After":  {asks(403, "30"), least, []time.Duration{30 * s}},
		"Retry-After above the cap": {
			asks(429, "86400"), least, []time.Duration{maxRetryAfter, maxRetryAfter},
		},
		"Retry-After below back-off": {asks(503, "1"), most, []time.Duration{s, 2 * s, 4 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pauses(t, len(c.want), c.failure, c.random); !slices.Equal(got, c.want) {
				t.Errorf("pauses = %v, want %v", got, c.want)
			}
		})
	}
}

// Stepping the clock back while STS fails does not prolong the pause, neither without a session nor
// in the fallback window: once STS works, it is called within the longest pause.
func TestClockSteppedBackDuringAPause(t *testing.T) {
	steps := []time.Duration{3 * time.Second, 5 * time.Minute, 25 * time.Minute, 24 * time.Hour}
	for _, warm := range []bool{false, true} {
		for _, back := range steps {
			t.Run("warm="+strconv.FormatBool(warm)+" "+back.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testClockSteppedBack(t, warm, back) })
			})
		}
	}
}

func testClockSteppedBack(t *testing.T, warm bool, back time.Duration) {
	var down atomic.Bool
	var offset atomic.Int64
	// Without the monotonic reading, as when the system's clock is set.
	clock := func() time.Time { return time.Now().Round(0).Add(time.Duration(offset.Load())) }
	sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
		if down.Load() {
			return 0, 0, errReset
		}
		return 0, time.Hour + time.Duration(offset.Load()), nil
	}}
	w := newWorld(t, sts, []config.Integration{role("lab", "bucket")}, withClock(clock))
	defer w.Close()
	w.sleepUntilTurn("bucket")
	down.Store(!warm)
	request := func() (ownSession bool) {
		win, err := w.window("bucket")
		synctest.Wait()
		return err == nil && win.session.window == win.index
	}
	request()
	down.Store(true)
	if warm { // 26 minutes into the next window
		p := &w.keeper("bucket").plan
		k := p.index(clock())
		for p.index(clock()) == k || clock().Sub(p.start(k+1)) < 26*time.Minute {
			request()
			time.Sleep(time.Second)
		}
	} else {
		for range 10 * 60 {
			request()
			time.Sleep(time.Second)
		}
	}
	offset.Store(-int64(back))
	down.Store(false)
	began := time.Now()
	for !request() {
		if waited := time.Since(began); waited > longestPause+2*staleness {
			t.Fatalf("no session for %v, want at most %v", waited, longestPause+2*staleness)
		}
		time.Sleep(time.Second)
	}
}

// See keeper.forget for the interleaving.
func TestPurgeWhileASessionArrives(t *testing.T) {
	for range 20 {
		answer := make(chan struct{})
		sts := &fakeSTS{answer: func(n int, _ string) (time.Duration, time.Duration, error) {
			if n == 1 {
				<-answer
			}
			return 0, time.Hour, nil
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		k := w.keeper("bucket")
		k.mu.Lock()
		k.startFetchLocked(k.plan.index(time.Now()), time.Now())
		close(answer)
		time.Sleep(time.Millisecond) // the session has arrived, and waits for the lock
		var wg sync.WaitGroup
		wg.Go(func() { w.Purge("lab") })
		time.Sleep(time.Millisecond) // so does the purge
		k.mu.Unlock()
		wg.Wait()
		if got := w.mustWindow("bucket").session.credentials.AccessKeyID; got != "ASIA-lab-2" {
			t.Fatalf("the session after the purge is %s, want ASIA-lab-2", got)
		}
		w.Close()
	}
}

// Reloads, purges, requests and failing calls at once: no request waits forever, no unusable window
// is returned, and no waiter, endpoint or session is left over.
func TestReloadsPurgesAndRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := []error{errReset, status(403), status(429)}
		sts := &fakeSTS{answer: func(n int, _ string) (time.Duration, time.Duration, error) {
			if n%3 == 0 {
				return time.Duration(n%7) * time.Second, 0, failures[n%9/3]
			}
			return time.Duration(n%5) * 300 * time.Millisecond, time.Hour, nil
		}}
		both := []config.Integration{role("lab", "bucket"), role("other", "other-bucket")}
		w := newWorld(t, sts, both)
		var current atomic.Pointer[world]
		current.Store(w)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for n := range 50 {
			bucket := []string{"bucket", "other-bucket"}[n%2]
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(10+n) * time.Millisecond):
					}
					b, ok := current.Load().Find(locator.Locator{Bucket: bucket}, time.Now())
					if !ok {
						continue
					}
					win, now, err := b.Integration.Window(t.Context(), time.Now(), 0)
					var failed *AssumeRoleError
					switch {
					case err != nil && !errors.As(err, &failed):
						t.Errorf("Window() = %v, want an AssumeRoleError", err)
					case err == nil && (!win.usable(now) || win.Expires.After(sts.expiry(win))):
						t.Errorf("at %v the window expires at %v and its session at %v",
							now, win.Expires, sts.expiry(win))
					}
				}
			})
		}
		for n := range 600 {
			time.Sleep(500 * time.Millisecond)
			integrations := both
			if n%3 == 0 {
				integrations = both[:1+n%2]
			}
			next := current.Load().next(integrations...)
			current.Store(next)
			if n%5 == 0 {
				next.Purge([]string{"", "lab"}[n%2])
			}
		}
		close(stop)
		wg.Wait()
		time.Sleep(time.Minute)
		last := current.Load().next(both...)
		for began := time.Now(); ; time.Sleep(time.Second) {
			if _, err := last.window("bucket"); err == nil {
				break
			} else if time.Since(began) > 2*time.Minute {
				t.Fatalf("no session after %v: %v", time.Since(began), err)
			}
		}
		last.Close()
		if n := last.waiters.Load(); n != 0 {
			t.Errorf("%d waiters are left, want none", n)
		}
		if n := len(last.calls.endpoints); n != 0 {
			t.Errorf("%d endpoints are left, want none", n)
		}
		if n := last.sessions.Len(); n > 2 {
			t.Errorf("%d entries in the credentials cache, want at most 2", n)
		}
	})
}

// See keeper.decide for the interleaving.
func TestWhatIsGoneIsNotFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 3 * time.Second, time.Hour, nil
		}}
		w := newWorld(t, sts,
			[]config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		w.sleepUntilTurn("bucket")
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.window("bucket"); !errors.Is(err, errRemoved) {
				t.Errorf("a request that waited got %v, want %v", err, errRemoved)
			}
		})
		synctest.Wait()
		n := w.next(role("other", "other-bucket"))
		defer n.Close()
		if _, err := w.window("bucket"); !errors.Is(err, errRemoved) {
			t.Errorf("a later request got %v, want %v", err, errRemoved)
		}
		wg.Wait()
		if got := w.sts.count("lab"); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
		if got := n.sessions.Len(); got != 0 {
			t.Errorf("%d entries in the credentials cache, want none", got)
		}
	})
}

// A signature covers the URL's host and path.
func TestNextWithAnotherPathStyle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := staticKeys("keys", "one")
		keys.Endpoint, keys.PathStyle = "https://minio.internal", true
		w := newWorld(t, &fakeSTS{}, []config.Integration{keys})
		before := w.mustWindow("one")
		keys.PathStyle = false
		n := w.next(keys)
		defer n.Close()
		if n.mustWindow("one") == before {
			t.Error("the window is the same after a change of path_style, want another")
		}
	})
}

func TestNextWithAnotherHost(t *testing.T) {
	for name, change := range map[string]func(*config.Integration){
		"dualstack":  func(i *config.Integration) { i.DualStack = true },
		"fips":       func(i *config.Integration) { i.FIPS = true },
		"accelerate": func(i *config.Integration) { i.Accelerate = true },
		"path_style": func(i *config.Integration) { i.HostStyle = true },
		"access_point": func(i *config.Integration) {
			i.AccessPoint = "arn:aws:s3:us-east-1:123456789012:accesspoint/lab"
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			keys := staticKeys("keys", "one")
			w := newWorld(t, &fakeSTS{}, []config.Integration{keys})
			before := w.mustWindow("one")
			change(&keys)
			n := w.next(keys)
			defer n.Close()
			if n.mustWindow("one") == before {
				t.Errorf("the window is the same after a change of %s, want another", name)
			}
		})
	}
}

// Patterns match only names that are valid in the integration's store.
func TestFindChecksNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws, store := staticKeys("aws", "*"), staticKeys("store", "My_Bucket", "Team_*")
		store.Endpoint = "https://x.example.co/storage/v1/s3"
		w := newWorld(t, &fakeSTS{}, []config.Integration{aws, store})
		for name, want := range map[string]string{
			"My_Bucket": "https://x.example.co/storage/v1/s3/My_Bucket/",
			"Team_a":    "https://x.example.co/storage/v1/s3/Team_a/",
			"photos":    "https://photos.s3.us-east-1.amazonaws.com/",
			"my_bucket": "", "Photos": "", "photos--x-s3": "", "team_a": "",
		} {
			got := ""
			if b, ok := w.Find(locator.Locator{Bucket: name}, time.Now()); ok {
				got = b.known().Endpoint.URL()
			}
			if got != want {
				t.Errorf("Find(%q) returns a bucket at %q, want %q", name, got, want)
			}
			if want == "" && !w.Ready(locator.Locator{Bucket: name, Key: "k"}, time.Now()) {
				t.Errorf("Ready(%q) = false, want true: no integration serves it", name)
			}
		}
	})
}

// A bucket moves to another integration, at another store, while its region is being asked for.
func TestNextDuringARegionRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return hasRegion(r, "r1"), nil
		})
		at := func(store string) config.Integration {
			i := role("lab", "bucket")
			i.Region, i.PathStyle = config.RegionAuto, true
			i.Endpoint = "https://" + store + ".internal"
			return i
		}
		w := newWorld(t, &fakeSTS{}, []config.Integration{at("old")}, withTransport(transport))
		var wg sync.WaitGroup
		place := func(w *world, store string) {
			b := w.bucket("bucket")
			wg.Go(func() {
				p, _, err := b.locate(t.Context(), time.Now())
				if err != nil || !strings.Contains(p.Endpoint.URL(), store) {
					t.Errorf("Place() = %+v, %v, want a place at %s", p, err, store)
				}
			})
		}
		place(w, "old")
		synctest.Wait()
		n := w.next(at("new"))
		defer n.Close()
		place(n, "new")
		wg.Wait()
	})
}
