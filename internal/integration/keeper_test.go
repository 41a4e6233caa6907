package integration

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

func TestWindowsAreOnTheClocksGrid(t *testing.T) {
	for _, c := range []struct{ lifetime, remaining time.Duration }{
		{45 * time.Minute, 15 * time.Minute},
		{2 * time.Second, time.Second},
		{7 * 24 * time.Hour, time.Hour},
		{3601 * time.Second, 7 * time.Second},
	} {
		id := identityOf(&config.Integration{Name: c.lifetime.String()}, "")
		p := newPlan(c.lifetime, c.remaining, id)
		if p.phase < 0 || p.phase >= p.period || p.phase%time.Second != 0 {
			t.Errorf("%v: phase = %v, want whole seconds from 0 to %v", c, p.phase, p.period)
		}
		for _, at := range []time.Time{
			time.Unix(0, 0),
			time.Unix(-5, 3),
			time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC),
			p.start(100),
			p.start(100).Add(-1),
		} {
			k := p.index(at)
			if at.Before(p.start(k)) || !at.Before(p.start(k+1)) {
				t.Errorf("%v: index(%v) = %d, a window from %v to %v",
					c, at, k, p.start(k), p.start(k+1))
			}
		}
	}
}

// An integration in use calls AssumeRole once per window, ahead of it, and no request waits.
func TestHotIntegrationNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.mustWindow("bucket")
		windows := map[int64]*Window{}
		for range 4 * 3600 {
			before := time.Now()
			win := w.mustWindow("bucket")
			if waited := time.Since(before); waited > 0 {
				t.Fatalf("a request at %v waited %v, want 0", before, waited)
			}
			if old, ok := windows[win.index]; ok && old != win {
				t.Fatalf("window %d changed while it was current", win.index)
			}
			windows[win.index] = win
			time.Sleep(time.Second)
		}
		// The session of the next window may have been fetched.
		if n := w.sts.count("lab"); n != len(windows) && n != len(windows)+1 {
			t.Errorf("%d calls for %d windows", n, len(windows))
		}
		if len(windows) < 8 {
			t.Errorf("%d windows in 4 hours, want at least 8", len(windows))
		}
	})
}

// After idling, the first request waits for the own session although an older one could sign.
func TestIdleIntegrationWaitsForItsOwnSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		first := w.mustWindow("bucket")
		time.Sleep(time.Until(first.fetchAt) - time.Second)
		w.mustWindow("bucket")
		time.Sleep(time.Until(first.End))
		second := w.mustWindow("bucket")
		if second.index != first.index+1 || second.session == first.session {
			t.Errorf("window %d follows %d; same session: %v",
				second.index, first.index, second.session == first.session)
		}
		if n := w.sts.count("lab"); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

func TestColdRequestsShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		const requests = 10_000
		got := make([]*Window, requests)
		var wg sync.WaitGroup
		for n := range requests {
			wg.Go(func() { got[n], _ = w.window("bucket") })
		}
		wg.Wait()
		if n := w.sts.count("lab"); n != 1 {
			t.Errorf("%d calls for %d requests, want 1", n, requests)
		}
		for n := range got {
			if got[n] == nil || got[n] != got[0] {
				t.Fatalf("request %d got window %p, request 0 %p", n, got[n], got[0])
			}
		}
	})
}

// URLs are signed at the start of the window, or when the session was issued if that was later.
func TestSigningInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		time.Sleep(10*time.Minute + 300*time.Millisecond)
		first := w.mustWindow("bucket")
		late := first.SignedAt.Sub(first.Start)
		if late < 10*time.Minute || late > 10*time.Minute+time.Second {
			t.Errorf("signed %v after the window's start, want 10m", late)
		}
		if first.SignedAt.Nanosecond() != 0 {
			t.Errorf("signed at %v, want whole seconds", first.SignedAt)
		}
		time.Sleep(time.Until(first.End) - time.Second)
		w.mustWindow("bucket") // starts the call for the next session
		time.Sleep(time.Minute)
		if second := w.mustWindow("bucket"); !second.SignedAt.Equal(second.Start) {
			t.Errorf("signed at %v, want the window's start %v", second.SignedAt, second.Start)
		}
	})
}

