package integration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// AssumeRoleInput is the input of an AssumeRole call.
type AssumeRoleInput struct {
	Integration *config.Integration
	// SessionPolicy restricts the session. "" means no restriction.
	SessionPolicy string
}

// STS assumes roles. [Classify] classifies its errors.
type STS interface {
	// AssumeRole returns a session's credentials and their expiry as reported by STS. For an
	// integration that uses the process's own credentials, it returns these and their expiry, or
	// the zero time if they do not expire.
	AssumeRole(ctx context.Context, in *AssumeRoleInput) (presign.Credentials, time.Time, error)
}

// regional is an [STS] with endpoints in several regions.
type regional interface {
	// Region returns the region in which an integration's role is assumed.
	Region(c *config.Integration) string
}

// fetch is a call for a session, in flight.
type fetch struct {
	started time.Time
	done    chan struct{} // closed once the keeper has the result
}

const (
	// fetchTimeout bounds one AssumeRole call, retries included.
	fetchTimeout = 10 * time.Second
	// fallbackWait bounds how long a request waits for the window's own session while an older
	// session could sign.
	fallbackWait = 2 * time.Second
	// failureMemory is how long a failed call makes requests use a fallback window without waiting.
	// It is longer than any pause, so only an integration that was idle forgets a failure.
	failureMemory = maxRetryAfter + time.Minute
)

const (
	// denialPause is the shortest pause after a denial. The longest is twice that.
	denialPause = 5 * time.Second
	// firstPause, longestPause and shortestPause bound the pause after any other failure: full
	// jitter up to firstPause, which is doubled with each further failure up to longestPause.
	firstPause    = time.Second
	longestPause  = time.Minute
	shortestPause = 100 * time.Millisecond
	// maxRetryAfter bounds the pause that STS asks for.
	maxRetryAfter = 5 * time.Minute
	// shortestInterval bounds how often sessions that are shorter than their window are replaced.
	shortestInterval = time.Second
)

// pauseLocked forbids calls to STS for a time.
func (k *keeper) pauseLocked(now time.Time, lasts time.Duration) {
	k.pausedAt, k.retryAt = now, now.Add(lasts)
}

// mayFetchLocked reports whether no pause forbids a call. A pause that starts in the future does
// not count: the clock was stepped back.
func (k *keeper) mayFetchLocked(now time.Time) bool {
	return !now.Before(k.retryAt) || now.Add(staleness).Before(k.pausedAt)
}

// startFetchLocked starts the call for a window's session. The call belongs to no request: it
// continues when all requests that wait for it have given up.
func (k *keeper) startFetchLocked(index int64, now time.Time) {
	f := &fetch{started: now, done: make(chan struct{})}
	k.fetching = f
	k.pool.fetches.Go(func() {
		defer close(f.done)
		ctx, cancel := context.WithTimeout(k.pool.life, fetchTimeout)
		defer cancel()
		s, err := k.obtain(ctx, index)
		k.finish(f, s, err)
	})
}

