package app

import (
	"context"
	"time"
)

// worryingSkew is by how much the clock may be off before the log says so: URLs live as much shorter.
const worryingSkew = time.Minute

// noteSkew is told how far our clock is ahead of STS's.
func (a *App) noteSkew(ahead time.Duration) {
	a.metrics.ClockSkew.Set(ahead.Seconds())
	if ahead.Abs() >= worryingSkew {
		a.log.Warn("our clock and STS's differ: URLs live shorter than they say, and from five minutes on AWS refuses our signatures; set the clock",
			"ahead", ahead.Round(time.Second).String())
	}
}

const (
	clockInterval = 10 * time.Second
	clockJump     = 2 * time.Second
)

// WatchClock says when the clock was set: by the difference between the time that has gone by on the wall and that which really has. Every
// decision is made from true expiries anyway; this is for whoever wonders why sessions came early.
func (a *App) WatchClock(ctx context.Context, wall func() time.Time, elapsed func() time.Duration) {
	ticks := time.NewTicker(clockInterval)
	defer ticks.Stop()
	before, since := wall().Round(0), elapsed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		now, really := wall().Round(0), elapsed()
		if by := now.Sub(before) - (really - since); by.Abs() > clockJump {
			a.metrics.ClockJumps.Inc()
			a.log.Warn("the clock was set, or the machine slept", "by", by.Round(time.Millisecond).String())
		}
		before, since = now, really
	}
}

// SinceStart is how long the process has run, whatever the clock says.
func SinceStart() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