// A URL is a function of its session and its window: another process makes the same bytes with the
// same session, and other bytes with its own.
func TestSameSessionMakesSameURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url := func(w *world) string {
			b, win := w.bucket("bucket"), w.mustWindow("bucket")
			place, _, err := b.locate(t.Context(), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			signer, err := win.Signer(place.Region)
			if err != nil {
				t.Fatal(err)
			}
			o := &presign.Object{
				Endpoint: place.Endpoint,
				Method:   "GET",
				Key:      "folder/photo ü+1.jpg",
			}
			return string(signer.AppendURL(nil, o, signer.Sign(o)))
		}
		sts := &fakeSTS{}
		first := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer first.Close()
		first.sleepUntilTurn("bucket")
		time.Sleep(time.Minute)
		want := url(first)

		time.Sleep(time.Minute)
		second := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer second.Close()
		id := first.keeper("bucket").identity
		held, ok := first.sessions.Get(id, time.Now())
		if !ok {
			t.Fatal("the first process holds no session")
		}
		second.sessions.Add(id, &sessionSet{
			owner:    second.keeper("bucket"),
			sessions: held.sessions,
		})
		if got := url(second); got != want {
			t.Errorf("with the same session:\n got %s\nwant %s", got, want)
		}
		if n := sts.count("lab"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		third := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer third.Close()
		if url(third) == want {
			t.Error("the URL is the same with another session, want another")
		}
	})
}

func TestFirstRequestsEndDoesNotFailOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		ctx, leave := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := w.bucket("bucket").Integration.Window(ctx, time.Now(), 0)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the cancelled request got %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := w.window("bucket"); err != nil {
				t.Errorf("the other request got %v, want a window", err)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
		if n := w.sts.count("lab"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestSlowSTSDelaysItsOwnIntegrationOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(_ int, name string) (time.Duration, time.Duration, error) {
			if name == "slow" {
				return time.Hour, time.Hour, nil
			}
			return 0, time.Hour, nil
		}}
		w := newWorld(t, sts,
			[]config.Integration{role("slow", "slow-bucket"), role("quick", "quick-bucket")})
		defer w.Close()
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := w.window("slow-bucket")
			var failed *AssumeRoleError
			if !errors.As(err, &failed) || failed.Result != Unavailable {
				t.Errorf("slow: %v, want an AssumeRoleError of result %s", err, Unavailable)
			}
			if waited := time.Since(start); waited != fetchTimeout {
				t.Errorf("slow: waited %v, want %v", waited, fetchTimeout)
			}
		})
		synctest.Wait()
		w.mustWindow("quick-bucket")
		if waited := time.Since(start); waited > 0 {
			t.Errorf("quick: waited %v, want 0", waited)
		}
		wg.Wait()
	})
}

// STS fails for 20 minutes, from the worst instant on: every request of a warm integration with the
// default durations gets a usable window.
func TestWarmIntegrationSurvivesAnOutageOf20Minutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			if down.Load() {
				return time.Second, 0, errReset
			}
			return 100 * time.Millisecond, time.Hour, nil
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		first := w.mustWindow("bucket")
		for time.Now().Before(first.End.Add(-5 * time.Minute)) { // the start of the prefetch lead
			time.Sleep(time.Second)
			w.mustWindow("bucket")
		}
		down.Store(true)
		calls := sts.count("lab")
		for range 20 * 60 {
			win := w.mustWindow("bucket")
			if !win.usable(time.Now()) {
				t.Fatalf("an unusable window at %v", time.Now())
			}
			time.Sleep(time.Second)
		}
		if n := sts.count("lab") - calls; n < 10 || n > 60 {
			t.Errorf("%d calls in 20 minutes of outage, want 10 to 60", n)
		}
		down.Store(false)
		fallback := w.mustWindow("bucket")
		time.Sleep(longestPause + 5*time.Second)
		w.mustWindow("bucket")
		time.Sleep(time.Second)
		own := w.mustWindow("bucket")
		if fallback.session.window == fallback.index {
			t.Errorf("during the outage window %d has its own session, want a fallback",
				fallback.index)
		}
		if own.session.window != own.index {
			t.Errorf("after the outage the session of window %d signs in window %d",
				own.session.window, own.index)
		}
	})
}

