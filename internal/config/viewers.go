package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"s3redirect/internal/locator"
)

// Viewers configures who may read what. At least one way to authenticate, or Anonymous, is
// required.
type Viewers struct {
	// Anonymous serves clients without credentials.
	Anonymous bool `yaml:"anonymous"`
	// Forwarded trusts a user header of the reverse proxy.
	Forwarded *Forwarded `yaml:"forwarded"`
	// JWT accepts signed tokens of an identity provider.
	JWT *JWT `yaml:"jwt"`
	// Basic asks for a user and a password.
	Basic *Basic `yaml:"basic"`
	// Links serves clients that have a signed link.
	Links *Links `yaml:"links"`
	// Rules allow or deny access to objects. The first rule that matches decides; without a match
	// access is denied. Without rules, every viewer may read everything that the integrations
	// serve.
	Rules []Rule `yaml:"rules"`
	// RateLimit bounds the requests of each viewer. Optional.
	RateLimit *RateLimit `yaml:"rate_limit"`
	// Attribution signs the viewer into each URL as x-viewer, so that the bucket's access log shows
	// it. Each viewer then has its own URLs. Default false.
	Attribution bool `yaml:"attribution"`
}

// Forwarded names the headers that the reverse proxy sets.
type Forwarded struct {
	// UserHeader and GroupsHeader name the headers; only the first is required. They have no
	// defaults, because a client could set a header that the proxy does not set on every request. A
	// request with a user and without GroupsHeader is rejected.
	UserHeader   string `yaml:"user_header"`
	GroupsHeader string `yaml:"groups_header"`
	// TrustedProxies are the addresses or CIDR blocks from which the headers are trusted. Each must
	// be within one of the top level's trusted_proxies, if there are any. Required.
	TrustedProxies []string `yaml:"trusted_proxies"`

	// Proxies is TrustedProxies, parsed.
	Proxies []netip.Prefix `yaml:"-"`
}

// JWT configures OpenID Connect tokens (RFC 7519, OpenID Connect Core 1.0).
type JWT struct {
	// Issuer must equal the token's iss, and Audience must be in its aud. Required.
	Issuer   string `yaml:"issuer"`
	Audience string `yaml:"audience"`
	// JWKSURL is the URL of the issuer's keys. Default: from the issuer's
	// /.well-known/openid-configuration.
	JWKSURL string `yaml:"jwks_url"`
	// Algorithms are the accepted signature algorithms. Default RS256 and ES256.
	Algorithms []string `yaml:"algorithms"`
	// Cookie names a cookie that may hold the token, for images in browsers. Default: only the
	// Authorization header.
	Cookie string `yaml:"cookie"`
	// UserClaim names the claim with the viewer's name, and GroupsClaim the one with its groups.
	// Default email and groups. If rules name groups, tokens without a readable GroupsClaim are
	// rejected.
	UserClaim   string `yaml:"user_claim"`
	GroupsClaim string `yaml:"groups_claim"`
	// Leeway is the tolerated difference between clocks, at most 5m. Default 30s.
	Leeway time.Duration `yaml:"leeway"`
}

// Basic configures user and password (RFC 7617).
type Basic struct {
	// HtpasswdFile has lines user:bcrypt-hash, as htpasswd -B writes them. It is read again when it
	// changes.
	HtpasswdFile string `yaml:"htpasswd_file"`
}

// Links configures signed links.
type Links struct {
	// Keys verify links. The first key signs new ones.
	Keys []LinkKey `yaml:"keys"`
	// MaxLifetime bounds the lifetime of a link. Default 24h.
	MaxLifetime time.Duration `yaml:"max_lifetime"`
}

// LinkKey is a key that signs links.
type LinkKey struct {
	// ID is part of the link, so that keys can be rotated.
	ID string `yaml:"id"`
	// Secret has at least 32 bytes.
	Secret Secret `yaml:"secret"`
}

