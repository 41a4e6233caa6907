package app

import (
	"context"
	"time"
)

// skewWarning is the smallest clock skew that is logged.
const skewWarning = time.Minute

// noteSkew records how far the local clock is ahead of the clock of STS.
func (a *App) noteSkew(ahead time.Duration) {
	a.metrics.ClockSkew.Set(ahead.Seconds())
	if ahead.Abs() >= skewWarning {
		a.log.Warn("the local clock differs from the clock of STS: URLs expire early by the "+
			"difference, and AWS rejects signatures that are off by 5 minutes or more; "+
			"set the clock",
			"ahead", ahead.Round(time.Second).String())
	}
}

const (
	// clockInterval is how often WatchClock looks at the clocks.
	clockInterval = 10 * time.Second
	// clockJump is the smallest step that is logged.
	clockJump = 2 * time.Second
)

// WatchClock logs and counts steps of the wall clock, by comparing elapsed wall-clock and monotonic
// time, until ctx ends. wall returns the wall-clock time. elapsed returns the monotonic time since
// an arbitrary instant.
//
// Its only purpose is to explain why sessions were renewed early: sessions and URLs are chosen by
// their expiry times, whether or not the clock was stepped.
func (a *App) WatchClock(ctx context.Context, wall func() time.Time, elapsed func() time.Duration) {
	ticks := time.NewTicker(clockInterval)
	defer ticks.Stop()
	lastWall, lastElapsed := wall().Round(0), elapsed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		w, e := wall().Round(0), elapsed()
		if step := w.Sub(lastWall) - (e - lastElapsed); step.Abs() > clockJump {
			a.metrics.ClockJumps.Inc()
			a.log.Warn("the clock was stepped, or the machine was suspended",
				"by", step.Round(time.Millisecond).String())
		}
		lastWall, lastElapsed = w, e
	}
}

// SinceStart returns a function that returns the monotonic time since SinceStart was called.
func SinceStart() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
