package check

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/partition"
	"s3redirect/internal/policy"
	"s3redirect/internal/presign"
)

// assume gets the session that the proxy would sign with, and reports whether it got one.
func (p *probe) assume(ctx context.Context) bool {
	if p.i.OwnCredentials {
		return p.ownCredentials(ctx)
	}
	if p.i.RoleARN == "" {
		p.skip("assume_role", "the integration has access keys and no role")
		p.session = presign.Credentials{
			AccessKeyID:     p.i.AccessKeyID,
			SecretAccessKey: string(p.i.SecretAccessKey),
		}
		p.expires = p.Clock().Add(presign.MaxLifetime)
		return true
	}
	if !p.credentials(ctx) {
		p.reportClock()
		p.skip("assume_role", "there are no valid credentials to call STS with")
		return false
	}
	p.reportClock()
	session, expires, err := p.assumeRole(ctx, p.i)
	p.reportClock() // the first response, if the store has no GetCallerIdentity
	if err != nil {
		p.fail("assume_role", p.explainAssumeRole(err))
		return false
	}
	p.ok("assume_role", "%s", p.i.RoleARN)
	p.session, p.expires = session, expires
	p.externalID(ctx)
	p.sessionLength()
	return true
}

func (p *probe) assumeRole(
	ctx context.Context, i *config.Integration,
) (presign.Credentials, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	sessionPolicy, _ := i.SessionDocument()
	return p.sts.AssumeRole(ctx, &integration.AssumeRoleInput{
		Integration:   i,
		SessionPolicy: sessionPolicy,
	})
}

// stsAddress returns the URL of the STS endpoint.
func (p *probe) stsAddress() string {
	if p.i.STSEndpoint != "" {
		return p.i.STSEndpoint
	}
	region := p.sts.Region(p.i)
	return "https://sts." + region + "." + partition.Of(region).DNSSuffix
}

// owner names the credentials that sign requests to STS.
func (p *probe) owner() string {
	switch {
	case p.i.AccessKeyID != "":
		return "the integration's access key"
	case p.i.WebIdentityTokenFile != "":
		return "the web identity's token"
	}
	return "the proxy's own credentials"
}

// credentials checks the credentials that the role is assumed with, and asks STS for their
// identity.
func (p *probe) credentials(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := p.sts.HasCredentials(ctx, p.i); err != nil {
		p.fail("credentials", p.explainNoToken(err))
		return false
	}
	if p.i.WebIdentityTokenFile != "" {
		p.ok("credentials", "the web identity's token can be read")
		return true
	}
	caller, err := p.sts.CallerIdentity(ctx, p.i)
	if err == nil && caller != "" {
		p.caller = caller
		p.ok("credentials", "the caller is %s", caller)
		return true
	}
	r, answered := parseSDKError(err)
	if !answered {
		p.fail("credentials", explainUnreachable("STS", p.stsAddress(), err))
		return false
	}
	if e, ok := explainCredentials(r, p.owner()); ok {
		p.fail("credentials", e)
		return false
	}
	if r.status >= 500 {
		p.fail("credentials", explanation{
			fmt.Sprintf("STS is unavailable: %s", r), remedyUnavailable})
		return false
	}
	p.skip("credentials", "the caller is unknown: the store's STS has no GetCallerIdentity")
	return true
}

// explainNoCredentials explains where credentials were expected, depending on the environment.
func explainNoCredentials() explanation {
	for _, source := range []struct{ variable, reason, remedy string }{
		{
			"AWS_WEB_IDENTITY_TOKEN_FILE",
			"the web identity in AWS_WEB_IDENTITY_TOKEN_FILE was rejected or could not be read",
			"Check that the file exists, and that the trust policy of AWS_ROLE_ARN names the " +
				"provider and this service account; s3redirect policy trust " +
				"--web-identity-provider … prints such a policy.",
		},
		{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI",
			"the container's credentials could not be fetched",
			"Check the pod identity association, or the task's role.",
		},
		{
			"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
			"the task's credentials could not be fetched",
			"Check the task's role.",
		},
		{
			"AWS_PROFILE",
			"the profile in AWS_PROFILE has no credentials",
			"Check ~/.aws/config and ~/.aws/credentials; for a profile of aws sso, sign in again.",
		},
	} {
		if os.Getenv(source.variable) != "" {
			return explanation{source.reason, source.remedy}
		}
	}
	return explanation{
		"no credentials found in the environment, the shared files, a web identity, the " +
			"container or the instance",
		"Give the process a role (instance profile, task role, IRSA), or set AWS_ACCESS_KEY_ID " +
			"and AWS_SECRET_ACCESS_KEY. For an S3-compatible store, set access_key_id and " +
			"secret_access_key in the integration.",
	}
}

