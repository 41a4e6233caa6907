package presign

import (
	"net/url"
	"strings"
)

// Endpoint is where the objects of one bucket are. Its host and path come from the configuration and a bucket name in S3's
// grammar, never from a request.
type Endpoint struct {
	Host string // as in the Host header: with a port where it is not the scheme's own

	origin string // scheme://host
	path   string // "" or /bucket
}

// NewEndpoint is a bucket's endpoint in a region of AWS: the bucket in the host name, or in the path where pathStyle asks for
// it or the bucket's name has dots, which no wildcard certificate covers.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func NewEndpoint(region, bucket string, pathStyle bool) *Endpoint {
	return newEndpoint("https", "s3."+region+"."+PartitionOf(region).DNSSuffix, bucket, pathStyle || strings.Contains(bucket, "."))
}

// NewCustomEndpoint is a bucket's endpoint in an S3-compatible store.
func NewCustomEndpoint(store *url.URL, bucket string, pathStyle bool) *Endpoint {
	host := strings.ToLower(store.Host)
	// Browsers leave the scheme's own port out of the Host header, and the signature is over that header.
	switch store.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return newEndpoint(store.Scheme, host, bucket, pathStyle)
}

func newEndpoint(scheme, host, bucket string, pathStyle bool) *Endpoint {
	path := ""
	if pathStyle {
		path = "/" + bucket
	} else {
		host = bucket + "." + host
	}
	return &Endpoint{Host: host, origin: scheme + "://" + host, path: path}
}

// URL is the bucket's own URL, without a signature.
func (e *Endpoint) URL() string { return e.origin + e.path + "/" }

// Origin is the endpoint's scheme, host and port, as a page's Content-Security-Policy names it.
func (e *Endpoint) Origin() string { return e.origin }

// Partition is a group of AWS regions with its own accounts, ARNs and domain.
type Partition struct {
	Name      string // as in arn:NAME:
	DNSSuffix string
	// Home is the region to ask about a bucket whose region is not known.
	Home string

	prefix string // of its regions' names
}

// The longest prefix that fits comes first; the last fits every region.
// https://docs.aws.amazon.com/general/latest/gr/rande.html
var partitions = []Partition{
	{Name: "aws-cn", DNSSuffix: "amazonaws.com.cn", Home: "cn-north-1", prefix: "cn-"},
	{Name: "aws-us-gov", DNSSuffix: "amazonaws.com", Home: "us-gov-west-1", prefix: "us-gov-"},
	{Name: "aws-eusc", DNSSuffix: "amazonaws.eu", Home: "eusc-de-east-1", prefix: "eusc-"},
	{Name: "aws-iso", DNSSuffix: "c2s.ic.gov", Home: "us-iso-east-1", prefix: "us-iso-"},
	{Name: "aws-iso-b", DNSSuffix: "sc2s.sgov.gov", Home: "us-isob-east-1", prefix: "us-isob-"},
	{Name: "aws-iso-e", DNSSuffix: "cloud.adc-e.uk", Home: "eu-isoe-west-1", prefix: "eu-isoe-"},
	{Name: "aws-iso-f", DNSSuffix: "csp.hci.ic.gov", Home: "us-isof-south-1", prefix: "us-isof-"},
	{Name: "aws", DNSSuffix: "amazonaws.com", Home: "us-east-1"},
}

// PartitionOf is a region's partition.
func PartitionOf(region string) Partition {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p
		}
	}
	panic("unreachable: the last partition fits every region")
}

// PartitionNamed is the partition of an ARN, and whether there is one of that name.
func PartitionNamed(name string) (Partition, bool) {
	for _, p := range partitions {
		if p.Name == name {
			return p, true
		}
	}
	return Partition{}, false
}
