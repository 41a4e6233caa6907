package integration

import "time"

// Status is how an integration stands.
type Status struct {
	Name string
	// Static tells that it has keys of its own, and no sessions.
	Static bool
	// Expires is when its newest session expires; zero where there is none.
	Expires time.Time
	// WindowEnds is when its URLs change next.
	WindowEnds time.Time
	// Asked is when STS answered last, or did not; zero where it was not asked yet. Result is what came of it, and Problem what it
	// said against it.
	Asked   time.Time
	Result  Result
	Problem string
	// RetryAt is when STS is asked again after a failure, at the earliest.
	RetryAt time.Time
}

// Status tells how each integration stands, in the configuration's order. Nobody is asked for it.
func (s *Set) Status(now time.Time) []Status {
	all := make([]Status, len(s.integrations))
	for n, i := range s.integrations {
		all[n] = i.status(now)
	}
	return all
}

func (i *Integration) status(now time.Time) Status {
	s := Status{Name: i.Name, Static: i.static != nil, WindowEnds: i.WindowEnd(now)}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.static == nil {
		if h, ok := i.sessions.Peek(i.identity, now); ok {
			s.Expires = h.Deadline()
		}
	}
	if s.Asked = i.asked; s.Asked.IsZero() {
		return s
	}
	s.Result = OK
	if i.failure != nil {
		s.Result, s.RetryAt = i.failure.Result, i.retryAt
		if i.failure.Err != nil {
			s.Problem = oneLine(i.failure.Err)
		}
	}
	return s
}

// Peek is the window that URLs are signed in at an instant, nil where STS would have to be asked for its session first.
func (i *Integration) Peek(now time.Time) *Window {
	i.mu.Lock()
	defer i.mu.Unlock()
	held := []*session{i.static}
	if i.static == nil {
		h, ok := i.sessions.Peek(i.identity, now)
		if !ok {
			return nil
		}
		held = h.sessions
	}
	k := i.plan.index(now)
	if w := i.ownWindow(k, held); w != nil && w.usable(now) {
		return w
	}
	return i.overtime(k, held, now)
}

// Peek is where the bucket is, nil where its region was not found yet.
func (b *Bucket) Peek() *Place { return b.place.Load() }