// In a long outage max-age falls to zero, then requests fail. No URL outlives its session.
func TestLongOutageEndsInAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(n int, _ string) (time.Duration, time.Duration, error) {
			if n > 1 {
				return 0, 0, errReset
			}
			return 0, time.Hour, nil
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		win := w.mustWindow("bucket")
		expires := win.session.expires
		sawNoStore := false
		for range 5 * 3600 {
			time.Sleep(time.Second)
			win, err := w.window("bucket")
			now := time.Now()
			if err != nil {
				var failed *AssumeRoleError
				if !errors.As(err, &failed) || failed.Result != Unavailable ||
					failed.RetryAfter <= 0 || failed.RetryAfter > longestPause {
					t.Fatalf("Window() = %v, want %s and a RetryAfter of at most %v",
						err, Unavailable, longestPause)
				}
				if left := expires.Sub(now); left > time.Minute+time.Second {
					t.Fatalf("failed with %v of the session left, want at most a minute", left)
				}
				if !sawNoStore {
					t.Error("max-age was never 0 before the error")
				}
				return
			}
			if win.Expires.After(expires) || win.Remaining(now) <= time.Minute-time.Second {
				t.Fatalf("URLs have %v left, the session %v", win.Remaining(now), expires.Sub(now))
			}
			sawNoStore = sawNoStore || win.MaxAge(now) <= 0
		}
		t.Error("no error within 5 hours on one session")
	})
}

func TestDenialIsRememberedForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 0, 0, status(403)
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		for range 60 * 10 {
			_, err := w.window("bucket")
			var failed *AssumeRoleError
			if !errors.As(err, &failed) || failed.Result != Denied || failed.Integration != "lab" {
				t.Fatalf("Window() = %v, want %s for lab", err, Denied)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := sts.count("lab"); n < 6 || n > 13 {
			t.Errorf("%d calls in a minute of denials, want 6 to 13", n)
		}
	})
}

// A role whose sessions are shorter than requested: no URL outlives its session, and the calls are
// bounded.
func TestShortSessions(t *testing.T) {
	for _, lives := range []time.Duration{
		40 * time.Minute,
		20 * time.Minute,
		10 * time.Minute,
		3 * time.Minute,
		90 * time.Second,
		30 * time.Second,
		0,
		-time.Hour,
	} {
		t.Run(lives.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testShortSessions(t, lives) })
		})
	}
}

func testShortSessions(t *testing.T, lives time.Duration) {
	sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
		return 0, lives, nil
	}}
	w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
	defer w.Close()
	served := 0
	for range 3600 {
		if win, err := w.window("bucket"); err == nil {
			served++
			expiry := sts.expiry(win)
			if win.Expires.After(expiry) || !time.Now().Before(win.Expires) {
				t.Fatalf("at %v: URLs expire at %v, their session at %v",
					time.Now(), win.Expires, expiry)
			}
		}
		time.Sleep(time.Second)
	}
	// A session is replaced when min_remaining of it is left, or after a quarter of its life.
	limit := 3600
	if lives > 0 {
		limit = int(4*time.Hour/lives) + 2
	}
	if n := sts.count("lab"); n > limit {
		t.Errorf("%d calls in an hour, want at most %d", n, limit)
	}
	if lives >= 3*time.Minute && served != 3600 {
		t.Errorf("%d of 3600 requests served, want all", served)
	}
	if lives < 2*time.Minute && served > 0 {
		t.Errorf("%d of 3600 requests served, want none", served)
	}
}

func TestExpiredSessionIsMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 0, -time.Minute, nil
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		_, err := w.window("bucket")
		var failed *AssumeRoleError
		if !errors.As(err, &failed) || failed.Result != Malformed ||
			!strings.Contains(err.Error(), "check the clock") {
			t.Errorf("Window() = %v, want %s and advice to check the clock", err, Malformed)
		}
	})
}

// Whatever the clock is set to, each decision is made from the true expiry.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{
		-2 * time.Second,
		-10 * time.Minute,
		-24 * time.Hour,
		10 * time.Minute,
		50 * time.Minute,
		24 * time.Hour,
	} {
		for _, at := range []string{"start", "middle", "turn"} {
			t.Run(step.String()+" at "+at, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testClockStep(t, step, at) })
			})
		}
	}
}

