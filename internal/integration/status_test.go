package integration

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// How integrations stand can be told at any time, and telling it changes nothing: STS is not asked, and no place in the cache is taken.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		sts := &fakeSTS{answer: func(_ int, integration string) (time.Duration, time.Duration, error) {
			if integration == "bad" || down {
				return 0, 0, status(http.StatusForbidden)
			}
			return 0, time.Hour, nil
		}}
		keys := config.Integration{Name: "keys", Bucket: "scans", Region: "us-east-1", AccessKeyID: "AKIA", SecretAccessKey: "s", URLLifetime: time.Hour, MinRemaining: time.Minute}
		w := newWorld(t, sts, []config.Integration{role("good", "photos"), role("bad", "videos"), keys})
		for _, s := range w.Status(time.Now()) {
			if !s.Asked.IsZero() || !s.Expires.IsZero() || s.Result != "" || s.Static != (s.Name == "keys") {
				t.Errorf("before anybody asked: %+v", s)
			}
		}
		if w.bucket("photos").Integration.Peek(time.Now()) != nil || w.bucket("scans").Integration.Peek(time.Now()) == nil {
			t.Error("a window without a session, or none although there are keys")
		}
		w.sleepUntilTurn("photos") // so that the next window's session is far away
		began := time.Now()
		got := w.mustWindow("photos")
		if _, err := w.window("videos"); err == nil {
			t.Fatal("the denied role has a window")
		}
		all := w.Status(time.Now())
		if s := all[0]; s.Name != "good" || s.Result != OK || !s.Asked.Equal(began) || !s.Expires.Equal(w.sts.expiry(got).Truncate(time.Second)) || !s.WindowEnds.Equal(got.End) {
			t.Errorf("%+v, its window %+v", s, got)
		}
		if s := all[1]; s.Result != Denied || !strings.Contains(s.Problem, "403") || !s.RetryAt.After(time.Now()) || !s.Expires.IsZero() {
			t.Errorf("%+v", s)
		}
		if w.bucket("photos").Integration.Peek(time.Now()) != got || w.bucket("videos").Integration.Peek(time.Now()) != nil {
			t.Error("a look at the window tells of another than a request's")
		}
		// An hour later the session has expired; the status says so, and asks nobody.
		time.Sleep(time.Hour)
		if s := w.Status(time.Now())[0]; !s.Expires.IsZero() || s.Result != OK || w.bucket("photos").Integration.Peek(time.Now()) != nil {
			t.Errorf("after the session's end: %+v", s)
		}
		if n := sts.count("good"); n != 1 {
			t.Errorf("STS was asked %d times", n)
		}
	})
}
