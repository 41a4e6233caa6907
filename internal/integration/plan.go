package integration

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// identity is a digest of all that tells one integration's sessions and URLs from another's.
type identity [sha256.Size]byte

// plan is the arithmetic of an integration's windows. Window k lasts from start(k) to start(k+1), on the wall clock's own
// grid: whoever has the same configuration and the same session makes the same URLs.
type plan struct {
	lifetime     time.Duration // L: of a URL, at most
	minRemaining time.Duration // R: what a URL has left when it is handed out, at least
	period       time.Duration // W = L - R: of a window
	lead         time.Duration // how long before a window its session may be fetched
	floor        time.Duration // what a URL has left at the very least, when STS fails
	phase        time.Duration // so that integrations do not all turn over at once
}

// newPlan takes durations in whole seconds, minRemaining less than lifetime.
func newPlan(lifetime, minRemaining time.Duration, id identity) plan {
	p := plan{lifetime: lifetime, minRemaining: minRemaining, period: lifetime - minRemaining}
	p.lead = min(5*time.Minute, p.period/4)
	p.floor = min(time.Minute, minRemaining/4)
	seconds := uint64(p.period / time.Second)
	p.phase = time.Duration(binary.BigEndian.Uint64(id[:8])%seconds) * time.Second
	return p
}

// index is the window of an instant.
func (p *plan) index(at time.Time) int64 {
	since := at.UnixNano() - int64(p.phase)
	k := since / int64(p.period)
	if since%int64(p.period) < 0 {
		k-- // Go rounds towards zero
	}
	return k
}

// start is the first instant of a window, in whole seconds.
func (p *plan) start(index int64) time.Time {
	return time.Unix(0, int64(p.phase)+index*int64(p.period)).UTC()
}

// WindowEnd is when the integration's window at an instant ends.
func (i *Integration) WindowEnd(now time.Time) time.Time { return i.plan.start(i.plan.index(now) + 1) }
