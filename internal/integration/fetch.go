package integration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// AssumeRoleInput is what an integration asks of STS.
type AssumeRoleInput struct {
	Integration *config.Integration
	// SessionPolicy narrows the session; "" does not.
	SessionPolicy string
}

// STS makes sessions. Its errors are classified by [Classify].
type STS interface {
	// AssumeRole returns the credentials and their expiry, as STS tells it.
	AssumeRole(ctx context.Context, in *AssumeRoleInput) (presign.Credentials, time.Time, error)
}

const (
	denialPause      = 5 * time.Second        // STS said no: not to be asked again for as long, and up to twice
	firstPause       = time.Second            // STS failed: a pause of up to this, which is doubled at each failure, and
	longestPause     = time.Minute            // at most this
	shortestPause    = 100 * time.Millisecond // whatever the jitter says
	longestRequest   = 5 * time.Minute        // STS may ask for a pause of this at most
	shortestInterval = time.Second            // between sessions that are shorter than their window
)

// staleness is by how much the instant that a request brings along may lie behind the clock. What lies further back is the work of
// a clock that was set.
const staleness = 5 * time.Second

// pause forbids to ask STS for some time.
func (i *Integration) pause(now time.Time, lasts time.Duration) {
	i.pausedAt, i.retryAt = now, now.Add(lasts)
}

// mayFetch tells whether no pause forbids to ask STS now. One that has not begun is none: the clock was set back.
func (i *Integration) mayFetch(now time.Time) bool {
	return !now.Before(i.retryAt) || now.Add(staleness).Before(i.pausedAt)
}

// startFetch asks STS for a window's session. It is nobody's call in particular: whoever waits for it may go.
func (i *Integration) startFetch(index int64, now time.Time) {
	f := &fetch{started: now, done: make(chan struct{})}
	i.fetching = f
	i.fetches.Go(func() {
		defer close(f.done)
		ctx, cancel := context.WithTimeout(i.life, fetchTimeout)
		defer cancel()
		s, err := i.obtain(ctx, index)

		i.mu.Lock()
		defer i.mu.Unlock()
		if i.fetching != f {
			return // it was asked for before a purge, or the integration is gone: it is not wanted any more
		}
		i.fetching, i.asked = nil, i.clock()
		// Whatever was decided while there was no answer is to be decided again.
		defer i.lease.Store(nil)
		switch {
		case errors.Is(err, errAway):
			i.pause(i.clock(), i.plan.lead/8)
		case err != nil:
			i.failed(err)
		default:
			i.keep(s)
		}
	})
}

// assumeRole asks STS for a session, once it is the integration's turn.
func (i *Integration) assumeRole(ctx context.Context, index int64) (*session, error) {
	leave, err := i.calls.enter(ctx, i.config.HomeRegion()+" "+i.config.STSEndpoint, i.proven.Load())
	if err != nil {
		return nil, err
	}
	defer leave()
	called := i.clock()
	credentials, expires, err := i.sts.AssumeRole(ctx, &AssumeRoleInput{Integration: i.config, SessionPolicy: i.sessionPolicy})
	answered := i.clock()
	// The session may be older than the answer and lives no longer than was asked for: with a clock that goes slow, STS's
	// expiry is later than it will seem.
	s := &session{window: index, issued: called.Truncate(time.Second), credentials: credentials}
	s.expires = earlier(expires, s.issued.Add(i.config.SessionDuration)).Truncate(time.Second)
	switch {
	case err != nil:
	case credentials.AccessKeyID == "" || credentials.SecretAccessKey == "" || credentials.SessionToken == "" || expires.IsZero():
		err = fmt.Errorf("%w: it lacks a key, a token or an expiry", errMalformed)
	// Half of its life at least it must be of use, or STS would be asked without end.
	case s.expires.Sub(answered) < 2*i.plan.floor || !answered.Before(s.expires):
		err = fmt.Errorf("%w: its session expires at %s, and it is %s already: is the clock right?", errMalformed,
			expires.UTC().Format(time.RFC3339), answered.UTC().Format(time.RFC3339))
	}
	result := OK
	if err != nil {
		result = Classify(err)
	}
	i.Metrics.AssumeRole(string(result), answered.Sub(called))
	return s, err
}

// failed notes a failure and when to try again: after a pause with full jitter, so that those who failed together do not come
// back together, or as late as STS asks for.
func (i *Integration) failed(err error) {
	now, result := i.clock(), Classify(err)
	pause := denialPause + time.Duration(i.random()*float64(denialPause))
	if result != Denied {
		pause = min(longestPause, firstPause<<min(i.failures, 10))
		pause = max(shortestPause, time.Duration(i.random()*float64(pause)))
	}
	if asked := retryAfter(err, now); asked > 0 {
		pause = max(pause, min(asked, longestRequest))
	}
	if !errors.Is(err, errBusy) { // which says nothing about STS
		i.proven.Store(false)
	}
	i.failures++
	i.pause(now, pause)
	i.failure = &AssumeRoleError{Integration: i.Name, Result: result, Err: err}
	if i.life.Err() != nil {
		return // we ended the call, and the program is about to end
	}
	i.log.Error("AssumeRole failed", "result", string(result), "error", oneLine(err), "failures", i.failures, "retry_in", pause.Round(time.Millisecond).String())
}

// keep adds a session to those that the integration holds.
func (i *Integration) keep(s *session) {
	now := i.clock()
	i.proven.Store(true)
	i.failures, i.failure, i.retryAt = 0, nil, time.Time{}
	next := &holding{owner: i.tenancy}
	for _, old := range i.held(now) {
		if now.Before(old.expires) && old.window != s.window {
			next.sessions = append(next.sessions, old)
		}
	}
	if extra := len(next.sessions) + 1 - maxSessions; extra > 0 {
		next.sessions = next.sessions[extra:]
	}
	next.sessions = append(next.sessions, s)
	i.sessions.Add(i.identity, next)
	i.Metrics.SessionExpires(s.expires)

	w := i.window(s.window, s)
	i.log.Info("session", "expires", s.expires, "window_start", w.Start, "window_end", w.End)
	if w.fresh.Before(w.End) {
		// Without this pause a role whose sessions are short would have STS asked at every request.
		life := s.expires.Sub(now)
		i.pause(now, max(shortestInterval, life/4))
		i.log.Warn("the session is shorter than its window wants: URLs may have less than min_remaining left; check the role's maximum session duration and the clock",
			"asked", i.config.SessionDuration.String(), "got", life.Round(time.Second).String())
	}
}

// oneLine is an error's text, bounded.
func oneLine(err error) string {
	text := err.Error()
	if len(text) > 1000 {
		text = text[:1000] + "…"
	}
	return text
}
