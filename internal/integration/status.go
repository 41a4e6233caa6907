package integration

import "time"

// Status is the state of an integration.
type Status struct {
	Name string
	// Static reports whether the integration has static keys, and so no sessions.
	Static bool
	// Expires is when the newest session expires. It is zero if there is none.
	Expires time.Time
	// WindowEnds is when the integration's URLs change.
	WindowEnds time.Time
	// Asked is when the last call to STS ended. It is zero if there was none. Result is its result,
	// and Problem the text of its error.
	Asked   time.Time
	Result  Result
	Problem string
	// RetryAt is the earliest instant of the next call to STS after a failure.
	RetryAt time.Time
}

// Status returns the state of the nth integration of the configuration. It makes no calls.
func (s *Set) Status(n int, now time.Time) Status { return s.integrations[n].keeper.status(now) }

func (k *keeper) status(now time.Time) Status {
	s := Status{Name: k.name, Static: k.static != nil, WindowEnds: k.plan.end(now)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.static == nil {
		if held, ok := k.pool.sessions.Peek(k.identity, now); ok {
			s.Expires = held.Deadline()
		}
	}
	if s.Asked = k.answeredAt; s.Asked.IsZero() {
		return s
	}
	s.Result = OK
	if k.failure != nil {
		s.Result, s.RetryAt = k.failure.Result, k.retryAt
		if k.failure.Err != nil {
			s.Problem = truncate(k.failure.Err)
		}
	}
	return s
}
