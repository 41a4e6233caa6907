package integration

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// Status and Peek make no calls, and do not touch the credentials cache.
func TestStatusAndPeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(_ int, name string) (time.Duration, time.Duration, error) {
			if name == "bad" {
				return 0, 0, status(http.StatusForbidden)
			}
			return 0, time.Hour, nil
		}}
		keys := staticKeys("keys", "scans")
		keys.URLLifetime, keys.MinRemaining = time.Hour, time.Minute
		w := newWorld(t, sts,
			[]config.Integration{role("good", "photos"), role("bad", "videos"), keys})
		peek := func(bucket string) *Window {
			return w.bucket(bucket).Integration.keeper.peek(time.Now())
		}
		for _, s := range w.status() {
			if !s.Asked.IsZero() || !s.Expires.IsZero() || s.Result != "" ||
				s.Static != (s.Name == "keys") {
				t.Errorf("before the first call: Status = %+v", s)
			}
		}
		if got := peek("photos"); got != nil {
			t.Errorf("Peek without a session = %+v, want nil", got)
		}
		if peek("scans") == nil {
			t.Error("Peek with static keys = nil, want a window")
		}
		w.sleepUntilTurn("photos")
		began := time.Now()
		win := w.mustWindow("photos")
		if _, err := w.window("videos"); err == nil {
			t.Fatal("Window() of a denied role = nil error")
		}
		all := w.status()
		expires := w.sts.expiry(win).Truncate(time.Second)
		if s := all[0]; s.Name != "good" || s.Result != OK || !s.Asked.Equal(began) ||
			!s.Expires.Equal(expires) || !s.WindowEnds.Equal(win.End) {
			t.Errorf("Status = %+v, want good, ok, a call at %v, expiry %v, window end %v",
				s, began, expires, win.End)
		}
		if s := all[1]; s.Result != Denied || !strings.Contains(s.Problem, "403") ||
			!s.RetryAt.After(time.Now()) || !s.Expires.IsZero() {
			t.Errorf("Status = %+v, want denied with 403, a retry and no expiry", s)
		}
		if got := peek("photos"); got != win {
			t.Errorf("Peek = %p, want the requests' window %p", got, win)
		}
		if got := peek("videos"); got != nil {
			t.Errorf("Peek of a denied role = %+v, want nil", got)
		}
		time.Sleep(time.Hour) // the session expires
		if s := w.status()[0]; !s.Expires.IsZero() || s.Result != OK {
			t.Errorf("after the session's expiry: Status = %+v, want ok and no expiry", s)
		}
		if got := peek("photos"); got != nil {
			t.Errorf("Peek after the session's expiry = %+v, want nil", got)
		}
		if n := sts.count("good"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}
