package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// checker collects the problems of a configuration. It does not change the configuration.
type checker struct {
	*Config
	checked  map[*Integration][]string // see validate
	problems []Problem
}

// Validate returns the problems of a configuration whose defaults are filled in. It checks c only:
// it reads no files and does not know the file and line of a key.
func Validate(c *Config) []Problem { return validate(c, nil) }

// validate is like Validate. It does not check the integrations in checked on their own again, and
// reports the warnings about them.
func validate(c *Config, checked map[*Integration][]string) []Problem {
	k := &checker{Config: c, checked: checked}
	k.check()
	return k.problems
}

// wrong adds an error about a key, and returns it for Needs and Instead.
func (k *checker) wrong(key, format string, args ...any) *Problem {
	k.problems = append(k.problems, Problem{Key: key, format: format, args: args})
	return &k.problems[len(k.problems)-1]
}

// warn adds a warning about a key.
func (k *checker) warn(key, format string, args ...any) {
	k.problems = append(k.problems, Problem{Key: key, Warning: true, format: format, args: args})
}

func (k *checker) check() {
	k.checkListeners()
	k.checkReach()
	k.checkAdmin()
	k.checkTLS("tls", k.TLS)
	if !slices.Contains(referrerPolicies, k.ReferrerPolicy) {
		k.wrong("referrer_policy", "%s is not a referrer policy; use one of %s",
			value("referrer_policy"), strings.Join(referrerPolicies, ", "))
	}
	if k.DrainDelay < 0 || k.DrainDelay > 10*time.Minute {
		k.wrong("drain_delay", "%s is out of bounds; use 0s to 10m", Short(k.DrainDelay))
	}
	if k.Log.Format != "json" && k.Log.Format != "text" {
		k.wrong("log.format", "%s is not a format; use json or text", value("log.format"))
	}
	k.checkLogs()
	k.checkMetrics()
	if k.Cache.URLs < 1 || k.Cache.URLs > 100_000_000 {
		k.wrong("cache.urls", "%d entries are out of bounds; use 1 to 100000000 (the default is 65536)", k.Cache.URLs)
	}
	if k.Cache.Credentials < 1 || k.Cache.Credentials > 10_000_000 {
		k.wrong("cache.credentials", "%d entries are out of bounds; use 1 to 10000000 (the default is 1000)",
			k.Cache.Credentials)
	}
	k.needIntegrations()
	k.checkRedis()
	k.checkProxies()
	k.checkViewers()
	k.checkCORS()
	k.checkLifetimes("", k.URLLifetime, k.MinRemaining)
	k.checkSignatureAge("", k.URLLifetime, k.MaxSignatureAge)
	names, roles := make(map[string]int, len(k.Integrations)), 0
	for n, i := range k.Integrations {
		k.checkName(n, i.Name, names)
		if warnings, ok := k.checked[i]; ok {
			for _, w := range warnings {
				k.problems = append(k.problems, Problem{Warning: true, rendered: w})
			}
		} else {
			k.checkIntegration(itemKey(n), i)
		}
		if i.RoleARN != "" || i.OwnCredentials {
			roles++
		}
	}
	k.checkOverlaps()
	if roles > k.Cache.Credentials {
		k.warn("cache.credentials",
			"there are %d integrations with roles and room for the sessions of %d: "+
				"sessions will be assumed again and again, and their URLs change; make room for all", roles,
			k.Cache.Credentials)
	}
}

func (k *checker) checkLogs() {
	if !slices.Contains([]string{"", "json", "text", "combined"}, k.Log.AccessFormat) {
		k.wrong("log.access_format", "%s is not a format; use json, text or combined",
			value("log.access_format"))
	}
	if a := k.Log.Audit; a != "" && a != AuditStdout && !filepath.IsAbs(a) {
		k.wrong("log.audit", "%s is neither stdout nor a path that begins with /", value("log.audit"))
	}
}

