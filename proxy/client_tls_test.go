package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"s3redirect/internal/config"
)

// clientAuthority signs certificates of clients.
type clientAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newClientAuthority(t *testing.T) *clientAuthority {
	t.Helper()
	a := &clientAuthority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c := a.sign(t, template)
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign signs a certificate, with its own key if a has none.
func (a *clientAuthority) sign(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// client returns a certificate for a use that is valid for a time from now.
func (a *clientAuthority) client(
	t *testing.T, use x509.ExtKeyUsage, valid time.Duration,
) []tls.Certificate {
	t.Helper()
	return []tls.Certificate{a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2),
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     time.Now().Add(valid),
		ExtKeyUsage:  []x509.ExtKeyUsage{use},
	})}
}

// write writes the authority's certificate as of an instant.
func (a *clientAuthority) write(t *testing.T, path string, modified time.Time) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// A listener with client_ca_file admits clients with a valid certificate of the authorities that the
// file has at present, and no others, not even on a resumed session. min_version 1.3 excludes 1.2.
func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().Truncate(time.Second)
	files := config.TLS{
		CertFile:     filepath.Join(dir, "cert.pem"),
		KeyFile:      filepath.Join(dir, "key.pem"),
		ClientCAFile: filepath.Join(dir, "ca.pem"),
		MinVersion:   "1.3",
	}
	writeCertificate(t, files.CertFile, files.KeyFile, 1, now)
	ours, others := newClientAuthority(t), newClientAuthority(t)
	ours.write(t, files.ClientCAFile, now)
	server, err := tlsConfig(files, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sessions := tls.NewLRUClientSessionCache(10)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	try := func(certificates []tls.Certificate, most uint16) bool {
		t.Helper()
		here, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		there, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		defer served.Wait()
		defer here.Close()
		served.Go(func() {
			defer there.Close()
			c := tls.Server(there, server)
			if c.Handshake() == nil {
				_, _ = io.WriteString(c, "ok")
			}
		})
		c := tls.Client(here, &tls.Config{
			InsecureSkipVerify: true, Certificates: certificates, MaxVersion: most,
			ClientSessionCache: sessions, ServerName: "localhost",
		})
		text := make([]byte, 2)
		_, err = io.ReadFull(c, text)
		return err == nil && string(text) == "ok"
	}
	const hour = time.Hour
	const forClients, forServers = x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	good := ours.client(t, forClients, hour)
	for _, c := range []struct {
		name         string
		certificates []tls.Certificate
		most         uint16
		want         bool
	}{
		{"no certificate", nil, 0, false},
		{"another authority", others.client(t, forClients, hour), 0, false},
		{"an expired certificate", ours.client(t, forClients, -hour), 0, false},
		{"a certificate of a server", ours.client(t, forServers, hour), 0, false},
		{"TLS 1.2", good, tls.VersionTLS12, false},
		{"a good certificate", good, 0, true},
		{"the same again", good, 0, true},
	} {
		if got := try(c.certificates, c.most); got != c.want {
			t.Errorf("%s: admitted %v, want %v", c.name, got, c.want)
		}
	}
	now = now.Add(time.Minute)
	others.write(t, files.ClientCAFile, now)
	if try(good, 0) {
		t.Error("the client of an authority that was removed is admitted, want it refused")
	}
	if !try(others.client(t, forClients, hour), 0) {
		t.Error("the client of an authority that was added is refused, want it admitted")
	}
}
