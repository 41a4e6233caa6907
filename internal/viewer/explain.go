package viewer

import "fmt"

// Cause returns a phrase that says what is wrong with the credential. It may contain text that the
// client chose, such as the token's issuer.
func (r *Refusal) Cause() string {
	switch {
	case r.Reason == ReasonAudience && r.Audience == "":
		return "the claims in audience_claims contain no audience"
	case r.Reason == ReasonAudience:
		return fmt.Sprintf("the token is for the audience %s, which is not accepted", r.Audience)
	case r.Reason == ReasonIssuer:
		return fmt.Sprintf("viewers.jwt accepts no tokens of the issuer %q here", r.Issuer)
	case r.Reason == ReasonKeyUnknown && r.Method == MethodJWT:
		return fmt.Sprintf("the issuer publishes no key with the ID %q", r.KeyID)
	case r.Reason == ReasonKeyUnknown:
		return fmt.Sprintf("viewers.links.keys has no key with the ID %q", r.KeyID)
	case r.Reason == ReasonClaimWrong && r.Claim == claimVerified:
		return "the e-mail address in the token is not verified"
	case r.Reason == ReasonClaimMissing:
		return fmt.Sprintf("the token has no claim %s", r.Claim)
	case r.Reason == ReasonClaimWrong:
		return fmt.Sprintf("the claim %s does not have the required value", r.Claim)
	case r.Reason == ReasonGroups && r.Method == MethodJWT:
		return fmt.Sprintf("the viewer's groups cannot be read from the claim %s", r.Claim)
	}
	return explanations[r.Method][r.Reason].cause
}

// Remedy returns a sentence that says what to do.
func (r *Refusal) Remedy() string {
	switch {
	case r.Reason == ReasonClaimMissing && r.Claim == claimExpiry:
		return "Have the provider set an expiry: a token without one would be valid for ever."
	case r.Reason == ReasonClaimWrong && r.Claim == claimVerified:
		return "Verify the address at the provider, or use another user_claim, such as sub."
	}
	return explanations[r.Method][r.Reason].remedy
}

const (
	claimExpiry   = "exp"
	claimVerified = "email_verified"
)

type explanation struct{ cause, remedy string }

// explanations has the causes that do not depend on the credential, and the remedies.
var explanations = map[Method]map[Reason]explanation{
	MethodJWT: {
		ReasonExpired: {
			"the token has expired",
			"Have the application renew the token. If it is new, set the clocks of both servers.",
		},
		ReasonNotYetValid: {
			"the token's nbf or iat is in the future",
			"Set the clocks of both servers, or raise leeway (at most 5m).",
		},
		ReasonAudience: {remedy: "If this is the right token, add its audience to audience, or the " +
			"claim that has it to audience_claims. Otherwise request a token for this site."},
		ReasonIssuer: {remedy: "Write issuer exactly as the token's iss, with its scheme, path and " +
			"final slash. A cookie or header is read only for the items that name it."},
		ReasonAlgorithm: {
			"the token's signature algorithm is not in algorithms",
			"Have the provider sign with RS256 or ES256, or add its algorithm to algorithms. HMAC, " +
				"such as HS256, is not supported.",
		},
		ReasonKeyUnknown: {remedy: "Check jwks_url, and that the token comes from the same " +
			"environment of the provider."},
		ReasonSignature: {
			"none of the issuer's keys made the token's signature",
			"Sign in again. If that does not help, check that the token comes from the same " +
				"environment of the provider, and jwks_url.",
		},
		ReasonClaimMissing: {remedy: "Have the provider add the claim, often by a scope that the " +
			"application requests, or change user_claim or required_claims."},
		ReasonClaimWrong: {remedy: "Correct the claim at the provider, or change user_claim or " +
			"required_claims."},
		ReasonGroups: {remedy: "Rules name groups, so every token must have a list of the viewer's " +
			"groups in groups_claim; docs/viewers.md lists what providers send instead."},
		ReasonTokenType: {
			"the token's typ is not the type of an ID token or an access token",
			"Send an ID token or an access token.",
		},
		ReasonMalformed: {
			"the credential is not a signed JWT",
			"If the provider's access tokens are opaque, send the ID token. Send the token without " +
				"quotes or line breaks.",
		},
		ReasonOpaqueCookie: {
			"the text is an encrypted session or another opaque value, not a signed JWT",
			"Send the ID token itself, in the cookie or in Authorization; some providers' access " +
				"tokens are opaque. If only oauth2-proxy or another program can read the session, " +
				"have it answer the reverse proxy, and use viewers.forwarded.",
		},
		ReasonCookieChunks: {
			"the parts of a split cookie do not fit together",
			"Send all parts, numbered from 0, and delete the old parts when new ones are set.",
		},
		ReasonTooLarge: {
			"the token is larger than 16 kB",
			"Have the provider send only the groups that rules name.",
		},
		ReasonDuplicate: {
			"a token's header was sent twice, or its cookie with two values",
			"Have only one server set the header, and delete the cookie that a parent domain set.",
		},
	},
	MethodBasic: {
		ReasonPassword: {
			"the user does not exist or has another password",
			"Set the password with htpasswd -B.",
		},
		ReasonMalformed: {
			"the credential is not user:password in base64",
			"Send it as curl -u does.",
		},
		ReasonTooLarge:  {"the password is longer than 72 bytes", "Set a shorter password."},
		ReasonDuplicate: {"Authorization was sent twice", "Have only one server set it."},
	},
	MethodForwarded: {
		ReasonUntrustedPeer: {
			"the user header came from an address that viewers.forwarded does not trust",
			"If the peer is your reverse proxy, add its address to viewers.forwarded.trusted_proxies.",
		},
		ReasonDuplicate: {
			"the user header was sent twice",
			"Have only one reverse proxy set the header, and replace the client's.",
		},
		ReasonMalformed: {
			"the user header is not a name",
			"Have the reverse proxy send a name in UTF-8 of at most 256 bytes.",
		},
		ReasonGroups: {
			"the groups header is missing, was sent twice or has another format",
			"Have the reverse proxy set the groups header on every request, and set groups_separator " +
				"to the character between its groups.",
		},
	},
	MethodLink: {
		ReasonKeyUnknown: {remedy: "Make a new link, or add the key that signed this one."},
		ReasonLinkExpired: {
			"the link has expired, or would be valid for longer than max_lifetime",
			"Make a new link.",
		},
		ReasonLinkSignature: {
			"the link's key did not sign it for this object",
			"Copy the whole link, and use it only for its object.",
		},
		ReasonLinkTarget: {
			"the link is for another folder, or the request has a versionId",
			"Use the link in its folder, without a versionId.",
		},
		ReasonMalformed: {
			"the link's query is incomplete or has a parameter twice",
			"Copy the whole link.",
		},
		ReasonTooLarge: {
			"the link's query is larger than 8 KiB or has more than 32 parameters",
			"Copy the whole link, and add no parameters.",
		},
		ReasonDuplicate: {
			"the request has a link in its path and in its query, or two cookies with a link",
			"Use one link, and delete the cookie that a parent domain set.",
		},
	},
}
