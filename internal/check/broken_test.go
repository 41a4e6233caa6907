package check

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/demo"
	"s3redirect/internal/locator"
)

// row is a world in which one thing is wrong.
type row struct {
	name    string
	spoil   func(t *testing.T, w *world)
	step    string
	verdict Verdict
	reason  string
	remedy  string
}

func fault(status int, code, message string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.cloud.Intercept(func(*demo.AssumeRoleCall) error { return &demo.Fault{Status: status, Code: code, Message: message} })
	}
}

// stsSays has STS answer everything with an error.
func stsSays(status int, code, message string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		w.foreign(server(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			fmt.Fprintf(rw, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>", code, message)
		}).URL)
	}
}

// storeSays has the store answer everything with an error, and still say where its buckets are.
func storeSays(status int, code, message string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		w.storeAt(t, server(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodOptions && r.URL.RawQuery == "" {
				return
			}
			rw.WriteHeader(status)
			fmt.Fprintf(rw, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
		}).URL)
	}
}

func cors(mend func(*demo.CORS)) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		rule := &demo.CORS{Origins: []string{"*"}, Methods: []string{"GET", "HEAD"}, Headers: []string{"*"}, Expose: []string{"Content-Range", "Content-Length", "Accept-Ranges", "ETag"}}
		mend(rule)
		w.cloud.SetCORS("photos", rule)
	}
}

