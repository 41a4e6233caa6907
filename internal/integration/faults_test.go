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
)

// pauses are how long nobody asked STS, between one failure and the next.
func pauses(t *testing.T, failures int, fails error, random func() float64) (all []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Time
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			asked = append(asked, time.Now())
			return 0, 0, fails
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")}, func(_ *config.Config, o *Options) { o.Random = random })
		defer w.Close()
		for len(asked) < failures+1 {
			_, err := w.window("bucket")
			var failed *AssumeRoleError
			if !errors.As(err, &failed) || failed.RetryAfter <= 0 {
				t.Fatal(err)
			}
			time.Sleep(min(failed.RetryAfter, 10*time.Millisecond))
		}
		for n := range failures {
			all = append(all, asked[n+1].Sub(asked[n]).Round(10*time.Millisecond))
		}
	})
	return all
}

// Full jitter: from next to nothing up to all of a pause that doubles; what STS asks for comes first; denials are remembered for
// seconds.
func TestPauses(t *testing.T) {
	asks := func(status int, seconds string) error {
		return &smithyhttp.ResponseError{Err: errReset, Response: &smithyhttp.Response{Response: &http.Response{
			StatusCode: status, Header: http.Header{"Retry-After": {seconds}}}}}
	}
	const s = time.Second
	least, most := func() float64 { return 0 }, func() float64 { return 0.9999999 }
	for name, c := range map[string]struct {
		fails  error
		random func() float64
		want   []time.Duration
	}{
		"at least":              {errReset, least, []time.Duration{s / 10, s / 10, s / 10, s / 10}},
		"at most":               {errReset, most, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s}},
		"throttled, at most":    {status(429), most, []time.Duration{s, 2 * s, 4 * s}},
		"denied, at least":      {status(403), least, []time.Duration{5 * s, 5 * s}},
		"denied, at most":       {status(403), most, []time.Duration{10 * s, 10 * s}},
		"STS asks for it":       {asks(503, "90"), least, []time.Duration{90 * s, 90 * s}},
		"a denial asks for it":  {asks(403, "30"), least, []time.Duration{30 * s}},
		"STS asks for too much": {asks(429, "86400"), least, []time.Duration{longestRequest, longestRequest}},
		"it asks for less":      {asks(503, "1"), most, []time.Duration{s, 2 * s, 4 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pauses(t, len(c.want), c.fails, c.random); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// A clock that is set back while STS fails does not make the pause longer, neither for who has no session nor for who works
// overtime: once STS is well, it is asked within the longest pause, as it would have been.
func TestClockSetBackDuringAPause(t *testing.T) {
	for _, warm := range []bool{false, true} {
		for _, back := range []time.Duration{3 * time.Second, 5 * time.Minute, 25 * time.Minute, 24 * time.Hour} {
			t.Run(strconv.FormatBool(warm)+" "+back.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var down atomic.Bool
					var set atomic.Int64
					// As when the system's clock is set: the monotonic one goes on.
					clock := func() time.Time { return time.Now().Round(0).Add(time.Duration(set.Load())) }
					sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
						if down.Load() {
							return 0, 0, errReset
						}
						return 0, time.Hour + time.Duration(set.Load()), nil
					}}
					w := newWorld(t, sts, []config.Integration{role("lab", "bucket")}, func(_ *config.Config, o *Options) { o.Clock = clock })
					defer w.Close()
					w.sleepUntilTurn("bucket")
					down.Store(!warm)
					ask := func() (own bool) {
						win, err := w.window("bucket")
						synctest.Wait()
						return err == nil && win.session.window == win.index
					}
					ask()
					down.Store(true)
					if warm { // into the next window, by half an hour
						p := &w.bucket("bucket").Integration.keeper.plan
						for k := p.index(clock()); p.index(clock()) == k || clock().Sub(p.start(k+1)) < 26*time.Minute; time.Sleep(time.Second) {
							ask()
						}
					} else {
						for range 10 * 60 {
							ask()
							time.Sleep(time.Second)
						}
					}
					set.Store(-int64(back))
					down.Store(false)
					began := time.Now()
					for !ask() {
						if time.Since(began) > longestPause+2*staleness {
							t.Fatalf("not asked for %v", time.Since(began))
						}
						time.Sleep(time.Second)
					}
				})
			})
		}
	}
}

