package config

import (
	"slices"

	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// HasAccessPoint reports whether one of the integration's buckets is a name of an access point.
func (i *Integration) HasAccessPoint() bool {
	return i.AccessPoint != "" ||
		i.Endpoint == "" && slices.ContainsFunc(i.Buckets(), locator.IsAlias)
}

// checkAccessPoint checks access_point, and that policies can name the access points of aliases.
func (k *checker) checkAccessPoint(at string, i *Integration) {
	key := at + ".access_point"
	if i.AccessPoint == "" {
		k.checkAliases(at, i)
		return
	}
	p, err := presign.ParseAccessPoint(i.AccessPoint)
	if err != nil {
		k.wrong(key, "%s: %v", value(key), err)
		return
	}
	switch {
	case i.Endpoint != "":
		k.wrong(key, "its host follows from the ARN, and endpoint names one; remove either")
	case len(i.PermittedBuckets) > 0:
		k.wrong(key, "an access point belongs to one bucket; "+
			"write bucket instead of permitted_buckets")
	case i.Region != p.Region:
		k.wrong(at+".region", "the access point is in %s; remove region", p.Region)
	default:
		if err := i.host().CheckAccessPoint(p); err != nil {
			k.wrong(key, "%v", err)
		}
	}
}

// checkAliases requires the ARNs of access points that are given by their aliases. IAM knows them
// only by the ARN, so a session policy would deny everything.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-policies.html
func (k *checker) checkAliases(at string, i *Integration) {
	if i.Endpoint != "" {
		return
	}
	for n, bucket := range i.Buckets() {
		key := bucketKey(at, i, n)
		switch {
		case !locator.IsAlias(bucket):
		case i.Accelerate:
			k.wrong(key, "access points have no acceleration; remove accelerate")
		case i.RoleARN != "" && i.SessionPolicy && i.Bucket != "":
			k.wrong(key, "policies name access points by their ARNs; set access_point to the ARN, "+
				"or session_policy: false")
		case i.RoleARN != "" && i.SessionPolicy:
			k.wrong(key, "policies name access points by their ARNs; "+
				"move it to an integration with access_point, or set session_policy: false")
		}
	}
}
