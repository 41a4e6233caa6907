package config

import (
	"errors"
	"fmt"
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
	// JWT accepts signed tokens of identity providers. It is a list of issuers, or one issuer.
	JWT OneOrMore[JWT] `yaml:"jwt"`
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
	// Cookie names a cookie that may hold a link's query. Default: none.
	Cookie string `yaml:"cookie"`
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

const (
	maxLink   = 366 * 24 * time.Hour
	minSecret = 32 // bytes
)

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110, section 5.1; a cookie's name as well
	cookiePart = regexp.MustCompile(`^[._][0-9]+$`)
	keyID      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

func (k *checker) checkViewers() {
	v := &k.Viewers
	if !v.Anonymous && v.Forwarded == nil && v.JWT == nil && v.Basic == nil && v.Links == nil {
		k.wrong("viewers",
			"no client may read anything; "+
				"configure forwarded, jwt, basic or links, or set anonymous: true to serve every "+
				"client that can reach listen").Needs = []string{"viewers.anonymous", "viewers.jwt"}
	}
	if v.Forwarded != nil {
		k.checkForwarded(v.Forwarded)
	}
	k.checkIssuers()
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
		k.wrong("viewers.rate_limit", "per_second and burst are needed, and both are 1 at least").
			Needs = []string{"viewers.rate_limit.per_second", "viewers.rate_limit.burst"}
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
	if l.Cookie != "" {
		k.checkLinkCookie(at+"cookie", l.Cookie)
	}
	// A document that is reached through a link has the link in its URL.
	if slices.Contains(leakyPolicies, k.ReferrerPolicy) {
		k.wrong("referrer_policy", "with %s, browsers would send links to other sites, because viewers.links "+
			"is on; use no-referrer or strict-origin", value("referrer_policy"))
	}
}

// leakyPolicies are the referrer policies with which browsers send a page's path to other origins.
// https://www.w3.org/TR/referrer-policy/#referrer-policies
var leakyPolicies = []string{"no-referrer-when-downgrade", "unsafe-url"}

// checkLinkCookie checks the name of the cookie that may hold a link.
func (k *checker) checkLinkCookie(key, name string) {
	switch {
	case !headerName.MatchString(name):
		k.wrong(key, "%s is not a cookie name", value(key))
	// RFC 6265bis, section 4.1.3.2
	case len(name) >= len("__Host-") && strings.EqualFold(name[:len("__Host-")], "__Host-"):
		k.wrong(key, "browsers take a __Host- cookie for the path / only, and a link's cookie is for one bucket; "+
			"use __Secure-, or no prefix")
	}
	for n := range k.Viewers.JWT {
		if cookie := k.Viewers.JWT[n].Cookie; cookie != "" && isCookieOf(name, cookie) {
			k.wrong(key, "%s would be read as a token, because it is the cookie of the item %s of viewers.jwt "+
				"or a part of it; name another cookie",
				value(key), place{fmt.Sprintf("viewers.jwt[%d].cookie", n), key})
			return
		}
	}
}

// isCookieOf reports whether a cookie is the named one or a part of it, such as name.0 or name_1.
func isCookieOf(cookie, name string) bool {
	rest, ok := strings.CutPrefix(cookie, name)
	return ok && (rest == "" || cookiePart.MatchString(rest))
}

func (k *checker) checkRule(at string, r *Rule) {
	if len(r.Users) == 0 && len(r.Groups) == 0 && !r.Known && !r.Anonymous {
		k.wrong(at,
			"the rule matches no client; set users, groups, known: true (all authenticated clients) "+
				"or anonymous: true").
			Needs = []string{at + ".users", at + ".groups", at + ".known", at + ".anonymous"}
	}
	if r.Anonymous && !k.Viewers.Anonymous {
		k.wrong(at+".anonymous", "the rule never applies, because viewers.anonymous is off").
			Needs = []string{"viewers.anonymous"}
	}
	if f := k.Viewers.Forwarded; len(r.Groups) > 0 && f != nil && f.GroupsHeader == "" {
		k.warn(at+".groups", "viewers.forwarded has no groups_header, so its viewers are in no group, "+
			"and the rule does not apply to them; set groups_header")
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
		if problem := k.ruleLocatorProblem(text); problem != "" {
			k.wrong(key, "%s: %s", value(key), problem)
		} else if r.Anonymous && strings.Contains(text, UserPlaceholder) {
			k.wrong(key, "%s: who asks anonymously has no name to put for {user}", value(key))
		}
	}
}

// UserPlaceholder stands for the viewer's name in the key of a rule's locator.
const UserPlaceholder = "{user}"

// ruleLocatorProblem returns what is wrong with a rule's locator, or "".
func (k *checker) ruleLocatorProblem(text string) string {
	rest, ok := strings.CutPrefix(text, "s3://")
	bucket, key, slash := strings.Cut(rest, "/")
	if !ok || !slash || key == "" {
		return `write it as "s3://bucket/key", or "s3://bucket/prefix/*"`
	}
	if err := k.checkRuleBucket(bucket); err != nil {
		return err.Error()
	}
	literal := strings.ReplaceAll(strings.TrimSuffix(key, "*"), UserPlaceholder, "u")
	switch {
	case strings.Contains(literal, "*"):
		return "a * may stand at the end only, for all that begins like that"
	case strings.ContainsAny(literal, "{}"):
		return "{user} is the only thing that braces may hold"
	case strings.Contains(literal, "\x00"):
		return "keys with NUL are never served"
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
