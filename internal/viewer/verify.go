package viewer

import (
	"context"
	"slices"
	"time"
)

// VerifyToken verifies a token as if a request had it in Authorization, and returns its viewer and
// what it states. The error is a [*Refusal], [ErrUnavailable] or the context's cause. The gate must
// accept tokens.
func (g *Gate) VerifyToken(
	ctx context.Context, token string, now time.Time,
) (v Viewer, about Stated, err error) {
	// Any text may be an attempt at a token, so it is examined like a cookie.
	p := authorization
	p.cookie = true
	s, err := g.tokens.parse(ctx, token, p, now)
	if s != nil {
		about = s.stated
	}
	if err == nil {
		v, err = g.tokens.verify(s, now)
	}
	return v, about, err
}

// Groups returns the groups of a viewer with a token, or of one that [As] returned.
func (v *Viewer) Groups() []string { return slices.Clone(v.groups) }
