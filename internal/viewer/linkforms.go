package viewer

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"s3redirect/internal/locator"
)

// LinkForm is where a request carries a link. All forms of a link have the same parameters and the
// same signature.
type LinkForm string

// The forms of links.
const (
	// LinkQuery is a link in the query of the request.
	LinkQuery LinkForm = "query"
	// LinkPath is a link in the path: /s3/~TOKEN/bucket/key. Relative references resolve to URLs
	// with the same token.
	LinkPath LinkForm = "path"
	// LinkCookie is a link in the cookie that viewers.links.cookie names.
	LinkCookie LinkForm = "cookie"
)

// CheckForm returns an error if links cannot be made in a form.
func (l *Links) CheckForm(form LinkForm) error {
	switch form {
	case LinkQuery, LinkPath:
		return nil
	case LinkCookie:
		if l.cookie == "" {
			return errors.New("form: cookie is off; set viewers.links.cookie to the cookie's name")
		}
		return nil
	}
	return errors.New("form: unknown form; use query, path or cookie")
}

// Token returns a link's query as the segment of a path, ~TOKEN. The token is in base64url (RFC
// 4648, section 5), so it needs no escapes and has no dots.
func Token(query string) string {
	return locator.TokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(query))
}

// tokenQuery returns the query in the segment ~TOKEN. Each query has exactly one token. The reason
// is "" if the token is one.
func tokenQuery(token string) (query string, reason Reason) {
	text := strings.TrimPrefix(token, locator.TokenPrefix)
	if len(text) > base64.RawURLEncoding.EncodedLen(maxLinkQuery) {
		return "", ReasonTooLarge
	}
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	// The decoder ignores line breaks and the bits that are left over at the end.
	if query = string(decoded); err != nil || Token(query) != token {
		return "", ReasonMalformed
	}
	return query, ""
}

// CheckToken is like [Links.Check] for a link in the path. query is the request's own query, which
// must not have any of a link's parameters.
func (l *Links) CheckToken(
	token, query string, object locator.Locator, now time.Time,
) (until time.Time, err error) {
	if HasLink(query) {
		return time.Time{}, refuse(MethodLink, ReasonDuplicate)
	}
	signed, reason := tokenQuery(token)
	if reason != "" {
		return time.Time{}, refuse(MethodLink, reason)
	}
	return l.Check(joinQueries(signed, query), object, now)
}

// joinQueries returns the query with the parameters of a link's query and of the request's, so that
// the link is checked as if it were in the request's query: parameters of links may not be repeated,
// and a version is rejected.
func joinQueries(link, query string) string {
	if query == "" {
		return link
	}
	return link + "&" + query
}

// Cookie returns the cookie of a link to t that expires at until. query is the link's. The caller
// has called [Links.CheckForm].
func (l *Links) Cookie(t Target, query string, now, until time.Time) *http.Cookie {
	return &http.Cookie{
		Name:     l.cookie,
		Value:    query,
		Path:     locator.PathPrefix + t.Bucket + "/",
		MaxAge:   max(1, int(until.Sub(now)/time.Second)), // http.Cookie omits a Max-Age of 0
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}

// errTwoLinkCookies means that a request has the links' cookie with two values.
var errTwoLinkCookies = refuse(MethodLink, ReasonDuplicate)

// linkCookie returns the value of a link's cookie, or "" if it is missing. Like a token's cookie, it
// is refused if it is given with two values.
func linkCookie(headers []string, name string) (value string, refused *Refusal) {
	for _, rest := range headers {
		for rest != "" {
			var n, v string
			n, v, rest = nextCookie(rest)
			switch {
			case n != name || v == "":
			case value != "" && v != value:
				return "", errTwoLinkCookies
			default:
				value = v
			}
		}
	}
	return value, nil
}

// HasLinkCookie reports whether a request has a link in a cookie.
func (g *Gate) HasLinkCookie(r *Request) bool {
	if g.links == nil || g.links.cookie == "" {
		return false
	}
	value, refused := linkCookie(r.Header.Values("Cookie"), g.links.cookie)
	return value != "" || refused != nil
}

// FromLinkCookie is like [Gate.FromLink] for a link in a cookie. query is the request's own query.
func (g *Gate) FromLinkCookie(
	r *Request, query string, l locator.Locator, now time.Time,
) (Viewer, error) {
	until, err := g.links.checkCookie(r.Header.Values("Cookie"), query, l, now)
	return g.fromLink(r, until, err)
}

// checkCookie is like [Links.Check] for a link in a cookie. Many libraries percent-encode a cookie's
// value. An encoded query has no '=', and every query has one.
func (l *Links) checkCookie(
	headers []string, query string, object locator.Locator, now time.Time,
) (until time.Time, err error) {
	link, refused := linkCookie(headers, l.cookie)
	if refused != nil {
		return time.Time{}, refused
	}
	if len(link) <= 3*maxLinkQuery && strings.IndexByte(link, '=') < 0 {
		if link, err = url.PathUnescape(link); err != nil {
			return time.Time{}, refuse(MethodLink, ReasonMalformed)
		}
	}
	return l.Check(joinQueries(link, query), object, now)
}

// fromLink returns the viewer of a request with a link that is valid until an instant, unless err
// says why it is not valid.
func (g *Gate) fromLink(r *Request, until time.Time, err error) (Viewer, error) {
	if err != nil {
		if refused, ok := errors.AsType[*Refusal](err); ok {
			g.observe(r, refused)
		}
		return Viewer{}, err
	}
	return Viewer{Until: until, link: true}, nil
}
