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
	// maxTokens is how many verified tokens are remembered.
	maxTokens = 16_384
)

// tokens verifies JSON Web Tokens (RFC 7519) and remembers those that were good.
type tokens struct {
	config     *config.JWT
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

func newTokens(c *config.JWT, o Options) *tokens {
	t := &tokens{config: c, keys: newKeySet(c, o)}
	for _, a := range c.Algorithms {
		t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(a))
	}
	var err error
	if t.verified, err = cache.New[string, *verified](maxTokens, nil); err != nil {
		panic(err) // there is room for one
	}
	return t
}

// verify is whom a token is proof of.
func (t *tokens) verify(ctx context.Context, token string, now time.Time) (Viewer, error) {
	if len(token) > maxToken {
		return Viewer{}, ErrUnknown
	}
	generation := t.keys.generation()
	if known, ok := t.verified.Get(token, now); ok && known.keys == generation {
		return known.viewer, nil
	}
	v, err := t.check(ctx, token, now)
	if err != nil {
		return Viewer{}, err
	}
	if now.Before(v.Until) { // within the leeway each request is looked at anew
		t.verified.Add(strings.Clone(token), &verified{viewer: v, keys: generation})
	}
	return v, nil
}

// check verifies a token's signature and its claims.
func (t *tokens) check(ctx context.Context, token string, now time.Time) (Viewer, error) {
	if strings.ContainsAny(token, "\r\n") { // which base64 would skip
		return Viewer{}, ErrUnknown
	}
	parsed, err := jwt.ParseSigned(token, t.algorithms) // which refuses every other algorithm, none and HMAC's among them
	if err != nil || len(parsed.Headers) != 1 || !isIdentity(parsed.Headers[0].ExtraHeaders[jose.HeaderType]) {
		return Viewer{}, ErrUnknown
	}
	keys, err := t.keys.find(ctx, parsed.Headers[0].KeyID, now)
	if err != nil {
		return Viewer{}, err
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != parsed.Headers[0].Algorithm {
			continue
		}
		var registered jwt.Claims
		var all map[string]json.RawMessage
		if parsed.Claims(key.Key, &registered, &all) == nil { // the signature is that key's
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
	if t.config.UserClaim == "email" && isFalse(all["email_verified"]) {
		return Viewer{}, ErrUnknown // anybody could have typed it
	}
	if groups, ok := all[t.config.GroupsClaim]; ok {
		var one string
		if json.Unmarshal(groups, &v.groups) != nil {
			if json.Unmarshal(groups, &one) != nil {
				return Viewer{}, ErrUnknown // a rule that denies may be about them
			}
			v.groups = []string{one}
		}
	}
	return v, nil
}

// isFalse tells whether a claim is there and says no; some providers write it as a text.
func isFalse(claim json.RawMessage) bool {
	return string(claim) == "false" || string(claim) == `"false"`
}
