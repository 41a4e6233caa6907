// Package viewer identifies viewers and decides which objects they may read.
//
// A viewer is identified by the reverse proxy's headers, a token, a password or a signed link.
// Verified tokens and passwords are cached, so a page of images costs one verification. Rules
// decide what a viewer may read; they are evaluated on every request, before the URL cache is
// consulted.
package viewer

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// Viewer is the sender of a request. The zero value is an anonymous viewer.
type Viewer struct {
	// ID is the user's name, as the credential states it. It is empty for anonymous viewers and for
	// viewers with a signed link.
	ID string
	// Until is when the credential expires. No redirect may be cached for longer. The zero time
	// means that the credential does not expire.
	Until time.Time

	groups    []string
	groupList string // the groups header: a list separated by commas
	link      bool   // the credential is a signed link, which itself permits reading the object
	charged   bool   // a bad credential in this request has already taken a token
}

// ErrUnknown means that a request has no valid credential. Clients do not learn the reason.
var ErrUnknown = errors.New("viewer: no valid credential")

// errNoCredential means that a request has no credential at all.
var errNoCredential = fmt.Errorf("%w: the request has none", ErrUnknown)

// ErrUnavailable means that a credential cannot be verified at present: the identity provider's
// keys are unavailable, or too many passwords are waiting to be checked.
var ErrUnavailable = errors.New("viewer: credentials cannot be verified at present")

// Options configure a [Gate]. Clock and Log are required.
type Options struct {
	Clock func() time.Time
	Log   *slog.Logger
	// Transport sends the requests to the identity provider. nil means http.DefaultTransport.
	Transport http.RoundTripper
	// TrustedProxies are the addresses whose X-Forwarded-For is believed. If it is empty, those of
	// viewers.forwarded are used.
	TrustedProxies []netip.Prefix
}

// Gate identifies viewers and decides what they may read. It is safe for concurrent use.
type Gate struct {
	anonymous bool
	forwarded *config.Forwarded
	jwt       *tokenVerifier
	cookie    string
	basic     *passwordVerifier
	links     *Links
	rules     *Rules
	limiters  *limiters
	proxies   []netip.Prefix // whose X-Forwarded-For is believed
	challenge []string
	vary      []string
}

// New returns the gate of a valid configuration. If the htpasswd file cannot be used, the error
// starts with its configuration key.
func New(c *config.Viewers, o Options) (*Gate, error) {
	g := &Gate{
		anonymous: c.Anonymous,
		forwarded: c.Forwarded,
		rules:     NewRules(c.Rules),
		proxies:   o.TrustedProxies,
	}
	if len(g.proxies) == 0 && c.Forwarded != nil {
		g.proxies = c.Forwarded.Proxies
	}
	if c.JWT != nil {
		g.jwt, g.cookie = newTokenVerifier(c.JWT, g.rules.nameGroups, o), c.JWT.Cookie
		g.challenge = append(g.challenge, "Bearer")
	}
	if c.Basic != nil {
		var err error
		if g.basic, err = newPasswordVerifier(c.Basic.HtpasswdFile, o); err != nil {
			return nil, err
		}
		g.challenge = append(g.challenge, `Basic realm="s3redirect", charset="UTF-8"`)
	}
	if c.Links != nil {
		g.links = NewLinks(c.Links)
	}
	if c.RateLimit != nil {
		var err error
		if g.limiters, err = newLimiters(c.RateLimit, o.Clock); err != nil {
			return nil, err
		}
	}
	// A browser sends the reverse proxy credentials in Cookie or Authorization. It never sends the
	// headers that the reverse proxy derives from them.
	if g.forwarded != nil || g.jwt != nil || g.basic != nil {
		g.vary = append(g.vary, "Authorization")
	}
	if g.forwarded != nil || g.cookie != "" {
		g.vary = append(g.vary, "Cookie")
	}
	if g.forwarded != nil {
		g.vary = append(g.vary, g.forwarded.UserHeader)
		if g.forwarded.GroupsHeader != "" {
			g.vary = append(g.vary, g.forwarded.GroupsHeader)
		}
	}
	return g, nil
}

// Close stops the background fetches of keys and waits for them.
func (g *Gate) Close() {
	if g.jwt != nil {
		g.jwt.keys.close()
	}
}

// Vary returns the names of the request headers that identify the viewer.
func (g *Gate) Vary() []string { return g.vary }

// Challenge returns the values of WWW-Authenticate for responses to unknown viewers, or nil. The
// caller must not modify the slice.
func (g *Gate) Challenge() []string { return g.challenge }

// Links returns the signer and verifier of links, or nil if links are off.
func (g *Gate) Links() *Links { return g.links }

// Identify returns the viewer who sent r. A bad credential in Authorization is rejected even if
// anonymous clients are served; a bad cookie, such as an expired one, is ignored. A bad credential
// takes a token from its address's bucket; a request without a credential is no guess and takes
// none. While the bucket is empty, credentials are not verified, except those in the cache. The
// error wraps [ErrUnknown] or [ErrUnavailable], or is a [*LimitError] or the context's cause.
func (g *Gate) Identify(r *Request, now time.Time) (Viewer, error) {
	v, err := g.identify(r, now)
	if err == nil {
		return v, nil
	}
	if errors.Is(err, ErrUnknown) && !errors.Is(err, errNoCredential) && !v.charged {
		if exceeded := g.Limit(&Viewer{}, r, 1, now); exceeded != nil {
			return Viewer{}, exceeded
		}
	}
	return Viewer{}, err
}

