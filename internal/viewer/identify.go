package viewer

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Identify returns the viewer who sent r. A bad credential in Authorization or in a token's header
// is rejected even if anonymous clients are served; a bad cookie, such as an expired one, is
// ignored. A bad credential takes a token from its address's bucket; a request without a credential
// is no guess and takes none. While the bucket is empty, credentials are not verified, except those
// in the cache. The error wraps [ErrUnknown] or [ErrUnavailable], or is a [*LimitError] or the
// context's cause. It wraps a [*Refusal] if the request has a credential.
func (g *Gate) Identify(r *Request, now time.Time) (Viewer, error) {
	v, err := g.identify(r, now)
	refused, ok := errors.AsType[*Refusal](err)
	if !ok {
		refused = v.refused
	}
	g.observe(r, refused)
	if err == nil {
		return v, nil
	}
	if isGuess(err) && !v.charged {
		if exceeded := g.Limit(&Viewer{}, r, 1, now); exceeded != nil {
			return Viewer{}, exceeded
		}
	}
	return Viewer{}, err
}

// observe reports a refusal, which may be nil, to the observer.
func (g *Gate) observe(r *Request, refused *Refusal) {
	if refused != nil && g.refused != nil {
		g.refused(r, refused)
	}
}

func (g *Gate) identify(r *Request, now time.Time) (v Viewer, err error) {
	var ignored *Refusal
	if g.forwarded != nil {
		v, found, err := g.fromHeaders(r)
		if found {
			return v, err
		}
		ignored, _ = errors.AsType[*Refusal](err)
	}
	if g.tokens != nil || g.basic != nil {
		if v, found, err := g.fromAuthorization(r, now); found {
			return v, err
		}
	}
	if g.tokens != nil {
		if v, found, err := g.fromTokenHeaders(r, now); found {
			return v, err
		}
		var found bool
		if v, found, err = g.fromCookies(r, now); found {
			return v, err
		}
	}
	v.refused = moreTelling(v.refused, ignored)
	switch {
	case g.anonymous:
		return v, nil
	case v.refused != nil:
		return v, ignoredError{v.refused}
	}
	return v, errNoCredential
}

// ignoredError is the error of a request all of whose credentials are bad ones that are ignored if
// anonymous clients are served.
type ignoredError struct{ *Refusal }

// Unwrap returns the refusal.
func (e ignoredError) Unwrap() error { return e.Refusal }

// errUnverified means that the only credentials of a request are cookies, of which none can be
// verified at present.
var errUnverified = fmt.Errorf("%w: those in cookies", ErrUnavailable)

// LeavesToLink reports whether an error of [Gate.Identify] leaves it to a link in a cookie whether
// the client may read an object: the request has no credential that counts, or only cookies that
// cannot be verified at present. It returns false for a credential that the client sent on purpose,
// such as a wrong password.
func LeavesToLink(err error) bool {
	_, ignored := errors.AsType[ignoredError](err)
	return ignored || errors.Is(err, errNoCredential) || errors.Is(err, errUnverified)
}

// fromHeaders returns the viewer that the reverse proxy names. A user header from any other
// address, or one that is given twice, is ignored: found is then false, and the error is a
// [*Refusal]. A request with a user must have the groups header exactly once: a client can make the
// proxy drop it by naming it in Connection (RFC 9110, section 7.6.1).
func (g *Gate) fromHeaders(r *Request) (v Viewer, found bool, err error) {
	users := r.Header.Values(g.forwarded.UserHeader)
	switch {
	case len(users) == 0, len(users) == 1 && (users[0] == "" || users[0] == noValue):
		return Viewer{}, false, nil
	case !g.trusted(r.Peer):
		return Viewer{}, false, errUntrustedPeer
	case len(users) > 1:
		return Viewer{}, false, errTwoUsers
	case !validName(users[0]):
		return Viewer{}, false, errBadUser
	}
	v = Viewer{ID: users[0]}
	if g.forwarded.GroupsHeader == "" {
		return v, true, nil
	}
	groups := r.Header.Values(g.forwarded.GroupsHeader)
	if len(groups) != 1 {
		return Viewer{}, true, errGroups
	}
	var known bool
	v.groupList, known = g.groups.parse(groups[0])
	v.separator = g.groups.separator
	if !known && g.rules.nameGroups {
		return Viewer{}, true, errGroups
	}
	return v, true, nil
}

// trusted reports whether a is the address of a reverse proxy whose headers identify users.
func (g *Gate) trusted(a netip.Addr) bool {
	return g.forwarded != nil && contains(g.forwarded.Proxies, a)
}

// fromAuthorization returns the viewer that the Authorization header identifies. found reports
// whether the header is present and has a scheme that is on.
func (g *Gate) fromAuthorization(r *Request, now time.Time) (v Viewer, found bool, err error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return v, false, nil
	}
	scheme, credential, _ := strings.Cut(values[0], " ")
	credential = strings.Trim(credential, " ")
	switch {
	case isBearer(scheme) && g.tokens != nil:
		if len(values) > 1 {
			return v, true, refuse(MethodJWT, ReasonDuplicate)
		}
		v, err = g.fromToken(r, credential, authorization, now)
	case strings.EqualFold(scheme, "Basic") && g.basic != nil:
		if len(values) > 1 {
			return v, true, refuse(MethodBasic, ReasonDuplicate)
		}
		v, err = g.fromPassword(r, credential, now)
	default:
		return v, false, nil // meant for another server, such as the reverse proxy
	}
	return v, true, err
}