// Rule allows or denies viewers access to objects. It applies to viewers in Users or in one of
// Groups, to all authenticated viewers if Known is set, and to anonymous clients if Anonymous is
// set.
type Rule struct {
	Users     []string `yaml:"users"`
	Groups    []string `yaml:"groups"`
	Known     bool     `yaml:"known"`
	Anonymous bool     `yaml:"anonymous"`
	// Locators are the objects: s3://bucket/key, or s3://bucket/prefix* . The bucket may be a
	// pattern; {user} in the key is the viewer's name and needs a slash before a following *. Those
	// of a deny rule match a key regardless of repeated slashes.
	Locators []string `yaml:"locators"`
	// Deny denies access.
	Deny bool `yaml:"deny"`
}

// RateLimit is a token bucket: its rate, and its size.
type RateLimit struct {
	PerSecond int `yaml:"per_second"`
	Burst     int `yaml:"burst"`
}

// CORS configures the other origins whose pages may read responses with fetch().
type CORS struct {
	// AllowedOrigins are origins, or only "*" for all. With origins, pages may send cookies.
	AllowedOrigins []string `yaml:"allowed_origins"`
}

// jwtAlgorithms are the algorithms with public keys. HMAC is not among them, because its key would
// have to be published.
var jwtAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	maxLeeway = 5 * time.Minute
	maxLink   = 366 * 24 * time.Hour
	minSecret = 32 // bytes
)

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110, section 5.1; a cookie's name as well
	keyID      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

func (k *checker) checkViewers() {
	v := &k.Viewers
	if !v.Anonymous && v.Forwarded == nil && v.JWT == nil && v.Basic == nil && v.Links == nil {
		k.wrong("viewers",
			"no client may read anything; "+
				"configure forwarded, jwt, basic or links, or set anonymous: true to serve every "+
				"client that can reach listen")
	}
	if v.Forwarded != nil {
		k.checkForwarded(v.Forwarded)
	}
	if v.JWT != nil {
		k.checkJWT(v.JWT)
	}
	if v.Basic != nil && v.Basic.HtpasswdFile == "" {
		k.wrong("viewers.basic.htpasswd_file", "a file is needed; htpasswd -B makes one")
	}
	if v.Links != nil {
		k.checkLinks(v.Links)
	}
	if v.Rules != nil && len(v.Rules) == 0 {
		k.wrong("viewers.rules",
			"an empty list denies everything; add a rule, or remove the key to let all viewers read everything")
	}
	for n := range v.Rules {
		k.checkRule(fmt.Sprintf("viewers.rules[%d]", n), &v.Rules[n])
	}
	if l := v.RateLimit; l != nil && (l.PerSecond < 1 || l.Burst < 1) {
		k.wrong("viewers.rate_limit", "per_second and burst are needed, and both are 1 at least")
	}
}

func (k *checker) checkForwarded(f *Forwarded) {
	const at = "viewers.forwarded."
	for key, name := range map[string]string{"user_header": f.UserHeader, "groups_header": f.GroupsHeader} {
		if name != "" && !headerName.MatchString(name) {
			k.wrong(at+key, "%s is not a header name", value(at+key))
		}
	}
	if f.UserHeader == "" {
		k.wrong(at+"user_header",
			"it is needed: a header that the reverse proxy sets on every request, such as X-Auth-Request-Email")
	}
	if len(f.TrustedProxies) == 0 {
		k.wrong(at+"trusted_proxies",
			"the addresses of the reverse proxy are needed: the headers are believed from there, and from nowhere else")
	}
	sound := k.checkProxyList(at+"trusted_proxies", f.TrustedProxies)
	if outer := (&checker{}); sound && outer.checkProxyList("", k.TrustedProxies) {
		k.checkForwardedProxies(at+"trusted_proxies", f.TrustedProxies)
	}
}

