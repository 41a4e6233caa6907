package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority holds a certificate for 127.0.0.1, as files, and a client that trusts it.
type authority struct {
	certificate, key string
	client           *http.Client
}

// newAuthority returns an authority with the certificate of httptest.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler()) // provides the certificate
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	a := &authority{client: &http.Client{
		CheckRedirect: client.CheckRedirect,
		Transport: &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots},
		},
	}}
	a.certificate, a.key = writePair(t, server.TLS.Certificates[0])
	return a
}

// writePair writes a certificate and its key as PEM files and returns their paths.
func writePair(t *testing.T, pair tls.Certificate) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:         {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// issuer issues client certificates for viewers. file holds its own certificate.
type issuer struct {
	file        string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newIssuer returns an issuer with a self-signed certificate.
func newIssuer(t *testing.T) *issuer {
	t.Helper()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "viewers"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	i := &issuer{certificate: template}
	pair := i.sign(t, template)
	i.key = pair.PrivateKey.(*ecdsa.PrivateKey)
	i.file, _ = writePair(t, pair)
	return i
}

// issue returns a client certificate with the viewer as its common name and an organizational unit
// for each group.
func (i *issuer) issue(t *testing.T, viewer string, groups ...string) tls.Certificate {
	t.Helper()
	return i.sign(t, &x509.Certificate{
		Subject:     pkix.Name{CommonName: viewer, OrganizationalUnit: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// sign generates a key and a certificate for it. The certificate is self-signed if the issuer has
// no key yet.
func (i *issuer) sign(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := i.key
	if signer == nil {
		signer = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, i.certificate, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
