package policy

import (
	"slices"
	"strings"

	"s3redirect/internal/config"
)

// CORSRule is one rule of a bucket's CORS configuration.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CORSRule.html
type CORSRule struct {
	AllowedHeaders []string
	AllowedMethods []string
	AllowedOrigins []string
	ExposeHeaders  []string
	MaxAgeSeconds  int
}

// CORS returns the rules that let pages of the given origins read a bucket's objects, whole or in
// ranges, and see their length.
func CORS(origins []string) []CORSRule {
	return []CORSRule{{
		AllowedHeaders: []string{"*"}, // Range and If-None-Match in particular
		AllowedMethods: []string{"GET", "HEAD"},
		AllowedOrigins: origins,
		ExposeHeaders:  ExposedHeaders(),
		MaxAgeSeconds:  3600,
	}}
}

// ExposedHeaders returns the S3 response headers that scripts commonly read. Browsers hide them
// unless the bucket's CORS rules expose them.
func ExposedHeaders() []string {
	return []string{"Accept-Ranges", "Content-Length", "Content-Range", "ETag"}
}

const (
	nullOrigin = "after a redirect to another origin, browsers send S3 \"Origin: null\" " +
		"(https://fetch.spec.whatwg.org/#concept-http-redirect-fetch), which only * allows. " +
		"This grants nothing by itself: requests without a presigned URL are still rejected"
	sameOrigin = "these origins are sufficient only if the pages and the proxy share an origin. " +
		"If the proxy has its own origin, browsers send S3 \"Origin: null\" after its redirect; " +
		"then allow * instead"
)

// CORSOrigins returns the origins that a bucket must allow for the pages that c names, and a note
// that explains them.
func CORSOrigins(c *config.Config) (origins []string, note string) {
	own := strings.TrimSuffix(c.PublicURL, "/")
	if c.CORS != nil {
		origins = c.CORS.AllowedOrigins
	}
	foreign := slices.ContainsFunc(origins, func(o string) bool { return o != own })
	if foreign || own == "" {
		return []string{"*"}, nullOrigin
	}
	return []string{own}, sameOrigin
}

// CORSNote returns the note for origins that the user named.
func CORSNote(origins []string) string {
	if slices.Contains(origins, "*") {
		return nullOrigin
	}
	return sameOrigin
}
