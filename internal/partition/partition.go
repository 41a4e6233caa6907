// Package partition describes AWS partitions: groups of regions that have their own accounts, ARNs
// and DNS suffix.
package partition

import "strings"

// Partition is an AWS partition.
type Partition struct {
	// Name is the partition's name as it appears in ARNs: arn:NAME:...
	Name string
	// DNSSuffix is the domain of the partition's service endpoints.
	DNSSuffix string
	// Home is the region to send requests to when a bucket's region is unknown.
	Home string

	prefix          string // of the partition's region names
	dualStackSuffix string // the domain of newer endpoints, such as STS's with IPv6
}

// Of returns the first partition whose prefix matches. The last entry matches every region.
// https://docs.aws.amazon.com/general/latest/gr/rande.html
var partitions = []Partition{
	{Name: "aws-cn", DNSSuffix: "amazonaws.com.cn", Home: "cn-north-1", prefix: "cn-",
		dualStackSuffix: "api.amazonwebservices.com.cn"},
	{Name: "aws-us-gov", DNSSuffix: "amazonaws.com", Home: "us-gov-west-1", prefix: "us-gov-",
		dualStackSuffix: "api.aws"},
	{Name: "aws-eusc", DNSSuffix: "amazonaws.eu", Home: "eusc-de-east-1", prefix: "eusc-",
		dualStackSuffix: "api.amazonwebservices.eu"},
	{Name: "aws-iso", DNSSuffix: "c2s.ic.gov", Home: "us-iso-east-1", prefix: "us-iso-",
		dualStackSuffix: "api.aws.ic.gov"},
	{Name: "aws-iso-b", DNSSuffix: "sc2s.sgov.gov", Home: "us-isob-east-1", prefix: "us-isob-",
		dualStackSuffix: "api.aws.scloud"},
	{Name: "aws-iso-e", DNSSuffix: "cloud.adc-e.uk", Home: "eu-isoe-west-1", prefix: "eu-isoe-",
		dualStackSuffix: "api.cloud-aws.adc-e.uk"},
	{Name: "aws-iso-f", DNSSuffix: "csp.hci.ic.gov", Home: "us-isof-south-1", prefix: "us-isof-",
		dualStackSuffix: "api.aws.hci.ic.gov"},
	{Name: "aws", DNSSuffix: "amazonaws.com", Home: "us-east-1",
		dualStackSuffix: "api.aws"},
}

// Of returns the partition of a region. Unknown regions, and "", belong to the partition aws.
func Of(region string) Partition {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p
		}
	}
	panic("unreachable: the last partition matches every region")
}

// Named returns the partition with the given name, and reports whether it exists.
func Named(name string) (Partition, bool) {
	for _, p := range partitions {
		if p.Name == name {
			return p, true
		}
	}
	return Partition{}, false
}
