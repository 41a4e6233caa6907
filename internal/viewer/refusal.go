package viewer

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrUnknown means that a request has no valid credential. Clients do not learn the reason.
var ErrUnknown = errors.New("viewer: no valid credential")

// Method is a kind of credential.
type Method string

// The methods, as the keys of viewers in the configuration.
const (
	MethodJWT       Method = "jwt"
	MethodBasic     Method = "basic"
	MethodForwarded Method = "forwarded"
	MethodLink      Method = "link"
)

// Reason is why a credential was refused.
type Reason string

// The reasons.
const (
	// ReasonExpired means that a token has expired.
	ReasonExpired Reason = "expired"
	// ReasonNotYetValid means that a token's nbf or iat is in the future.
	ReasonNotYetValid Reason = "not_yet_valid"
	// ReasonAudience means that a token is for other audiences.
	ReasonAudience Reason = "audience"
	// ReasonIssuer means that none of the issuers that the token's place accepts issued it.
	ReasonIssuer Reason = "issuer"
	// ReasonAlgorithm means that the issuer's algorithms do not include the token's.
	ReasonAlgorithm Reason = "algorithm"
	// ReasonKeyUnknown means that the issuer or the configuration has no key with the ID.
	ReasonKeyUnknown Reason = "key_unknown"
	// ReasonSignature means that no key of the issuer made the token's signature.
	ReasonSignature Reason = "signature"
	// ReasonClaimMissing means that a token lacks a claim.
	ReasonClaimMissing Reason = "claim_missing"
	// ReasonClaimWrong means that a claim has another value than the required one.
	ReasonClaimWrong Reason = "claim_wrong"
	// ReasonGroups means that a rule depends on the viewer's groups, which cannot be read.
	ReasonGroups Reason = "groups_unreadable"
	// ReasonTokenType means that a token is neither an ID token nor an access token.
	ReasonTokenType Reason = "token_type"
	// ReasonMalformed means that a credential does not have the format of its method.
	ReasonMalformed Reason = "malformed"
	// ReasonOpaqueCookie means that a cookie is encrypted, or no token at all.
	ReasonOpaqueCookie Reason = "opaque_cookie"
	// ReasonCookieChunks means that the parts of a cookie do not fit together.
	ReasonCookieChunks Reason = "cookie_chunks"
	// ReasonTooLarge means that a credential is too large.
	ReasonTooLarge Reason = "too_large"
	// ReasonUntrustedPeer means that a user header came from an address that is not trusted.
	ReasonUntrustedPeer Reason = "untrusted_peer"
	// ReasonDuplicate means that a header or a cookie was given twice.
	ReasonDuplicate Reason = "duplicate_header"
	// ReasonPassword means that a user does not exist or has another password.
	ReasonPassword Reason = "password"
	// ReasonLinkExpired means that a link has expired, or expires later than links may.
	ReasonLinkExpired Reason = "link_expired"
	// ReasonLinkSignature means that a link's key did not sign it for the object.
	ReasonLinkSignature Reason = "link_signature"
	// ReasonLinkTarget means that a link is for another folder, or that the request has a version.
	ReasonLinkTarget Reason = "link_target"
)

// Refusal means that a request has a credential that is not valid. It wraps [ErrUnknown]. It
// contains nothing of the credential itself.
type Refusal struct {
	Method Method
	Reason Reason
	Stated
	// Claim is the name of the claim for [ReasonClaimMissing] and [ReasonClaimWrong].
	Claim string

	free bool // see IsGuess
}

// Stated is what a credential states. It is not verified: the client may have chosen it. Each text
// has at most 200 bytes and no control characters, and is empty if it is unknown.
type Stated struct {
	Issuer   string
	Audience string // the audiences, separated by commas
	KeyID    string
}

// Error returns the method and the reason.
func (r *Refusal) Error() string {
	return ErrUnknown.Error() + ": " + string(r.Method) + ": " + string(r.Reason)
}

// Unwrap returns [ErrUnknown].
func (*Refusal) Unwrap() error { return ErrUnknown }

// IsGuess reports whether the refusal takes a token from the rate limit of the client's address. A
// header that is ignored, and a cookie without a definite value, are the same as no credential.
func (r *Refusal) IsGuess() bool { return !r.free }

// refuse returns a refusal without details.
func refuse(m Method, reason Reason) *Refusal { return &Refusal{Method: m, Reason: reason} }

// The refusals of credentials that are ignored. They are variables, so that a request without a
// credential that counts does not allocate.
var (
	errUntrustedPeer = &Refusal{Method: MethodForwarded, Reason: ReasonUntrustedPeer, free: true}
	errTwoUsers      = &Refusal{Method: MethodForwarded, Reason: ReasonDuplicate, free: true}
	errBadUser       = &Refusal{Method: MethodForwarded, Reason: ReasonMalformed, free: true}
	errTwoCookies    = &Refusal{Method: MethodJWT, Reason: ReasonDuplicate, free: true}
	errChunks        = &Refusal{Method: MethodJWT, Reason: ReasonCookieChunks, free: true}
)

// isGuess reports whether a request with a bad credential takes a token from its address's bucket.
func isGuess(err error) bool {
	if errors.Is(err, errNoCredential) || !errors.Is(err, ErrUnknown) {
		return false
	}
	r, ok := errors.AsType[*Refusal](err)
	return !ok || r.IsGuess()
}

// moreTelling returns the refusal to report if a request has two: a guess rather than another one,
// and otherwise the first. Either may be nil.
func moreTelling(first, second *Refusal) *Refusal {
	if first == nil || second != nil && first.free && !second.free {
		return second
	}
	return first
}

// maxStated bounds the text that a refusal has from a credential, in bytes.
const maxStated = 200

// stated returns text from a credential as a refusal may have it. It does not share memory with the
// credential.
func stated(text string) string {
	if len(text) > maxStated {
		cut := maxStated
		for cut > maxStated-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return strings.Clone(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text))
}
