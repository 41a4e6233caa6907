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
	"s3redirect/internal/demo"
	"s3redirect/internal/locator"
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

// quiet is for servers whose clients hang up on purpose.
var quiet = log.New(io.Discard, "", 0)
