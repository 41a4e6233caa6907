// Package viewer knows who asks, and what they may see.
//
// Who asks is told by the reverse proxy, a token, a password or a signed link; what was verified once is remembered, so that
// a page of images costs one verification. What they may see is decided by rules, on every request, before any cache is
// looked at.
package viewer

import (
	"errors"
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

// Viewer is who asks. The zero value asks anonymously.
type Viewer struct {
	// ID is the user, as the method that proved it calls them; "" is anonymous.
	ID string
	// Until is when the proof ends: no redirect is to be kept for longer. Zero means that it does not.
	Until time.Time

	groups    []string
	groupList string // from a header: separated by commas
	link      bool   // a signed link was the proof, and says what may be read
	charged   bool   // a bad credential has taken a token for this request already
}

// ErrUnknown is that there is no proof of who asks, or that it is not good. What was wrong with it is for the log at most.
var ErrUnknown = errors.New("viewer: no proof of who asks")

// ErrUnavailable means that a credential cannot be verified at present: the identity provider's keys are unavailable, or too
// many passwords wait to be checked.
var ErrUnavailable = errors.New("viewer: credentials cannot be verified at present")

// Options are what a [Gate] needs. Clock and Log are required.
type Options struct {
	Clock func() time.Time
	Log   *slog.Logger
	// Transport carries the questions to the identity provider. nil means http.DefaultTransport.
	Transport http.RoundTripper
	// TrustedProxies are the addresses from which X-Forwarded-For is believed. Default: those of forwarded.
	TrustedProxies []netip.Prefix
}

// Gate decides who asks and what they may see. It is safe for concurrent use.
type Gate struct {
	anonymous bool
	forwarded *config.Forwarded
	jwt       *tokens
	cookie    string
	basic     *passwords
	links     *Links
	rules     *Rules
	limits    *limits
	proxies   []netip.Prefix // from which X-Forwarded-For is believed
	challenge []string
	vary      []string
}

// New makes the gate of a configuration that passed config's checks. An error is about a file that cannot be used.
func New(c *config.Viewers, o Options) (*Gate, error) {
	g := &Gate{anonymous: c.Anonymous, forwarded: c.Forwarded, rules: NewRules(c.Rules), proxies: o.TrustedProxies}
	if len(g.proxies) == 0 && c.Forwarded != nil {
		g.proxies = c.Forwarded.Proxies
	}
	if c.JWT != nil {
		g.jwt, g.cookie = newTokens(c.JWT, g.rules.nameGroups, o), c.JWT.Cookie
		g.challenge = append(g.challenge, "Bearer")
	}
	if c.Basic != nil {
		var err error
		if g.basic, err = newPasswords(c.Basic.HtpasswdFile, o); err != nil {
			return nil, err
		}
		g.challenge = append(g.challenge, `Basic realm="s3redirect", charset="UTF-8"`)
	}
	if c.Links != nil {
		g.links = NewLinks(c.Links)
	}
	if c.RateLimit != nil {
		limits, err := newLimits(c.RateLimit, o.Clock)
		if err != nil {
			return nil, err
		}
		g.limits = limits
	}
	// Browsers send a sign-in proxy its own credentials, in Cookie or Authorization, and never the
	// headers that it derives from them.
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

// Close ends what runs in the background.
func (g *Gate) Close() {
	if g.jwt != nil {
		g.jwt.keys.close()
	}
}

// Vary returns the names of the request headers that identify the viewer.
func (g *Gate) Vary() []string { return g.vary }

// Challenge is the value of WWW-Authenticate for those who are unknown, or nil. It is not to be changed.
func (g *Gate) Challenge() []string { return g.challenge }

// Links makes and checks signed links, or is nil where they are off.
func (g *Gate) Links() *Links { return g.links }

// Identify finds out who sent a request. A bad credential in Authorization is rejected, even if anonymous clients are served;
// a bad cookie, such as an expired one, is ignored. A request that is rejected takes a token from its address's bucket; if
// that is empty, no credential is verified, except those that are remembered. The error is [ErrUnknown], [ErrUnavailable], a
// [*LimitError] or the context's.
func (g *Gate) Identify(r *http.Request, now time.Time) (Viewer, error) {
	v, err := g.identify(r, now)
	if err == nil {
		return v, nil
	}
	if errors.Is(err, ErrUnknown) && !v.charged {
		if exceeded := g.Limit(&Viewer{}, r, 1, now); exceeded != nil {
			return Viewer{}, exceeded
		}
	}
	return Viewer{}, err
}

func (g *Gate) identify(r *http.Request, now time.Time) (Viewer, error) {
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
	charged := false
	if g.cookie != "" {
		if token := cookieValue(r.Header["Cookie"], g.cookie); token != "" {
			v, err := g.fromToken(r, token, now)
			_, limited := errors.AsType[*LimitError](err)
			if err == nil || limited || !errors.Is(err, ErrUnknown) && !g.anonymous {
				return v, err
			}
			charged = v.charged
		}
	}
	if g.anonymous {
		return Viewer{charged: charged}, nil
	}
	return Viewer{charged: charged}, ErrUnknown
}

// fromToken returns the viewer whom a token identifies.
func (g *Gate) fromToken(r *http.Request, token string, now time.Time) (Viewer, error) {
	if v, ok := g.jwt.remembered(token, now); ok {
		return v, nil
	}
	s, err := g.jwt.parse(r.Context(), token, now)
	if err != nil {
		return Viewer{}, err
	}
	return g.limits.guess(g.network(r), func() (Viewer, error) { return g.jwt.verify(s, now) })
}

// fromPassword returns the viewer whom a user and a password identify.
func (g *Gate) fromPassword(r *http.Request, credential string, now time.Time) (Viewer, error) {
	if v, ok := g.basic.remembered(credential, now); ok {
		return v, nil
	}
	from := g.network(r)
	done, err := g.basic.turns.wait(r.Context(), from)
	if err != nil {
		return Viewer{}, err
	}
	defer done()
	if v, ok := g.basic.remembered(credential, now); ok { // verified for another request meanwhile
		return v, nil
	}
	return g.limits.guess(from, func() (Viewer, error) { return g.basic.verify(r.Context(), credential, now) })
}

// fromHeaders returns the viewer that the reverse proxy names. A user header that comes from another
// address, or twice, is ignored. With a user, the groups header must be there exactly once: a client
// can make the proxy drop it by naming it in Connection (RFC 9110, section 7.6.1).
func (g *Gate) fromHeaders(r *http.Request) (v Viewer, found bool, err error) {
	users := r.Header[g.forwarded.UserHeader]
	if len(users) != 1 || users[0] == noValue || !plausibleName(users[0]) || !g.trusted(peer(r)) {
		return Viewer{}, false, nil
	}
	v = Viewer{ID: users[0]}
	if g.forwarded.GroupsHeader == "" {
		return v, true, nil
	}
	groups := r.Header[g.forwarded.GroupsHeader]
	if len(groups) != 1 {
		return Viewer{}, true, errGroups
	}
	var known bool
	if v.groupList, known = parseGroupList(groups[0]); !known && g.rules.nameGroups {
		return Viewer{}, true, errGroups
	}
	return v, true, nil
}

// trusted reports whether an address is the reverse proxy's, whose headers name the user.
func (g *Gate) trusted(a netip.Addr) bool {
	return g.forwarded != nil && contains(g.forwarded.Proxies, a)
}

// maxName bounds a viewer's name, in bytes: it may be kept in tables and signed into URLs.
const maxName = 256

// plausibleName tells whether a text can be a viewer's name.
func plausibleName(name string) bool {
	// U+FFFD is what decoders put for what was no character: two names could become one.
	return name != "" && len(name) <= maxName && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}

// fromAuthorization is whom the Authorization header proves, if it is there and of a kind that is on.
func (g *Gate) fromAuthorization(r *http.Request, now time.Time) (v Viewer, found bool, err error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return v, false, nil
	}
	scheme, credential, _ := strings.Cut(values[0], " ")
	bearer, basic := strings.EqualFold(scheme, "Bearer") && g.jwt != nil, strings.EqualFold(scheme, "Basic") && g.basic != nil
	switch {
	case !bearer && !basic:
		return v, false, nil // it is for somebody else, such as the reverse proxy
	case len(values) > 1:
		return v, true, ErrUnknown
	case bearer:
		v, err = g.fromToken(r, strings.Trim(credential, " "), now)
	default:
		v, err = g.fromPassword(r, strings.Trim(credential, " "), now)
	}
	return v, true, err
}

// FromLink is whoever has a signed link to an object. Its error is [ErrUnknown].
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

// in tells whether a viewer is in one of some groups.
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

// As is a viewer of a name and of groups, for asking what they may see.
func As(id string, groups ...string) Viewer { return Viewer{ID: id, groups: groups} }