// needIntegrations requires an integration, unless the console can add one.
func (k *checker) needIntegrations() {
	switch {
	case len(k.Integrations) > 0:
	case k.Admin.Token != "":
		k.warn("integrations",
			"there are no integrations yet, so nothing is served; add one in the console at admin_listen")
	default:
		k.wrong("integrations",
			"at least one integration is needed: a name, a bucket (or permitted_buckets), a role_arn and a region").
			Needs = []string{"include", "admin.token", "admin"}
	}
}

// Short formats a duration without zero units: 45m, not 45m0s.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// The values of https://www.w3.org/TR/referrer-policy/
var referrerPolicies = []string{"no-referrer", "no-referrer-when-downgrade", "origin",
	"origin-when-cross-origin", "same-origin",
	"strict-origin", "strict-origin-when-cross-origin", "unsafe-url"}

func (k *checker) checkReach() {
	if k.PublicURL != "" {
		k.checkOrigin("public_url", k.PublicURL, "https://media.example.com")
	}
}

// hostGrammar is RFC 1123's, plus '_', which is common. Browsers rewrite other hosts.
var hostGrammar = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// checkOrigin requires a scheme, a host and optionally a port (RFC 6454). It returns the parsed
// origin, or nil if it is invalid.
func (k *checker) checkOrigin(key, text, like string) *url.URL {
	if strings.Contains(text, "@") { // it contains a password, which must not be shown
		k.wrong(key, "user and password are not allowed; write it as %s", like)
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "" || u.Host == "" {
		k.wrong(key, "%s is not an http or https URL; write it as %s", value(key), like)
		return nil
	}
	addr, _ := netip.ParseAddr(u.Hostname())
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "1"), 10, 16)
	switch {
	case strings.Trim(u.Path, "/") != "" || strings.ContainsAny(text, "?#"):
		k.wrong(key, "%s has more than a host; write it as %s", value(key), like)
	case !hostGrammar.MatchString(u.Hostname()) && (!addr.IsValid() || addr.Zone() != ""):
		k.wrong(key,
			"%s has a host that browsers would rewrite; use letters, digits, '.' and '-' (others in "+
				"their xn-- form), or an address", value(key))
	case err != nil || port == 0 || strings.HasSuffix(u.Host, ":"):
		k.wrong(key, "%s has no port from 1 to 65535", value(key))
	default:
		return u
	}
	return nil
}

// checkLifetimes checks the top-level url_lifetime and min_remaining or, with a prefix, those of an
// integration. It reports whether they are valid.
func (k *checker) checkLifetimes(prefix string, lifetime, remaining time.Duration) bool {
	sound := true
	wrong := func(key, format string, args ...any) *Problem {
		sound = false
		p := k.wrong(prefix+key, format, args...)
		p.Needs = lifetimeKeys(prefix)
		return p
	}
	switch {
	case lifetime%time.Second != 0 || remaining%time.Second != 0:
		key := "url_lifetime"
		if remaining%time.Second != 0 {
			key = "min_remaining"
		}
		wrong(key, "it must be in whole seconds: S3 counts in them")
	case lifetime > presign.MaxLifetime:
		wrong("url_lifetime", "%s is longer than S3 allows; use 168h (7 days) at most", Short(lifetime))
	case remaining < time.Second:
		wrong("min_remaining", "%s is too short; use 1s at least", Short(remaining))
	case remaining >= lifetime:
		wrong("min_remaining",
			"min_remaining (%s) must be less "+
				"than url_lifetime (%s): the difference is how long a URL stays the same",
			Short(remaining), Short(lifetime)).
			Instead = []string{prefix + "url_lifetime"}
	}
	return sound
}

// lifetimeKeys are the keys that decide an integration's lifetimes or, without a prefix, the top
// level's.
func lifetimeKeys(prefix string) (keys []string) {
	for _, name := range []string{"url_lifetime", "min_remaining", "max_signature_age"} {
		keys = append(keys, name, prefix+name)
	}
	return keys
}