func isBearer(scheme string) bool { return strings.EqualFold(scheme, "Bearer") }

// fromTokenHeaders returns the viewer that the token in another header identifies. It does not
// depend on the peer, because the token's signature proves who the viewer is. found reports whether
// the request has one of the headers.
func (g *Gate) fromTokenHeaders(r *Request, now time.Time) (v Viewer, found bool, err error) {
	for _, p := range g.tokens.headers {
		values := r.Header.Values(p.name)
		if len(values) > 1 {
			return v, true, refuse(MethodJWT, ReasonDuplicate)
		}
		if len(values) == 0 || values[0] == "" || values[0] == noValue {
			continue
		}
		token := values[0]
		if scheme, rest, ok := strings.Cut(token, " "); ok && isBearer(scheme) {
			token = strings.Trim(rest, " ")
		}
		v, err = g.fromToken(r, token, p, now)
		return v, true, err
	}
	return v, false, nil
}

// cookie is the token in one of a request's cookies: verified, parsed or bad.
type cookie struct {
	viewer   *Viewer
	parsed   *unverifiedToken
	refused  *Refusal
	keysDown bool // the token cannot be verified at present
}

// fromCookies returns the viewer that a cookie identifies. A bad cookie is ignored: found is false,
// and v has the reason. All cookies up to the first valid one are parsed before any is verified:
// parsing may have to wait, and a request that may not wait must not have taken a token from the
// rate limit before.
func (g *Gate) fromCookies(r *Request, now time.Time) (v Viewer, found bool, err error) {
	if len(g.tokens.cookies) == 0 {
		return v, false, nil
	}
	headers := r.Header.Values("Cookie")
	var cookies []cookie
	for _, p := range g.tokens.cookies {
		token, refused := cookieToken(headers, p.name)
		if token == "" && refused == nil {
			continue
		}
		if refused != nil {
			cookies = append(cookies, cookie{refused: refused})
			continue
		}
		if v, ok := g.tokens.cached(token, p, now); ok {
			if len(cookies) == 0 {
				return v, true, nil
			}
			first := v // v itself must not move to the heap
			cookies = append(cookies, cookie{viewer: &first})
			break
		}
		parsed, err := g.tokens.parse(r.Context, token, p, now)
		refused, _ = errors.AsType[*Refusal](err)
		down := errors.Is(err, ErrUnavailable)
		if err != nil && refused == nil && !down {
			return v, true, err
		}
		cookies = append(cookies, cookie{parsed: parsed, refused: refused, keysDown: down})
	}
	return g.firstValid(r, cookies, now)
}

// firstValid returns the viewer of the first cookie that is valid. The viewer has the refusal of an
// earlier one, which may have taken a token from the rate limit.
func (g *Gate) firstValid(
	r *Request, cookies []cookie, now time.Time,
) (v Viewer, found bool, err error) {
	down := false
	for _, c := range cookies {
		switch {
		case c.viewer != nil:
			refused := v.refused
			v = *c.viewer
			v.refused = refused
			return v, true, nil
		case c.keysDown:
			down = true
			continue
		case c.refused == nil:
			var verified Viewer
			verified, err = g.verifyToken(r, c.parsed, now)
			if c.refused, _ = errors.AsType[*Refusal](err); c.refused == nil {
				verified.refused = v.refused
				return verified, true, err
			}
			v.charged = v.charged || verified.charged
		}
		v.refused = moreTelling(v.refused, c.refused)
	}
	if down && !g.anonymous {
		return v, true, errUnverified
	}
	return v, false, nil
}

// fromToken returns the viewer that a token identifies.
func (g *Gate) fromToken(r *Request, token string, p place, now time.Time) (Viewer, error) {
	if v, ok := g.tokens.cached(token, p, now); ok {
		return v, nil
	}
	s, err := g.tokens.parse(r.Context, token, p, now)
	if err != nil {
		return Viewer{}, err
	}
	return g.verifyToken(r, s, now)
}

// verifyToken verifies a token that is not cached.
func (g *Gate) verifyToken(r *Request, s *unverifiedToken, now time.Time) (Viewer, error) {
	return g.limiters.verify(g.network(r), func() (Viewer, error) {
		return g.tokens.verify(s, now)
	})
}

// fromPassword returns the viewer that a credential of Basic authentication identifies.
func (g *Gate) fromPassword(r *Request, credential string, now time.Time) (Viewer, error) {
	if v, ok := g.basic.cached(credential, now); ok {
		return v, nil
	}
	from := g.network(r)
	release, err := g.basic.queue.acquire(r.Context, from)
	if err != nil {
		return Viewer{}, err
	}
	defer release()
	// Another request with the same credential may have been verified while this one waited.
	if v, ok := g.basic.cached(credential, now); ok {
		return v, nil
	}
	return g.limiters.verify(from, func() (Viewer, error) {
		return g.basic.verify(r.Context, credential, now)
	})
}
