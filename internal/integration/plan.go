package integration

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// identity is a digest of everything that distinguishes the sessions and URLs of an integration.
type identity [sha256.Size]byte

// plan holds the window arithmetic of an integration. Window k lasts from start(k) to start(k+1),
// on a grid of the wall clock: with the same configuration and the same session, every process
// makes the same URLs.
type plan struct {
	lifetime     time.Duration // L: the longest lifetime of a URL
	minRemaining time.Duration // R: what a URL has left when it is handed out, while STS works
	period       time.Duration // W = L - R: the length of a window
	prefetchLead time.Duration // how long before a window its session may be fetched
	floor        time.Duration // what a URL has left when it is handed out, in any case
	phase        time.Duration // shifts the grid, so that not all integrations change URLs at once
}

// newPlan returns the plan for durations in whole seconds. minRemaining must be less than lifetime.
func newPlan(lifetime, minRemaining time.Duration, id identity) plan {
	p := plan{lifetime: lifetime, minRemaining: minRemaining, period: lifetime - minRemaining}
	p.prefetchLead = min(5*time.Minute, p.period/4)
	p.floor = min(time.Minute, minRemaining/4)
	seconds := uint64(p.period / time.Second)
	p.phase = time.Duration(binary.BigEndian.Uint64(id[:8])%seconds) * time.Second
	return p
}

// index returns the index of the window that an instant is in.
func (p *plan) index(at time.Time) int64 {
	since := at.UnixNano() - int64(p.phase)
	k := since / int64(p.period)
	if since%int64(p.period) < 0 {
		k-- // Go rounds towards zero
	}
	return k
}

// end returns when the window that an instant is in ends.
func (p *plan) end(at time.Time) time.Time { return p.start(p.index(at) + 1) }

// start returns the first instant of a window, in whole seconds.
func (p *plan) start(index int64) time.Time {
	return time.Unix(0, int64(p.phase)+index*int64(p.period)).UTC()
}
