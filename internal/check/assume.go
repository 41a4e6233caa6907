package check

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/policy"
	"s3redirect/internal/presign"
)

// assume gets the session that the proxy would sign with, and tells whether there is one.
func (p *probe) assume(ctx context.Context) bool {
	if p.i.RoleARN == "" {
		p.skip("assume_role", "the integration has keys of its own and no role")
		p.session = presign.Credentials{AccessKeyID: p.i.AccessKeyID, SecretAccessKey: string(p.i.SecretAccessKey)}
		p.expires = p.Clock().Add(presign.MaxLifetime)
		return true
	}
	if !p.credentials(ctx) {
		p.judgeClock()
		p.skip("assume_role", "without credentials STS need not be asked")
		return false
	}
	p.judgeClock()
	session, expires, err := p.call(ctx, p.i)
	p.judgeClock() // where STS does not tell who we are, this was its first answer
	if err != nil {
		e := p.whyDenied(err)
		p.say("assume_role", Failed, e.reason, e.remedy)
		return false
	}
	p.ok("assume_role", "%s", p.i.RoleARN)
	p.session, p.expires = session, expires
	p.externalID(ctx)
	p.sessionLength()
	return true
}

func (p *probe) call(ctx context.Context, i *config.Integration) (presign.Credentials, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	narrowed, _ := policy.Session(i)
	return p.sts.AssumeRole(ctx, &integration.AssumeRoleInput{Integration: i, SessionPolicy: narrowed})
}

// stsAddress is the host that is asked, as errors name it.
func (p *probe) stsAddress() string {
	if p.i.STSEndpoint != "" {
		return p.i.STSEndpoint
	}
	region := p.i.HomeRegion()
	return "https://sts." + region + "." + presign.PartitionOf(region).DNSSuffix
}

// whose are the credentials that STS is asked with.
func (p *probe) whose() string {
	if p.i.AccessKeyID != "" {
		return "the integration's keys"
	}
	return "our own credentials"
}

// credentials looks for our own credentials, and asks STS whose they are.
func (p *probe) credentials(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := p.sts.HasCredentials(ctx, p.i); err != nil {
		e := noCredentials()
		p.say("credentials", Failed, e.reason, e.remedy)
		return false
	}
	who, err := p.sts.CallerIdentity(ctx, p.i)
	if err == nil && who != "" {
		p.who = who
		p.ok("credentials", "we are %s", who)
		return true
	}
	r, answered := refused(err)
	if !answered {
		e := unreachable("STS", p.stsAddress(), err)
		p.say("credentials", Failed, e.reason, e.remedy)
		return false
	}
	if e, about := badCredentials(r, p.whose()); about {
		p.say("credentials", Failed, e.reason, e.remedy)
		return false
	}
	if r.status >= 500 {
		p.say("credentials", Failed, fmt.Sprintf("STS is out of order: %s", r), "Wait and try again; if it stays so, look at the store's own state (for AWS: health.aws.amazon.com).")
		return false
	}
	p.skip("credentials", "the store's STS does not say who we are (it knows no GetCallerIdentity)")
	return true
}

// noCredentials says where credentials were expected, by what the environment has.
func noCredentials() explanation {
	for _, source := range []struct{ variable, reason, remedy string }{
		{"AWS_WEB_IDENTITY_TOKEN_FILE", "the web identity in AWS_WEB_IDENTITY_TOKEN_FILE was not taken", "Look whether the file is there, and whether the trust policy of AWS_ROLE_ARN names the provider and this service account: s3redirect policy trust --web-identity-provider … prints one."},
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "the container's credentials could not be fetched", "Look at the pod identity association, or the task's role."},
		{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "the task's credentials could not be fetched", "Look at the task's role."},
		{"AWS_PROFILE", "the profile in AWS_PROFILE gives no credentials", "Look at ~/.aws/config and ~/.aws/credentials, and sign in again if the profile is one of aws sso."},
	} {
		if os.Getenv(source.variable) != "" {
			return explanation{source.reason, source.remedy}
		}
	}
	return explanation{"there are no credentials of our own: not in the environment, the shared files, a web identity, a container or an instance",
		"Give the process a role (instance profile, task role, IRSA) or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a store of its own, access_key_id and secret_access_key in the integration."}
}

// whyDenied explains why there is no session.
func (p *probe) whyDenied(err error) explanation {
	r, answered := refused(err)
	if !answered {
		return unreachable("STS", p.stsAddress(), err)
	}
	if e, about := badCredentials(r, p.whose()); about {
		return e
	}
	longest := "Set session_duration to the role's maximum at most, or raise that: aws iam update-role --role-name " + roleName(p.i) + " --max-session-duration SECONDS"
	switch {
	case r.code == "ValidationError" && r.says("role chaining"):
		return explanation{"our own credentials are a role's, and what a role assumes lasts an hour at most: " + r.String(), "Set session_duration: 1h, or run with an IAM user's keys."}
	case r.says("maxsessionduration", "durationseconds"), r.status == 400 && r.code == "" && p.i.SessionDuration > time.Hour:
		return explanation{fmt.Sprintf("a session of %s is longer than the role allows: %s", config.Short(p.i.SessionDuration), r), longest}
	case r.code == "PackedPolicyTooLarge", r.code == "MalformedPolicyDocument", r.code == "PackedPolicySizeExceeded":
		return explanation{"the session policy is refused: " + r.String(), "Name fewer buckets, or patterns; or set session_policy: false, and let the role have no rights but these."}
	case r.code == "ValidationError" && r.says("rolearn"), r.code == "MalformedInput":
		return explanation{"the role's ARN is refused: " + r.String(), "Copy role_arn from IAM; it begins with arn:" + p.i.Partition() + ":iam:: and the account's 12 digits."}
	case r.status == 404, r.code == "NoSuchEntity":
		return explanation{"there is no role " + p.i.RoleARN + ": " + r.String(), "Mend role_arn, or make the role: " + p.policy("role --format cli")}
	case r.status == 403 || r.code == "AccessDenied":
		return p.whyForbidden(r)
	case r.status == 429 || strings.Contains(r.code, "Throttl"):
		return explanation{"STS asks for patience: " + r.String(), "Try again in a minute; if it stays so, somebody in the account calls STS all the time: CloudTrail shows who."}
	case r.status >= 500:
		return explanation{"STS is out of order: " + r.String(), "Wait and try again; if it stays so, look at the store's own state (for AWS: health.aws.amazon.com)."}
	}
	return explanation{"STS refused: " + r.String(), "Compare the role's trust policy with what this prints: " + p.policy("trust")}
}

