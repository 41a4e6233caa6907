package viewer

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"s3redirect/internal/config"
)

// tokenVerifier verifies the JSON Web Tokens (RFC 7519) of one issuer.
type tokenVerifier struct {
	config     *config.JWT
	needGroups bool // a rule depends on the viewer's groups
	algorithms []jose.SignatureAlgorithm
	required   []requiredClaim
	keys       *keySet
	places     []bool // whether tokens are accepted from a place, by its number
}

func newTokenVerifier(c *config.JWT, needGroups bool, o Options) *tokenVerifier {
	t := &tokenVerifier{
		config:     c,
		needGroups: needGroups,
		required:   requiredClaims(c.RequiredClaims),
		keys:       newKeySet(c, o),
	}
	for _, a := range c.Algorithms {
		t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(a))
	}
	return t
}

// check verifies a token's signature and claims.
func (t *tokenVerifier) check(s *unverifiedToken, now time.Time) (Viewer, *Refusal) {
	for _, key := range s.keys {
		if key.Algorithm != "" && key.Algorithm != s.Headers[0].Algorithm {
			continue
		}
		var claims claimSet
		if s.Claims(key.Key, &claims) == nil { // the key made the signature
			return t.viewer(s, claims, now)
		}
	}
	t.keys.fetch(now) // the provider may have replaced the key under the same ID
	return Viewer{}, s.refuse(ReasonSignature)
}

// viewer validates the claims of a token whose signature is valid (RFC 7519, section 4.1), and
// returns the viewer.
func (t *tokenVerifier) viewer(
	s *unverifiedToken, claims claimSet, now time.Time,
) (v Viewer, refused *Refusal) {
	if v.Until, refused = t.checkRegistered(s, claims, now); refused != nil {
		return Viewer{}, refused
	}
	about := func(claim string, reason Reason) *Refusal {
		r := s.refuse(reason)
		r.Claim = claim
		return r
	}
	for _, r := range t.required {
		if reason := r.check(claims); reason != "" {
			return Viewer{}, about(r.name, reason)
		}
	}
	name, ok := claims.get(t.config.UserClaim)
	if !ok {
		return Viewer{}, about(t.config.UserClaim, ReasonClaimMissing)
	}
	if json.Unmarshal(name, &v.ID) != nil {
		return Viewer{}, about(t.config.UserClaim, ReasonClaimWrong)
	}
	if t.config.LowercaseUser {
		v.ID, v.lower = lower(v.ID), true
	}
	if !validName(v.ID) {
		return Viewer{}, about(t.config.UserClaim, ReasonClaimWrong)
	}
	verified, ok := claims[claimVerified]
	if ok && t.config.UserClaim == "email" && !isTrue(verified) {
		// The user may have entered any address.
		return Viewer{}, about(claimVerified, ReasonClaimWrong)
	}
	var known bool
	if v.groups, known = claimedGroups(claims, t.config.GroupsClaim); !known && t.needGroups {
		return Viewer{}, about(t.config.GroupsClaim, ReasonGroups)
	}
	return v, nil
}

// checkRegistered validates a token's issuer, audience and times. It returns when the token
// expires.
func (t *tokenVerifier) checkRegistered(
	s *unverifiedToken, claims claimSet, now time.Time,
) (until time.Time, refused *Refusal) {
	var registered jwt.Claims
	if s.UnsafeClaimsWithoutVerification(&registered) != nil { // check has verified them
		return time.Time{}, s.refuse(ReasonMalformed)
	}
	if registered.Expiry == nil { // the token would never expire
		r := s.refuse(ReasonClaimMissing)
		r.Claim = claimExpiry
		return time.Time{}, r
	}
	expected := jwt.Expected{Issuer: t.config.Issuer, Time: now}
	switch err := registered.ValidateWithLeeway(expected, t.config.Leeway); {
	case errors.Is(err, jwt.ErrExpired):
		return time.Time{}, s.refuse(ReasonExpired)
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return time.Time{}, s.refuse(ReasonNotYetValid)
	case err != nil:
		return time.Time{}, s.refuse(ReasonIssuer)
	}
	found := claims.audiences(t.config.AudienceClaims)
	if !slices.ContainsFunc(found, func(a string) bool {
		return slices.Contains(t.config.Audience, a)
	}) {
		r := s.refuse(ReasonAudience)
		r.Audience = stated(strings.Join(found, ","))
		return time.Time{}, r
	}
	return registered.Expiry.Time(), nil
}

// isTrue reports whether a claim is true. Some providers send the string "true".
func isTrue(claim json.RawMessage) bool {
	return string(claim) == "true" || string(claim) == `"true"`
}
