package integration

import (
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// TestPurgeOfAnEvictedSession purges a session that the credentials cache has evicted. The shared
// store still has it.
func TestPurgeOfAnEvictedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small := func(c *config.Config, _ *Options) { c.Cache.Credentials = 1 }
		sts := &fakeSTS{}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket"), role("other", "others")},
			withShared(newFakeShared()), small)
		defer w.Close()
		purged := w.mustWindow("bucket").session.credentials.AccessKeyID
		w.mustWindow("others")
		time.Sleep(10 * time.Second)
		w.Purge("lab")
		if got := w.mustWindow("bucket").session.credentials.AccessKeyID; got == purged {
			t.Errorf("the session after the purge is %s, want another", got)
		}
	})
}

// TestOldFailureDoesNotShortenTheWait lets the first request long after a failure wait for the
// window's own session, although an older one could sign.
func TestOldFailureDoesNotShortenTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(n int, _ string) (takes, lives time.Duration, err error) {
			if n == 2 {
				return 0, 0, errReset
			}
			return 100 * time.Millisecond, 2 * time.Hour, nil
		}}
		c := role("lab", "bucket")
		c.SessionDuration = 2 * time.Hour
		w := newWorld(t, sts, []config.Integration{c})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		w.mustWindow("bucket")
		time.Sleep(31 * time.Minute)
		w.mustWindow("bucket") // the call fails; the older session signs
		time.Sleep(30 * time.Minute)
		if n := sts.count("lab"); n != 2 {
			t.Fatalf("%d calls, want 2", n)
		}
		win := w.mustWindow("bucket")
		if k := w.keeper("bucket"); win.session.window != k.plan.index(w.clock()) {
			t.Errorf("the URL is signed by the session of window %d, want %d",
				win.session.window, k.plan.index(w.clock()))
		}
	})
}
