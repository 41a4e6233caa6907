package proxy

import (
	"errors"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// identify identifies the viewer and takes n tokens from their rate limit.
func (h *Handler) identify(x *exchange, n int) (err error) {
	if x.viewer, err = h.gate.Identify(&x.Request, x.now); err != nil {
		return err
	}
	if x.viewer.ID != "" {
		x.now = h.clock() // checking a password or fetching the provider's keys may take seconds
	}
	return h.gate.Limit(&x.viewer, &x.Request, n, x.now)
}

// admit identifies the viewer and checks that they may read the exchange's object. It runs before
// any cache lookup: that another viewer was given a URL does not entitle this one to it.
//
// A link in the path or the query decides alone. A link in a cookie only adds to what the viewer may
// read without it, because a browser also sends the cookie with requests for other objects.
func (h *Handler) admit(x *exchange) error {
	if h.hasLink(x) {
		return h.admitLink(x)
	}
	err := h.identify(x, 1)
	if err == nil {
		if err = h.allowed(&x.viewer, x.locator); err == nil {
			return nil
		}
		return h.admitCookie(x, err, true)
	}
	if !viewer.LeavesToLink(err) {
		return err
	}
	refused, ok := errors.AsType[*viewer.Refusal](err)
	return h.admitCookie(x, err, ok && refused.IsGuess())
}

// allowed returns an error if v may not read l. Anonymous clients get an error that wraps
// [viewer.ErrUnknown] (401) if credentials could help.
func (h *Handler) allowed(v *viewer.Viewer, l locator.Locator) error {
	switch {
	case h.gate.Allow(v, l).Allowed:
		return nil
	case v.ID == "" && h.gate.CanChallenge():
		return v.Unknown()
	}
	return errDenied
}

// capMaxAge returns how long clients may cache a response: no longer than the viewer's credential
// is valid.
func capMaxAge(maxAge time.Duration, v *viewer.Viewer, now time.Time) time.Duration {
	if v.Until.IsZero() {
		return maxAge
	}
	return min(maxAge, v.Until.Sub(now))
}
