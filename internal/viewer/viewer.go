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

	lower     bool // ID is in lower case; rules name it without regard to case
	groups    []string
	groupList string   // the groups header
	separator byte     // of groupList
	link      bool     // the credential is a signed link, which itself permits reading the object
	charged   bool     // a bad credential in this request has already taken a token
	refused   *Refusal // a bad credential that was ignored
}

// Unknown returns the error of an anonymous viewer that must have a valid credential. It is a
// [*Refusal] if the viewer had one that was ignored, and otherwise wraps [ErrUnknown].
func (v *Viewer) Unknown() error {
	if v.refused != nil {
		return v.refused
	}
	return errNoCredential
}

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
	// Refused is called for every credential that is refused, including those of anonymous clients
	// that are ignored. Optional.
	Refused func(*Request, *Refusal)
	// KeysFetched is called after each fetch of an issuer's keys. Optional.
	KeysFetched func(issuer string, err error)
}

// Gate identifies viewers and decides what they may read. It is safe for concurrent use.
type Gate struct {
	anonymous bool
	forwarded *config.Forwarded
	groups    groupFormat // of the groups header
	tokens    *tokens
	basic     *passwordVerifier
	links     *Links
	rules     *Rules
	limiters  *limiters
	proxies   []netip.Prefix // whose X-Forwarded-For is believed
	refused   func(*Request, *Refusal)
	challenge []string
	invalid   []string // the challenge for responses to invalid tokens
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
		refused:   o.Refused,
	}
	if len(g.proxies) == 0 && c.Forwarded != nil {
		g.proxies = c.Forwarded.Proxies
	}
	if c.Forwarded != nil {
		g.groups = newGroupFormat(c.Forwarded.GroupsSeparator, g.rules.spacedGroups)
	}
	if len(c.JWT) > 0 {
		g.tokens = newTokens(c.JWT, g.rules.nameGroups, o)
		g.challenge = append(g.challenge, "Bearer")
		g.invalid = append(g.invalid, `Bearer error="invalid_token"`)
	}
	if c.Basic != nil {
		var err error
		if g.basic, err = newPasswordVerifier(c.Basic.HtpasswdFile, o); err != nil {
			return nil, err
		}
		const basic = `Basic realm="s3redirect", charset="UTF-8"`
		g.challenge, g.invalid = append(g.challenge, basic), append(g.invalid, basic)
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
	g.vary = g.identityHeaders()
	return g, nil
}

// identityHeaders returns the names of the request headers that identify the viewer. A browser
// sends the reverse proxy credentials in Cookie or Authorization. It never sends the headers that
// the reverse proxy derives from them.
func (g *Gate) identityHeaders() (names []string) {
	if g.forwarded != nil || g.tokens != nil || g.basic != nil {
		names = append(names, "Authorization")
	}
	if g.forwarded != nil || g.tokens != nil && len(g.tokens.cookies)+len(g.tokens.headers) > 0 ||
		g.links != nil && g.links.cookie != "" {
		names = append(names, "Cookie")
	}
	if g.forwarded != nil {
		names = append(names, g.forwarded.UserHeader)
		if g.forwarded.GroupsHeader != "" {
			names = append(names, g.forwarded.GroupsHeader)
		}
	}
	if g.tokens != nil {
		for _, h := range g.tokens.headers {
			names = append(names, h.name)
		}
	}
	return names
}

// Reload reads the password file again, even if it seems unchanged. If that fails, the previous
// version is kept.
func (g *Gate) Reload() error {
	if g.basic == nil {
		return nil
	}
	if err := g.basic.file.Reload(); err != nil {
		return passwordsError(err)
	}
	return nil
}

// Close stops the background fetches of keys and waits for them.
func (g *Gate) Close() {
	if g.tokens != nil {
		g.tokens.close()
	}
}

// Vary returns the names of the request headers that identify the viewer.
func (g *Gate) Vary() []string { return g.vary }

// CanChallenge reports whether clients could send credentials themselves.
func (g *Gate) CanChallenge() bool { return len(g.challenge) > 0 }

// Challenge returns the values of WWW-Authenticate for the response to a viewer that is unknown
// because of err, or nil. After an invalid token, it says so (RFC 6750, section 3.1). The caller
// must not modify the slice.
func (g *Gate) Challenge(err error) []string {
	if r, ok := errors.AsType[*Refusal](err); ok && r.Method == MethodJWT {
		return g.invalid
	}
	return g.challenge
}

// Links returns the signer and verifier of links, or nil if links are off.
func (g *Gate) Links() *Links { return g.links }

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

// FromLink returns the viewer of a request with a signed link, which allows reading l. The link is
// in the segment token of the path or, if token is "", in the query. The error is a [*Refusal] if
// the link is not valid for l.
func (g *Gate) FromLink(
	r *Request, token, query string, l locator.Locator, now time.Time,
) (Viewer, error) {
	var until time.Time
	var err error
	if token != "" {
		until, err = g.links.CheckToken(token, query, l, now)
	} else {
		until, err = g.links.Check(query, l, now)
	}
	return g.fromLink(r, until, err)
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
		group, rest = cutGroup(rest, v.separator)
		if _, ok := groups[unquote(group)]; ok {
			return true
		}
	}
	return false
}

// As returns a viewer with a name and groups, for evaluating rules.
func As(id string, groups ...string) Viewer { return Viewer{ID: id, groups: groups} }