// explainAssumeRole explains why AssumeRole failed.
func (p *probe) explainAssumeRole(err error) explanation {
	r, answered := parseSDKError(err)
	if !answered {
		return explainUnreachable("STS", p.stsAddress(), err)
	}
	if e, ok := p.explainWebIdentity(r); ok {
		return e
	}
	if e, ok := explainCredentials(r, p.owner()); ok {
		return e
	}
	tooLong := r.status == 400 && r.code == "" && p.i.SessionDuration > time.Hour
	switch {
	case r.code == "ValidationError" && r.mentions("role chaining"):
		return explanation{
			"the proxy's own credentials belong to a role, so a session lasts one hour at most " +
				"(role chaining): " + r.String(),
			"Set session_duration: 1h, or run with the keys of an IAM user.",
		}
	case r.mentions("maxsessionduration", "durationseconds"), tooLong:
		_, role := policy.RoleOf(p.i.RoleARN)
		return explanation{
			fmt.Sprintf("a session of %s is longer than the role allows: %s",
				config.Short(p.i.SessionDuration), r),
			"Set session_duration to the role's maximum or less, or raise the maximum: " +
				"aws iam update-role --role-name " + role + " --max-session-duration SECONDS",
		}
	case r.code == "PackedPolicyTooLarge", r.code == "MalformedPolicyDocument",
		r.code == "PackedPolicySizeExceeded":
		return explanation{
			"STS rejects the session policy: " + r.String(),
			"Name fewer buckets, or use patterns; or set session_policy: false, if the role has " +
				"no other permissions.",
		}
	case r.code == "ValidationError" && r.mentions("rolearn"), r.code == "MalformedInput":
		return explanation{
			"STS rejects the role's ARN: " + r.String(),
			"Copy role_arn from IAM; it begins with arn:" + p.i.Partition() + ":iam:: and the " +
				"account's 12 digits.",
		}
	case r.status == 404, r.code == "NoSuchEntity":
		return explanation{
			"the role " + p.i.RoleARN + " does not exist: " + r.String(),
			"Correct role_arn, or create the role: " + p.policyCommand("role --format cli"),
		}
	case r.status == 403 || r.code == "AccessDenied":
		return p.explainAccessDenied(r)
	case r.status == 429 || strings.Contains(r.code, "Throttl"):
		return explanation{
			"STS is throttling requests: " + r.String(),
			"Try again in a minute. If the error persists, another client of the account is " +
				"calling STS too often; CloudTrail shows which.",
		}
	case r.status >= 500:
		return explanation{"STS is unavailable: " + r.String(), remedyUnavailable}
	}
	return explanation{"STS returned an error: " + r.String(), p.compareTrustPolicy()}
}

func (p *probe) compareTrustPolicy() string {
	return "Compare the role's trust policy with the expected one: " + p.policyCommand("trust")
}

// explainAccessDenied names the action that was denied, and the policy that denied it, as far as
// STS reveals it. AssumeRole requires sts:TagSession and sts:SetSourceIdentity besides
// sts:AssumeRole if the caller's own session has tags or a source identity.
//
//   - https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
//   - https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
func (p *probe) explainAccessDenied(r errorResponse) explanation {
	action := r.action(assumeRole)
	assume, trust := p.policyCommand("assume"), p.policyCommand("trust")
	if action != assumeRole {
		assume, trust = p.policyCommand("assume --with-tags"), p.policyCommand("trust --with-tags")
	}
	ownPolicy := "Allow the proxy's own principal " + action + " on the role: " + assume
	trustPolicy := "Allow " + action + " in the role's trust policy. The expected policy: " + trust
	if r.mentions("explicit deny") {
		ownPolicy = "Find the Deny statement in the policies of the proxy's own principal, and " +
			"exempt the role from it. The policy must allow this: " + assume
		trustPolicy = "Remove the Deny statement that matches the proxy's principal from the " +
			"role's trust policy. The expected policy: " + trust
	}
	switch {
	case r.mentions("service control policy", "resource control policy"):
		return explanation{
			"a policy of the AWS organization denies it: " + r.String(),
			"Ask the organization's administrators to allow " + action + " between the accounts.",
		}
	case r.mentions("vpc endpoint policy"):
		return explanation{
			"the policy of the VPC endpoint of STS denies it: " + r.String(),
			"Allow " + action + " on the role in the policy of the VPC endpoint.",
		}
	case r.mentions("permissions boundary"):
		return explanation{
			"the permissions boundary of the proxy's own principal denies it: " + r.String(),
			"Add " + action + " for the role to that boundary.",
		}
	case r.mentions("session policy"):
		return explanation{
			"the session policy of the proxy's own session does not allow " + action + ": " +
				r.String(),
			"Allow " + action + " on the role in the session policy that the proxy's own session " +
				"was issued with, such as the policy of its EKS Pod Identity association; or issue " +
				"the session without a session policy.",
		}
	case r.mentions("identity-based policy"):
		return explanation{
			"the policy of the proxy's own principal does not allow " + action + ": " + r.String(),
			ownPolicy,
		}
	case r.mentions("resource-based policy", "trust policy"):
		return explanation{
			"the role's trust policy does not allow the proxy " + action + ": " + r.String(),
			trustPolicy,
		}
	case action != assumeRole:
		return explanation{
			"STS denied " + action + ", which AssumeRole requires in addition if the proxy's own " +
				"session has tags or a source identity, as with EKS Pod Identity: " + r.String(),
			"Allow the action in the role's trust policy: " + trust + "; and in the policy of the " +
				"proxy's own principal: " + assume,
		}
	}
	return p.explainUnknownDenial(r)
}

