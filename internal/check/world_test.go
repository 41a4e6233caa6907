package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

const (
	key        = "AKIATESTTESTTESTTEST"
	secret     = "canary-secret/of+the+user"
	roleARN    = "arn:aws:iam::123456789012:role/media"
	externalID = "id-0123456789"
	kmsKey     = "arn:aws:kms:eu-central-1:123456789012:key/k1"
)

// world is an account and an integration for it. newWorld returns one without faults.
type world struct {
	cloud       *fakeaws.Cloud
	role        fakeaws.Role
	user        fakeaws.User
	integration string // in the configuration
	moreConfig  string // other keys of the configuration
	// prepare is called with the configuration before the check. Optional.
	prepare func(*config.Config)
	Options
}

func newWorld() *world {
	w := &world{cloud: fakeaws.NewCloud(time.Now)}
	w.user = fakeaws.User{
		AccessKeyID:     key,
		SecretAccessKey: secret,
		ARN:             "arn:aws:iam::123456789012:user/proxy",
	}
	w.role = fakeaws.Role{
		ARN:        roleARN,
		ExternalID: externalID,
		Trusts:     []string{key},
		Buckets:    []string{"photos"},
		Versions:   true,
		List:       true,
		KMSKeys:    []string{kmsKey},
	}
	w.cloud.CreateBucket("photos", "eu-central-1")
	w.put("a/photo.jpg", fakeaws.Object{ContentType: "image/jpeg", Data: []byte("0123456789")})
	w.integration = `
  - name: lab
    bucket: photos
    role_arn: ` + roleARN + `
    external_id: ` + externalID + `
    region: eu-central-1
    file_versioning: true
    access_key_id: ` + key + `
    secret_access_key: ` + secret + `
`
	w.Transport = fakeaws.InMemory{Handler: http.HandlerFunc(w.serve)}
	w.Sample = &locator.Locator{Bucket: "photos", Key: "a/photo.jpg"}
	w.Origin = "https://app.example.com"
	w.Clock = time.Now
	return w
}

func (w *world) put(key string, o fakeaws.Object) {
	w.cloud.Put(locator.Locator{Bucket: "photos", Key: key}, o)
}

// serve answers requests to all AWS endpoints.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Host, "sts.") {
		w.cloud.STS().ServeHTTP(rw, r)
	} else {
		w.cloud.S3().ServeHTTP(rw, r)
	}
}

func replaceOnce(s, old, new string) string { return strings.Replace(s, old, new, 1) }

// replace replaces a part of the integration's YAML.
func (w *world) replace(old, new string) { w.integration = replaceOnce(w.integration, old, new) }

// skewClock sets the proxy's clock ahead by d.
func (w *world) skewClock(d time.Duration) {
	w.Clock = func() time.Time { return time.Now().Add(d) }
}

// sessionsEndAfter changes the duration of sessions to d.
func (w *world) sessionsEndAfter(d time.Duration) {
	w.cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error {
		c.Expires = time.Now().Add(d)
		return nil
	})
}

// useStore moves the integration to an S3-compatible store, whose endpoint also serves STS.
// Requests use the default transport.
func (w *world) useStore(endpoint string) {
	const region = "    region: eu-central-1\n"
	w.replace(region, region+
		"    endpoint: "+endpoint+"\n"+
		"    sts_endpoint: "+endpoint+"\n"+
		"    path_style: true\n"+
		"    insecure: true\n")
	w.Transport = nil
}

// moveStore moves the store to an endpoint. STS continues to work.
func (w *world) moveStore(t *testing.T, endpoint string) {
	sts := newServer(t, w.cloud.STS().ServeHTTP)
	w.useStore(endpoint)
	w.replace("sts_endpoint: "+endpoint, "sts_endpoint: "+sts.URL)
}

// useStaticKeys changes the integration to one with access keys and no role.
func (w *world) useStaticKeys(id, secret string) {
	w.integration = "  - {name: lab, bucket: photos, region: eu-central-1, access_key_id: " + id +
		", secret_access_key: " + secret + "}\n"
}

// check runs a check.
func (w *world) check(t *testing.T) (steps []Step, ok bool) {
	t.Helper()
	viewers := "viewers: {anonymous: true}\n"
	if strings.Contains(w.moreConfig, "viewers:") {
		viewers = ""
	}
	text := "listen: 127.0.0.1:8080\n" + viewers + w.moreConfig +
		"integrations:\n" + w.integration
	noEnvironment := func(string) (string, bool) { return "", false }
	c, err := config.Parse("config.yaml", []byte(text), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	w.cloud.AddUser(w.user)
	if w.role.ARN != "" {
		w.cloud.AddRole(w.role)
	}
	w.Config = c
	if w.prepare != nil {
		w.prepare(c)
	}
	w.Report = func(s Step) { steps = append(steps, s) }
	if ok, err = Run(context.Background(), w.Options); err != nil {
		t.Fatal(err)
	}
	return steps, ok
}

func newServer(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	s.Config.ErrorLog = discardLog
	t.Cleanup(s.Close)
	return s
}

func newTLSServer(t *testing.T, certificate *tls.Certificate) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	if certificate != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}}
	}
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// useExpiredCertificate moves the integration to a server whose certificate expired yesterday, and
// trusts its authority.
func (w *world) useExpiredCertificate(t *testing.T) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "store"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-48 * time.Hour),
		NotAfter:              time.Now().Add(-24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
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
	certificate := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	w.useStore(newTLSServer(t, certificate).URL)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	w.Transport = transport
}

// closedPort returns an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// discardLog is for servers whose clients close connections on purpose.
var discardLog = log.New(io.Discard, "", 0)
