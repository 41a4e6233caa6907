package config

import (
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// JWT configures the tokens of an OpenID Connect provider (RFC 7519, OpenID Connect Core 1.0).
type JWT struct {
	// Issuer must equal the token's iss. Required.
	Issuer string `yaml:"issuer"`
	// Audience lists the accepted audiences. One of AudienceClaims must contain one of them.
	// Required.
	Audience OneOrMore[string] `yaml:"audience"`
	// AudienceClaims name the claims that may contain the audience. Default aud. Amazon Cognito's
	// access tokens have it in client_id, some of Keycloak's in azp.
	AudienceClaims []string `yaml:"audience_claims"`
	// JWKSURL is the URL of the issuer's keys. Default: from the issuer's
	// /.well-known/openid-configuration.
	JWKSURL string `yaml:"jwks_url"`
	// Insecure allows http:// in Issuer and JWKSURL for other hosts than this machine. Default
	// false.
	Insecure bool `yaml:"insecure"`
	// Algorithms are the accepted signature algorithms. Default RS256 and ES256.
	Algorithms []string `yaml:"algorithms"`
	// Cookie names a cookie that may hold the token, for images in browsers, and Header a header
	// that may hold it. Default: only the Authorization header.
	Cookie string `yaml:"cookie"`
	Header string `yaml:"header"`
	// UserClaim names the claim with the viewer's name, and GroupsClaim the one with its groups.
	// Each is a claim's name or a path with dots through nested objects. Default email and groups.
	// If rules name groups, tokens without a readable GroupsClaim are rejected.
	UserClaim   string `yaml:"user_claim"`
	GroupsClaim string `yaml:"groups_claim"`
	// LowercaseUser converts the viewer's name to lower case, and compares it with the users of
	// rules without regard to case. Default true if UserClaim is email, otherwise false.
	LowercaseUser bool `yaml:"lowercase_user"`
	// RequiredClaims are values that claims must have, by the claims' names or paths. A list must
	// contain the value.
	RequiredClaims map[string]string `yaml:"required_claims"`
	// Leeway is the tolerated difference between clocks, at most 5m. Default 30s.
	Leeway time.Duration `yaml:"leeway"`
}

// jwtAlgorithms are the algorithms with public keys. HMAC is not among them, because its key would
// have to be published.
var jwtAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

const maxLeeway = 5 * time.Minute

// albHeader is the header of AWS load balancers with the user's claims. Its keys are PEM files, one
// per key ID, and its base64 is padded, which RFC 7515 does not allow.
const albHeader = "X-Amzn-Oidc-Data"

// reservedHeaders are the headers that have another meaning.
var reservedHeaders = []string{"Authorization", "Cookie", "Host", "X-Forwarded-For"}

// checkIssuers checks the issuers of tokens.
func (k *checker) checkIssuers() {
	if k.Viewers.JWT != nil && len(k.Viewers.JWT) == 0 {
		k.wrong("viewers.jwt", "the list is empty; add an issuer, or remove the key")
	}
	first := map[string]string{}
	for n := range k.Viewers.JWT {
		j := &k.Viewers.JWT[n]
		at := fmt.Sprintf("viewers.jwt[%d].", n)
		k.checkJWT(at, j)
		if other, twice := first[j.Issuer]; twice && j.Issuer != "" {
			k.wrong(at+"issuer", "the item %s has the same issuer; list the audiences of both in one item",
				place{other, at + "issuer"})
			continue
		}
		first[j.Issuer] = at + "issuer"
	}
}

func (k *checker) checkJWT(at string, j *JWT) {
	if j.Issuer == "" {
		k.wrong(at+"issuer", "it is required, and must equal the token's iss exactly")
	} else {
		k.checkIssuerURL(at+"issuer", j.Issuer, j.Insecure)
	}
	if j.JWKSURL != "" {
		k.checkIssuerURL(at+"jwks_url", j.JWKSURL, j.Insecure)
	}
	if len(j.Audience) == 0 {
		k.wrong(at+"audience",
			"it is required: without it, tokens that the issuer made for other programs would be accepted")
	}
	for n, a := range j.Audience {
		if a == "" {
			k.wrong(fmt.Sprintf("%saudience[%d]", at, n), "an audience is needed")
		}
	}
	k.needItems(at+"audience_claims", j.AudienceClaims)
	for n, name := range j.AudienceClaims {
		if name == "" {
			k.wrong(fmt.Sprintf("%saudience_claims[%d]", at, n), "the name of a claim is needed")
		}
	}
	k.needItems(at+"algorithms", j.Algorithms)
	for n, a := range j.Algorithms {
		if key := fmt.Sprintf("%salgorithms[%d]", at, n); !slices.Contains(jwtAlgorithms, a) {
			k.wrong(key, "%s is not taken; use some of %s", value(key), strings.Join(jwtAlgorithms, ", "))
		}
	}
	if j.Cookie != "" && !headerName.MatchString(j.Cookie) {
		k.wrong(at+"cookie", "%s is not a cookie name", value(at+"cookie"))
	}
	if j.Header != "" {
		k.checkTokenHeader(at+"header", textproto.CanonicalMIMEHeaderKey(j.Header))
	}
	k.checkClaim(at+"user_claim", j.UserClaim)
	k.checkClaim(at+"groups_claim", j.GroupsClaim)
	if j.RequiredClaims != nil && len(j.RequiredClaims) == 0 {
		k.wrong(at+"required_claims", "it is empty; add a claim and its value, or remove the key")
	}
	for _, name := range slices.Sorted(maps.Keys(j.RequiredClaims)) {
		k.checkClaim(at+"required_claims", name)
	}
	if j.Leeway < 0 || j.Leeway > maxLeeway {
		k.wrong(at+"leeway", "%s is out of bounds; use 0s to 5m", Short(j.Leeway))
	}
}

// needItems rejects a list that is empty rather than missing.
func (k *checker) needItems(key string, list []string) {
	if list != nil && len(list) == 0 {
		k.wrong(key, "the list is empty; add an item, or remove the key for the default")
	}
}

// checkTokenHeader checks the canonical name of a header that may hold a token.
func (k *checker) checkTokenHeader(key, name string) {
	f := k.Viewers.Forwarded
	switch {
	case !headerName.MatchString(name):
		k.wrong(key, "%s is not a header name", value(key))
	case slices.Contains(reservedHeaders, name):
		k.wrong(key, "%s has another meaning; name the header in which a reverse proxy sends the token, "+
			"such as Cf-Access-Jwt-Assertion, or remove the key: Authorization is always read", value(key))
	case name == albHeader:
		k.wrong(key, "tokens in %s cannot be verified, because the load balancer publishes no key set for them; "+
			"use X-Amzn-Oidc-Accesstoken with the identity provider's issuer", value(key))
	case f != nil && (name == textproto.CanonicalMIMEHeaderKey(f.UserHeader) ||
		name == textproto.CanonicalMIMEHeaderKey(f.GroupsHeader)):
		k.wrong(key, "viewers.forwarded reads the user or the groups from %s; name another header", value(key))
	}
}

// checkClaim checks the name of a claim or the path to one. Empty elements are only allowed in
// names with a colon or a slash, which providers use as namespaces.
func (k *checker) checkClaim(key, name string) {
	if name == "" {
		k.wrong(key, "the name of a claim is needed")
	} else if slices.Contains(strings.Split(name, "."), "") && !strings.ContainsAny(name, ":/") {
		k.wrong(key, "a path has names between its dots, and none at its start or end; "+
			"write it as realm_access.roles")
	}
}

// checkIssuerURL requires a URL whose responses cannot be forged on the network path, unless
// insecure is true.
func (k *checker) checkIssuerURL(key, text string, insecure bool) {
	origin := text
	if i := strings.Index(text, "://"); i >= 0 {
		if end := strings.IndexAny(text[i+3:], "/?#"); end >= 0 {
			origin = text[:i+3+end]
		}
	}
	u := k.checkOrigin(key, origin, "https://id.example.com")
	if u != nil && u.Scheme == "http" && !insecure && !IsLoopback(u.Hostname()) {
		k.wrong(key, "over http:// anyone on the network path could replace the keys; "+
			"use https://, or set insecure: true").
			Needs = []string{key[:strings.LastIndexByte(key, '.')] + ".insecure"}
	}
}
