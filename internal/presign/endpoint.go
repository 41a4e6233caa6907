package presign

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"s3redirect/internal/partition"
)

// Endpoint is the URL prefix of a bucket's objects. It is built from the configuration and a valid
// bucket name, never from other parts of a request.
type Endpoint struct {
	// Host is the value of the Host header. It has a port unless that is the scheme's default.
	Host string

	origin string // scheme://host
	path   string // the custom endpoint's path, then /bucket if the bucket is in the path
}

// Host selects among the hosts that AWS has for a bucket. The zero value is the host of the
// bucket's region.
// https://docs.aws.amazon.com/general/latest/gr/s3.html
type Host struct {
	PathStyle bool // the bucket is in the path instead of the host name
	// DualStack hosts have IPv6 addresses, too. The others have IPv4 addresses only.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/dual-stack-endpoints.html
	DualStack bool
	// FIPS hosts use cryptography that is validated by FIPS 140.
	// https://aws.amazon.com/compliance/fips/
	FIPS bool
	// Accelerate is Transfer Acceleration.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/transfer-acceleration.html
	Accelerate bool
}

// Check returns an error if AWS does not have the host for a bucket in a region.
func (h Host) Check(region, bucket string) error {
	p := partition.Of(region)
	switch {
	case h.Accelerate && h.FIPS:
		return errors.New("AWS has no FIPS hosts with acceleration; remove fips or accelerate")
	case h.Accelerate && h.PathStyle:
		return errors.New("acceleration requires the bucket in the host name; " +
			"remove path_style or accelerate")
	case h.Accelerate && strings.Contains(bucket, "."):
		return errors.New("acceleration does not work with buckets whose names contain dots; " +
			"remove accelerate")
	case h.Accelerate && p.Name != "aws":
		return fmt.Errorf("the partition %s has no acceleration; remove accelerate", p.Name)
	case h.FIPS && p.Name == "aws-cn":
		return errors.New("the partition aws-cn has no FIPS hosts; remove fips")
	}
	return nil
}

// name returns the name of a region's host. It begins with prefix, s3 or s3-accesspoint.
func (h Host) name(prefix, region string) string {
	suffix := partition.Of(region).DNSSuffix
	name := prefix
	switch {
	case h.Accelerate:
		name += "-accelerate"
	case h.FIPS:
		name += "-fips"
	}
	if h.DualStack {
		name += ".dualstack"
	}
	if !h.Accelerate {
		name += "." + region
	}
	return name + "." + suffix
}

// NewEndpoint returns a bucket's endpoint in an AWS region. The bucket is in the host name. It is
// in the path if h.PathStyle is true or its name contains dots, because a wildcard certificate does
// not cover them. Buckets in the path are not accelerated.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func NewEndpoint(region, bucket string, h Host) *Endpoint {
	if strings.Contains(bucket, ".") {
		h.PathStyle, h.Accelerate = true, false
	}
	return newEndpoint("https", h.name("s3", region), bucket, h.PathStyle)
}

// NewCustomEndpoint returns a bucket's endpoint in the S3-compatible store at the given URL. A path
// of the URL precedes the bucket, and is signed. It must not contain escapes.
func NewCustomEndpoint(store *url.URL, bucket string, pathStyle bool) *Endpoint {
	host := strings.ToLower(store.Host)
	// The signature covers the Host header, in which browsers omit the scheme's default port.
	switch store.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	e := newEndpoint(store.Scheme, host, bucket, pathStyle)
	e.path = strings.TrimSuffix(store.Path, "/") + e.path
	return e
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

// URL returns the bucket's URL without a signature.
func (e *Endpoint) URL() string { return e.origin + e.path + "/" }

// Origin returns the endpoint's scheme, host and port, as in a Content-Security-Policy.
func (e *Endpoint) Origin() string { return e.origin }