// checkSignatureAge checks the top-level max_signature_age or, with a prefix, an integration's. A
// URL's signature is made when its window begins, so it can become as old as url_lifetime.
func (k *checker) checkSignatureAge(prefix string, lifetime, age time.Duration) {
	key := prefix + "max_signature_age"
	if age == k.MaxSignatureAge {
		key = "max_signature_age" // inherited
	}
	switch {
	case age == 0:
	case age < 0 || age%time.Second != 0:
		k.wrong(key, "%s is not a positive number of whole seconds; write it as 15m", Short(age))
	case lifetime > age:
		lifetimeKey := prefix + "url_lifetime"
		p := k.wrong(lifetimeKey, "url_lifetime (%s) must not be longer than max_signature_age (%s) %s: "+
			"the store would reject URLs before they expire", Short(lifetime), Short(age),
			place{key, lifetimeKey})
		p.Instead, p.Needs = []string{"url_lifetime", key}, lifetimeKeys(prefix)
	}
}

var nameGrammar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkName checks the name of the nth integration. names has the integrations before it, by name.
func (k *checker) checkName(n int, name string, names map[string]int) {
	switch other, twice := names[name]; {
	case name == "":
		k.wrong(itemKey(n)+".name", "a name is needed; metrics and logs call the integration by it")
	case !nameGrammar.MatchString(name):
		key := itemKey(n) + ".name"
		k.wrong(key,
			"%s is not a valid name; use a letter or digit, then letters, digits, '.', '_' and '-', 64 at most",
			value(key))
	case twice:
		key := itemKey(n) + ".name"
		k.wrong(key, "%s is the name of the integration %s too; give each its own", value(key),
			place{itemKey(other), itemKey(n)})
	default:
		names[name] = n
	}
}

// claim is a bucket, a prefix of one, or a pattern of buckets, that an integration serves.
type claim struct {
	key, bucket, prefix string
	integration         *Integration
	scoped              bool
}

// checkOverlaps requires that exactly one integration serves each key. A pattern may match a bucket
// that another integration names; the integration that names it takes precedence. So does one with a
// longer prefix.
func (k *checker) checkOverlaps() {
	var patterns, plain []claim
	byName := map[string]claim{} // of the bucket, or of the bucket, a slash and the prefix
	claims := k.claims()
	for _, c := range claims {
		if !c.scoped && locator.IsPattern(c.bucket) {
			patterns = append(patterns, c)
			continue
		}
		name := c.bucket
		if c.prefix != "" {
			name += "/" + c.prefix
		}
		if other, taken := byName[name]; taken {
			k.overlap(c, other)
			continue
		}
		byName[name] = c
		if !c.scoped {
			plain = append(plain, c)
		}
	}
	k.checkPatterns(patterns, plain)
	k.checkFoldedPrefixes(claims)
	k.checkBlocked(claims)
}

// claims returns what the integrations serve, in the order of the configuration.
func (k *checker) claims() (all []claim) {
	for n, i := range k.Integrations {
		at := itemKey(n)
		if i.Bucket != "" {
			c := claim{key: at + ".bucket", bucket: i.Bucket, prefix: i.Prefix, integration: i, scoped: true}
			if i.Prefix != "" {
				c.key = at + ".prefix"
			}
			all = append(all, c)
		}
		for m, b := range i.PermittedBuckets {
			all = append(all, claim{key: fmt.Sprintf("%s.permitted_buckets[%d]", at, m), bucket: b, integration: i})
		}
	}
	return all
}

func (k *checker) overlap(c, other claim) {
	if c.integration == other.integration {
		k.wrong(c.key, "%s is listed twice; once is enough", value(c.key))
		return
	}
	at, _, _ := strings.Cut(other.key, "]")
	mine, _, _ := strings.Cut(c.key, "]")
	name := value(at + "].name")
	if c.prefix != "" {
		k.wrong(c.key, "%s is the prefix of integration %s %s in the same bucket; "+
			"let one integration serve each prefix", value(c.key), name, place{other.key, c.key})
		return
	}
	if c.bucket == other.bucket {
		k.wrong(c.key, "%s is a bucket of integration %s %s already; let one integration serve each bucket",
			value(c.key), name, place{other.key, c.key}).Needs = []string{mine + "].prefix", at + "].prefix"}
		return
	}
	k.wrong(c.key, "%s could be the same bucket as %s of integration %s %s; let one integration serve each bucket",
		value(c.key), value(other.key), name, place{other.key, c.key})
}
