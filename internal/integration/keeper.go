package integration

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/internal/config"
	"s3redirect/metrics"
)

// keeper owns the session state of one integration: it chooses the session to sign with, has the
// next one fetched, and forgets sessions. No other type reads or writes that state.
//
// A keeper outlives its [Set]: when the configuration changes, an integration with the same
// identity takes the keeper over, and its sessions and windows with it.
//
// # States
//
// "Own session" means the session that was fetched for the current window, "older session" one of
// an earlier window that is still valid.
//
//	        request              ok                    window ends
//	empty ----------> fetching ------> current --------------------------> fallback
//	                   |    ^             ^                                  |    |
//	            error  |    | retryAt     +--------------- ok ---------------+    |
//	                   v    |                                                     |
//	                   failed <--------------- last session expires --------------+
//
//	empty     No session, no call. The first request starts a call to STS.
//	fetching  No session, one call. All requests wait for it.
//	failed    No session, and a pause until retryAt. Requests fail at once with the last error.
//	current   The own session signs. From fetchAt on, the first request starts the call for the next
//	          window's session; no request waits for it. If it succeeds before the window ends, the
//	          next state is current again.
//	fallback  An older session signs (see fallbackLocked). Calls continue, with pauses. While the
//	          first call runs, or the first after failureMemory, requests wait for it up to
//	          fallbackWait.
//
// A purge, an eviction from the credentials cache and the expiry of all sessions lead back to
// empty; a purge also disowns the call in flight. An integration that leaves the configuration
// becomes removed, which is final: its requests fail, and nothing is fetched or cached for it. With
// static keys there is always a session, and the state is always current.
//
// The state is not stored as such: it follows from the cached sessions, fetching, failure and
// retryAt.
//
// # Locks
//
// mu guards the fields declared below it. It is never held over a call to STS, to the shared store
// or to S3, nor while waiting. Methods whose name ends in Locked require it.
//
// Lock order: a keeper's mu first, then a shard's lock of pool.sessions. The cache calls back with
// the shard's lock held when it evicts sessions; that callback (dropSnapshot) must therefore not
// take mu, and only stores into an atomic. No goroutine holds the mu of two keepers. Window.mu and
// budget.mu are leaves: no other lock is taken under them, and they are not taken under mu.
type keeper struct {
	name     string
	identity identity
	config   *config.Integration // the fields that are part of the identity
	plan     plan
	static   *session // not nil: the integration has keys and no role

	clock   func() time.Time
	random  func() float64
	baseLog *slog.Logger // see log
	metrics *metrics.Integration
	sts     STS
	pool    *pool

	snapshot atomic.Pointer[snapshot]
	touched  atomic.Int64 // the Unix time of the last lookup by touch
	healthy  atomic.Bool  // the last call to STS returned a session
	waiting  atomic.Int64 // requests of this integration that wait for a call

	mu         sync.Mutex
	windows    []*Window
	fetching   *fetch    // nil: no call in flight
	answeredAt time.Time // when the last call ended
	failures   int       // in a row
	failure    *AssumeRoleError
	pausedAt   time.Time // no call from pausedAt
	retryAt    time.Time // to retryAt
	added      []string  // access key IDs of the last sessions that were added to the cache
	purged     []string  // access key IDs of purged sessions, not accepted from the shared store
	notBefore  time.Time // shared sessions issued before it are not accepted either
	removed    bool
}

// log returns the logger with the integration's name. Only calls and failures log, so that it is
// made each time instead of being kept for each integration.
func (k *keeper) log() *slog.Logger { return k.baseLog.With("integration", k.name) }

// sessionPolicy returns the policy that restricts each session, or "".
func (k *keeper) sessionPolicy() string {
	text, _ := k.config.SessionDocument()
	return text
}

// sessionSet holds the sessions of one integration in the credentials cache. It is immutable.
type sessionSet struct {
	owner    *keeper
	sessions []*session // oldest first
}

const (
	// maxSessions is the number of sessions kept per integration: the previous window's (the clock
	// may be stepped back over the boundary), the current one's and the next one's.
	maxSessions = 3
	// maxPurged is the number of added and of purged sessions remembered per integration.
	maxPurged = 4 * maxSessions
)

// Deadline returns when the last of the sessions expires.
func (s *sessionSet) Deadline() (last time.Time) {
	for _, one := range s.sessions {
		last = later(last, one.expires)
	}
	return last
}

// dropSnapshot is the credentials cache's eviction callback. A shard's lock is held.
func dropSnapshot(_ identity, s *sessionSet) { s.owner.snapshot.Store(nil) }

// snapshot is a decision that holds for a span of time, so that requests need no lock.
type snapshot struct {
	window      *Window
	from, until int64 // Unix time in nanoseconds: wall clock, so that a stepped clock is noticed
}

// staleness bounds how far a request's timestamp may trail the clock. A larger distance means that
// the clock was stepped.
const staleness = 5 * time.Second

