package check

import (
	"net/http"
	"strings"
)

// whyRefused explains why a store did not give the sample, in a step that comes after others.
func (p *probe) whyRefused(a *answer, step string) explanation {
	said := a.refusal.String()
	whose := aSession
	if p.i.RoleARN == "" {
		whose = p.whose()
	}
	if e, about := badCredentials(a.refusal, whose); about {
		return e
	}
	noObject := "the bucket is read, and there is no such object in it: " + p.sample.Key
	switch {
	case step == "range", step == "head": // the step get went well
		return explanation{"the object is read whole, and not with " + map[string]string{"range": "a Range", "head": "HEAD"}[step] + ": " + said,
			"Look at what stands between us and the store: a proxy or a firewall that changes requests, or lets GET alone pass."}
	case a.code == "NoSuchBucket":
		return explanation{"there is no bucket " + p.sample.Bucket, "Look at its spelling, and at whether it is in this partition or store."}
	case a.code == "NoSuchKey", a.code == "NoSuchVersion", a.status == http.StatusNotFound:
		return explanation{noObject, "Name one that is there with --sample."}
	case a.code == "InvalidObjectState":
		return explanation{"the object is archived: " + said, "Restore it, or name another with --sample."}
	case a.says("kms"), strings.HasPrefix(a.code, "KMS."):
		return p.whyNotDecrypted(a)
	case a.code == "AuthorizationHeaderMalformed", a.code == "PermanentRedirect", a.code == "IllegalLocationConstraintException", a.code == "AuthorizationQueryParametersError" && a.says("region"):
		return explanation{"the region is another than " + p.region + ": " + said, "Write the bucket's own region, or auto."}
	case a.says("not valid yet", "has expired"):
		return explanation{"the URL's time is refused: " + said, mendClock}
	case a.status == http.StatusForbidden && a.says("s3:listbucket"):
		return explanation{noObject, "Name one that is there with --sample. With s3:ListBucket and list_bucket: true this would be a 404."}
	case a.status == http.StatusForbidden:
		return p.whyForbiddenToRead(a, step)
	case a.status >= 500:
		return explanation{"the store is out of order: " + said, "Wait and try again; if it stays so, look at the store's own state."}
	}
	return explanation{"the store refuses: " + said, "Compare the role's policy with what this prints: " + p.policy("access")}
}

// whyNotDecrypted explains refusals of KMS.
func (p *probe) whyNotDecrypted(a *answer) explanation {
	said := a.refusal.String()
	if a.says("disabled", "pending deletion", "not found", "does not exist") || strings.HasPrefix(a.code, "KMS.Disabled") || strings.HasPrefix(a.code, "KMS.NotFound") {
		return explanation{"the object is encrypted with a KMS key that is disabled, or gone: " + said,
			"Enable the key, or cancel its deletion; what was encrypted with a key that is gone cannot be read again."}
	}
	return explanation{"the object is encrypted with a KMS key that the role may not use: " + said,
		"Allow kms:Decrypt in the role's policy (" + p.policy("access --kms-key ARN") + ") and, for a key of another account, in the key's own policy."}
}

// whyForbiddenToRead tells whose policy forbids it, as far as S3 does.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
func (p *probe) whyForbiddenToRead(a *answer, step string) explanation {
	said := a.refusal.String()
	access := "Compare the role's policy with what this prints: " + p.policy("access")
	switch {
	case a.says("session policy"):
		return explanation{"our own session policy forbids it: " + said, "Look whether the bucket belongs to the integration; session_policy: false switches the policy off."}
	case a.says("service control policy", "resource control policy"):
		return explanation{"the organisation's policies forbid it: " + said, "Have the organisation's administrators allow s3:GetObject from the role to the bucket."}
	case a.says("vpc endpoint policy"):
		return explanation{"the policy of the VPC endpoint forbids it: " + said, "Allow the bucket in the policy of the VPC endpoint that requests from here take; browsers elsewhere do not take it."}
	case a.says("permissions boundary"):
		return explanation{"the role's permissions boundary forbids it: " + said, "Add s3:GetObject on the bucket to the boundary of the role."}
	case a.says("resource-based policy"):
		return explanation{"the bucket's own policy forbids it: " + said, "Look in the bucket's policy for a Deny that meets the role or the way of the request (its network, its VPC endpoint, its referer); for a bucket of another account it must allow the role, too."}
	case step == "versions":
		return explanation{"the object is read, and its version by ID is not: " + said, "Allow s3:GetObjectVersion: " + p.policy("access")}
	case a.says("identity-based policy"):
		return explanation{"the role's own policy does not let it read: " + said, access}
	}
	reason, remedy := "S3 refuses: the role has no s3:GetObject on it, or a policy of the bucket, of its VPC endpoint or of the organisation forbids it", access
	if !p.i.ListBucket {
		reason += ", or there is no such object (without s3:ListBucket, S3 does not say)"
		remedy += "; and look whether the sample is there: its key is " + p.sample.Key
	}
	if !p.i.RequesterPays {
		reason += ", or its requesters pay"
		remedy += "; requester_pays: true is for buckets whose requesters pay"
	}
	return explanation{reason + ": " + said, remedy}
}