const assumeRole = "sts:AssumeRole"

// explainUnknownDenial lists the possible causes of a denial that STS does not explain. To other
// accounts, STS does not distinguish a missing role, a trust policy without the caller, and a wrong
// external ID.
func (p *probe) explainUnknownDenial(r errorResponse) explanation {
	externalID, trustPolicy := "requires another external ID", p.compareTrustPolicy()
	if p.i.ExternalID == "" {
		externalID = "requires an external ID, which the integration does not have"
		trustPolicy = "If the role's owner gave you an external ID, set external_id. " + trustPolicy
	}
	e := explanation{
		reason: "STS denied " + assumeRole + " and does not reveal why to other accounts: the role " +
			p.i.RoleARN + " does not exist, or its trust policy does not name the proxy, or it " +
			externalID,
		remedy: trustPolicy,
	}
	caller := account(p.caller)
	if caller != "" && caller != account(p.i.RoleARN) && p.i.IsAWS() {
		e.reason += ", or the policy of the proxy's own principal does not allow assuming the " +
			"role (it must, because the role is in another account)"
		e.remedy += "; and compare the principal's policy with: " + p.policyCommand("assume")
	}
	e.reason += ": " + r.String()
	return e
}

// account returns the account of an ARN, its fifth part.
func account(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 5 {
		return parts[4]
	}
	return ""
}

// externalID assumes the role without the external ID. The role's trust policy should deny that.
func (p *probe) externalID(ctx context.Context) {
	const risk = "anyone who can add integrations to the proxy could use this role " +
		"(the confused deputy problem)"
	if p.i.WebIdentityTokenFile != "" {
		p.skip("external_id", "a role is assumed with a web identity without an external ID")
		return
	}
	if p.i.ExternalID == "" {
		p.warn("external_id", explanation{
			"there is no external ID: " + risk,
			"Generate one with uuidgen, set external_id, and require it in the role's trust " +
				"policy: " + p.policyCommand("trust"),
		})
		return
	}
	without := *p.i
	without.ExternalID = ""
	_, _, err := p.assumeRole(ctx, &without)
	switch {
	case err == nil && !p.i.IsAWSSTS():
		p.warn("external_id", explanation{
			"the role can be assumed without the external ID; some stores ignore it",
			"If this store supports external IDs, add the condition to the role's trust policy: " +
				p.policyCommand("trust"),
		})
	case err == nil:
		p.warn("external_id", explanation{
			"the role's trust policy does not require the external ID: " + risk,
			"Add the condition sts:ExternalId to the trust policy: " + p.policyCommand("trust"),
		})
	case integration.Classify(err) == integration.Denied:
		p.ok("external_id", "the role cannot be assumed without it")
	default:
		p.skip("external_id", "STS did not answer the request without it")
	}
}

// sessionLength compares the session's duration with session_duration and url_lifetime.
func (p *probe) sessionLength() {
	remaining := p.expires.Sub(p.Clock()).Round(time.Second)
	got, want := config.Short(remaining), config.Short(p.i.SessionDuration)
	_, omitted := p.i.SessionDocument()
	switch {
	case remaining < p.i.URLLifetime:
		p.fail("session", explanation{
			fmt.Sprintf("the session ends in %s instead of %s, before the URLs that it signs, "+
				"which should live %s", got, want, config.Short(p.i.URLLifetime)),
			"Check the clock, then the role's maximum session duration; or shorten url_lifetime.",
		})
	case remaining < p.i.SessionDuration-time.Minute:
		p.warn("session", explanation{
			fmt.Sprintf("the session ends in %s instead of %s", got, want),
			"Check the clock, and the role's maximum session duration.",
		})
	case omitted == policy.OmittedAll:
		p.warn("session", explanation{
			fmt.Sprintf("%s, with all permissions of the role, because the session policy for so "+
				"many buckets is too long for STS", want),
			"Use patterns in permitted_buckets, or remove all permissions from the role that it " +
				"does not need.",
		})
	case omitted == policy.OmittedBlocked:
		p.warn("session", explanation{
			fmt.Sprintf("%s, but the session may read the blocked prefixes, because the session "+
				"policy with all of them is too long for STS; the proxy itself blocks them", want),
			"Block fewer and shorter prefixes, or deny them in the role's policy.",
		})
	default:
		p.ok("session", "%s, as requested", want)
	}
}
