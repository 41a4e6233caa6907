package config

import (
	"strconv"
	"strings"

	"s3redirect/internal/locator"
	"s3redirect/internal/partition"
	"s3redirect/internal/presign"
)

// host returns which of AWS's hosts the integration uses.
func (i *Integration) host() presign.Host {
	return presign.Host{
		PathStyle:  i.PathStyle,
		DualStack:  i.DualStack,
		FIPS:       i.FIPS,
		Accelerate: i.Accelerate,
	}
}

// usesPath reports whether URLs of a bucket at the integration's endpoint have the bucket in the
// path. A wildcard certificate does not cover names with dots, and not every resolver accepts '_'.
func (i *Integration) usesPath(scheme, bucket string) bool {
	switch {
	case i.PathStyle || !locator.IsHostLabel(bucket):
		return true
	case i.HostStyle:
		return false
	}
	return strings.Contains(bucket, "_") || scheme == "https" && strings.Contains(bucket, ".")
}

// LookupEndpoint returns the endpoint to ask for a bucket's region. The integration must be valid.
// The hosts of acceleration may reject requests for a bucket without returning its region.
func (i *Integration) LookupEndpoint(bucket string) *presign.Endpoint {
	regional := *i
	regional.Accelerate = false
	return regional.BucketEndpoint(bucket, i.HomeRegion())
}

// checkHost checks the keys that select among AWS's hosts.
func (k *checker) checkHost(at string, i *Integration) {
	var set []string
	for _, key := range []struct {
		name string
		set  bool
	}{{"accelerate", i.Accelerate}, {"fips", i.FIPS}, {"dualstack", i.DualStack}} {
		if key.set {
			set = append(set, at+"."+key.name)
		}
	}
	if len(set) == 0 {
		return
	}
	if i.Endpoint != "" {
		for _, key := range set {
			k.wrong(key, "it selects among AWS's hosts, and endpoint names one; remove either")
		}
		return
	}
	for n, bucket := range i.Buckets() {
		if i.AccessPoint != "" {
			break // see checkAccessPoint
		}
		if err := i.host().Check(i.HomeRegion(), bucket); err != nil {
			k.wrong(set[0], "%s: %v", value(bucketKey(at, i, n)), err)
			return
		}
	}
	if i.FIPS && !hasFIPS(i.HomeRegion()) {
		k.warn(at+".fips", "AWS has FIPS hosts in regions of the US and Canada only "+
			"(https://aws.amazon.com/compliance/fips/); this one may not exist")
	}
}

// bucketKey returns the key of the nth of an integration's [Integration.Buckets].
func bucketKey(at string, i *Integration, n int) string {
	if i.Bucket != "" {
		return at + ".bucket"
	}
	return at + ".permitted_buckets[" + strconv.Itoa(n) + "]"
}

// hasFIPS reports whether AWS is known to have FIPS hosts of S3 in a region.
// https://docs.aws.amazon.com/general/latest/gr/s3.html
func hasFIPS(region string) bool {
	return strings.HasPrefix(region, "us-") || strings.HasPrefix(region, "ca-") ||
		partition.Of(region).Name != "aws"
}