// wait waits until the call has ended, the caller gives up or, if there is a fallback window, until
// fallbackWait has passed.
func (f *fetch) wait(ctx context.Context, now time.Time, fallback bool) error {
	var enough <-chan time.Time
	if fallback {
		timer := time.NewTimer(min(fallbackWait, f.started.Add(fallbackWait).Sub(now)))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
	case <-enough:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// finish records the result of a call.
func (k *keeper) finish(f *fetch, s *session, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	// A purge may have come between the call's start and its end:
	//
	//	1: startFetchLocked: the call is in flight
	//	2: forget: drops the sessions and clears fetching
	//	1: finish: the session was issued before the purge
	//
	// The session must not be kept. Requests that waited for it start another call.
	if k.fetching != f {
		return
	}
	k.fetching, k.answeredAt = nil, k.clock()
	// While the call was in flight, requests may have published a snapshot that holds to the end of
	// the fallback window, or of the pause. The result calls for a new decision.
	k.snapshot.Store(nil)
	switch {
	case errors.Is(err, errStoreUnreachable):
		k.pauseLocked(k.clock(), k.plan.prefetchLead/8)
	case err != nil:
		k.failedLocked(err)
	default:
		k.addLocked(s)
	}
}

// obtain returns a session for a window: from the shared store if there is one, else from STS.
func (k *keeper) obtain(ctx context.Context, index int64) (*session, error) {
	if k.pool.store == nil || k.config.OwnCredentials { // replicas may have other credentials
		return k.assumeRole(ctx, index)
	}
	return k.fleet().obtain(ctx, k.sharedName(index), index)
}

// assumeRole gets a session from STS, once the call budget admits it.
func (k *keeper) assumeRole(ctx context.Context, index int64) (*session, error) {
	region := k.config.HomeRegion()
	if r, ok := k.sts.(regional); ok {
		region = r.Region(k.config)
	}
	endpoint := region + " " + k.config.STSEndpoint
	if k.config.OwnCredentials {
		endpoint = "own credentials"
	}
	leave, err := k.pool.calls.enter(ctx, endpoint, k.healthy.Load())
	if err != nil {
		return nil, err
	}
	defer leave()
	called := k.clock()
	credentials, expires, err := k.sts.AssumeRole(ctx, &AssumeRoleInput{
		Integration:   k.config,
		SessionPolicy: k.sessionPolicy(),
	})
	answered := k.clock()
	// The session was issued at some time between the call and its answer: assume the earliest. Nor
	// does it live longer than requested: if the clock is slow, STS's expiry lies too far ahead of
	// it.
	s := &session{window: index, issued: called.Truncate(time.Second), credentials: credentials}
	s.expires = earlier(expires, s.issued.Add(k.config.SessionDuration)).Truncate(time.Second)
	if k.config.OwnCredentials {
		s.expires = expires.Truncate(time.Second)
		if expires.IsZero() { // static keys: sign from the window's start on, as replicas do
			s.issued, s.expires = time.Time{}, forever
		}
	}
	if err == nil {
		err = k.checkSession(s, expires, answered)
	}
	result := OK
	if err != nil {
		result = Classify(err)
	}
	k.metrics.AssumeRole(string(result), answered.Sub(called))
	return s, err
}

// checkSession checks what STS returned.
func (k *keeper) checkSession(s *session, expires, answered time.Time) error {
	c := s.credentials
	if k.config.OwnCredentials {
		if s.expires.Sub(answered) < 2*k.plan.floor {
			return fmt.Errorf("%w: they expire at %s, and now is %s", ErrOwnCredentials,
				expires.UTC().Format(time.RFC3339), answered.UTC().Format(time.RFC3339))
		}
		return nil
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" || expires.IsZero() {
		return fmt.Errorf("%w: no access key, secret key, session token or expiry", errMalformed)
	}
	// At least half of the session's life must be usable, or STS would be called without pause.
	if s.expires.Sub(answered) < 2*k.plan.floor || !answered.Before(s.expires) {
		return fmt.Errorf("%w: the session expires at %s, and now is %s; check the clock",
			errMalformed, expires.UTC().Format(time.RFC3339), answered.UTC().Format(time.RFC3339))
	}
	return nil
}

// failedLocked records a failed call and when to try again: after a pause with full jitter, so that
// integrations that failed together do not retry together, or when STS asks for it.
func (k *keeper) failedLocked(err error) {
	now, result := k.clock(), Classify(err)
	pause := denialPause + time.Duration(k.random()*float64(denialPause))
	if result != Denied && result != OwnCredentials {
		pause = min(longestPause, firstPause<<min(k.failures, 10))
		pause = max(shortestPause, time.Duration(k.random()*float64(pause)))
	}
	if asked := retryAfter(err, now); asked > 0 {
		pause = max(pause, min(asked, maxRetryAfter))
	}
	if !errors.Is(err, errBusy) { // which says nothing about STS
		k.healthy.Store(false)
	}
	k.failures++
	k.pauseLocked(now, pause)
	k.failure = &AssumeRoleError{Integration: k.name, Result: result, Err: err}
	if k.pool.life.Err() != nil {
		return // Close has ended the call
	}
	message := "AssumeRole failed"
	if k.config.OwnCredentials {
		message = "loading the proxy's own credentials failed"
	}
	k.log().Error(message,
		"result", string(result),
		"error", truncate(err),
		"failures", k.failures,
		"retry_in", pause.Round(time.Millisecond).String())
}

// addLocked adds a session to the credentials cache.
func (k *keeper) addLocked(s *session) {
	now := k.clock()
	k.healthy.Store(true)
	k.failures, k.failure, k.retryAt = 0, nil, time.Time{}
	next := &sessionSet{owner: k}
	for _, old := range k.sessionsLocked(now) {
		if now.Before(old.expires) && old.window != s.window {
			next.sessions = append(next.sessions, old)
		}
	}
	if extra := len(next.sessions) + 1 - maxSessions; extra > 0 {
		next.sessions = next.sessions[extra:]
	}
	next.sessions = append(next.sessions, s)
	k.added = remember(k.added, s.credentials.AccessKeyID)
	k.pool.sessions.Add(k.identity, next)
	if s.expires.Before(forever) {
		k.metrics.SessionExpires(s.expires)
	}

	w := k.windowLocked(s.window, s)
	k.log().Info("session ready",
		"expires", s.expires,
		"window_start", w.Start,
		"window_end", w.End)
	if w.fresh.Before(w.End) {
		// Without this pause a role with short sessions would cause a call to STS with each
		// request.
		life := s.expires.Sub(now)
		k.pauseLocked(now, max(shortestInterval, life/4))
		k.log().Warn("session is shorter than its window needs: "+
			"URLs may have less than min_remaining left; "+
			"check the role's maximum session duration and the clock",
			"asked", k.config.SessionDuration.String(), // 0 for the process's own credentials
			"got", life.Round(time.Second).String())
	}
}

// truncate returns an error's text, truncated to about 1,000 bytes.
func truncate(err error) string {
	text := err.Error()
	if len(text) > 1000 {
		text = text[:1000] + "…"
	}
	return text
}
