package policy

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
