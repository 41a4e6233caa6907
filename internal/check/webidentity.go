package check

// explainNoToken explains why there are no credentials to assume the role with.
func (p *probe) explainNoToken(err error) explanation {
	if p.i.WebIdentityTokenFile == "" {
		return explainOwnCredentials(err)
	}
	return explanation{
		"the web identity's token cannot be read: " + sanitize(err.Error()),
		"Check that web_identity_token_file exists, that the proxy's user may read it, and that " +
			"it is mounted (in Kubernetes, as a projected service account token).",
	}
}

// explainWebIdentity explains errors of AssumeRoleWithWebIdentity. STS's messages are left out,
// because they may repeat the token. The result is false if the role is assumed otherwise.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
func (p *probe) explainWebIdentity(r errorResponse) (explanation, bool) {
	if p.i.WebIdentityTokenFile == "" {
		return explanation{}, false
	}
	switch r.code {
	case "MissingAuthenticationToken", "InvalidAction":
		return explanation{
			"this STS does not offer AssumeRoleWithWebIdentity: " + r.code,
			"Assume the role with access_key_id or the proxy's own credentials instead.",
		}, true
	case "ExpiredTokenException", "ExpiredToken":
		return explanation{
			"the web identity's token has expired",
			"Check that the file is renewed; the proxy reads it again for each call.",
		}, true
	case "InvalidIdentityToken", "IDPRejectedClaim":
		return explanation{
			"STS rejects the web identity's token: " + r.code,
			"Create the identity provider in the role's account, with the token's issuer (iss) as " +
				"its URL and the token's audience (aud) as a client ID.",
		}, true
	case "IDPCommunicationError":
		return explanation{
			"STS cannot reach the web identity's provider",
			"Check that the issuer's discovery document and keys are public; try again later.",
		}, true
	case "AccessDenied":
		return explanation{
			"the role's trust policy does not allow the web identity to assume it, or the role " +
				p.i.RoleARN + " does not exist",
			"Compare the trust policy with: s3redirect policy trust --web-identity-provider … " +
				"(the token's sub and aud must match its conditions).",
		}, true
	}
	return explanation{}, false
}