func (k *checker) checkJWT(j *JWT) {
	const at = "viewers.jwt."
	if j.Issuer == "" {
		k.wrong(at+"issuer", "it is required, and must equal the token's iss exactly")
	} else {
		k.checkIssuerURL(at+"issuer", j.Issuer)
	}
	if j.JWKSURL != "" {
		k.checkIssuerURL(at+"jwks_url", j.JWKSURL)
	}
	if j.Audience == "" {
		k.wrong(at+"audience",
			"it is required: without it, tokens that the issuer made for other programs would be accepted")
	}
	for n, a := range j.Algorithms {
		if key := fmt.Sprintf("%salgorithms[%d]", at, n); !slices.Contains(jwtAlgorithms, a) {
			k.wrong(key, "%s is not taken; use some of %s", value(key), strings.Join(jwtAlgorithms, ", "))
		}
	}
	if j.Cookie != "" && !headerName.MatchString(j.Cookie) {
		k.wrong(at+"cookie", "%s is not a cookie name", value(at+"cookie"))
	}
	if j.Leeway < 0 || j.Leeway > maxLeeway {
		k.wrong(at+"leeway", "%s is out of bounds; use 0s to 5m", Short(j.Leeway))
	}
}

// checkIssuerURL requires a URL whose responses cannot be forged on the network path.
func (k *checker) checkIssuerURL(key, text string) {
	origin := text
	if i := strings.Index(text, "://"); i >= 0 {
		if end := strings.IndexAny(text[i+3:], "/?#"); end >= 0 {
			origin = text[:i+3+end]
		}
	}
	u := k.checkOrigin(key, origin, "https://id.example.com")
	if u != nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		k.wrong(key, "over http:// anyone on the network path could replace the keys; use https://")
	}
}

func (k *checker) checkLinks(l *Links) {
	const at = "viewers.links."
	if len(l.Keys) == 0 {
		k.wrong(at+"keys", "a key is needed: an id, and a secret such as openssl rand -base64 32 prints")
	}
	seen := map[string]bool{}
	for n, key := range l.Keys {
		item := fmt.Sprintf("%skeys[%d]", at, n)
		switch {
		case !keyID.MatchString(key.ID):
			k.wrong(item+".id", "use 1 to 64 letters, digits, '.', '_' and '-'")
		case seen[key.ID]:
			k.wrong(item+".id", "the id is another key's too; give each its own")
		}
		seen[key.ID] = true
		if len(key.Secret) < minSecret {
			k.wrong(item+".secret", "it is too short: use 32 bytes at least, such as openssl rand -base64 32 prints")
		}
	}
	if l.MaxLifetime < time.Second || l.MaxLifetime > maxLink || l.MaxLifetime%time.Second != 0 {
		k.wrong(at+"max_lifetime", "%s is out of bounds; use 1s to 8784h (366 days), in whole seconds",
			Short(l.MaxLifetime))
	}
}

func (k *checker) checkRule(at string, r *Rule) {
	if len(r.Users) == 0 && len(r.Groups) == 0 && !r.Known && !r.Anonymous {
		k.wrong(at,
			"the rule matches no client; set users, groups, known: true (all authenticated clients) or anonymous: true")
	}
	if r.Anonymous && !k.Viewers.Anonymous {
		k.wrong(at+".anonymous", "the rule never applies, because viewers.anonymous is off")
	}
	for key, names := range map[string][]string{"users": r.Users, "groups": r.Groups} {
		for n, name := range names {
			if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
				k.wrong(fmt.Sprintf("%s.%s[%d]", at, key, n), "a name is needed")
			}
		}
	}
	for n, name := range r.Groups {
		k.checkGroup(fmt.Sprintf("%s.groups[%d]", at, n), name)
	}
	if len(r.Locators) == 0 {
		k.wrong(at+".locators", `what it is about is missing; "s3://bucket/*" is a whole bucket`)
	}
	for n, text := range r.Locators {
		key := fmt.Sprintf("%s.locators[%d]", at, n)
		if problem := ruleLocatorProblem(text); problem != "" {
			k.wrong(key, "%s: %s", value(key), problem)
		} else if r.Anonymous && strings.Contains(text, UserPlaceholder) {
			k.wrong(key, "%s: who asks anonymously has no name to put for {user}", value(key))
		}
	}
}

