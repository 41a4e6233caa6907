package policy

import (
	"slices"
	"strings"

	"s3redirect/internal/config"
)

// CORSRule is a rule of a bucket's CORS configuration.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CORSRule.html
type CORSRule struct {
	AllowedHeaders []string
	AllowedMethods []string
	AllowedOrigins []string
	ExposeHeaders  []string
	MaxAgeSeconds  int
}

// CORS lets pages of some origins read a bucket's objects: whole or in ranges, and see how long they are.
func CORS(origins []string) []CORSRule {
	return []CORSRule{{
		AllowedHeaders: []string{"*"}, // Range and If-None-Match above all
		AllowedMethods: []string{"GET", "HEAD"},
		AllowedOrigins: origins,
		ExposeHeaders:  ExposedHeaders(),
		MaxAgeSeconds:  3600,
	}}
}

// ExposedHeaders are the headers of S3's answers that scripts ask for, and may not see unless the bucket says so.
func ExposedHeaders() []string {
	return []string{"Accept-Ranges", "Content-Length", "Content-Range", "ETag"}
}

const (
	nullOrigin = "After a redirect from another origin than the page's, browsers send S3 \"Origin: null\" (https://fetch.spec.whatwg.org/#concept-http-redirect-fetch), " +
		"and only * lets that pass. It gives away nothing: whoever has no presigned URL is refused as before."
	sameOrigin = "These origins are enough while the pages have the proxy on their own origin, as a path of theirs. If the proxy has an origin of its own, browsers send S3 " +
		"\"Origin: null\" after its redirect: then allow * instead."
)

// CORSOrigins are the origins that a bucket must allow, for the pages that the configuration names, and the reason.
func CORSOrigins(c *config.Config) (origins []string, why string) {
	own := strings.TrimSuffix(c.PublicURL, "/")
	if c.CORS != nil {
		origins = c.CORS.AllowedOrigins
	}
	foreign := slices.ContainsFunc(origins, func(o string) bool { return o != own })
	switch {
	case foreign, own == "":
		return []string{"*"}, nullOrigin
	default:
		return []string{own}, sameOrigin
	}
}

// CORSFor is the reason that goes with origins that were named outright.
func CORSFor(origins []string) (why string) {
	if slices.Contains(origins, "*") {
		return nullOrigin
	}
	return sameOrigin
}
