package integration

import (
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/internal/presign"
)

// session is what one AssumeRole call returned, or an integration's static keys.
type session struct {
	window      int64     // that it was fetched for
	issued      time.Time // in whole seconds
	expires     time.Time // in whole seconds; the true expiry, not one with a margin taken off
	credentials presign.Credentials
}

// Window is a span of time with one session and one signing instant, so that within it an object's URL does not change.
type Window struct {
	// Start and End bound the window: it lasts from Start to just before End.
	Start, End time.Time
	// SignedAt and Expires are those of its URLs, in whole seconds. Expires is never past the session's own expiry.
	SignedAt, Expires time.Time

	index   int64
	session *session
	fresh   time.Time // from here on another window, or another session, is to be looked for
	last    time.Time // from here on none of its URLs is handed out
	fetchAt time.Time // from here on the next window's session is to be fetched

	mu      sync.Mutex
	signers atomic.Pointer[[]*Signer] // one a region
}

// maxSkew is how far ahead a signing instant may lie once our clock was set back: S3 takes 15 minutes.
const maxSkew = 5 * time.Minute

// newWindow is a window signed by a session. The jitter, 0 to 1, spreads the fetching of the next session.
func (p *plan) newWindow(index int64, s *session, jitter float64) *Window {
	w := &Window{Start: p.start(index), End: p.start(index + 1), index: index, session: s}
	w.SignedAt = later(w.Start, s.issued)
	w.Expires = earlier(w.Start.Add(p.lifetime), s.expires)
	w.fresh = earlier(w.End, w.Expires.Add(-p.minRemaining))
	w.last = w.Expires.Add(-p.floor)
	w.fetchAt = w.End.Add(-p.lead + time.Duration(jitter*float64(p.lead)/2))
	return w
}

// usable tells whether S3 would take the window's URLs at an instant, and for long enough.
func (w *Window) usable(now time.Time) bool {
	return now.Before(w.last) && w.SignedAt.Sub(now) <= maxSkew && w.Expires.Sub(w.SignedAt) >= time.Second
}

// MaxAge is how long, from now on, a redirect to one of the window's URLs may be kept: until then the URL is the one that
// would be given, and has min_remaining left. Zero or less means not at all.
func (w *Window) MaxAge(now time.Time) time.Duration { return w.fresh.Sub(now) }

// Remaining is what the window's URLs have left to live.
func (w *Window) Remaining(now time.Time) time.Duration { return w.Expires.Sub(now) }

// Signer signs a window's URLs for one region. A URL is current if it was signed by the current window's signer: that of the same
// number, not one that is equal.
type Signer struct {
	*presign.Signer
	// Number is this signer's and no other's, as long as the program runs.
	Number uint32
	region string
}

// signers counts those that were made. One a second would last for 136 years.
var signers atomic.Uint32

// Signer is the window's signer for a region, prepared when it is first asked for.
func (w *Window) Signer(region string) (*Signer, error) {
	if s := w.prepared(region); s != nil {
		return s, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.prepared(region); s != nil {
		return s, nil
	}
	s, err := presign.NewSigner(w.session.credentials, region, w.SignedAt, w.Expires.Sub(w.SignedAt))
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
