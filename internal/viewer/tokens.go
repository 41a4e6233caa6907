package viewer

import (
	"context"
	"errors"
	"slices"
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

// tokens verifies the tokens of several issuers, and caches the valid ones. Each issuer accepts
// tokens from some places of a request.
type tokens struct {
	issuers []*tokenVerifier
	// headers and cookies are the places besides Authorization, without repetitions and in the
	// order of the configuration.
	headers, cookies []place
	algorithms       []jose.SignatureAlgorithm // of all issuers
	// verified is keyed by the token itself. Hashing it with SHA-256 would take longer than
	// everything else that admits a viewer.
	verified *cache.LRU[string, *verifiedToken]
}

// place is a header or a cookie that may hold a token.
type place struct {
	name   string
	number int // of all places; Authorization has the number 0
	cookie bool
}

// authorization is the header that every issuer accepts.
var authorization = place{name: "Authorization"}

// verifiedToken is what a valid token states.
type verifiedToken struct {
	viewer     Viewer
	by         *tokenVerifier
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

func newTokens(all []config.JWT, needGroups bool, o Options) *tokens {
	t := &tokens{}
	number := 0
	add := func(places *[]place, name string, cookie bool, v *tokenVerifier) {
		if name == "" {
			return
		}
		n := slices.IndexFunc(*places, func(p place) bool { return p.name == name })
		if n < 0 {
			number++
			n = len(*places)
			*places = append(*places, place{name: name, number: number, cookie: cookie})
		}
		v.places[(*places)[n].number] = true
	}
	for n := range all {
		v := newTokenVerifier(&all[n], needGroups, o)
		v.places = make([]bool, 1+2*len(all))
		v.places[authorization.number] = true
		add(&t.headers, v.config.Header, false, v)
		add(&t.cookies, v.config.Cookie, true, v)
		t.issuers = append(t.issuers, v)
		t.algorithms = append(t.algorithms, v.algorithms...)
	}
	var err error
	if t.verified, err = cache.NewSized(maxTokens, maxTokenBytes, bytesOf); err != nil {
		panic(err) // cannot happen: the bounds are positive constants
	}
	return t
}

// close stops the background fetches of keys and waits for them.
func (t *tokens) close() {
	for _, v := range t.issuers {
		v.keys.close()
	}
}

// cached returns the viewer of a token that has been verified, unless a key was withdrawn since, or
// its issuer does not accept tokens from p.
func (t *tokens) cached(token string, p place, now time.Time) (Viewer, bool) {
	v, ok := t.verified.Get(token, now)
	if !ok || !v.by.places[p.number] || v.generation != v.by.keys.generation() {
		return Viewer{}, false
	}
	v.by.keys.refresh(now) // a cached token must not outlive its key
	return v.viewer, true
}

// unverifiedToken is a token whose signature is not verified yet.
type unverifiedToken struct {
	*jwt.JSONWebToken
	text       string
	issuer     *tokenVerifier
	keys       []jose.JSONWebKey // the keys that may have signed it
	generation int               // of the keys
	stated     Stated
}

// refuse returns a refusal of s.
func (s *unverifiedToken) refuse(reason Reason) *Refusal {
	return &Refusal{Method: MethodJWT, Reason: reason, Stated: s.stated}
}

// parse parses a token and finds its issuer and its keys. It may wait for them to be fetched. The
// error is a [*Refusal], [ErrUnavailable] or the context's cause. With the last two, it also
// returns the token, without keys.
func (t *tokens) parse(
	ctx context.Context, token string, p place, now time.Time,
) (*unverifiedToken, error) {
	switch {
	case len(token) > maxToken:
		return nil, refuse(MethodJWT, ReasonTooLarge)
	case p.cookie && strings.Count(token, ".") != 2: // encrypted tokens have five parts
		return nil, refuse(MethodJWT, ReasonOpaqueCookie)
	case strings.ContainsAny(token, "\r\n"): // the base64 decoder ignores line breaks
		return nil, refuse(MethodJWT, ReasonMalformed)
	}
	// ParseSigned accepts only the compact serialization, which has one signature, and only the
	// given algorithms.
	parsed, err := jwt.ParseSigned(token, t.algorithms)
	if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, refuse(MethodJWT, ReasonAlgorithm)
	}
	var claims claimSet
	if err != nil || parsed.UnsafeClaimsWithoutVerification(&claims) != nil {
		return nil, refuse(MethodJWT, ReasonMalformed)
	}
	header := parsed.Headers[0]
	issuer := claims.text("iss")
	s := &unverifiedToken{JSONWebToken: parsed, text: token, stated: Stated{
		Issuer:   stated(issuer),
		Audience: stated(strings.Join(claims.audiences([]string{"aud"}), ",")),
		KeyID:    stated(header.KeyID),
	}}
	if !isIdentityType(header.ExtraHeaders[jose.HeaderType]) {
		return nil, s.refuse(ReasonTokenType)
	}
	if s.issuer = t.byIssuer(issuer, p); s.issuer == nil {
		return nil, s.refuse(ReasonIssuer)
	}
	if !slices.Contains(s.issuer.algorithms, jose.SignatureAlgorithm(header.Algorithm)) {
		return nil, s.refuse(ReasonAlgorithm)
	}
	s.generation = s.issuer.keys.generation()
	s.keys, err = s.issuer.keys.find(ctx, header.KeyID, now)
	if errors.Is(err, errKeyUnknown) {
		return nil, s.refuse(ReasonKeyUnknown)
	}
	return s, err
}

// byIssuer returns the verifier for an issuer, or nil if none accepts its tokens from p.
func (t *tokens) byIssuer(issuer string, p place) *tokenVerifier {
	for _, v := range t.issuers {
		if v.config.Issuer == issuer && v.places[p.number] {
			return v
		}
	}
	return nil
}

// verify verifies a token's signature and claims, and caches the token if it is valid. The error is
// a [*Refusal].
func (t *tokens) verify(s *unverifiedToken, now time.Time) (Viewer, error) {
	v, refused := s.issuer.check(s, now)
	if refused != nil {
		return Viewer{}, refused
	}
	// A token that has expired within the leeway is verified on every request.
	if now.Before(v.Until) {
		t.verified.Add(strings.Clone(s.text),
			&verifiedToken{viewer: v, by: s.issuer, generation: s.generation})
	}
	return v, nil
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