var rows = []row{
	{"an ARN of another account", func(_ *testing.T, w *world) { w.change(roleARN, "arn:aws:iam::210987654321:role/media") },
		"assume_role", Failed, "does not exist, or its trust policy does not name us, or it asks for another external ID than ours, or our own policy", "policy trust --integration lab; and our own policy with: s3redirect policy assume"},
	{"no such role", func(_ *testing.T, w *world) { w.role = demo.Role{} }, "assume_role", Failed, "does not exist, or its trust", "policy trust --integration lab"},
	{"a trust policy without us", func(_ *testing.T, w *world) { w.role.Trusts = []string{"AKIASOMEBODYELSE"} }, "assume_role", Failed, "its trust policy does not name us", "policy trust --integration lab"},
	{"a wrong external ID", func(_ *testing.T, w *world) { w.change(externalID, "another") }, "assume_role", Failed, "asks for another external ID than ours", "policy trust"},
	{"no external ID, and one is asked for", func(_ *testing.T, w *world) { w.change("    external_id: "+externalID+"\n", "") }, "assume_role", Failed, "the integration has none", "policy trust"},
	{"an external ID that is not asked for", func(_ *testing.T, w *world) { w.role.ExternalID = "" }, "external_id", Warning, "does not ask for it", "sts:ExternalId"},
	{"no external ID, and none is asked for", func(_ *testing.T, w *world) {
		w.change("    external_id: "+externalID+"\n", "")
		w.role.ExternalID = ""
	}, "external_id", Warning, "there is none", "uuidgen"},
	{"our own policy", func(_ *testing.T, w *world) { w.user.MayNotAssume = true }, "assume_role", Failed, "our own policy does not let us", "policy assume --integration lab"},
	{"the organisation's policy", fault(403, "AccessDenied", "not authorized to perform: sts:AssumeRole with an explicit deny in a service control policy"), "assume_role", Failed, "organisation's policies", "administrators"},
	{"a permissions boundary", fault(403, "AccessDenied", "because no permissions boundary allows the sts:AssumeRole action"), "assume_role", Failed, "permissions boundary", "boundary"},
	{"the trust policy, said outright", fault(403, "AccessDenied", "because no resource-based policy allows the sts:AssumeRole action"), "assume_role", Failed, "the role's trust policy does not let us", "policy trust"},
	{"a session too long", func(_ *testing.T, w *world) {
		w.change("    file_versioning", "    session_duration: 2h\n    file_versioning")
	}, "assume_role", Failed, "a session of 2h is longer than the role allows", "--role-name media --max-session-duration"},
	{"role chaining", fault(400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."), "assume_role", Failed, "an hour at most", "session_duration: 1h"},
	{"an ARN that IAM does not take", fault(400, "ValidationError", "roleArn is invalid"), "assume_role", Failed, "the role's ARN is refused", "arn:aws:iam::"},
	{"a session policy too long", fault(400, "PackedPolicyTooLarge", "Packed policy consumes 120% of allotted space, please use smaller policy."), "assume_role", Failed, "session policy is refused", "session_policy: false"},
	{"a region that is not active", fault(403, "RegionDisabledException", "STS is not activated in this region for account"), "assume_role", Failed, "not active in the region", "Activate"},
	{"throttling", fault(400, "Throttling", "Rate exceeded"), "assume_role", Failed, "patience", "in a minute"},
	{"STS out of order", fault(500, "InternalFailure", "x"), "assume_role", Failed, "out of order", "try again"},
	{"a role that Ceph does not find", fault(404, "NoSuchEntity", ""), "assume_role", Failed, "there is no role " + roleARN, "policy role --format cli --integration lab"},
	{"a session shorter than its URLs", func(_ *testing.T, w *world) {
		w.cloud.Intercept(func(c *demo.AssumeRoleCall) error {
			c.Expires = time.Now().Add(20*time.Minute + 30*time.Second)
			return nil
		})
	}, "session", Failed, "ends in 20m", "maximum session duration"},
	{"a session somewhat short", func(_ *testing.T, w *world) {
		w.cloud.Intercept(func(c *demo.AssumeRoleCall) error {
			c.Expires = time.Now().Add(50*time.Minute + 30*time.Second)
			return nil
		})
	}, "session", Warning, "ends in 50m", "maximum session duration"},
	{"our clock 20 minutes ahead", func(_ *testing.T, w *world) {
		w.Clock = func() time.Time { return time.Now().Add(20*time.Minute + 30*time.Second) }
	}, "clock", Failed, "our clock is 20m", "Set the clock"},
	{"our clock 2 minutes behind", func(_ *testing.T, w *world) {
		w.Clock = func() time.Time { return time.Now().Add(-2*time.Minute - 30*time.Second) }
	}, "clock", Warning, "our clock is 2m", "Set the clock"},
	{"a URL from the future", func(_ *testing.T, w *world) {
		w.Clock = func() time.Time { return time.Now().Add(20 * time.Minute) }
	}, "get", Failed, "the URL's time is refused", "Set the clock"},
	{"an access key that is not there", func(_ *testing.T, w *world) { w.change(key, "AKIANOBODY") }, "credentials", Failed, "the integration's keys: the access key ID is not known", "active"},
	{"a wrong secret", func(_ *testing.T, w *world) { w.change(secret, "canary-wrong") }, "credentials", Failed, "the secret access key does not go with the access key ID", "again"},
	{"static keys that the store does not know", func(_ *testing.T, w *world) {
		w.keysOnly("AKIANOBODY", "canary")
	}, "get", Failed, "the integration's keys: the access key ID is not known", "active"},
	{"static keys with a wrong secret", func(_ *testing.T, w *world) {
		w.keysOnly(key, "canary-wrong")
	}, "get", Failed, "the secret access key does not go with the access key ID", "again"},
	{"a bucket in another region", func(_ *testing.T, w *world) { w.cloud.CreateBucket("photos", "us-west-2") }, "region", Failed, "photos is in us-west-2, and the integration says eu-central-1", "region: us-west-2"},
	{"a bucket in another region, read", func(_ *testing.T, w *world) { w.cloud.CreateBucket("photos", "us-west-2") }, "get", OK, "s3://photos/a/photo.jpg", ""}, // in its own region: the rest is checked as it will be
	{"no such bucket", func(_ *testing.T, w *world) {
		w.change("bucket: photos", "bucket: nowhere")
		w.Sample = &locator.Locator{Bucket: "nowhere", Key: "k"}
	}, "region", Failed, "there is no bucket nowhere", "spelling"},
	{"no GetObject", func(_ *testing.T, w *world) { w.role.Buckets = []string{"others"} }, "get", Failed, "no s3:GetObject", "policy access --integration lab"},
	{"no such object", func(_ *testing.T, w *world) { w.Sample.Key = "missing" }, "get", Failed, "or there is no such object (without s3:ListBucket, S3 does not say)", "policy access"},
	{"no such object, and the role may list", func(_ *testing.T, w *world) {
		w.Sample.Key = "missing"
		w.change("    region", "    list_bucket: true\n    region")
	}, "get", Failed, "there is no such object in it: missing", "--sample"},
	{"a KMS key that the role may not use", func(_ *testing.T, w *world) {
		w.put("sealed", demo.Object{Data: []byte("x"), KMSKey: "arn:aws:kms:eu-central-1:123456789012:key/other"})
		w.Sample.Key = "sealed"
	}, "get", Failed, "KMS key that the role may not use", "--kms-key"},
	{"a KMS key that it may use", func(_ *testing.T, w *world) {
		w.put("sealed", demo.Object{Data: []byte("x"), KMSKey: kmsKey})
		w.Sample.Key = "sealed"
	}, "get", OK, "s3://photos/sealed", ""},
	{"no GetObjectVersion", func(_ *testing.T, w *world) { w.role.Versions = false }, "versions", Failed, "its version by ID is not", "s3:GetObjectVersion"},
	{"a bucket without versions", func(_ *testing.T, w *world) { w.cloud.SuspendVersions("photos") }, "versions", Warning, "keeps no versions", "file_versioning"},
	{"an empty object", func(_ *testing.T, w *world) { w.put("empty", demo.Object{}); w.Sample.Key = "empty" }, "range", Skipped, "empty", ""},
	{"a long URL", func(_ *testing.T, w *world) {
		w.Sample.Key = strings.Repeat("ü", 500)
		w.put(w.Sample.Key, demo.Object{Data: []byte("x")})
	}, "url_size", Warning, "more than nginx's default buffer", "proxy_buffer_size 16k"},
	{"no CORS", func(_ *testing.T, w *world) { w.cloud.SetCORS("photos", nil) }, "cors", Failed, "pages of https://app.example.com may not read photos", "policy cors --format cli --integration lab"},
	{"CORS for others", cors(func(c *demo.CORS) { c.Origins = []string{"https://evil-app.example.com"} }), "cors", Failed, "pages of https://app.example.com may not read photos", "policy cors"},
	{"CORS that names the page, not *", cors(func(c *demo.CORS) { c.Origins = []string{"https://app.example.com"} }), "cors", Failed, `"Origin: null", which only * allows`, "policy cors"},
	{"CORS without HEAD", cors(func(c *demo.CORS) { c.Methods = []string{"GET"} }), "cors", Warning, "and not HEAD", "policy cors"},
	{"CORS without Range", cors(func(c *demo.CORS) { c.Headers = []string{"x-other"} }), "cors", Failed, "may not read photos", "policy cors"},
	{"CORS that exposes nothing", cors(func(c *demo.CORS) { c.Expose = nil }), "cors", Warning, "may not see Accept-Ranges, Content-Length, Content-Range, ETag", "Expose them"},
	{"nobody listens", func(t *testing.T, w *world) { w.foreign("http://" + closedPort(t)) }, "credentials", Failed, "STS: nothing listens at 127.0.0.1:", "host and port"},
	{"the store alone is down", func(t *testing.T, w *world) { w.storeAt(t, "http://"+closedPort(t)) }, "region", Failed, "the store: nothing listens at 127.0.0.1:", "host and port"},
	{"a name that is none", func(_ *testing.T, w *world) { w.foreign("https://minio.invalid:9000") }, "credentials", Failed, "STS: minio.invalid is not found", "spelling"},
	{"a certificate that nobody signed", func(t *testing.T, w *world) { w.foreign(secureServer(t, nil).URL) }, "credentials", Failed, "nobody whom this machine trusts has signed the certificate", "SSL_CERT_FILE"},
	{"a certificate for another name", func(t *testing.T, w *world) {
		w.foreign(strings.Replace(secureServer(t, nil).URL, "127.0.0.1", "localhost", 1))
	}, "credentials", Failed, "is for other names", "example.com"},
	{"a certificate that has run out", func(t *testing.T, w *world) { w.expired(t) }, "credentials", Failed, "is not valid now", "Renew"},
	{"a server without TLS", func(t *testing.T, w *world) {
		w.foreign(strings.Replace(server(t, nil).URL, "http:", "https:", 1))
	}, "credentials", Failed, "does not speak TLS", "http://"},
	{"a server that breaks connections", func(t *testing.T, w *world) {
		w.foreign(server(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }).URL)
	}, "credentials", Failed, "broke the connection", "firewall"},
	{"a store out of order", func(t *testing.T, w *world) {
		w.storeAt(t, server(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) }).URL)
	}, "region", Failed, "is out of order", "try again"},
	{"a store that looks at no signature", func(t *testing.T, w *world) {
		w.storeAt(t, server(t, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "anything") }).URL)
	}, "head_by_get", Warning, "does not look at the method", "without its query"},
	{"a store that knows no ranges", func(t *testing.T, w *world) {
		w.storeAt(t, server(t, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "anything") }).URL)
	}, "range", Warning, "with the whole object", "honour Range"},
	{"an archived object", func(t *testing.T, w *world) {
		w.storeAt(t, server(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprint(rw, "<Error><Code>InvalidObjectState</Code><Message>The operation is not valid for the object's storage class</Message></Error>")
		}).URL)
	}, "get", Failed, "archived", "Restore"},
	{"our own policy says no outright", fault(403, "AccessDenied", "is not authorized to perform: sts:AssumeRole with an explicit deny in an identity-based policy"), "assume_role", Failed, "our own policy does not let us", "statement with Deny in the policies of our own"},
	{"the trust policy says no outright", fault(403, "AccessDenied", "is not authorized to perform: sts:AssumeRole with an explicit deny in a resource-based policy"), "assume_role", Failed, "the role's trust policy does not let us", "out of the role's trust policy"},
	{"our own session has expired", stsSays(403, "ExpiredToken", "The security token included in the request is expired"), "credentials", Failed, "the session has expired", "Renew it"},
	{"our own session's token is broken", stsSays(403, "InvalidToken", "The provided token is malformed or otherwise invalid."), "credentials", Failed, "the session token is refused", "whether the token is whole"},
	{"our signature comes from the past", stsSays(403, "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 20260101T001500Z"), "credentials", Failed, "the signature's time is refused", "Set the clock"},
	{"an STS out of order from the beginning", stsSays(503, "ServiceUnavailable", ""), "credentials", Failed, "STS is out of order", "try again"},
	{"an STS that does not say who we are", stsSays(400, "InvalidAction", "Could not find operation GetCallerIdentity"), "credentials", Skipped, "does not say who we are", ""},
	{"sessions that another store made", storeSays(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."), "get", Failed, "the store does not know the session", "of the same store"},
	{"a proxy that changes the Host header", storeSays(403, "SignatureDoesNotMatch", ""), "get", Failed, "the store's signature of the request is another than ours", "must leave the Host header"},
	{"the role's own policy, said outright", storeSays(403, "AccessDenied", `is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::photos/a/photo.jpg" because no identity-based policy allows the s3:GetObject action`), "get", Failed, "the role's own policy does not let it read", "policy access --integration lab"},
	{"the bucket's policy", storeSays(403, "AccessDenied", "is not authorized to perform: s3:GetObject with an explicit deny in a resource-based policy"), "get", Failed, "the bucket's own policy forbids it", "a Deny that meets the role"},
	{"the organisation's policy on reading", storeSays(403, "AccessDenied", "with an explicit deny in a resource control policy"), "get", Failed, "the organisation's policies forbid it", "administrators allow s3:GetObject"},
	{"the VPC endpoint's policy", storeSays(403, "AccessDenied", "because no VPC endpoint policy allows the s3:GetObject action"), "get", Failed, "the policy of the VPC endpoint", "Allow the bucket"},
	{"the role's boundary", storeSays(403, "AccessDenied", "because no permissions boundary allows the s3:GetObject action"), "get", Failed, "the role's permissions boundary", "to the boundary of the role"},
	{"our session policy", storeSays(403, "AccessDenied", "because no session policy allows the s3:GetObject action"), "get", Failed, "our own session policy", "session_policy: false"},
	{"no such object, which S3 says without saying so", storeSays(403, "AccessDenied", `is not authorized to perform: s3:ListBucket on resource: "arn:aws:s3:::photos"`), "get", Failed, "there is no such object in it", "--sample"},
	{"a KMS key that is disabled", storeSays(400, "KMS.DisabledException", "arn:aws:kms:eu-central-1:123456789012:key/k1 is disabled."), "get", Failed, "disabled, or gone", "Enable the key"},
	{"another region, of which only S3 knows", storeSays(400, "AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter; the region 'eu-central-1' is wrong; expecting 'us-west-2'"), "get", Failed, "the region is another than eu-central-1", "or auto"},
	{"a store with an answer of its own", storeSays(418, "Teapot", "short and stout"), "get", Failed, "the store refuses: Teapot (short and stout)", "policy access"},
	{"a store that is busy when it reads", storeSays(503, "SlowDown", "Please reduce your request rate."), "get", Failed, "out of order: SlowDown", "try again"},
	{"a proxy that lets GET alone pass", func(t *testing.T, w *world) {
		w.storeAt(t, server(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				rw.WriteHeader(http.StatusForbidden)
			}
			fmt.Fprint(rw, "anything")
		}).URL)
	}, "head", Failed, "not with HEAD: status 403", "lets GET alone pass"},
	{"a store that does not say where its buckets are", func(t *testing.T, w *world) {
		w.storeAt(t, server(t, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "anything") }).URL)
		w.change("region: eu-central-1", "region: auto")
	}, "region", Failed, "does not say where photos is", "instead of auto"},
	{"a store without CORS", storeSays(501, "NotImplemented", ""), "cors", Skipped, "does not answer preflights", ""},
	{"a store that is busy when it is asked about CORS", storeSays(503, "SlowDown", ""), "cors", Failed, "the store is out of order", "try again"},
	{"a bucket that is not there has no CORS to mend", func(_ *testing.T, w *world) {
		w.change("bucket: photos", "bucket: nowhere")
		w.Sample = nil
	}, "cors", Skipped, "see the step region", ""},
	{"CORS of one of many buckets", func(_ *testing.T, w *world) {
		w.change("bucket: photos", "permitted_buckets: [photos, \"team-*\"]")
		w.cloud.SetCORS("photos", nil)
	}, "cors", Failed, "may not read photos", "s3redirect policy cors --integration lab"},
	{"a configuration by another name", func(_ *testing.T, w *world) {
		w.ConfigFile = "/etc/s3redirect/media.yaml"
		w.role.Buckets = []string{"others"}
	}, "get", Failed, "no s3:GetObject", "policy access --config /etc/s3redirect/media.yaml --integration lab"},
	{"too many buckets for a session policy", func(_ *testing.T, w *world) {
		names := []string{"photos"}
		for n := range 100 {
			names = append(names, fmt.Sprintf("some-bucket-with-a-long-name-%d", n))
		}
		w.change("bucket: photos", "permitted_buckets: ["+strings.Join(names, ", ")+"]")
	}, "session", Warning, "with all rights of the role", "patterns in permitted_buckets"},
	{"more buckets than are looked at", func(_ *testing.T, w *world) {
		names := []string{"photos"}
		for n := range most {
			names = append(names, fmt.Sprintf("bucket-%d", n))
		}
		w.change("bucket: photos", "permitted_buckets: ["+strings.Join(names, ", ")+"]")
	}, "region", Skipped, "only the first 50 of 51", ""},
	{"an external ID that another store's STS does not ask for", func(t *testing.T, w *world) {
		w.role.ExternalID = ""
		w.storeAt(t, server(t, w.cloud.S3().ServeHTTP).URL)
	}, "external_id", Warning, "some stores do not look at it", "add the condition"},
	{"an STS that answers once", func(_ *testing.T, w *world) {
		w.role.ExternalID = ""
		calls := 0
		w.cloud.Intercept(func(*demo.AssumeRoleCall) error {
			if calls++; calls > 1 {
				return &demo.Fault{Status: 500, Code: "InternalFailure", Message: "x"}
			}
			return nil
		})
	}, "external_id", Skipped, "did not answer when it was asked without it", ""},
	{"a warning of the configuration", func(_ *testing.T, w *world) {
		w.more = "cache: {credentials: 1}\n"
		w.text += "  - {name: b, bucket: other-bucket, region: eu-central-1, role_arn: " + roleARN + "}\n"
	}, "configuration", Warning, "assumed again and again", "example"},
}

