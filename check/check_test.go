package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/config"
	"s3redirect/demo"
	"s3redirect/locator"
)

const (
	key        = "AKIATESTTESTTESTTEST"
	secret     = "canary-secret/of+the+user"
	roleARN    = "arn:aws:iam::123456789012:role/media"
	externalID = "id-0123456789"
	kmsKey     = "arn:aws:kms:eu-central-1:123456789012:key/k1"
)

// world is an account in which everything is right, and what is to be checked there.
type world struct {
	cloud *demo.Cloud
	role  demo.Role
	user  demo.User
	text  string // of the integration
	more  string // of the configuration
	Options
}

func newWorld() *world {
	w := &world{cloud: demo.NewCloud(time.Now)}
	w.user = demo.User{AccessKeyID: key, SecretAccessKey: secret, ARN: "arn:aws:iam::123456789012:user/proxy"}
	w.role = demo.Role{ARN: roleARN, ExternalID: externalID, Trusts: []string{key}, Buckets: []string{"photos"}, Versions: true, List: true, KMSKeys: []string{kmsKey}}
	w.cloud.CreateBucket("photos", "eu-central-1")
	w.put("a/photo.jpg", demo.Object{ContentType: "image/jpeg", Data: []byte("0123456789")})
	w.text = `
  - name: lab
    bucket: photos
    role_arn: ` + roleARN + `
    external_id: ` + externalID + `
    region: eu-central-1
    file_versioning: true
    access_key_id: ` + key + `
    secret_access_key: ` + secret + `
`
	w.Transport = demo.InMemory{Handler: http.HandlerFunc(w.serve)}
	w.Sample = &locator.Locator{Bucket: "photos", Key: "a/photo.jpg"}
	w.Origin = "https://app.example.com"
	w.Clock = time.Now
	return w
}

func (w *world) put(key string, o demo.Object) {
	w.cloud.Put(locator.Locator{Bucket: "photos", Key: key}, o)
}

// serve is all of AWS.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Host, "sts.") {
		w.cloud.STS().ServeHTTP(rw, r)
	} else {
		w.cloud.S3().ServeHTTP(rw, r)
	}
}

// change replaces a piece of the integration's text.
func (w *world) change(old, new string) { w.text = strings.Replace(w.text, old, new, 1) }

// foreign makes the integration one of a store of its own, with the system's own transport.
func (w *world) foreign(endpoint string) {
	w.change("    region: eu-central-1\n", "    region: eu-central-1\n    endpoint: "+endpoint+"\n    sts_endpoint: "+endpoint+"\n    path_style: true\n    insecure: true\n")
	w.Transport = nil
}

func (w *world) check(t *testing.T) (steps []Step, sound bool) {
	t.Helper()
	c, err := config.Parse("config.yaml", []byte("listen: 127.0.0.1:8080\nviewers: {anonymous: true}\n"+w.more+"integrations:\n"+w.text), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	w.cloud.AddUser(w.user)
	if w.role.ARN != "" {
		w.cloud.AddRole(w.role)
	}
	w.Config = c
	w.Report = func(s Step) { steps = append(steps, s) }
	if sound, err = Run(context.Background(), w.Options); err != nil {
		t.Fatal(err)
	}
	return steps, sound
}

// Where everything is right, every step says so.
func TestAllIsWell(t *testing.T) {
	w := newWorld()
	steps, sound := w.check(t)
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
		if s.Verdict != OK {
			t.Errorf("%+v", s)
		}
	}
	const want = "configuration credentials clock assume_role external_id session region get range head head_by_get versions url_size cors cors csp"
	if got := strings.Join(names, " "); got != want || !sound {
		t.Errorf("sound %v: %s", sound, got)
	}
	calls := w.cloud.Calls()
	if calls.AssumeRole != 2 { // with the external ID, and without
		t.Errorf("AssumeRole was called %d times", calls.AssumeRole)
	}
	if last := steps[len(steps)-1].Reason; !strings.Contains(last, "https://photos.s3.eu-central-1.amazonaws.com") {
		t.Error(last)
	}
}

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
	{"a role that Ceph does not find", fault(404, "NoSuchEntity", ""), "assume_role", Failed, "there is no role " + roleARN, "policy role --integration lab"},
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
	{"a wrong secret", func(_ *testing.T, w *world) { w.change(secret, "canary-wrong") }, "credentials", Failed, "so the secret key is", "again"},
	{"static keys that the store does not know", func(_ *testing.T, w *world) {
		w.keysOnly("AKIANOBODY", "canary")
	}, "get", Failed, "the integration's keys: the access key ID is not known", "active"},
	{"static keys with a wrong secret", func(_ *testing.T, w *world) {
		w.keysOnly(key, "canary-wrong")
	}, "get", Failed, "so the secret key is", "again"},
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
	{"no CORS", func(_ *testing.T, w *world) { w.cloud.SetCORS("photos", nil) }, "cors", Failed, "pages of https://app.example.com may not read photos", "policy cors --integration lab"},
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
	for _, bare := range []string{"operation error", "response error", "StatusCode", "RequestID", "X-Amz-", "canary", "goroutine", "0x", "dial tcp", "%!"} {
		if strings.Contains(s.Reason+s.Remedy, bare) {
			t.Errorf("%q shows: %+v", bare, s)
		}
	}
}

