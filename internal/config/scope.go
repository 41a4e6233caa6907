package config

import (
	"slices"
	"strconv"
	"strings"

	"s3redirect/internal/policy"
)

// Scope returns what the integration reads, for its policies.
func (i *Integration) Scope() *policy.Scope {
	return &policy.Scope{
		AWS:             i.IsAWS(),
		Partition:       i.Partition(),
		Buckets:         i.Buckets(),
		AccessPoint:     i.AccessPoint,
		Prefix:          i.Prefix,
		BlockedPrefixes: i.BlockedPrefixes,
		Versions:        i.FileVersioning,
		List:            i.ListBucket,
		Location:        !i.IsAWS() && i.FixedRegion() == "",
		KMSKeys:         i.KMSKeys,
	}
}

// SessionDocument returns the session policy that limits a session to reading the integration's
// buckets or prefix, and what it omits. It returns "" if the integration has no role or has
// session_policy off.
func (i *Integration) SessionDocument() (text string, omitted policy.Omitted) {
	if i.RoleARN == "" || !i.SessionPolicy {
		return "", policy.OmittedNothing
	}
	return policy.Session(i.Scope())
}

// RoleName returns the default name of the integration's role.
func (i *Integration) RoleName() string {
	return defaultSessionName(i.Name) // names of roles are as long as those of sessions, too
}

// PlaceholderRoleARN returns a valid ARN for a role that does not exist yet. If the integration's
// region is auto, the ARN is in the partition of principal, if that is known, because a principal
// cannot assume a role of another partition.
func (i *Integration) PlaceholderRoleARN(principal string) string {
	partition := i.Partition()
	parts := strings.Split(principal, ":")
	if i.Region == RegionAuto && len(parts) == 6 && i.IsAWS() {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::000000000000:role/" + i.RoleName()
}

// checkKMSKeys checks the KMS keys. S3 encrypts objects with keys of the bucket's region only.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
func (k *checker) checkKMSKeys(at string, i *Integration) {
	k.needItems(at+".kms_keys", i.KMSKeys)
	for n, arn := range i.KMSKeys {
		key := at + ".kms_keys[" + strconv.Itoa(n) + "]"
		err := policy.CheckKMSKey(arn)
		parts := strings.Split(arn, ":")
		switch {
		case !i.IsAWS():
			k.wrong(key, "only AWS's S3 decrypts with the permissions of the reader; remove kms_keys").
				Needs = []string{at + ".endpoint"}
		case err != nil:
			k.wrong(key, "%v", err)
		case parts[1] != i.Partition():
			k.wrong(key, "the key is in the partition %s, and the integration in %s", parts[1],
				i.Partition()).Needs = []string{at + ".region", at + ".role_arn"}
		case region.MatchString(i.FixedRegion()) && parts[3] != i.FixedRegion():
			k.wrong(key, "the key is in %s, and the bucket in %s; S3 uses keys of the bucket's region",
				parts[3], i.FixedRegion()).Needs = []string{at + ".region", at + ".access_point"}
		case slices.Contains(i.KMSKeys[:n], arn):
			k.wrong(key, "the key is listed twice; once is enough")
		}
	}
}

// checkSessionPolicy checks that the session policy can limit a session to the prefix and to the KMS
// keys. Without it, a session could read what belongs to other integrations of the bucket.
func (k *checker) checkSessionPolicy(at string, i *Integration) {
	if i.RoleARN == "" || !i.SessionPolicy {
		return
	}
	needs := []string{at + ".role_arn", at + ".endpoint", at + ".session_policy"}
	scope, named := i.Scope(), true
	name := func(key, prefix string) {
		if !scope.CanName(prefix) {
			named = false
			k.wrong(key, "policies of S3-compatible stores have no escape for *, ?, ${ and a leading $, so the "+
				"session policy would also name other keys; use another prefix, or set "+
				"session_policy: false, so that only the proxy limits what is read").Needs = needs
		}
	}
	name(at+".prefix", i.Prefix)
	for n, blocked := range i.BlockedPrefixes {
		name(at+".blocked_prefixes["+strconv.Itoa(n)+"]", blocked)
	}
	if !named {
		return
	}
	_, omitted := policy.Session(scope)
	switch {
	case omitted == policy.OmittedBlocked:
		k.warn(at+".blocked_prefixes", "the session policy with all of them is longer than the %d "+
			"characters that STS accepts, so it omits them; the proxy still blocks them",
			policy.MaxSession)
	case omitted == policy.OmittedNothing:
	case i.Prefix != "":
		k.wrong(at+".prefix", "the session policy is longer than the %d characters that STS accepts, "+
			"so sessions could read what is not under the prefix; use a shorter prefix or fewer "+
			"kms_keys", policy.MaxSession).Needs = append(needs, at+".kms_keys")
	case len(i.KMSKeys) > 0:
		k.wrong(at+".kms_keys", "the session policy is longer than the %d characters that STS "+
			"accepts; list fewer keys or buckets", policy.MaxSession).
			Needs = append(needs, at+".permitted_buckets")
	}
}