func TestBrokenWorlds(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, c := range rows {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			c.spoil(t, w)
			steps, sound := w.check(t)
			found, failed := false, false
			for _, s := range steps {
				failed = failed || s.Verdict == Failed
				found = found || s.Name == c.step && s.Verdict == c.verdict && strings.Contains(s.Reason, c.reason) && strings.Contains(s.Remedy, c.remedy)
				wantPlain(t, s)
			}
			if !found || sound == failed {
				t.Errorf("sound %v; want %s %s: %q, %q; got", sound, c.step, c.verdict, c.reason, c.remedy)
				for _, s := range steps {
					t.Logf("%s %s: %s → %s", s.Name, s.Verdict, s.Reason, s.Remedy)
				}
			}
		})
	}
}

// wantPlain wants words for people, and nothing that is secret.
func wantPlain(t *testing.T, s Step) {
	t.Helper()
	if (s.Verdict == Failed || s.Verdict == Warning) != (s.Remedy != "") || s.Reason == "" {
		t.Errorf("a remedy with every failure, and with nothing else: %+v", s)
	}
	for _, bare := range []string{"operation error", "response error", "StatusCode", "RequestID", "X-Amz-Signature", "X-Amz-Security-Token", "canary", "goroutine", "0x", "UnknownError", "dial tcp", "%!"} {
		if strings.Contains(s.Reason+s.Remedy, bare) {
			t.Errorf("%q shows: %+v", bare, s)
		}
	}
}