func (g *Gate) identify(r *Request, now time.Time) (Viewer, error) {
	if g.forwarded != nil {
		if v, found, err := g.fromHeaders(r); found {
			return v, err
		}
	}
	if g.jwt != nil || g.basic != nil {
		v, found, err := g.fromAuthorization(r, now)
		if found || err != nil {
			return v, err
		}
	}
	charged, unknown := false, errNoCredential
	if g.cookie != "" {
		if token := cookieValue(r.Header.Values("Cookie"), g.cookie); token != "" {
			v, err := g.fromToken(r, token, now)
			ignored := errors.Is(err, ErrUnknown) ||
				g.anonymous && errors.Is(err, ErrUnavailable)
			if !ignored {
				return v, err
			}
			charged, unknown = v.charged, ErrUnknown
		}
	}
	if g.anonymous {
		return Viewer{charged: charged}, nil
	}
	return Viewer{charged: charged}, unknown
}

// fromToken returns the viewer that a token identifies.
func (g *Gate) fromToken(r *Request, token string, now time.Time) (Viewer, error) {
	if v, ok := g.jwt.cached(token, now); ok {
		return v, nil
	}
	s, err := g.jwt.parse(r.Context, token, now)
	if err != nil {
		return Viewer{}, err
	}
	return g.limiters.verify(g.network(r), func() (Viewer, error) { return g.jwt.verify(s, now) })
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

// fromHeaders returns the viewer that the reverse proxy names. A user header from any other
// address, or one that is given twice, is ignored. A request with a user must have the groups
// header exactly once: a client can make the proxy drop it by naming it in Connection (RFC 9110,
// section 7.6.1).
func (g *Gate) fromHeaders(r *Request) (v Viewer, found bool, err error) {
	users := r.Header.Values(g.forwarded.UserHeader)
	if len(users) != 1 || users[0] == noValue || !validName(users[0]) || !g.trusted(r.Peer) {
		return Viewer{}, false, nil
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
	v.groupList, known = parseGroupList(groups[0], g.rules.spacedGroups)
	if !known && g.rules.nameGroups {
		return Viewer{}, true, errGroups
	}
	return v, true, nil
}

// trusted reports whether a is the address of a reverse proxy whose headers identify users.
func (g *Gate) trusted(a netip.Addr) bool {
	return g.forwarded != nil && contains(g.forwarded.Proxies, a)
}

// maxName bounds a viewer's name, in bytes: names are kept in caches and signed into URLs.
const maxName = 256

// validName reports whether name may be a viewer's name.
func validName(name string) bool {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		// Decoders replace invalid text by U+FFFD, which would make different names equal.
		return unicode.IsControl(r) || r == utf8.RuneError
	})
}

// fromAuthorization returns the viewer that the Authorization header identifies. found reports
// whether the header is present and has a scheme that is on.
func (g *Gate) fromAuthorization(r *Request, now time.Time) (v Viewer, found bool, err error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return v, false, nil
	}
	scheme, credential, _ := strings.Cut(values[0], " ")
	bearer := strings.EqualFold(scheme, "Bearer") && g.jwt != nil
	basic := strings.EqualFold(scheme, "Basic") && g.basic != nil
	switch {
	case !bearer && !basic:
		return v, false, nil // meant for another server, such as the reverse proxy
	case len(values) > 1:
		return v, true, ErrUnknown
	case bearer:
		v, err = g.fromToken(r, strings.Trim(credential, " "), now)
	default:
		v, err = g.fromPassword(r, strings.Trim(credential, " "), now)
	}
	return v, true, err
}

// FromLink returns the viewer of a request with a signed link, which allows reading l. The error is
// [ErrUnknown] if the link is not valid for l.
func (g *Gate) FromLink(query string, l locator.Locator, now time.Time) (Viewer, error) {
	until, err := g.links.Check(query, l, now)
	if err != nil {
		return Viewer{}, err
	}
	return Viewer{Until: until, link: true}, nil
}

// Allow reports whether v may read l.
func (g *Gate) Allow(v *Viewer, l locator.Locator) Decision { return g.rules.Decide(v, l) }

// AllowTarget reports whether v may read everything that a link to t would serve.
func (g *Gate) AllowTarget(v *Viewer, t Target) bool { return g.rules.AllowTarget(v, t) }

// in reports whether v is in any of groups.
func (v *Viewer) in(groups map[string]struct{}) bool {
	if len(groups) == 0 {
		return false
	}
	if slices.ContainsFunc(v.groups, func(g string) bool { _, ok := groups[g]; return ok }) {
		return true
	}
	for rest := v.groupList; rest != ""; {
		var group string
		group, rest, _ = strings.Cut(rest, ",")
		if _, ok := groups[strings.TrimSpace(group)]; ok {
			return true
		}
	}
	return false
}

// As returns a viewer with a name and groups, for evaluating rules.
func As(id string, groups ...string) Viewer { return Viewer{ID: id, groups: groups} }
