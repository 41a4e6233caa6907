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
	// maxToken bounds a token, in bytes. A header's bound is 64 kB.
	maxToken = 16 << 10
	// maxTokens and maxTokenBytes bound the cache of verified tokens.
	maxTokens     = 16_384
	maxTokenBytes = 16 << 20
)

// tokens verifies JSON Web Tokens (RFC 7519) and remembers those that were good.
type tokens struct {
	config     *config.JWT
	needGroups bool // a rule depends on them
	algorithms []jose.SignatureAlgorithm
	keys       *keySet
	// The key is the token itself: to hash it with SHA-256 would take longer than all else that is done to admit a viewer.
	verified *cache.LRU[string, *verified]
}

// verified is whom a token was proof of.
type verified struct {
	viewer Viewer
	keys   int // the generation of the keys that it was verified with
}

// Deadline implements [cache.Perishable]: the token's own.
func (v *verified) Deadline() time.Time { return v.viewer.Until }

// bytesOf returns about how much memory a verified token takes.
func bytesOf(token string, v *verified) int {
	const (
		entry  = 512 // the cache's entry and *v
		header = 16  // of a string
	)
	bytes := entry + len(token) + len(v.viewer.ID) + header*cap(v.viewer.groups)
	for _, group := range v.viewer.groups {
		bytes += header + len(group) // small allocations are rounded up
	}
	return bytes
}

func newTokens(c *config.JWT, needGroups bool, o Options) *tokens {
	t := &tokens{config: c, needGroups: needGroups, keys: newKeySet(c, o)}
	for _, a := range c.Algorithms {
		t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(a))
	}
	var err error
	if t.verified, err = cache.NewSized(maxTokens, maxTokenBytes, bytesOf); err != nil {
		panic(err) // there is room for one
	}
	return t
}

// remembered returns the viewer of a token that was verified before, with keys that are still good.
func (t *tokens) remembered(token string, now time.Time) (Viewer, bool) {
	known, ok := t.verified.Get(token, now)
	if !ok || known.keys != t.keys.generation() {
		return Viewer{}, false
	}
	return known.viewer, true
}

// signed is a token whose signature is not verified yet, with the keys that could have made it.
type signed struct {
	*jwt.JSONWebToken
	text       string
	keys       []jose.JSONWebKey
	generation int // of the keys
}

// parse parses a token and finds its keys, for which it may have to wait.
func (t *tokens) parse(ctx context.Context, token string, now time.Time) (*signed, error) {
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") { // base64 would skip line breaks
		return nil, ErrUnknown
	}
	// It accepts the compact serialization only, which has one signature, and no algorithm but those that are given.
	parsed, err := jwt.ParseSigned(token, t.algorithms)
	if err != nil || !isIdentity(parsed.Headers[0].ExtraHeaders[jose.HeaderType]) {
		return nil, ErrUnknown
	}
	s := &signed{JSONWebToken: parsed, text: token, generation: t.keys.generation()}
	s.keys, err = t.keys.find(ctx, parsed.Headers[0].KeyID, now)
	return s, err
}

// verify verifies a token's signature and its claims, and remembers the token if it is good.
func (t *tokens) verify(s *signed, now time.Time) (Viewer, error) {
	v, err := t.check(s, now)
	if err != nil {
		return Viewer{}, err
	}
	if now.Before(v.Until) { // within the leeway each request is looked at anew
		t.verified.Add(strings.Clone(s.text), &verified{viewer: v, keys: s.generation})
	}
	return v, nil
}

func (t *tokens) check(s *signed, now time.Time) (Viewer, error) {
	for _, key := range s.keys {
		if key.Algorithm != "" && key.Algorithm != s.Headers[0].Algorithm {
			continue
		}
		var registered jwt.Claims
		var all map[string]json.RawMessage
		if s.Claims(key.Key, &registered, &all) == nil { // the signature is that key's
			return t.viewer(&registered, all, now)
		}
	}
	t.keys.fetch(now) // perhaps the provider has another key under the same ID by now
	return Viewer{}, ErrUnknown
}

// isIdentity tells whether a token's type, if it has one, is that of an ID token or an access token (RFC 9068): a logout token
// has the same issuer, audience and keys.
func isIdentity(typ any) bool {
	text, ok := typ.(string)
	return typ == nil || ok && (strings.EqualFold(text, "JWT") || strings.EqualFold(text, "at+jwt") || strings.EqualFold(text, "application/at+jwt"))
}

// viewer checks what a genuine token claims (RFC 7519, section 4.1).
func (t *tokens) viewer(registered *jwt.Claims, all map[string]json.RawMessage, now time.Time) (Viewer, error) {
	if registered.Expiry == nil { // or it would be good for ever
		return Viewer{}, ErrUnknown
	}
	expected := jwt.Expected{Issuer: t.config.Issuer, AnyAudience: jwt.Audience{t.config.Audience}, Time: now}
	if registered.ValidateWithLeeway(expected, t.config.Leeway) != nil {
		return Viewer{}, ErrUnknown
	}
	v := Viewer{Until: registered.Expiry.Time()}
	if json.Unmarshal(all[t.config.UserClaim], &v.ID) != nil || !plausibleName(v.ID) {
		return Viewer{}, ErrUnknown
	}
	if verified, ok := all["email_verified"]; ok && t.config.UserClaim == "email" && !isTrue(verified) {
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
