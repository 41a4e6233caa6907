package document

import (
	"slices"
	"strings"

	"s3redirect/internal/config"
)

const (
	nullOrigin = "after a redirect to another origin, browsers send S3 \"Origin: null\" " +
		"(https://fetch.spec.whatwg.org/#concept-http-redirect-fetch), which only * allows. " +
		"This grants nothing by itself: requests without a presigned URL are still rejected"
	sameOrigin = "these origins are sufficient only if the pages and the proxy share an origin. " +
		"If the proxy has its own origin, browsers send S3 \"Origin: null\" after its redirect; " +
		"then allow * instead"
)

// corsOrigins returns the origins that a bucket must allow for the pages that c names, and a note
// that explains them.
func corsOrigins(c *config.Config) (origins []string, note string) {
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

// corsNote returns the note for origins that the user named.
func corsNote(origins []string) string {
	if slices.Contains(origins, "*") {
		return nullOrigin
	}
	return sameOrigin
}
