package check

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// anything is a store that answers all requests with an object.
func anything(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "anything") }

// storeFaults are faults of regions and of reading.
var storeFaults = []faultTest{
	{
		"URL signed in the future",
		func(_ *testing.T, w *world) { w.skewClock(20 * time.Minute) },
		"get", Failed,
		"the URL's time was rejected", "Set the clock",
	},
	{
		"static keys with an unknown access key",
		func(_ *testing.T, w *world) { w.useStaticKeys("AKIAUNKNOWN", "canary") },
		"get", Failed,
		"the integration's access key: unknown access key ID", "active",
	},
	{
		"static keys with a wrong secret key",
		func(_ *testing.T, w *world) { w.useStaticKeys(key, "canary-wrong") },
		"get", Failed,
		"the secret access key does not match the access key ID", "again",
	},
	{
		"bucket in another region",
		func(_ *testing.T, w *world) { w.cloud.CreateBucket("photos", "us-west-2") },
		"region", Failed,
		"photos is in us-west-2, but the integration's region is eu-central-1",
		"region: us-west-2",
	},
	{
		// The remaining steps use the bucket's real region.
		"reading a bucket in another region",
		func(_ *testing.T, w *world) { w.cloud.CreateBucket("photos", "us-west-2") },
		"get", OK,
		"s3://photos/a/photo.jpg", "",
	},
	{
		"missing bucket",
		func(_ *testing.T, w *world) {
			w.replace("bucket: photos", "bucket: nowhere")
			w.Sample = &locator.Locator{Bucket: "nowhere", Key: "k"}
		},
		"region", Failed,
		"the bucket nowhere does not exist", "spelling",
	},
	{
		"role without s3:GetObject",
		func(_ *testing.T, w *world) { w.role.Buckets = []string{"others"} },
		"get", Failed,
		"the role lacks s3:GetObject", "policy access --integration lab",
	},
	{
		"missing object",
		func(_ *testing.T, w *world) { w.Sample.Key = "missing" },
		"get", Failed,
		"or the object does not exist (without s3:ListBucket, S3 does not reveal that)",
		"policy access",
	},
	{
		"missing object with list_bucket",
		func(_ *testing.T, w *world) {
			w.Sample.Key = "missing"
			w.replace("    region", "    list_bucket: true\n    region")
		},
		"get", Failed,
		"the object does not exist: missing", "--sample",
	},
	{
		"missing object with a control character",
		func(_ *testing.T, w *world) {
			w.Sample.Key = "Icon\r"
			w.replace("    region", "    list_bucket: true\n    region")
		},
		"get", Failed,
		`the object does not exist: "Icon\r"`, "--sample",
	},
	{
		"missing object, denied for s3:ListBucket",
		storeFails(403, "AccessDenied",
			`is not authorized to perform: s3:ListBucket on resource: "arn:aws:s3:::photos"`),
		"get", Failed,
		"but the object does not exist", "--sample",
	},
	{
		"KMS key that the role may not use",
		func(_ *testing.T, w *world) {
			w.put("sealed", fakeaws.Object{
				Data:   []byte("x"),
				KMSKey: "arn:aws:kms:eu-central-1:123456789012:key/other",
			})
			w.Sample.Key = "sealed"
		},
		"get", Failed,
		"KMS key that the role may not use", "--kms-key",
	},
	{
		"KMS key that the role may use",
		func(_ *testing.T, w *world) {
			w.put("sealed", fakeaws.Object{Data: []byte("x"), KMSKey: kmsKey})
			w.Sample.Key = "sealed"
		},
		"get", OK,
		"s3://photos/sealed", "",
	},
	{
		"disabled KMS key",
		storeFails(400, "KMS.DisabledException",
			"arn:aws:kms:eu-central-1:123456789012:key/k1 is disabled."),
		"get", Failed,
		"disabled or deleted", "Enable the key",
	},
	{
		"role without s3:GetObjectVersion",
		func(_ *testing.T, w *world) { w.role.Versions = false },
		"versions", Failed,
		"but not its version by ID", "s3:GetObjectVersion",
	},
	{
		"bucket without versions",
		func(_ *testing.T, w *world) { w.cloud.SuspendVersions("photos") },
		"versions", Warning,
		"does not keep versions", "file_versioning",
	},
	{
		"empty object",
		func(_ *testing.T, w *world) {
			w.put("empty", fakeaws.Object{})
			w.Sample.Key = "empty"
		},
		"range", Skipped,
		"empty", "",
	},
	{
		"long URL",
		func(_ *testing.T, w *world) {
			w.Sample.Key = strings.Repeat("ü", 500)
			w.put(w.Sample.Key, fakeaws.Object{Data: []byte("x")})
		},
		"url_size", Warning,
		"more than nginx's default buffer", "proxy_buffer_size 16k",
	},
	{
		"store refuses connections",
		func(t *testing.T, w *world) { w.moveStore(t, "http://"+closedPort(t)) },
		"region", Failed,
		"the store: connection to 127.0.0.1:", "host and port",
	},
	{
		"store answers 502",
		storeAnswers(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusBadGateway)
		}),
		"region", Failed,
		"is unavailable", "Try again",
	},
	{
		"store that does not verify signatures",
		storeAnswers(anything),
		"head_by_get", Warning,
		"does not verify the signed method", "without its query",
	},
	{
		"store that ignores Range",
		storeAnswers(anything),
		"range", Warning,
		"returns the entire object", "enable Range",
	},
	{
		"archived object",
		storeAnswers(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprint(rw, "<Error><Code>InvalidObjectState</Code><Message>The operation is not "+
				"valid for the object's storage class</Message></Error>")
		}),
		"get", Failed,
		"archived", "Restore",
	},
	{
		"session of another store",
		storeFails(403, "InvalidAccessKeyId",
			"The AWS Access Key Id you provided does not exist in our records."),
		"get", Failed,
		"the store does not know the session", "the same store",
	},
	{
		"reverse proxy that changes the Host header",
		storeFails(403, "SignatureDoesNotMatch", ""),
		"get", Failed,
		"another signature than the proxy", "must not change the Host header",
	},
	{
		"reading denied by the role's policy",
		storeFails(403, "AccessDenied", "is not authorized to perform: s3:GetObject on resource: "+
			`"arn:aws:s3:::photos/a/photo.jpg" `+
			"because no identity-based policy allows the s3:GetObject action"),
		"get", Failed,
		"the role's policy does not allow reading", "policy access --integration lab",
	},
	{
		"reading denied by the bucket's policy",
		storeFails(403, "AccessDenied", "is not authorized to perform: s3:GetObject "+
			"with an explicit deny in a resource-based policy"),
		"get", Failed,
		"the bucket's policy denies it", "that matches the role",
	},
	{
		"reading denied by the organization",
		storeFails(403, "AccessDenied", "with an explicit deny in a resource control policy"),
		"get", Failed,
		"a policy of the AWS organization denies it", "administrators to allow s3:GetObject",
	},
	{
		"reading denied by the VPC endpoint",
		storeFails(403, "AccessDenied",
			"because no VPC endpoint policy allows the s3:GetObject action"),
		"get", Failed,
		"the policy of the VPC endpoint", "Allow the bucket",
	},
	{
		"reading denied by the role's permissions boundary",
		storeFails(403, "AccessDenied",
			"because no permissions boundary allows the s3:GetObject action"),
		"get", Failed,
		"the role's permissions boundary", "to the role's permissions boundary",
	},
	{
		"reading denied by the session policy",
		storeFails(403, "AccessDenied", "because no session policy allows the s3:GetObject action"),
		"get", Failed,
		"the proxy's session policy does not allow s3:GetObject", "session_policy: false",
	},
	{
		"decryption denied by the session policy",
		storeFails(403, "AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/media/lab "+
			"is not authorized to perform: kms:Decrypt on the resource associated with this "+
			"ciphertext because no session policy allows the kms:Decrypt action"),
		"get", Failed,
		"the proxy's session policy does not allow kms:Decrypt", "session_policy: false",
	},
	{
		"versions denied by the session policy",
		storeFails(403, "AccessDenied",
			"because no session policy allows the s3:GetObjectVersion action"),
		"get", Failed,
		"does not allow s3:GetObjectVersion", "Set file_versioning: true",
	},
	{
		"reading denied by a session policy that the proxy does not send",
		func(t *testing.T, w *world) {
			storeFails(403, "AccessDenied",
				"because no session policy allows the s3:GetObject action")(t, w)
			w.replace("    file_versioning", "    session_policy: false\n    file_versioning")
		},
		"get", Failed,
		"the session policy of the session does not allow s3:GetObject", "was issued with",
	},
	{
		"region that only S3 knows",
		storeFails(400, "AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential "+
			"parameter; the region 'eu-central-1' is wrong; expecting 'us-west-2'"),
		"get", Failed,
		"the region is not eu-central-1", "or auto",
	},
	{
		"unknown error",
		storeFails(418, "Teapot", "short and stout"),
		"get", Failed,
		"the store returned an error: Teapot (short and stout)", "policy access",
	},
	{
		"store answers 503 to reads",
		storeFails(503, "SlowDown", "Please reduce your request rate."),
		"get", Failed,
		"is unavailable: SlowDown", "Try again",
	},
	{
		"reverse proxy that allows only GET",
		storeAnswers(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				rw.WriteHeader(http.StatusForbidden)
			}
			fmt.Fprint(rw, "anything")
		}),
		"head", Failed,
		"not with HEAD: status 403", "allows only GET",
	},
	{
		"region auto at a store without regions",
		func(t *testing.T, w *world) {
			storeAnswers(anything)(t, w)
			w.replace("region: eu-central-1", "region: auto")
		},
		"region", Warning,
		"does not return the region of photos; using us-east-1", "instead of auto",
	},
}
