package check

import (
	"fmt"
	"strings"
	"testing"

	"s3redirect/internal/fakeaws"
)

// corsFaults are faults of CORS configurations.
var corsFaults = []faultTest{
	{
		"no CORS configuration",
		func(_ *testing.T, w *world) { w.cloud.SetCORS("photos", nil) },
		"cors", Failed,
		"pages of https://app.example.com may not read photos",
		"policy cors --format cli --integration lab",
	},
	{
		"CORS for another origin",
		withCORS(func(c *fakeaws.CORS) { c.Origins = []string{"https://evil-app.example.com"} }),
		"cors", Failed,
		"pages of https://app.example.com may not read photos", "policy cors",
	},
	{
		"CORS for the page's origin instead of *",
		withCORS(func(c *fakeaws.CORS) { c.Origins = []string{"https://app.example.com"} }),
		"cors", Failed,
		`"Origin: null", which only * allows`, "policy cors",
	},
	{
		"CORS without HEAD",
		withCORS(func(c *fakeaws.CORS) { c.Methods = []string{"GET"} }),
		"cors", Warning,
		"but not HEAD", "policy cors",
	},
	{
		"CORS without Range",
		withCORS(func(c *fakeaws.CORS) { c.Headers = []string{"x-other"} }),
		"cors", Failed,
		"may not read photos", "policy cors",
	},
	{
		"CORS without exposed headers",
		withCORS(func(c *fakeaws.CORS) { c.Expose = nil }),
		"cors", Warning,
		"may not see Accept-Ranges, Content-Length, Content-Range, ETag", "Expose them",
	},
	{
		"store without CORS",
		storeFails(501, "NotImplemented", ""),
		"cors", Skipped,
		"does not support preflights", "",
	},
	{
		"store answers 503 to preflights",
		storeFails(503, "SlowDown", ""),
		"cors", Failed,
		"the store is unavailable", "Try again",
	},
	{
		"missing bucket has no CORS to check",
		func(_ *testing.T, w *world) {
			w.replace("bucket: photos", "bucket: nowhere")
			w.Sample = nil
		},
		"cors", Skipped,
		"see the step region", "",
	},
	{
		"CORS of a pattern's bucket",
		func(_ *testing.T, w *world) {
			w.replace("bucket: photos", "permitted_buckets: [photos, \"team-*\"]")
			w.cloud.SetCORS("photos", nil)
		},
		"cors", Failed,
		"may not read photos", "s3redirect policy cors --integration lab",
	},
}

// permitBuckets changes the integration to one with photos and n other buckets.
func (w *world) permitBuckets(n int, format string) {
	names := []string{"photos"}
	for i := range n {
		names = append(names, fmt.Sprintf(format, i))
	}
	w.replace("bucket: photos", "permitted_buckets: ["+strings.Join(names, ", ")+"]")
}

// configFaults depend on the configuration only.
var configFaults = []faultTest{
	{
		"configuration file with another name",
		func(_ *testing.T, w *world) {
			w.ConfigFile = "/etc/s3redirect/media.yaml"
			w.role.Buckets = []string{"others"}
		},
		"get", Failed,
		"the role lacks s3:GetObject",
		"policy access --config /etc/s3redirect/media.yaml --integration lab",
	},
	{
		"too many buckets for a session policy",
		func(_ *testing.T, w *world) { w.permitBuckets(100, "some-bucket-with-a-long-name-%d") },
		"session", Warning,
		"with all permissions of the role", "patterns in permitted_buckets",
	},
	{
		"more buckets than are checked",
		func(_ *testing.T, w *world) { w.permitBuckets(maxBuckets, "bucket-%d") },
		"region", Skipped,
		"only the first 50 of 51", "",
	},
	{
		"warning of the configuration",
		func(_ *testing.T, w *world) {
			w.moreConfig = "cache: {credentials: 1}\n"
			w.integration += "  - {name: b, bucket: other-bucket, region: eu-central-1, " +
				"role_arn: " + roleARN + "}\n"
		},
		"configuration", Warning,
		"assumed again and again", "example",
	},
}