// window implements [Integration.Window].
func (k *keeper) window(
	ctx context.Context, now time.Time, shard metrics.Shard,
) (*Window, time.Time, error) {
	at := now.UnixNano()
	if s := k.snapshot.Load(); s != nil && s.from <= at && at < s.until && k.touch(now) {
		k.metrics.Credentials.Count(shard, true)
		return s.window, now, nil
	}
	waited := false
	for {
		w, f, err := k.decide(now)
		if f == nil {
			k.metrics.Credentials.Count(shard, err == nil && !waited)
			return w, now, err
		}
		waited = true
		if !k.enqueue() {
			if w == nil {
				k.metrics.Credentials.Count(shard, false)
				return nil, now, k.unavailable(errTooManyWaiters)
			}
			return w, now, nil
		}
		err = f.wait(ctx, now, w != nil)
		k.dequeue()
		if err != nil {
			k.metrics.Credentials.Count(shard, false)
			return nil, now, err
		}
		now = k.clock()
	}
}

// unavailable returns an error that asks the client to retry in a second.
func (k *keeper) unavailable(err error) *AssumeRoleError {
	return &AssumeRoleError{
		Integration: k.name,
		Result:      Unavailable,
		RetryAfter:  time.Second,
		Err:         err,
	}
}

// touch marks the sessions as recently used, once a second: with a lookup per request, the lock of
// the cache's shard would be the most contended of all. It reports whether the sessions are still
// cached.
//
// That also bounds a race. A snapshot can outlive the eviction of its session:
//
//	1: decide (integration A): sessions.Get finds A's sessions
//	2: addLocked (integration B): sessions.Add evicts A's sessions; dropSnapshot clears A's snapshot
//	1: publishLocked (A): stores a snapshot of the evicted session
//
// Its URLs are valid, but the cache's bound would not hold. Within a second a request calls touch,
// does not find the sessions, and decides again.
func (k *keeper) touch(now time.Time) bool {
	second := now.Unix()
	if k.static != nil || k.touched.Load() == second {
		return true
	}
	k.touched.Store(second)
	_, ok := k.pool.sessions.Get(k.identity, now)
	return ok
}

// decide chooses the window for an instant and starts the calls that are due. It returns a window
// to use; or a call to wait for, with the fallback window if there is one; or an error.
func (k *keeper) decide(now time.Time) (*Window, *fetch, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	// A request may have found the integration in a Set that has been replaced since:
	//
	//	1: Find returns a bucket of the old Set
	//	2: Retire: the new Set lacks the integration, forget drops its sessions
	//	1: decide: no session
	//
	// A session fetched now would never be dropped.
	if k.removed && k.static == nil {
		return nil, nil, k.unavailable(errRemoved)
	}
	index := k.plan.index(now)
	held := k.sessionsLocked(now)
	if w := k.ownWindowLocked(index, held); w != nil && w.usable(now) && now.Before(w.fresh) {
		k.publishLocked(w, k.prefetchLocked(w, held, now), now)
		return w, nil, nil
	}

	fallback := k.fallbackLocked(index, held, now)
	if k.fetching == nil && (k.mayFetchLocked(now) || fallback == nil && k.failure == nil) {
		k.startFetchLocked(index, now)
	}
	f := k.fetching
	switch {
	case fallback == nil && f == nil:
		failure := *k.failure
		failure.RetryAfter = k.retryAt.Sub(now)
		return nil, nil, &failure
	case fallback == nil:
		return nil, f, nil
	case f != nil && now.Sub(f.started) < fallbackWait &&
		(k.failures == 0 || f.started.Sub(k.answeredAt) > failureMemory):
		return fallback, f, nil
	}
	until := earlier(fallback.last, fallback.End)
	if f == nil {
		until = earlier(until, k.retryAt)
	}
	k.publishLocked(fallback, until, now)
	return fallback, nil, nil
}

// publishLocked stores a snapshot. The end of a call clears it. During a pause the snapshot starts
// no earlier than the pause, so that stepping the clock back forces a new decision.
func (k *keeper) publishLocked(w *Window, until, now time.Time) {
	from := later(w.Start, w.SignedAt.Add(-maxSkew))
	if now.Before(k.retryAt) {
		from = later(from, k.pausedAt.Add(-staleness))
	}
	k.snapshot.Store(&snapshot{window: w, from: from.UnixNano(), until: until.UnixNano()})
}

// sessionsLocked returns the sessions, oldest first, or nil if all have expired.
func (k *keeper) sessionsLocked(now time.Time) []*session {
	if k.static != nil {
		return []*session{k.static}
	}
	s, ok := k.pool.sessions.Get(k.identity, now)
	if !ok {
		k.windows = nil
		return nil
	}
	return s.sessions
}

// ownWindowLocked returns the window signed by the session that was fetched for it, or nil.
func (k *keeper) ownWindowLocked(index int64, held []*session) *Window {
	for _, s := range slices.Backward(held) {
		if s.window == index || s == k.static {
			return k.windowLocked(index, s)
		}
	}
	return nil
}

