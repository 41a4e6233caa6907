package viewer

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"s3redirect/cache"
	"s3redirect/internal/config"
)

const (
	// maxToken bounds the size of a token, in bytes.
	maxToken = 16 << 10
	// maxTokens and maxTokenBytes bound the cache of verified tokens.
	maxTokens     = 16_384
	maxTokenBytes = 16 << 20
)

// tokenVerifier verifies JSON Web Tokens (RFC 7519) and caches the valid ones.
type tokenVerifier struct {
	config     *config.JWT
	needGroups bool // a rule depends on the viewer's groups
	algorithms []jose.SignatureAlgorithm
	keys       *keySet
	// verified is keyed by the token itself. Hashing it with SHA-256 would take longer than
	// everything else that admits a viewer.
	verified *cache.LRU[string, *verifiedToken]
}

// verifiedToken is what a valid token states.
type verifiedToken struct {
	viewer     Viewer
	generation int // of the keys that verified the token
}

// Deadline implements [cache.Perishable]. It returns when the token expires.
func (v *verifiedToken) Deadline() time.Time { return v.viewer.Until }

// bytesOf returns approximately how much memory a verified token takes in the cache.
func bytesOf(token string, v *verifiedToken) int {
	const (
		entry  = 512 // the cache's entry and *v
		header = 16  // of a string
	)
	bytes := entry + len(token) + len(v.viewer.ID) + header*cap(v.viewer.groups)
	for _, group := range v.viewer.groups {
		bytes += header + len(group) // a second header, since small allocations are rounded up
	}
	return bytes
}

func newTokenVerifier(c *config.JWT, needGroups bool, o Options) *tokenVerifier {
	t := &tokenVerifier{config: c, needGroups: needGroups, keys: newKeySet(c, o)}
	for _, a := range c.Algorithms {
		t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(a))
	}
	var err error
	if t.verified, err = cache.NewSized(maxTokens, maxTokenBytes, bytesOf); err != nil {
		panic(err) // cannot happen: the bounds are positive constants
	}
	return t
}

// cached returns the viewer of a token that has been verified, unless a key was withdrawn since.
func (t *tokenVerifier) cached(token string, now time.Time) (Viewer, bool) {
	v, ok := t.verified.Get(token, now)
	if !ok || v.generation != t.keys.generation() {
		return Viewer{}, false
	}
	return v.viewer, true
}

// unverifiedToken is a token whose signature is not verified yet.
type unverifiedToken struct {
	*jwt.JSONWebToken
	text       string
	keys       []jose.JSONWebKey // the keys that may have signed it
	generation int               // of the keys
}

// parse parses a token and finds its keys. It may wait for them to be fetched.
func (t *tokenVerifier) parse(
	ctx context.Context, token string, now time.Time,
) (*unverifiedToken, error) {
	// The base64 decoder ignores line breaks.
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") {
		return nil, ErrUnknown
	}
	// ParseSigned accepts only the compact serialization, which has one signature, and only the
	// given algorithms.
	parsed, err := jwt.ParseSigned(token, t.algorithms)
	if err != nil || !isIdentityType(parsed.Headers[0].ExtraHeaders[jose.HeaderType]) {
		return nil, ErrUnknown
	}
	s := &unverifiedToken{JSONWebToken: parsed, text: token, generation: t.keys.generation()}
	s.keys, err = t.keys.find(ctx, parsed.Headers[0].KeyID, now)
	return s, err
}

// verify verifies a token's signature and claims, and caches the token if it is valid.
func (t *tokenVerifier) verify(s *unverifiedToken, now time.Time) (Viewer, error) {
	v, err := t.check(s, now)
	if err != nil {
		return Viewer{}, err
	}
	// A token that has expired within the leeway is verified on every request.
	if now.Before(v.Until) {
		t.verified.Add(strings.Clone(s.text), &verifiedToken{viewer: v, generation: s.generation})
	}
	return v, nil
}

// check verifies a token's signature and claims.
func (t *tokenVerifier) check(s *unverifiedToken, now time.Time) (Viewer, error) {
	for _, key := range s.keys {
		if key.Algorithm != "" && key.Algorithm != s.Headers[0].Algorithm {
			continue
		}
		var registered jwt.Claims
		var all map[string]json.RawMessage
		if s.Claims(key.Key, &registered, &all) == nil { // the key made the signature
			return t.viewer(&registered, all, now)
		}
	}
	t.keys.fetch(now) // the provider may have replaced the key under the same ID
	return Viewer{}, ErrUnknown
}

// isIdentityType reports whether typ, a token's type, is missing or is that of an ID token or an
// access token (RFC 9068). A logout token has the same issuer, audience and keys.
func isIdentityType(typ any) bool {
	if typ == nil {
		return true
	}
	text, ok := typ.(string)
	return ok && (strings.EqualFold(text, "JWT") || strings.EqualFold(text, "at+jwt") ||
		strings.EqualFold(text, "application/at+jwt"))
}

// viewer validates the claims of a token whose signature is valid (RFC 7519, section 4.1), and
// returns the viewer.
func (t *tokenVerifier) viewer(
	registered *jwt.Claims, all map[string]json.RawMessage, now time.Time,
) (Viewer, error) {
	if registered.Expiry == nil { // the token would never expire
		return Viewer{}, ErrUnknown
	}
	expected := jwt.Expected{
		Issuer:      t.config.Issuer,
		AnyAudience: jwt.Audience{t.config.Audience},
		Time:        now,
	}
	if registered.ValidateWithLeeway(expected, t.config.Leeway) != nil {
		return Viewer{}, ErrUnknown
	}
	v := Viewer{Until: registered.Expiry.Time()}
	if json.Unmarshal(all[t.config.UserClaim], &v.ID) != nil || !validName(v.ID) {
		return Viewer{}, ErrUnknown
	}
	verified, ok := all["email_verified"]
	if ok && t.config.UserClaim == "email" && !isTrue(verified) {
		return Viewer{}, ErrUnknown // the user may have entered any address
	}
	var known bool
	if v.groups, known = claimedGroups(all, t.config.GroupsClaim); !known && t.needGroups {
		return Viewer{}, errGroups
	}
	return v, nil
}

// isTrue reports whether a claim is true. Some providers send the string "true".
func isTrue(claim json.RawMessage) bool {
	return string(claim) == "true" || string(claim) == `"true"`
}
