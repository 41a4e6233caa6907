package partition

import (
	"regexp"
	"strings"
)

// region matches the name of a region within a host name.
const region = `[a-z]{2,}(?:-[a-z]+)+-[0-9]+`

// The first labels of S3's and STS's host names, up to the DNS suffix. The names of other services'
// hosts, such as load balancers and endpoint services (vpce-svc-…), can begin with s3, too, but
// have further labels.
//
//   - https://docs.aws.amazon.com/general/latest/gr/s3.html
//   - https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html
//   - https://docs.aws.amazon.com/general/latest/gr/sts.html
var (
	s3Host = regexp.MustCompile(`^(?:.+\.)?s3(?:` +
		`(?:-fips|-accesspoint|-accesspoint-fips)?(?:\.dualstack)?(?:\.(` + region + `)(?:\.vpce)?)?|` +
		`-accelerate(?:\.dualstack)?|` +
		`-(?:fips-)?(` + region + `)|-external-1)$`)
	stsHost = regexp.MustCompile(`^(?:.+\.)?sts(?:-fips)?(?:\.(` + region + `)(?:\.vpce)?)?$`)
)

// IsS3Host reports whether host is one of S3's own host names in some partition: regional, FIPS,
// dual-stack, accelerate, access point or VPC interface endpoint. It may begin with a bucket.
func IsS3Host(host string) bool { return isHost(s3Host, host) }

// IsSTSHost reports whether host is one of the host names of AWS STS in some partition: global,
// regional, FIPS, dual-stack or VPC interface endpoint.
func IsSTSHost(host string) bool { return isHost(stsHost, host) }

// S3Region returns the region in a host name of S3, or "" if it has none.
func S3Region(host string) string {
	if m := match(s3Host, host); m != nil {
		return m[1] + m[2] // of two forms, one matches
	}
	return ""
}

// STSRegion returns the region in a host name of AWS STS, or "" if it has none.
func STSRegion(host string) string {
	if m := match(stsHost, host); m != nil {
		return m[1]
	}
	return ""
}

func isHost(grammar *regexp.Regexp, host string) bool { return match(grammar, host) != nil }

// match returns the submatches of a grammar in a host's labels before the DNS suffix, or nil.
func match(grammar *regexp.Regexp, host string) []string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	for _, p := range partitions {
		for _, suffix := range []string{p.DNSSuffix, p.dualStackSuffix} {
			labels, ok := strings.CutSuffix(host, "."+suffix)
			if m := grammar.FindStringSubmatch(labels); ok && m != nil {
				return m
			}
		}
	}
	return nil
}