// fallbackLocked returns the window signed by the session whose URLs live longest, or nil if no
// session can sign a usable URL.
func (k *keeper) fallbackLocked(index int64, held []*session, now time.Time) (best *Window) {
	for _, s := range slices.Backward(held) {
		w := k.windowLocked(index, s)
		if w.usable(now) && (best == nil || w.Expires.After(best.Expires)) {
			best = w
		}
	}
	return best
}

// windowLocked returns the window of an index and a session: always the same one while it is kept,
// so that its signers keep their numbers.
func (k *keeper) windowLocked(index int64, s *session) *Window {
	for _, w := range k.windows {
		if w.index == index && w.session == s {
			return w
		}
	}
	w := k.plan.newWindow(index, s, k.random())
	k.windows = append(k.windows, w)
	if len(k.windows) > 2*maxSessions {
		k.windows = slices.Delete(k.windows, 0, 1)
	}
	return w
}

// prefetchLocked starts the call for the next window's session if it is due. It returns until when
// w can be used without another decision.
func (k *keeper) prefetchLocked(w *Window, held []*session, now time.Time) time.Time {
	ofNext := func(s *session) bool { return s.window == w.index+1 }
	switch {
	case k.static != nil, k.fetching != nil, slices.ContainsFunc(held, ofNext):
		return w.fresh
	case w.fresh.Before(w.End):
		// The session is too short for its window: it is replaced at fresh, not ahead of it.
		return w.fresh
	case now.Before(w.fetchAt):
		return w.fetchAt
	case !k.mayFetchLocked(now):
		return earlier(w.fresh, k.retryAt)
	}
	k.startFetchLocked(w.index+1, now)
	return w.fresh
}

// forget drops the sessions, the windows and the last failure, and disowns the call in flight.
// Dropped sessions, and those that the credentials cache has evicted, are not accepted from the
// shared store again. If removed is true, the integration has left the configuration.
//
// All of it happens under the lock. If the sessions were dropped before the lock is taken, a
// session that was asked for before the purge would survive it:
//
//	1: forget: sessions.Remove
//	2: finish: takes mu, fetching is still its call; addLocked adds the session; releases mu
//	1: forget: takes mu, clears fetching
func (k *keeper) forget(removed bool) {
	now := k.clock()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.removed = k.removed || removed
	for _, id := range k.added {
		k.purged = remember(k.purged, id)
	}
	k.added = nil
	k.pool.sessions.Remove(k.identity)
	k.windows, k.fetching = nil, nil
	k.failures, k.failure, k.retryAt = 0, nil, time.Time{}
	k.notBefore = now.Add(-purgeGrace)
	k.snapshot.Store(nil)
}

// remember appends an access key ID unless it is there, and drops the first if there are too many.
func remember(ids []string, id string) []string {
	if slices.Contains(ids, id) {
		return ids
	}
	ids = append(ids, id)
	return slices.Delete(ids, 0, max(0, len(ids)-maxPurged))
}

// dropWindows drops the windows and keeps the sessions: the next URLs have other signers.
func (k *keeper) dropWindows() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.windows = nil
	k.snapshot.Store(nil)
}

// accepts reports whether a session from the shared store may be used: it has not been purged, and
// it lives longer than the session that is held for its window. A replica that looks for a session
// while it holds one needs a longer one.
func (k *keeper) accepts(s *session, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	asLong := func(old *session) bool {
		return old.window == s.window && !s.expires.After(old.expires)
	}
	return s.issued.After(k.notBefore) &&
		!slices.Contains(k.purged, s.credentials.AccessKeyID) &&
		!slices.ContainsFunc(k.sessionsLocked(now), asLong)
}

// ready reports whether decide would return a window at once. It makes no calls.
func (k *keeper) ready(now time.Time) bool {
	at := now.UnixNano()
	if s := k.snapshot.Load(); s != nil && s.from <= at && at < s.until {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.ownWindowLocked(k.plan.index(now), k.peekSessionsLocked(now))
	return w != nil && w.usable(now) && now.Before(w.fresh) && (!k.removed || k.static != nil)
}

// peekSessionsLocked returns the sessions like sessionsLocked, but does not mark them as used.
func (k *keeper) peekSessionsLocked(now time.Time) []*session {
	if k.static != nil {
		return []*session{k.static}
	}
	if s, ok := k.pool.sessions.Peek(k.identity, now); ok {
		return s.sessions
	}
	return nil
}

// peek returns the window that signs at an instant, or nil if a request would have to wait for STS.
// It makes no calls.
func (k *keeper) peek(now time.Time) *Window {
	k.mu.Lock()
	defer k.mu.Unlock()
	held := k.peekSessionsLocked(now)
	index := k.plan.index(now)
	if w := k.ownWindowLocked(index, held); w != nil && w.usable(now) {
		return w
	}
	return k.fallbackLocked(index, held, now)
}

// currentWindows returns the windows that URLs are signed in.
func (k *keeper) currentWindows() []*Window {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.windows)
}
