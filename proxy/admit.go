package proxy

import (
	"net/http"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// identify finds out who sent a request, and whether they may send one now. The request counts n.
func (h *Handler) identify(r *http.Request, x *exchange, n int) (err error) {
	if x.viewer, err = h.gate.Identify(r, x.now); err != nil {
		return err
	}
	if x.viewer.ID != "" {
		x.now = h.clock() // a password, or the provider's keys, may have taken seconds
	}
	return h.gate.Limit(&x.viewer, r, n, x.now)
}

// admit decides whether whoever sent a request may read an object. It comes before any cache: what another viewer was given
// is no reason to give it to this one.
func (h *Handler) admit(r *http.Request, query string, x *exchange) (err error) {
	if h.gate.Links() == nil || !viewer.HasLink(query) {
		if err := h.identify(r, x, 1); err != nil {
			return err
		}
		return h.allowed(&x.viewer, x.locator)
	}
	// The request counts for the client's address, whether its link is good or not.
	if err := h.gate.Limit(&x.viewer, r, 1, x.now); err != nil {
		return err
	}
	if x.viewer, err = h.gate.FromLink(query, x.locator, x.now); err != nil {
		return errLink
	}
	return nil
}

// allowed asks the rules. Who has not said who they are may have to.
func (h *Handler) allowed(v *viewer.Viewer, l locator.Locator) error {
	switch {
	case h.gate.Allow(v, l).Allowed:
		return nil
	case v.ID == "" && len(h.gate.Challenge()) > 0:
		return viewer.ErrUnknown
	}
	return errDenied
}

// bounded is how long an answer may be kept: never beyond the proof of who asked.
func bounded(maxAge time.Duration, v *viewer.Viewer, now time.Time) time.Duration {
	if v.Until.IsZero() {
		return maxAge
	}
	return min(maxAge, v.Until.Sub(now))
}
