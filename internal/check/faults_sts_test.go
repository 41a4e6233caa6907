package check

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
)

// denied returns the message of STS for a caller that EKS Pod Identity issued with a session.
func denied(action, because string) string {
	return "User: arn:aws:sts::123456789012:assumed-role/proxy/pod is not authorized to perform: " +
		action + " on resource: " + roleARN + because
}

// stsFaults are faults of credentials, of the role and of STS.
var stsFaults = []faultTest{
	{
		"role in another account",
		func(_ *testing.T, w *world) {
			w.replace(roleARN, "arn:aws:iam::210987654321:role/media")
		},
		"assume_role", Failed,
		"does not exist, or its trust policy does not name the proxy, or it requires another " +
			"external ID, or the policy of the proxy's own principal",
		"policy trust --integration lab; and compare the principal's policy with: " +
			"s3redirect policy assume",
	},
	{
		"missing role",
		func(_ *testing.T, w *world) { w.role = fakeaws.Role{} },
		"assume_role", Failed,
		"does not exist, or its trust", "policy trust --integration lab",
	},
	{
		"trust policy of another principal",
		func(_ *testing.T, w *world) { w.role.Trusts = []string{"AKIAANOTHERPRINCIPAL"} },
		"assume_role", Failed,
		"its trust policy does not name the proxy", "policy trust --integration lab",
	},
	{
		"wrong external ID",
		func(_ *testing.T, w *world) { w.replace(externalID, "another") },
		"assume_role", Failed,
		"it requires another external ID", "policy trust",
	},
	{
		"missing external ID",
		func(_ *testing.T, w *world) { w.replace("    external_id: "+externalID+"\n", "") },
		"assume_role", Failed,
		"requires an external ID, which the integration does not have", "policy trust",
	},
	{
		"trust policy without the external ID",
		func(_ *testing.T, w *world) { w.role.ExternalID = "" },
		"external_id", Warning,
		"does not require the external ID", "sts:ExternalId",
	},
	{
		"no external ID at all",
		func(_ *testing.T, w *world) {
			w.replace("    external_id: "+externalID+"\n", "")
			w.role.ExternalID = ""
		},
		"external_id", Warning,
		"there is no external ID", "uuidgen",
	},
	{
		"principal without sts:AssumeRole",
		func(_ *testing.T, w *world) { w.user.MayNotAssume = true },
		"assume_role", Failed,
		"the policy of the proxy's own principal does not allow",
		"policy assume --integration lab",
	},
	{
		"AssumeRole denied by the organization",
		assumeRoleFails(403, "AccessDenied", "not authorized to perform: sts:AssumeRole "+
			"with an explicit deny in a service control policy"),
		"assume_role", Failed,
		"a policy of the AWS organization", "administrators",
	},
	{
		"AssumeRole denied by a permissions boundary",
		assumeRoleFails(403, "AccessDenied",
			"because no permissions boundary allows the sts:AssumeRole action"),
		"assume_role", Failed,
		"permissions boundary", "boundary",
	},
	{
		"AssumeRole denied by the trust policy",
		assumeRoleFails(403, "AccessDenied",
			"because no resource-based policy allows the sts:AssumeRole action"),
		"assume_role", Failed,
		"the role's trust policy does not allow the proxy", "policy trust",
	},
	{
		"AssumeRole denied by the session policy of the proxy's own session",
		assumeRoleFails(403, "AccessDenied", "is not authorized to perform: sts:AssumeRole "+
			"because no session policy allows the sts:AssumeRole action"),
		"assume_role", Failed,
		"the session policy of the proxy's own session does not allow sts:AssumeRole",
		"Allow sts:AssumeRole on the role in the session policy",
	},
	{
		"AssumeRole denied by the policy of the VPC endpoint of STS",
		assumeRoleFails(403, "AccessDenied",
			"because no VPC endpoint policy allows the sts:AssumeRole action"),
		"assume_role", Failed,
		"the policy of the VPC endpoint", "Allow sts:AssumeRole on the role in the policy of the VPC",
	},
	{
		"denial without a reason",
		assumeRoleFails(403, "AccessDenied", denied("sts:AssumeRole", "")),
		"assume_role", Failed,
		"role/proxy/pod is not authorized to perform: sts:AssumeRole on resource",
		"policy trust --integration lab",
	},
	{
		"session tags",
		assumeRoleFails(403, "AccessDenied", denied("sts:TagSession", "")),
		"assume_role", Failed,
		"STS denied sts:TagSession, which AssumeRole requires in addition",
		"in the role's trust policy: s3redirect policy trust --with-tags --integration lab; and in " +
			"the policy of the proxy's own principal: s3redirect policy assume --with-tags",
	},
	{
		"source identity",
		assumeRoleFails(403, "AccessDenied", denied("sts:SetSourceIdentity", "")),
		"assume_role", Failed,
		"STS denied sts:SetSourceIdentity, which", "policy trust --with-tags",
	},
	{
		"session tags denied by the principal's policy",
		assumeRoleFails(403, "AccessDenied", denied("sts:TagSession",
			" because no identity-based policy allows the sts:TagSession action")),
		"assume_role", Failed,
		"the policy of the proxy's own principal does not allow sts:TagSession",
		"Allow the proxy's own principal sts:TagSession on the role: s3redirect policy assume " +
			"--with-tags",
	},
	{
		"session tags denied by the trust policy",
		assumeRoleFails(403, "AccessDenied", denied("sts:TagSession",
			" because no resource-based policy allows the sts:TagSession action")),
		"assume_role", Failed,
		"the role's trust policy does not allow the proxy sts:TagSession",
		"Allow sts:TagSession in the role's trust policy. The expected policy: s3redirect policy " +
			"trust --with-tags",
	},
	{
		"session tags denied by the organization, in a message with long names",
		assumeRoleFails(403, "AccessDenied", denied("sts:TagSession"+strings.Repeat(" ", 300),
			" with an explicit deny in a service control policy")),
		"assume_role", Failed,
		"a policy of the AWS organization", "to allow sts:TagSession between",
	},
	{
		"explicit deny in the principal's policy",
		assumeRoleFails(403, "AccessDenied", "is not authorized to perform: sts:AssumeRole "+
			"with an explicit deny in an identity-based policy"),
		"assume_role", Failed,
		"the policy of the proxy's own principal does not allow",
		"Deny statement in the policies of the proxy's own principal",
	},
	{
		"explicit deny in the trust policy",
		assumeRoleFails(403, "AccessDenied", "is not authorized to perform: sts:AssumeRole "+
			"with an explicit deny in a resource-based policy"),
		"assume_role", Failed,
		"the role's trust policy does not allow the proxy",
		"from the role's trust policy",
	},
	{
		"session longer than the role's maximum",
		func(_ *testing.T, w *world) {
			w.replace("    file_versioning", "    session_duration: 2h\n    file_versioning")
		},
		"assume_role", Failed,
		"a session of 2h is longer than the role allows",
		"--role-name media --max-session-duration",
	},
	{
		"role chaining",
		assumeRoleFails(400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour "+
			"session limit for roles assumed by role chaining."),
		"assume_role", Failed,
		"one hour at most", "session_duration: 1h",
	},
	{
		"invalid role ARN",
		assumeRoleFails(400, "ValidationError", "roleArn is invalid"),
		"assume_role", Failed,
		"rejects the role's ARN", "arn:aws:iam::",
	},
	{
		"session policy too long",
		assumeRoleFails(400, "PackedPolicyTooLarge",
			"Packed policy consumes 120% of allotted space, please use smaller policy."),
		"assume_role", Failed,
		"rejects the session policy", "session_policy: false",
	},
	{
		"STS not active in the region",
		assumeRoleFails(403, "RegionDisabledException",
			"STS is not activated in this region for account"),
		"assume_role", Failed,
		"not active in the region", "Activate",
	},
	{
		"throttling",
		assumeRoleFails(400, "Throttling", "Rate exceeded"),
		"assume_role", Failed,
		"STS is throttling", "in a minute",
	},
	{
		"AssumeRole answers 500",
		assumeRoleFails(500, "InternalFailure", "x"),
		"assume_role", Failed,
		"STS is unavailable", "Try again",
	},
	{
		"missing role in Ceph",
		assumeRoleFails(404, "NoSuchEntity", ""),
		"assume_role", Failed,
		"the role " + roleARN + " does not exist",
		"policy role --format cli --integration lab",
	},
	{
		"session shorter than url_lifetime",
		func(_ *testing.T, w *world) { w.sessionsEndAfter(20*time.Minute + 30*time.Second) },
		"session", Failed,
		"ends in 20m", "maximum session duration",
	},
	{
		"session shorter than requested",
		func(_ *testing.T, w *world) { w.sessionsEndAfter(50*time.Minute + 30*time.Second) },
		"session", Warning,
		"ends in 50m", "maximum session duration",
	},
	{
		"clock 20 minutes ahead",
		func(_ *testing.T, w *world) { w.skewClock(20*time.Minute + 30*time.Second) },
		"clock", Failed,
		"the clock is 20m", "Set the clock",
	},
	{
		"clock 2 minutes behind",
		func(_ *testing.T, w *world) { w.skewClock(-2*time.Minute - 30*time.Second) },
		"clock", Warning,
		"the clock is 2m", "Set the clock",
	},
	{
		"unknown access key",
		func(_ *testing.T, w *world) { w.replace(key, "AKIAUNKNOWN") },
		"credentials", Failed,
		"the integration's access key: unknown access key ID", "active",
	},
	{
		"wrong secret key",
		func(_ *testing.T, w *world) { w.replace(secret, "canary-wrong") },
		"credentials", Failed,
		"the secret access key does not match the access key ID", "again",
	},
	{
		"expired session",
		stsFails(403, "ExpiredToken", "The security token included in the request is expired"),
		"credentials", Failed,
		"the session has expired", "Renew it",
	},
	{
		"malformed session token",
		stsFails(403, "InvalidToken", "The provided token is malformed or otherwise invalid."),
		"credentials", Failed,
		"the session token was rejected", "that the token is complete",
	},
	{
		"expired signature",
		stsFails(403, "SignatureDoesNotMatch",
			"Signature expired: 20260101T000000Z is now earlier than 20260101T001500Z"),
		"credentials", Failed,
		"the time of the signature was rejected", "Set the clock",
	},
	{
		"STS answers 503",
		stsFails(503, "ServiceUnavailable", ""),
		"credentials", Failed,
		"STS is unavailable", "Try again",
	},
	{
		"STS without GetCallerIdentity",
		stsFails(400, "InvalidAction", "Could not find operation GetCallerIdentity"),
		"credentials", Skipped,
		"the caller is unknown", "",
	},
	{
		"external ID ignored by another store's STS",
		func(t *testing.T, w *world) {
			w.role.ExternalID = ""
			w.moveStore(t, newServer(t, w.cloud.S3().ServeHTTP).URL)
		},
		"external_id", Warning,
		"some stores ignore it", "add the condition",
	},
	{
		"STS fails on the second call",
		func(_ *testing.T, w *world) {
			w.role.ExternalID = ""
			calls := 0
			w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
				if calls++; calls > 1 {
					return &fakeaws.Fault{Status: 500, Code: "InternalFailure", Message: "x"}
				}
				return nil
			})
		},
		"external_id", Skipped,
		"did not answer the request without it", "",
	},
	{
		"connection refused",
		func(t *testing.T, w *world) { w.useStore("http://" + closedPort(t)) },
		"credentials", Failed,
		"STS: connection to 127.0.0.1:", "host and port",
	},
	{
		"unknown host",
		func(_ *testing.T, w *world) { w.useStore("https://minio.invalid:9000") },
		"credentials", Failed,
		"STS: cannot resolve minio.invalid", "spelling",
	},
	{
		"certificate of an unknown authority",
		func(t *testing.T, w *world) { w.useStore(newTLSServer(t, nil).URL) },
		"credentials", Failed,
		"is signed by an unknown authority", "SSL_CERT_FILE",
	},
	{
		"certificate for another name",
		func(t *testing.T, w *world) {
			w.useStore(replaceOnce(newTLSServer(t, nil).URL, "127.0.0.1", "localhost"))
		},
		"credentials", Failed,
		"is for another name", "example.com",
	},
	{
		"expired certificate",
		func(t *testing.T, w *world) { w.useExpiredCertificate(t) },
		"credentials", Failed,
		"has expired or is not yet valid", "Renew",
	},
	{
		"server without TLS",
		func(t *testing.T, w *world) {
			w.useStore(replaceOnce(newServer(t, nil).URL, "http:", "https:"))
		},
		"credentials", Failed,
		"does not use TLS", "http://",
	},
	{
		"server that closes connections",
		func(t *testing.T, w *world) {
			w.useStore(newServer(t, func(http.ResponseWriter, *http.Request) {
				panic(http.ErrAbortHandler)
			}).URL)
		},
		"credentials", Failed,
		"closed the connection", "firewall",
	},
}
