package integration

import (
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// session holds the credentials that one AssumeRole call returned, or an integration's static keys.
type session struct {
	window      int64     // the window that it was fetched for
	issued      time.Time // in whole seconds
	expires     time.Time // in whole seconds; the true expiry, without a safety margin
	credentials presign.Credentials
}

// Window is a span of time with one session and one signing instant: within it an object's URL does
// not change.
type Window struct {
	// Start and End bound the window: it lasts from Start to just before End.
	Start, End time.Time
	// SignedAt and Expires are the signing instant and the expiry of its URLs, in whole seconds.
	// Expires is never later than the session's expiry.
	SignedAt, Expires time.Time

	index   int64
	session *session
	fresh   time.Time // until then no other window or session is needed
	last    time.Time // until then its URLs may be handed out
	fetchAt time.Time // from then on the next window's session is to be fetched

	mu      sync.Mutex                // serialises the preparation of signers
	signers atomic.Pointer[[]*Signer] // one per region; the slice is never modified
}

// maxSkew bounds how far ahead of the clock the signing instant may be, after the clock was stepped
// back. S3 accepts 15 minutes.
const maxSkew = 5 * time.Minute

// newWindow returns the window of an index and a session. The jitter, from 0 to 1, spreads the
// fetching of the next session over the first half of the prefetch lead.
func (p *plan) newWindow(index int64, s *session, jitter float64) *Window {
	w := &Window{Start: p.start(index), End: p.start(index + 1), index: index, session: s}
	w.SignedAt = later(w.Start, s.issued)
	w.Expires = earlier(w.Start.Add(p.lifetime), s.expires)
	w.fresh = earlier(w.End, w.Expires.Add(-p.minRemaining))
	w.last = w.Expires.Add(-p.floor)
	w.fetchAt = w.End.Add(-p.prefetchLead + time.Duration(jitter*float64(p.prefetchLead)/2))
	return w
}

// NewWindow returns the window that starts at an instant, with a session of an integration that was
// issued then and expires at the given time. The proxy signs in the same way.
func NewWindow(
	c *config.Integration, credentials presign.Credentials, start, expires time.Time,
) *Window {
	p := newPlan(c.URLLifetime, c.MinRemaining, identity{})
	start = start.Truncate(time.Second)
	p.phase = time.Duration(start.UnixNano() % int64(p.period))
	s := &session{issued: start, expires: expires, credentials: credentials}
	return p.newWindow(p.index(start), s, 0)
}

// usable reports whether S3 accepts the window's URLs at an instant, and for long enough.
func (w *Window) usable(now time.Time) bool {
	return now.Before(w.last) &&
		w.SignedAt.Sub(now) <= maxSkew &&
		w.Expires.Sub(w.SignedAt) >= time.Second
}

// MaxAge returns how long a redirect to one of the window's URLs may be cached: until then a new
// request would get the same URL, and the URL has min_remaining left. Zero or less means not at
// all.
func (w *Window) MaxAge(now time.Time) time.Duration { return w.fresh.Sub(now) }

// Remaining returns how long the window's URLs remain valid.
func (w *Window) Remaining(now time.Time) time.Duration { return w.Expires.Sub(now) }

// Signer signs a window's URLs for one region. A cached signature is current if it was made by the
// current window's signer, which is identified by its number.
type Signer struct {
	*presign.Signer
	// Number is unique among all signers of the process.
	Number uint32
	region string
}

// signers counts the signers made. At one per second it overflows after 136 years.
var signers atomic.Uint32

// Signer returns the window's signer for a region. The first call for a region prepares it.
func (w *Window) Signer(region string) (*Signer, error) {
	if s := w.prepared(region); s != nil {
		return s, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.prepared(region); s != nil {
		return s, nil // prepared by another request since
	}
	lifetime := w.Expires.Sub(w.SignedAt)
	s, err := presign.NewSigner(w.session.credentials, region, w.SignedAt, lifetime)
	if err != nil {
		return nil, err
	}
	prepared := []*Signer{{Signer: s, Number: signers.Add(1), region: region}}
	if others := w.signers.Load(); others != nil {
		prepared = append(prepared, *others...)
	}
	w.signers.Store(&prepared)
	return prepared[0], nil
}

// prepared returns the signer for a region, or nil.
func (w *Window) prepared(region string) *Signer {
	if signers := w.signers.Load(); signers != nil {
		for _, s := range *signers {
			if s.region == region {
				return s
			}
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
