package app

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// TestWatchClock steps the clock by an hour and by minus a minute, which are logged, and by a
// second, which is not.
func TestWatchClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		text := configFor("http://127.0.0.1:1", "http://127.0.0.1:1")
		text = strings.Replace(text, "format: text", "format: json", 1)
		c, err := config.Parse("demo", []byte(text), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		a, err := New(Options{Config: c, Stderr: log})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		var mu sync.Mutex
		var ahead time.Duration // guarded by mu
		wall := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.WatchClock(ctx, wall, SinceStart())
		}()
		for _, step := range []time.Duration{0, time.Hour, 0, -time.Minute, 0, time.Second} {
			mu.Lock()
			ahead += step
			mu.Unlock()
			time.Sleep(clockInterval + time.Second)
		}
		stop()
		<-done
		if got := strings.Count(log.String(), "the clock was stepped"); got != 2 {
			t.Errorf("%d steps were logged, want 2: %s", got, log)
		}
		for _, want := range []string{`"by":"1h0m0s"`, `"by":"-1m0s"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log is %s, want a step with %s", log, want)
			}
		}
	})
}

func TestNoteSkew(t *testing.T) {
	a := newTestApp(t)
	a.get(mediaObject)
	a.wantMetric("s3redirect_clock_jumps_total 0")
	if log := a.log.String(); strings.Contains(log, "set the clock") {
		t.Errorf("the log is %s, want no skew", log)
	}
	a.noteSkew(-90 * time.Second)
	a.wantMetric("s3redirect_clock_skew_seconds -90")
	log := a.log.String()
	if !strings.Contains(log, "set the clock") || !strings.Contains(log, "-1m30s") {
		t.Errorf("the log is %s, want a skew of -1m30s", log)
	}
}