// checkGroup rejects names that no viewer's groups can contain: a rule that denies such a group
// would deny nothing.
func (k *checker) checkGroup(key, name string) {
	f := k.Viewers.Forwarded
	switch {
	case name == "-":
		k.wrong(key, "- stands for no groups, as reverse proxies write it; name a group")
	case name != "" && f != nil && f.GroupsHeader != "" &&
		(strings.ContainsAny(name, `,|;"%()[]{}<>`) || strings.TrimSpace(name) != name):
		k.wrong(key, "%s cannot come in groups_header, which separates groups by commas and "+
			"refuses bars, semicolons, quotes, percent signs and brackets",
			value(key))
	}
}

// UserPlaceholder stands for the viewer's name in the key of a rule's locator.
const UserPlaceholder = "{user}"

// ruleLocatorProblem returns what is wrong with a rule's locator, or "".
func ruleLocatorProblem(text string) string {
	rest, ok := strings.CutPrefix(text, "s3://")
	bucket, key, slash := strings.Cut(rest, "/")
	if !ok || !slash || key == "" {
		return `write it as "s3://bucket/key", or "s3://bucket/prefix/*"`
	}
	check := locator.CheckBucket
	if locator.IsPattern(bucket) {
		check = locator.CheckPattern
	}
	if err := check(bucket); err != nil {
		return err.Error()
	}
	literal := strings.ReplaceAll(strings.TrimSuffix(key, "*"), UserPlaceholder, "u")
	switch {
	case strings.Contains(literal, "*"):
		return "a * may stand at the end only, for all that begins like that"
	case strings.ContainsAny(literal, "{}"):
		return "{user} is the only thing that braces may hold"
	case strings.ContainsFunc(literal, unicode.IsControl):
		return "it holds a control character"
	}
	// The rest of the segment could belong to a longer name.
	last := strings.LastIndex(key, UserPlaceholder)
	if last >= 0 && strings.HasSuffix(key, "*") && !strings.Contains(key[last:], "/") {
		return "a slash is needed between {user} and the *, or the viewer an would match what is ann's; write {user}/*"
	}
	if locator.HasDotSegment(strings.TrimSuffix(key, "*")) {
		return "dot segments are never served"
	}
	return ""
}

func (k *checker) checkCORS() {
	if k.CORS == nil {
		return
	}
	if len(k.CORS.AllowedOrigins) == 0 {
		k.wrong("cors.allowed_origins", `origins are needed, such as https://app.example.com, or "*"`)
	}
	for n, text := range k.CORS.AllowedOrigins {
		key := fmt.Sprintf("cors.allowed_origins[%d]", n)
		switch {
		case text == "*" && len(k.CORS.AllowedOrigins) > 1:
			k.wrong(key, "* means every origin and must be the only item")
		case text == "*":
		case text == "null":
			k.wrong(key, "null is the origin of every sandboxed page and local file, including an attacker's")
		default:
			if o := k.checkOrigin(key, text, "https://app.example.com"); o != nil &&
				o.Scheme+"://"+strings.ToLower(o.Host) != text {
				k.wrong(key, "a browser would send %s://%s: write it like that", o.Scheme, strings.ToLower(o.Host))
			}
		}
	}
}

// CheckOrigins returns an error if an origin is not valid in cors.allowed_origins.
func CheckOrigins(origins []string) error {
	k := &checker{Config: &Config{CORS: &CORS{AllowedOrigins: origins}}}
	k.checkCORS()
	if len(k.problems) == 0 {
		return nil
	}
	written := map[string]string{}
	for n, text := range origins {
		written[fmt.Sprintf("cors.allowed_origins[%d]", n)] = text
	}
	return errors.New(k.problems[0].render(func(key string) string { return written[key] }, nil))
}
