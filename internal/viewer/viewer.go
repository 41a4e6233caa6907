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
}

// ErrUnknown is that there is no proof of who asks, or that it is not good. What was wrong with it is for the log at most.
var ErrUnknown = errors.New("viewer: no proof of who asks")

// ErrUnavailable is that whether a proof is good cannot be told at present: the identity provider's keys are not to be had.
var ErrUnavailable = errors.New("viewer: the identity provider's keys cannot be had")

// Options are what a [Gate] needs. Clock and Log are required.
type Options struct {
	Clock func() time.Time
	Log   *slog.Logger
	// Transport carries the questions to the identity provider. nil means http.DefaultTransport.
	Transport http.RoundTripper
}

// Gate decides who asks and what they may see. It is safe for concurrent use.
type Gate struct {
	anonymous  bool
	forwarded  *config.Forwarded
	jwt        *tokens
	cookie     string
	basic      *passwords
	links      *Links
	rules      []rule
	needGroups bool // a rule depends on them
	limits     *limits
	challenge  []string
	vary       []string
}

// New makes the gate of a configuration that passed config's checks. An error is about a file that cannot be used.
func New(c *config.Viewers, o Options) (*Gate, error) {
	g := &Gate{anonymous: c.Anonymous, forwarded: c.Forwarded, needGroups: nameGroups(c.Rules)}
	if c.JWT != nil {
		g.jwt, g.cookie = newTokens(c.JWT, g.needGroups, o), c.JWT.Cookie
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
	for n := range c.Rules {
		g.rules = append(g.rules, newRule(&c.Rules[n]))
	}
	if c.RateLimit != nil {
		limits, err := newLimits(c.RateLimit)
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

// Identify finds out who sent a request. A credential in Authorization that is not good is refused, whoever else may ask; a
// cookie that is not, as one that has expired, is as good as absent. Its error is [ErrUnknown], [ErrUnavailable] or the
// context's.
func (g *Gate) Identify(r *http.Request, now time.Time) (Viewer, error) {
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
	if g.cookie != "" {
		if token := cookieValue(r.Header["Cookie"], g.cookie); token != "" {
			v, err := g.jwt.verify(r.Context(), token, now)
			if err == nil || !errors.Is(err, ErrUnknown) && !g.anonymous {
				return v, err
			}
		}
	}
	if g.anonymous {
		return Viewer{}, nil
	}
	return Viewer{}, ErrUnknown
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
	if v.groupList, known = parseGroupList(groups[0]); !known && g.needGroups {
		return Viewer{}, true, errGroups
	}
	return v, true, nil
}

// peer is the address at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

func (g *Gate) trusted(a netip.Addr) bool {
	if g.forwarded == nil || !a.IsValid() {
		return false
	}
	for _, p := range g.forwarded.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
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
		v, err = g.jwt.verify(r.Context(), strings.Trim(credential, " "), now)
	default:
		v, err = g.basic.verify(r.Context(), strings.Trim(credential, " "), now)
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

// Decision is what the rules say.
type Decision struct {
	Allowed bool
	// Rule is the number of the rule that decided, from 1; 0 if none did.
	Rule int
}

// Allow reports whether v may read l.
func (g *Gate) Allow(v *Viewer, l locator.Locator) Decision {
	if v.link || len(g.rules) == 0 {
		return Decision{Allowed: true}
	}
	normalized := normalizeKey(l.Key)
	for n := range g.rules {
		switch r := &g.rules[n]; {
		case r.deny && r.denies(v, l.Bucket, normalized):
			return Decision{Rule: n + 1}
		case !r.deny && r.allows(v, l):
			return Decision{Allowed: true, Rule: n + 1}
		}
	}
	return Decision{}
}

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
