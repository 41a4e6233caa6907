package check

import (
	"net/http"
	"strings"

	"s3redirect/internal/locator"
)

// explainRead explains why a step could not read the sample.
func (p *probe) explainRead(r *response, step string) explanation {
	text := r.String()
	owner := roleSession
	if p.i.RoleARN == "" {
		owner = p.owner()
	}
	if e, ok := explainCredentials(r.errorResponse, owner); ok {
		return e
	}
	if r.mentions("session policy") && !r.mentions("s3:listbucket") {
		return p.explainSessionPolicy(r)
	}
	noObject := "the bucket can be read, but the object does not exist: " +
		locator.Printable(p.sample.Key)
	switch {
	case step == "range":
		return explainPartial("a Range", text)
	case step == "head":
		return explainPartial("HEAD", text)
	case r.code == "NoSuchBucket":
		return explainNoBucket(p.sample.Bucket)
	case r.code == "NoSuchKey", r.code == "NoSuchVersion", r.status == http.StatusNotFound:
		return explanation{noObject, "Name an existing object with --sample."}
	case r.code == "InvalidObjectState":
		return explanation{
			"the object is archived: " + text,
			"Restore it, or name another object with --sample.",
		}
	case r.mentions("kms"), strings.HasPrefix(r.code, "KMS."):
		return p.explainKMS(r)
	case wrongRegion(r):
		return explanation{
			"the region is not " + p.region + ": " + text,
			"Set the bucket's region, or auto.",
		}
	case r.mentions("not valid yet", "has expired"):
		return explanation{"the URL's time was rejected: " + text, remedyClock}
	case r.status == http.StatusForbidden && r.mentions("s3:listbucket"):
		return explanation{
			noObject,
			"Name an existing object with --sample. With s3:ListBucket and list_bucket: true, S3 " +
				"would answer 404.",
		}
	case r.status == http.StatusForbidden:
		return p.explainForbidden(r, step)
	case r.status >= 500:
		return explanation{"the store is unavailable: " + text, remedyUnavailable}
	}
	return explanation{"the store returned an error: " + text, p.compareAccessPolicy()}
}

// explainPartial explains the failure of a request with a Range or the method HEAD after the step
// get succeeded.
func explainPartial(request, text string) explanation {
	return explanation{
		"the object can be read, but not with " + request + ": " + text,
		"Look for a proxy or firewall between here and the store that changes requests or allows " +
			"only GET.",
	}
}

func wrongRegion(r *response) bool {
	switch r.code {
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException":
		return true
	}
	return r.code == "AuthorizationQueryParametersError" && r.mentions("region")
}

func (p *probe) compareAccessPolicy() string {
	return "Compare the role's policy with the expected one: " + p.policyCommand("access")
}

// explainKMS explains errors of KMS.
func (p *probe) explainKMS(r *response) explanation {
	text := r.String()
	if r.mentions("disabled", "pending deletion", "not found", "does not exist") ||
		strings.HasPrefix(r.code, "KMS.Disabled") || strings.HasPrefix(r.code, "KMS.NotFound") {
		return explanation{
			"the object is encrypted with a KMS key that is disabled or deleted: " + text,
			"Enable the key, or cancel its deletion. Objects that a deleted key encrypts are lost.",
		}
	}
	return explanation{
		"the object is encrypted with a KMS key that the role may not use: " + text,
		"Allow kms:Decrypt in the role's policy (" + p.policyCommand("access --kms-key ARN") +
			"), and for a key of another account also in the key's policy.",
	}
}

// explainSessionPolicy explains a denial by the session policy. The role's policy is not the cause
// of it: a session has only those permissions that both policies allow.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session
func (p *probe) explainSessionPolicy(r *response) explanation {
	action := r.action("s3:GetObject")
	if own, _ := p.i.SessionDocument(); own == "" {
		return explanation{
			"the session policy of the session does not allow " + action + ": " + r.String(),
			"Allow " + action + " in the session policy that the session was issued with. The " +
				"integration does not add one.",
		}
	}
	const off = "set session_policy: false, so that the role's permissions alone decide."
	remedy := "The policy that the proxy sends allows only reading the integration's buckets. " +
		"Check that the bucket is one of them, or " + off
	if p.i.Prefix != "" {
		remedy = "The policy that the proxy sends allows only reading under the prefix, without the " +
			"blocked prefixes. Check that the object is there, or " + off
	}
	switch action {
	case "s3:GetObjectVersion":
		remedy = "Set file_versioning: true, which adds the action to the session policy; or " + off
	case "kms:Decrypt":
		if len(p.i.KMSKeys) > 0 {
			remedy = "Add the object's key to kms_keys; or " + off
			break
		}
		remedy = "The policy that the proxy sends allows kms:Decrypt only in requests through " +
			"AWS's S3. To use another path, " + off
	}
	return explanation{
		"the proxy's session policy does not allow " + action + ": " + r.String(), remedy}
}

// explainForbidden names the policy that denied reading, as far as S3 reveals it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
func (p *probe) explainForbidden(r *response, step string) explanation {
	text := r.String()
	switch {
	case r.mentions("service control policy", "resource control policy"):
		return explanation{
			"a policy of the AWS organization denies it: " + text,
			"Ask the organization's administrators to allow s3:GetObject from the role to the " +
				"bucket.",
		}
	case r.mentions("vpc endpoint policy"):
		return explanation{
			"the policy of the VPC endpoint denies it: " + text,
			"Allow the bucket in the policy of the VPC endpoint that this machine uses; browsers " +
				"elsewhere do not use it.",
		}
	case r.mentions("permissions boundary"):
		return explanation{
			"the role's permissions boundary denies it: " + text,
			"Add s3:GetObject on the bucket to the role's permissions boundary.",
		}
	case r.mentions("resource-based policy"):
		return explanation{
			"the bucket's policy denies it: " + text,
			"Find the Deny statement in the bucket's policy that matches the role or the request " +
				"(network, VPC endpoint, referer). A bucket of another account must also allow " +
				"the role.",
		}
	case step == "versions":
		return explanation{
			"the object can be read, but not its version by ID: " + text,
			"Allow s3:GetObjectVersion: " + p.policyCommand("access"),
		}
	case r.mentions("identity-based policy"):
		return explanation{
			"the role's policy does not allow reading the object: " + text,
			p.compareAccessPolicy(),
		}
	}
	reason := "S3 denied access: the role lacks s3:GetObject on the object, or a policy of the " +
		"bucket, the VPC endpoint or the organization denies it"
	remedy := p.compareAccessPolicy()
	if !p.i.ListBucket {
		reason += ", or the object does not exist (without s3:ListBucket, S3 does not reveal that)"
		remedy += "; and check that the sample exists: its key is " + locator.Printable(p.sample.Key)
	}
	if !p.i.RequesterPays {
		reason += ", or its requesters pay"
		remedy += "; set requester_pays: true for a bucket whose requesters pay"
	}
	return explanation{reason + ": " + text, remedy}
}
