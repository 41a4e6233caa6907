package presign

import (
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
	path   string // "" or /bucket
}

// NewEndpoint returns a bucket's endpoint in an AWS region. The bucket is in the host name. It is
// in the path if pathStyle is true or its name contains dots, because a wildcard certificate does
// not cover them.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func NewEndpoint(region, bucket string, pathStyle bool) *Endpoint {
	host := "s3." + region + "." + partition.Of(region).DNSSuffix
	return newEndpoint("https", host, bucket, pathStyle || strings.Contains(bucket, "."))
}

// NewCustomEndpoint returns a bucket's endpoint in the S3-compatible store at the given URL.
func NewCustomEndpoint(store *url.URL, bucket string, pathStyle bool) *Endpoint {
	host := strings.ToLower(store.Host)
	// The signature covers the Host header, in which browsers omit the scheme's default port.
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

// URL returns the bucket's URL without a signature.
func (e *Endpoint) URL() string { return e.origin + e.path + "/" }

// Origin returns the endpoint's scheme, host and port, as in a Content-Security-Policy.
func (e *Endpoint) Origin() string { return e.origin }
