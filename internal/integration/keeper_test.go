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
		{45 * time.Minute, 15 * time.Minute}, {2 * time.Second, time.Second}, {7 * 24 * time.Hour, time.Hour}, {3601 * time.Second, 7 * time.Second},
	} {
		p := newPlan(c.lifetime, c.remaining, identityOf(&config.Integration{Name: c.lifetime.String()}, ""))
		if p.phase < 0 || p.phase >= p.period || p.phase%time.Second != 0 {
			t.Errorf("%v: phase %v of %v", c, p.phase, p.period)
		}
		for _, at := range []time.Time{time.Unix(0, 0), time.Unix(-5, 3), time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC), p.start(100), p.start(100).Add(-1)} {
			k := p.index(at)
			if at.Before(p.start(k)) || !at.Before(p.start(k+1)) {
				t.Errorf("%v: %v is not in window %d, %v to %v", c, at, k, p.start(k), p.start(k+1))
			}
		}
	}
}

// An integration in use calls AssumeRole once a window, ahead of the window's start, and nobody waits for it.
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
				t.Fatalf("waited %v at %v", waited, before)
			}
			if old, ok := windows[win.index]; ok && old != win {
				t.Fatalf("window %d changed within itself", win.index)
			}
			windows[win.index] = win
			time.Sleep(time.Second)
		}
		if n := w.sts.count("lab"); n != len(windows) && n != len(windows)+1 { // the next one may be there already
			t.Errorf("%d calls for %d windows", n, len(windows))
		}
		if len(windows) < 8 {
			t.Errorf("%d windows in 4 hours", len(windows))
		}
	})
}

// An integration that was not used for a while waits for its window's own session, though an older one would do.
func TestIdleIntegrationWaitsForItsOwnSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		first := w.mustWindow("bucket")
		time.Sleep(time.Until(first.fetchAt) - time.Second)
		w.mustWindow("bucket")
		time.Sleep(time.Until(first.End))
		second := w.mustWindow("bucket")
		if second.index != first.index+1 || second.session == first.session || w.sts.count("lab") != 2 {
			t.Errorf("window %d to %d, %d calls", first.index, second.index, w.sts.count("lab"))
		}
	})
}

func TestColdCallersShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		const callers = 10_000
		got := make([]*Window, callers)
		var wg sync.WaitGroup
		for n := range callers {
			wg.Go(func() { got[n], _ = w.window("bucket") })
		}
		wg.Wait()
		if n := w.sts.count("lab"); n != 1 {
			t.Errorf("%d AssumeRole calls for %d callers", n, callers)
		}
		for n := range got {
			if got[n] == nil || got[n] != got[0] {
				t.Fatalf("caller %d got window %p, caller 0 %p", n, got[n], got[0])
			}
		}
	})
}

// URLs are signed at the window's start, or when the session was issued if that was later: no session signs before it is there.
func TestSigningInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		time.Sleep(10*time.Minute + 300*time.Millisecond)
		first := w.mustWindow("bucket")
		if late := first.SignedAt.Sub(first.Start); late < 10*time.Minute || late > 10*time.Minute+time.Second || first.SignedAt.Nanosecond() != 0 {
			t.Errorf("signed %v after the window's start, with a session that was issued after 10m", late)
		}
		time.Sleep(time.Until(first.End) - time.Second)
		w.mustWindow("bucket") // fetches ahead
		time.Sleep(time.Minute)
		if second := w.mustWindow("bucket"); !second.SignedAt.Equal(second.Start) {
			t.Errorf("signed at %v, with a session from before the window's start at %v", second.SignedAt, second.Start)
		}
	})
}

// A URL is a function of its session and its window: a process that did not call STS, and is given the session, makes the
// same bytes; one with a session of its own does not.
func TestSameSessionSameURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url := func(w *world) string {
			b, win := w.bucket("bucket"), w.mustWindow("bucket")
			place, _, err := b.Place(t.Context(), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			signer, err := win.Signer(place.Region)
			if err != nil {
				t.Fatal(err)
			}
			o := &presign.Object{Endpoint: place.Endpoint, Method: "GET", Key: "folder/photo ü+1.jpg"}
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
		lab := first.bucket("bucket").Integration
		held, ok := first.sessions.Get(lab.keeper.identity, time.Now())
		if !ok {
			t.Fatal("the first holds no session")
		}
		second.sessions.Add(lab.keeper.identity, &sessionSet{owner: second.bucket("bucket").Integration.keeper, sessions: held.sessions})
		if got := url(second); got != want || sts.count("lab") != 1 {
			t.Errorf("%d calls; with the same session:\n got %s\nwant %s", sts.count("lab"), got, want)
		}
		third := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer third.Close()
		if url(third) == want {
			t.Error("the same URL with another session: the URL does not depend on it")
		}
	})
}

func TestFirstCallersLeavingFailsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		ctx, leave := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := w.bucket("bucket").Integration.Window(ctx, time.Now()); !errors.Is(err, context.Canceled) {
				t.Errorf("the one who left got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := w.window("bucket"); err != nil {
				t.Errorf("the one who stayed got %v", err)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
		if n := w.sts.count("lab"); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestSlowSTSHoldsUpItsOwnIntegrationOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(_ int, name string) (time.Duration, time.Duration, error) {
			if name == "slow" {
				return time.Hour, time.Hour, nil
			}
			return 0, time.Hour, nil
		}}
		w := newWorld(t, sts, []config.Integration{role("slow", "slow-bucket"), role("quick", "quick-bucket")})
		defer w.Close()
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := w.window("slow-bucket")
			var failed *AssumeRoleError
			if !errors.As(err, &failed) || failed.Result != Unavailable || time.Since(start) != fetchTimeout {
				t.Errorf("slow: %v after %v", err, time.Since(start))
			}
		})
		synctest.Wait()
		w.mustWindow("quick-bucket")
		if waited := time.Since(start); waited > 0 {
			t.Errorf("quick waited %v", waited)
		}
		wg.Wait()
	})
}

// With STS away for 20 minutes, from the worst instant on, a warm integration with default settings serves on.
func TestOutageOfTwentyMinutesIsNotNoticed(t *testing.T) {
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
		for time.Now().Before(first.End.Add(-5 * time.Minute)) { // until the first instant at which the next session may be fetched
			time.Sleep(time.Second)
			w.mustWindow("bucket")
		}
		down.Store(true)
		calls := sts.count("lab")
		for range 20 * 60 {
			win := w.mustWindow("bucket")
			if !win.usable(time.Now()) {
				t.Fatalf("a dead window at %v", time.Now())
			}
			time.Sleep(time.Second)
		}
		if n := sts.count("lab") - calls; n < 10 || n > 60 {
			t.Errorf("%d calls in 20 minutes of outage", n)
		}
		down.Store(false)
		overtime := w.mustWindow("bucket")
		time.Sleep(longestPause + 5*time.Second)
		w.mustWindow("bucket")
		time.Sleep(time.Second)
		own := w.mustWindow("bucket")
		if own.session.window != own.index || overtime.session.window == overtime.index {
			t.Errorf("the session of window %d serves %d in overtime; after the outage that of %d serves %d",
				overtime.session.window, overtime.index, own.session.window, own.index)
		}
	})
}

// In an outage that goes on, the max-age shrinks to nothing, and at last there is an error, never a dead URL.
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
		dies := win.session.expires
		sawNoStore := false
		for range 5 * 3600 {
			time.Sleep(time.Second)
			win, err := w.window("bucket")
			now := time.Now()
			if err != nil {
				var failed *AssumeRoleError
				if !errors.As(err, &failed) || failed.Result != Unavailable || failed.RetryAfter <= 0 || failed.RetryAfter > longestPause {
					t.Fatalf("%v, retry after %v", err, failed.RetryAfter)
				}
				if left := dies.Sub(now); left > time.Minute+time.Second {
					t.Fatalf("gave up with %v left", left)
				}
				if !sawNoStore {
					t.Error("no-store was never said")
				}
				return
			}
			if win.Expires.After(dies) || win.Remaining(now) <= time.Minute-time.Second {
				t.Fatalf("a URL with %v left; the session has %v", win.Remaining(now), dies.Sub(now))
			}
			sawNoStore = sawNoStore || win.MaxAge(now) <= 0
		}
		t.Error("served for 5 hours on one session")
	})
}

func TestDenialIsRememberedForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) { return 0, 0, status(403) }}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		for range 60 * 10 {
			_, err := w.window("bucket")
			var failed *AssumeRoleError
			if !errors.As(err, &failed) || failed.Result != Denied || failed.Integration != "lab" {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := sts.count("lab"); n < 6 || n > 13 {
			t.Errorf("%d calls in a minute of denials", n)
		}
	})
}

// A role whose sessions are shorter than asked for: URLs never outlive them, and STS is not asked all the time.
func TestShortSessions(t *testing.T) {
	for _, lives := range []time.Duration{40 * time.Minute, 20 * time.Minute, 10 * time.Minute, 3 * time.Minute, 90 * time.Second, 30 * time.Second, 0, -time.Hour} {
		t.Run(lives.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) { return 0, lives, nil }}
				w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
				defer w.Close()
				served := 0
				for range 3600 {
					if win, err := w.window("bucket"); err == nil {
						served++
						if expiry := sts.expiry(win); win.Expires.After(expiry) || !time.Now().Before(win.Expires) {
							t.Fatalf("at %v: a URL until %v of a session until %v", time.Now(), win.Expires, expiry)
						}
					}
					time.Sleep(time.Second)
				}
				// A session is replaced once min_remaining is all it has left, or after a quarter of its life.
				limit := 3600
				if lives > 0 {
					limit = int(4*time.Hour/lives) + 2
				}
				if n := sts.count("lab"); n > limit {
					t.Errorf("%d calls in an hour, at most %d are wanted", n, limit)
				}
				if lives >= 3*time.Minute && served != 3600 || lives < 2*time.Minute && served > 0 {
					t.Errorf("%d of 3600 served", served)
				}
			})
		})
	}
}

func TestMalformedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) { return 0, -time.Minute, nil }},
			[]config.Integration{role("lab", "bucket")})
		defer w.Close()
		_, err := w.window("bucket")
		var failed *AssumeRoleError
		if !errors.As(err, &failed) || failed.Result != Malformed || !strings.Contains(err.Error(), "check the clock") {
			t.Error(err)
		}
	})
}

// A clock that is set decides nothing by itself: what counts is the expiry, at each request.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-2 * time.Second, -10 * time.Minute, -24 * time.Hour, 10 * time.Minute, 50 * time.Minute, 24 * time.Hour} {
		for _, at := range []string{"start", "middle", "turn"} {
			t.Run(jump.String()+" at "+at, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var offset atomic.Int64
					clock := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
					sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
						return 0, time.Duration(offset.Load()) + time.Hour, nil
					}}
					w := newWorld(t, sts, []config.Integration{role("lab", "bucket")}, func(_ *config.Config, o *Options) { o.Clock = clock })
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
					synctest.Wait() // calls on their way are timed by the monotonic clock, which does not jump; here they would be
					offset.Store(int64(jump))
					for range 2 * 3600 {
						win := w.mustWindow("bucket")
						now := clock()
						if !win.usable(now) || win.Remaining(now) < 15*time.Minute || win.MaxAge(now) > win.End.Sub(now) {
							t.Fatalf("at %v: signed at %v, expires %v, max-age %v", now, win.SignedAt, win.Expires, win.MaxAge(now))
						}
						time.Sleep(time.Second)
					}
					if n := sts.count("lab"); n > 9 {
						t.Errorf("%d calls in 3 hours", n)
					}
				})
			})
		}
	}
}

// What falls out of the credentials cache is out of use, and what is in use does not fall out.
func TestCredentialsCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("hot", "hot-bucket"), role("a", "a-bucket"), role("b", "b-bucket"), role("c", "c-bucket")},
			func(c *config.Config, _ *Options) { c.Cache.Credentials = 2 })
		defer w.Close()
		hot := w.mustWindow("hot-bucket")
		for range 5 {
			for _, other := range []string{"a-bucket", "b-bucket", "c-bucket"} {
				w.mustWindow(other)
				time.Sleep(time.Second)
				if w.mustWindow("hot-bucket") != hot {
					t.Fatal("the integration in use lost its session")
				}
			}
		}
		if n := w.sts.count("hot"); n != 1 {
			t.Errorf("%d calls for the integration in use", n)
		}
		if n := w.sts.count("a"); n != 5 {
			t.Errorf("%d calls for one that was evicted each time, want 5", n)
		}
		if n := w.sessions.Len(); n != 2 {
			t.Errorf("%d entries", n)
		}
	})
}

func TestStaticKeysNeedNoSTS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := config.Integration{Name: "onprem", Bucket: "scans", Endpoint: "https://minio.internal:9000", PathStyle: true, Region: "us-east-1",
			AccessKeyID: "AKIA", SecretAccessKey: "secret", URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute}
		one, two := newWorld(t, &fakeSTS{}, []config.Integration{keys}), newWorld(t, &fakeSTS{}, []config.Integration{keys})
		defer one.Close()
		defer two.Close()
		for range 4 * 3600 {
			a, b := one.mustWindow("scans"), two.mustWindow("scans")
			if a.SignedAt != b.SignedAt || a.Expires != b.Expires || a.SignedAt != a.Start {
				t.Fatalf("two processes: signed %v and %v, expire %v and %v", a.SignedAt, b.SignedAt, a.Expires, b.Expires)
			}
			if a.Remaining(time.Now()) < 15*time.Minute {
				t.Fatalf("%v left", a.Remaining(time.Now()))
			}
			time.Sleep(time.Second)
		}
		if n := one.sts.count("onprem"); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestCloseEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		w := newWorld(t, &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) { return time.Hour, time.Hour, nil }},
			[]config.Integration{role("lab", "bucket")}, func(_ *config.Config, o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.window("bucket"); err == nil {
				t.Error("a window from a closed set")
			}
		})
		synctest.Wait()
		start := time.Now()
		w.Close()
		wg.Wait()
		if time.Since(start) > 0 {
			t.Errorf("waited %v", time.Since(start))
		}
		if strings.Contains(log.String(), "ERROR") { // STS did nothing wrong
			t.Error(log.String())
		}
	})
}