func testClockStep(t *testing.T, step time.Duration, at string) {
	var offset atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
		return 0, time.Duration(offset.Load()) + time.Hour, nil
	}}
	w := newWorld(t, sts, []config.Integration{role("lab", "bucket")}, withClock(clock))
	defer w.Close()
	win := w.mustWindow("bucket")
	switch at {
	case "middle":
		time.Sleep(win.End.Sub(clock()) / 2)
	case "turn":
		time.Sleep(win.End.Sub(clock()) - time.Second)
		w.mustWindow("bucket")
		time.Sleep(2 * time.Second)
	}
	w.mustWindow("bucket")
	// Calls are timed by the monotonic clock, which this clock lacks: let them end before the step.
	synctest.Wait()
	offset.Store(int64(step))
	for range 2 * 3600 {
		win := w.mustWindow("bucket")
		now := clock()
		if !win.usable(now) || win.Remaining(now) < 15*time.Minute ||
			win.MaxAge(now) > win.End.Sub(now) {
			t.Fatalf("at %v: signed at %v, expires %v, max-age %v",
				now, win.SignedAt, win.Expires, win.MaxAge(now))
		}
		time.Sleep(time.Second)
	}
	if n := sts.count("lab"); n > 9 {
		t.Errorf("%d calls in 3 hours, want at most 9", n)
	}
}

func TestCredentialsCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{},
			[]config.Integration{
				role("hot", "hot-bucket"),
				role("a", "a-bucket"),
				role("b", "b-bucket"),
				role("c", "c-bucket"),
			},
			func(c *config.Config, _ *Options) { c.Cache.Credentials = 2 })
		defer w.Close()
		hot := w.mustWindow("hot-bucket")
		for range 5 {
			for _, other := range []string{"a-bucket", "b-bucket", "c-bucket"} {
				w.mustWindow(other)
				time.Sleep(time.Second)
				if w.mustWindow("hot-bucket") != hot {
					t.Fatal("the session of the integration in use was evicted")
				}
			}
		}
		if n := w.sts.count("hot"); n != 1 {
			t.Errorf("%d calls for the integration in use, want 1", n)
		}
		if n := w.sts.count("a"); n != 5 {
			t.Errorf("%d calls for an integration that is evicted each time, want 5", n)
		}
		if n := w.sessions.Len(); n != 2 {
			t.Errorf("%d entries, want 2", n)
		}
	})
}

func TestStaticKeysNeedNoSTS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := staticKeys("onprem", "scans")
		keys.Endpoint, keys.PathStyle = "https://minio.internal:9000", true
		one := newWorld(t, &fakeSTS{}, []config.Integration{keys})
		two := newWorld(t, &fakeSTS{}, []config.Integration{keys})
		defer one.Close()
		defer two.Close()
		for range 4 * 3600 {
			a, b := one.mustWindow("scans"), two.mustWindow("scans")
			if a.SignedAt != b.SignedAt || a.Expires != b.Expires || a.SignedAt != a.Start {
				t.Fatalf("two processes sign at %v and %v, expiring %v and %v",
					a.SignedAt, b.SignedAt, a.Expires, b.Expires)
			}
			if left := a.Remaining(time.Now()); left < 15*time.Minute {
				t.Fatalf("%v left, want at least 15m", left)
			}
			time.Sleep(time.Second)
		}
		if n := one.sts.count("onprem"); n != 0 {
			t.Errorf("%d calls, want none", n)
		}
	})
}

func TestCloseEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return time.Hour, time.Hour, nil
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")},
			func(_ *config.Config, o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.window("bucket"); err == nil {
				t.Error("Window() of a closed set = nil error")
			}
		})
		synctest.Wait()
		start := time.Now()
		w.Close()
		wg.Wait()
		if waited := time.Since(start); waited > 0 {
			t.Errorf("Close waited %v, want 0", waited)
		}
		if strings.Contains(log.String(), "ERROR") { // STS did not fail
			t.Errorf("log = %s, want no error", log.String())
		}
	})
}