// whyForbidden tells our own policy from the role's, as far as STS lets it be told: to outsiders a role that is not there, one that
// does not trust them and one that wants another external ID look the same.
func (p *probe) whyForbidden(r refusal) explanation {
	own := "Allow our own principal to assume it: " + p.policy("assume")
	trust := "Compare the role's trust policy with what this prints: " + p.policy("trust")
	if r.says("explicit deny") {
		own = "Find the statement with Deny in the policies of our own principal, and except the role from it; then " + strings.ToLower(own[:1]) + own[1:]
		trust = "Take the statement with Deny that meets us out of the role's trust policy. Without it: " + p.policy("trust")
	}
	switch {
	case r.says("service control policy", "resource control policy"):
		return explanation{"the organisation's policies forbid it: " + r.String(), "Have the organisation's administrators allow sts:AssumeRole between the two accounts."}
	case r.says("permissions boundary"):
		return explanation{"our own permissions boundary forbids it: " + r.String(), "Add sts:AssumeRole for the role to the boundary of our own principal."}
	case r.says("identity-based policy", "session policy"):
		return explanation{"our own policy does not let us assume the role: " + r.String(), own}
	case r.says("resource-based policy", "trust policy"):
		return explanation{"the role's trust policy does not let us assume it: " + r.String(), trust}
	}
	external := "asks for another external ID than ours"
	if p.i.ExternalID == "" {
		external = "asks for an external ID, and the integration has none"
		trust = "If the role's owner has an external ID for us, write it under external_id. " + trust
	}
	e := explanation{
		reason: fmt.Sprintf("STS says no, and to others than the role's account it does not say why: the role %s does not exist, or its trust policy does not name us, or it %s", p.i.RoleARN, external),
		remedy: trust,
	}
	if account(p.who) != account(p.i.RoleARN) && account(p.who) != "" && !p.i.Foreign() {
		e.reason += ", or our own policy does not let us assume it (the role is in another account than we, so it must)"
		e.remedy += "; and our own policy with: " + p.policy("assume")
	}
	return e
}

// account is the fifth part of an ARN.
func account(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 5 {
		return parts[4]
	}
	return ""
}

func roleName(i *config.Integration) string {
	_, name := policy.RoleOf(i.RoleARN)
	return name
}

// externalID assumes the role once more, without the external ID: a role that lets that pass is not guarded.
func (p *probe) externalID(ctx context.Context) {
	const why = "whoever may have us use a role could name this one (the confused deputy)"
	if p.i.ExternalID == "" {
		p.say("external_id", Warning, "there is none: "+why, "Make one with uuidgen, set external_id, and demand it in the role's trust policy: "+p.policy("trust"))
		return
	}
	without := *p.i
	without.ExternalID = ""
	_, _, err := p.call(ctx, &without)
	switch {
	case err == nil && p.i.STSEndpoint != "":
		p.say("external_id", Warning, "the role is had without it too; some stores do not look at it at all", "If this store does, add the condition to the role's trust policy: "+p.policy("trust"))
	case err == nil:
		p.say("external_id", Warning, "the role is had without it too, so its trust policy does not ask for it: "+why, "Add the condition sts:ExternalId to the trust policy: "+p.policy("trust"))
	case integration.Classify(err) == integration.Denied:
		p.ok("external_id", "the role is not had without it")
	default:
		p.skip("external_id", "STS did not answer when it was asked without it")
	}
}

// sessionLength compares what was got with what was asked for, and with what a window needs.
func (p *probe) sessionLength() {
	got, asked := p.expires.Sub(p.Clock()).Round(time.Second), config.Short(p.i.SessionDuration)
	_, fits := policy.Session(p.i)
	switch {
	case got < p.i.URLLifetime:
		p.say("session", Failed, fmt.Sprintf("%s was asked for, and the session ends in %s: URLs that should live %s will not", asked, config.Short(got), config.Short(p.i.URLLifetime)),
			"Look at the clock first, then at the role's maximum session duration; or make url_lifetime shorter.")
	case got < p.i.SessionDuration-time.Minute:
		p.say("session", Warning, fmt.Sprintf("%s was asked for, and the session ends in %s", asked, config.Short(got)), "Look at the clock, and at the role's maximum session duration.")
	case !fits:
		p.say("session", Warning, fmt.Sprintf("%s, with all rights of the role: a session policy for so many buckets is longer than STS takes", asked), "Use patterns in permitted_buckets, or give the role no more than it needs.")
	default:
		p.ok("session", "%s, as asked", asked)
	}
}