// keysOnly makes the integration one with keys and without a role.
func (w *world) keysOnly(id, secret string) {
	w.text = "  - {name: lab, bucket: photos, region: eu-central-1, access_key_id: " + id + ", secret_access_key: " + secret + "}\n"
}

// storeAt leaves STS where it is, and moves the store.
func (w *world) storeAt(t *testing.T, endpoint string) {
	sts := server(t, w.cloud.STS().ServeHTTP)
	w.foreign(endpoint)
	w.change("sts_endpoint: "+endpoint, "sts_endpoint: "+sts.URL)
}

func server(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	s.Config.ErrorLog = quiet
	t.Cleanup(s.Close)
	return s
}

func secureServer(t *testing.T, certificate *tls.Certificate) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	if certificate != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}}
	}
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// expired has a server whose certificate was good until yesterday, and a client that trusts it.
func (w *world) expired(t *testing.T) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "store"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	w.foreign(secureServer(t, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}).URL)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	w.Transport = transport
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A server that says nothing holds the check up for so long, and no longer.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.Clock = time.Now
		w.Transport = demo.InMemory{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		steps, sound := w.check(t)
		if s := steps[1]; sound || s.Name != "credentials" || !strings.Contains(s.Reason, "did not answer within 15s") || !strings.Contains(s.Remedy, "firewall") {
			t.Errorf("%+v", s)
		}
		for _, s := range steps {
			wantPlain(t, s)
		}
	})
}

// Without credentials of our own, the remedy depends on where they were to come from.
func TestNoCredentials(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	check := func(reason, remedy string) {
		t.Helper()
		w := newWorld()
		w.change("    access_key_id: "+key+"\n    secret_access_key: "+secret+"\n", "")
		steps, sound := w.check(t)
		if s := steps[1]; sound || s.Name != "credentials" || !strings.Contains(s.Reason, reason) || !strings.Contains(s.Remedy, remedy) {
			t.Errorf("%+v", s)
		}
		if steps[2].Name != "assume_role" || steps[2].Verdict != Skipped {
			t.Errorf("%+v", steps[2])
		}
	}
	check("there are no credentials of our own", "AWS_ACCESS_KEY_ID")
	t.Setenv("AWS_ROLE_ARN", roleARN)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", home+"/missing")
	check("web identity", "policy trust --web-identity-provider")
}

func TestOptions(t *testing.T) {
	w := newWorld()
	w.text += "  - {name: other, bucket: scans, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}\n"
	w.Integrations = []string{"lab"}
	steps, _ := w.check(t)
	for _, s := range steps {
		if s.Integration == "other" {
			t.Errorf("not asked for: %+v", s)
		}
	}
	for name, mend := range map[string]func(*Options){
		"there is no integration nobody; there are lab, other": func(o *Options) { o.Integrations = []string{"nobody"} },
		"none of these integrations serves the bucket":         func(o *Options) { o.Sample = &locator.Locator{Bucket: "scans", Key: "k"} },
	} {
		o := w.Options
		mend(&o)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
}

// Without a sample nothing is read, and the rest is tried.
func TestWithoutASample(t *testing.T) {
	w := newWorld()
	w.Sample, w.Origin = nil, ""
	steps, sound := w.check(t)
	verdicts := map[string]Verdict{}
	for _, s := range steps {
		verdicts[s.Name] = s.Verdict
		wantPlain(t, s)
	}
	if !sound || verdicts["read"] != Skipped || verdicts["cors"] != Skipped || verdicts["assume_role"] != OK || verdicts["region"] != OK || verdicts["csp"] != OK {
		t.Errorf("%v", verdicts)
	}
}

func TestTable(t *testing.T) {
	var plain, coloured strings.Builder
	for _, table := range []*Table{NewTable(&plain, false), NewTable(&coloured, true)} {
		table.Add(Step{Name: "configuration", Verdict: OK, Reason: "it loads"})
		table.Add(Step{Integration: "lab", Name: "get", Verdict: Failed, Reason: strings.Repeat("word ", 30), Remedy: "Mend it."})
	}
	const margin = "                         "
	want := "  ok       configuration it loads\n\nlab\n  failed   get           " + strings.TrimSpace(strings.Repeat("word ", 19)) + "\n" + margin + strings.TrimSpace(strings.Repeat("word ", 11)) + "\n" + margin + "→ Mend it.\n"
	if plain.String() != want {
		t.Errorf("got\n%s\nwant\n%s", plain.String(), want)
	}
	if got := coloured.String(); !strings.Contains(got, "\x1b[1;31mfailed   \x1b[0m") {
		t.Errorf("%q", got)
	}
}

// quiet is for servers whose clients hang up on purpose.
var quiet = log.New(io.Discard, "", 0)
