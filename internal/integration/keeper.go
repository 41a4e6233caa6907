package integration

import (
	"context"
	"slices"
	"time"
)

// holding is what the credentials cache keeps of an integration. It does not change; a new session makes a new one.
type holding struct {
	owner    *tenancy
	sessions []*session // oldest first
}

// maxSessions is how many an integration keeps: the last window's, since the clock may be set back over the turn, this
// window's, and the next one's.
const maxSessions = 3

// maxPurged is how many sessions an integration remembers that were purged.
const maxPurged = 4 * maxSessions

// Deadline is when the last of the sessions has expired.
func (h *holding) Deadline() (last time.Time) {
	for _, s := range h.sessions {
		last = later(last, s.expires)
	}
	return last
}

// lease names the window in use, and the span of time within which there is nothing to decide.
type lease struct {
	window      *Window
	from, until int64 // Unix time, in nanoseconds: monotonic readings know nothing of clocks that are set
}

// fetch is an AssumeRole call on its way.
type fetch struct {
	started time.Time
	done    chan struct{}
}

const (
	// fetchTimeout bounds one AssumeRole call, its retries included.
	fetchTimeout = 10 * time.Second
	// patience is how long a request waits for the window's own session while an older one would do.
	patience = 2 * time.Second
)

// Window is the window to sign with now, and the instant for which that holds: requests may have waited for STS. Its error
// is an [*AssumeRoleError], or the context's.
func (i *Integration) Window(ctx context.Context, now time.Time) (*Window, time.Time, error) {
	at := now.UnixNano()
	if l := i.lease.Load(); l != nil && l.from <= at && at < l.until && i.touch(now) {
		i.Metrics.Credentials.Count(true)
		return l.window, now, nil
	}
	waited := false
	for {
		w, wait, err := i.decide(now)
		if wait == nil {
			i.Metrics.Credentials.Count(err == nil && !waited)
			return w, now, err
		}
		waited = true
		if !i.join() {
			if w == nil {
				i.Metrics.Credentials.Count(false)
				return nil, now, &AssumeRoleError{Integration: i.Name, Result: Unavailable, RetryAfter: time.Second, Err: errCrowd}
			}
			return w, now, nil
		}
		err = wait.wait(ctx, now, w != nil)
		i.part()
		if err != nil {
			i.Metrics.Credentials.Count(false)
			return nil, now, err
		}
		now = i.clock()
	}
}

// touch keeps the integration's place in the credentials cache, once a second: a look-up at each request would make its
// lock the busiest of all. It says whether the place is still there.
func (i *Integration) touch(now time.Time) bool {
	second := now.Unix()
	if i.static != nil || i.touched.Load() == second {
		return true
	}
	i.touched.Store(second)
	_, ok := i.sessions.Get(i.identity, now)
	return ok
}

// wait waits for the fetch to end, for the caller to give up, or, where there is an alternative, for patience to run out.
func (f *fetch) wait(ctx context.Context, now time.Time, alternative bool) error {
	var enough <-chan time.Time
	if alternative {
		timer := time.NewTimer(min(patience, f.started.Add(patience).Sub(now)))
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

// decide finds the window for an instant, and starts what has to be fetched. It returns a window to use; or a fetch to wait
// for, with the window that would do instead, if there is one; or why there is neither.
func (i *Integration) decide(now time.Time) (*Window, *fetch, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed && i.static == nil {
		return nil, nil, &AssumeRoleError{Integration: i.Name, Result: Unavailable, RetryAfter: time.Second, Err: errRemoved}
	}
	k := i.plan.index(now)
	held := i.held(now)
	if w := i.ownWindow(k, held); w != nil && w.usable(now) && now.Before(w.fresh) {
		i.publish(w, i.lookAhead(w, held, now), now)
		return w, nil, nil
	}

	// No session for this window yet: while it is fetched, or where it cannot be had, an older one works overtime.
	overtime := i.overtime(k, held, now)
	if i.fetching == nil && (i.mayFetch(now) || overtime == nil && i.failure == nil) {
		i.startFetch(k, now)
	}
	f := i.fetching
	switch {
	case overtime == nil && f == nil:
		failure := *i.failure
		failure.RetryAfter = i.retryAt.Sub(now)
		return nil, nil, &failure
	case overtime == nil:
		return nil, f, nil
	case f != nil && i.failures == 0 && now.Sub(f.started) < patience:
		return overtime, f, nil
	}
	until := earlier(overtime.last, overtime.End)
	if f == nil {
		until = earlier(until, i.retryAt)
	}
	i.publish(overtime, until, now)
	return overtime, nil, nil
}

// publish leases a window. The end of a fetch ends every lease. One that waits for a pause to end is not good for a clock that was
// set back to before it.
func (i *Integration) publish(w *Window, until, now time.Time) {
	from := later(w.Start, w.SignedAt.Add(-maxSkew))
	if now.Before(i.retryAt) {
		from = later(from, i.pausedAt.Add(-staleness))
	}
	i.lease.Store(&lease{window: w, from: from.UnixNano(), until: until.UnixNano()})
}

// held are the sessions that have not expired, oldest first.
func (i *Integration) held(now time.Time) []*session {
	if i.static != nil {
		return []*session{i.static}
	}
	h, ok := i.sessions.Get(i.identity, now)
	if !ok {
		i.windows = nil
		return nil
	}
	return h.sessions
}

// ownWindow is a window signed by the session that was fetched for it, or nil.
func (i *Integration) ownWindow(index int64, held []*session) *Window {
	for _, s := range slices.Backward(held) {
		if s.window == index || s == i.static {
			return i.window(index, s)
		}
	}
	return nil
}

// overtime is the window signed by whichever session gives it the longest life, or nil where none gives it enough.
func (i *Integration) overtime(index int64, held []*session, now time.Time) (best *Window) {
	for _, s := range slices.Backward(held) {
		w := i.window(index, s)
		if w.usable(now) && (best == nil || w.Expires.After(best.Expires)) {
			best = w
		}
	}
	return best
}

// window is the one window of an index and a session: URLs are known by their window's address.
func (i *Integration) window(index int64, s *session) *Window {
	for _, w := range i.windows {
		if w.index == index && w.session == s {
			return w
		}
	}
	w := i.plan.newWindow(index, s, i.random())
	i.windows = append(i.windows, w)
	if len(i.windows) > 2*maxSessions {
		i.windows = slices.Delete(i.windows, 0, 1)
	}
	return w
}

// lookAhead starts fetching the next window's session when its time has come. It returns until when w can be used without
// another look.
func (i *Integration) lookAhead(w *Window, held []*session, now time.Time) time.Time {
	has := func(s *session) bool { return s.window == w.index+1 }
	switch {
	// A session too short for its window is replaced once its time is up, not ahead of it.
	case i.static != nil, w.fresh.Before(w.End), i.fetching != nil, slices.ContainsFunc(held, has):
		return w.fresh
	case now.Before(w.fetchAt):
		return w.fetchAt
	case !i.mayFetch(now):
		return earlier(w.fresh, i.retryAt)
	}
	i.startFetch(w.index+1, now)
	return w.fresh
}