// A session that arrives while a purge is on its way, having been asked for before it, signs nothing after it.
func TestPurgeAgainstAnArrival(t *testing.T) {
	for range 20 {
		answer := make(chan struct{})
		w := newWorld(t, &fakeSTS{answer: func(n int, _ string) (time.Duration, time.Duration, error) {
			if n == 1 {
				<-answer
			}
			return 0, time.Hour, nil
		}}, []config.Integration{role("lab", "bucket")})
		i := w.bucket("bucket").Integration
		i.keeper.mu.Lock()
		i.keeper.startFetchLocked(i.keeper.plan.index(time.Now()), time.Now())
		close(answer)
		time.Sleep(time.Millisecond) // the session is there, and waits for the lock
		var wg sync.WaitGroup
		wg.Go(func() { w.Purge("lab") })
		time.Sleep(time.Millisecond) // so does the purge
		i.keeper.mu.Unlock()
		wg.Wait()
		if got := w.mustWindow("bucket").session.credentials.AccessKeyID; got != "ASIA-lab-2" {
			t.Fatalf("the session of %s signs", got)
		}
		w.Close()
	}
}

// Reloads, purges, requests and failing calls at once: nobody waits for ever, no window is dead, and in the end all is well.
func TestReloadsPurgesAndRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(n int, _ string) (time.Duration, time.Duration, error) {
			if n%3 == 0 {
				return time.Duration(n%7) * time.Second, 0, []error{errReset, status(403), status(429)}[n%9/3]
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
					b, ok := current.Load().Find(bucket, time.Now())
					if !ok {
						continue
					}
					win, now, err := b.Integration.Window(t.Context(), time.Now())
					var failed *AssumeRoleError
					switch {
					case err != nil && !errors.As(err, &failed):
						t.Error(err)
					case err == nil && (!win.usable(now) || win.Expires.After(sts.expiry(win))):
						t.Errorf("a window until %v, at %v", win.Expires, now)
					}
				}
			})
		}
		for n := range 600 {
			time.Sleep(500 * time.Millisecond)
			set := both
			if n%3 == 0 {
				set = both[:1+n%2]
			}
			next := current.Load().next(set...)
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
				t.Fatal(err)
			}
		}
		last.Close()
		if last.waiters.Load() != 0 || len(last.calls.endpoints) != 0 || last.sessions.Len() > 2 {
			t.Errorf("%d wait, %d servers, %d sessions are left", last.waiters.Load(), len(last.calls.endpoints), last.sessions.Len())
		}
	})
}

// Who still asks for what is gone is told so at once, and STS is not asked for it again, whatever was on its way.
func TestWhatIsGoneIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) { return 3 * time.Second, time.Hour, nil }},
			[]config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		w.sleepUntilTurn("bucket")
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.window("bucket"); !errors.Is(err, errRemoved) {
				t.Errorf("who waited: %v", err)
			}
		})
		synctest.Wait()
		n := w.next(role("other", "other-bucket"))
		defer n.Close()
		if _, err := w.window("bucket"); !errors.Is(err, errRemoved) {
			t.Errorf("who came later: %v", err)
		}
		wg.Wait()
		if got := w.sts.count("lab"); got != 1 {
			t.Errorf("%d calls", got)
		}
		if n.sessions.Len() != 0 {
			t.Error("its session is kept")
		}
	})
}

// Whatever changes the URL makes another window: its signatures would be those of the URL as it was.
func TestNextWithAnotherPathStyle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := config.Integration{Name: "keys", Bucket: "one", Region: "us-east-1", AccessKeyID: "AKIA", SecretAccessKey: "s", Endpoint: "https://minio.internal",
			URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute, PathStyle: true}
		w := newWorld(t, &fakeSTS{}, []config.Integration{keys})
		before := w.mustWindow("one")
		keys.PathStyle = false
		n := w.next(keys)
		defer n.Close()
		if n.mustWindow("one") == before {
			t.Error("the window was kept")
		}
	})
}

// A bucket that becomes another integration's while its region is asked for is looked for at that one's store.
func TestNextDuringAQuestionForARegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return &http.Response{StatusCode: 403, Header: http.Header{"X-Amz-Bucket-Region": {"r1"}}, Body: http.NoBody, Request: r}, nil
		})
		at := func(store string) config.Integration {
			i := role("lab", "bucket")
			i.Region, i.Endpoint, i.PathStyle = config.RegionAuto, "https://"+store+".internal", true
			return i
		}
		w := newWorld(t, &fakeSTS{}, []config.Integration{at("old")}, func(_ *config.Config, o *Options) { o.Transport = transport })
		var wg sync.WaitGroup
		place := func(w *world, store string) {
			b := w.bucket("bucket")
			wg.Go(func() {
				if p, _, err := b.Place(t.Context(), time.Now()); err != nil || !strings.Contains(p.Endpoint.URL(), store) {
					t.Errorf("%s: %+v %v", store, p, err)
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
