package presign

import (
	"net/url"
	"strings"

	"s3redirect/internal/partition"
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
	return newEndpoint("https", "s3."+region+"."+partition.Of(region).DNSSuffix, bucket, pathStyle || strings.Contains(bucket, "."))
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
