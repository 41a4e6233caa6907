package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/metrics"
)

// writeCertificate creates a certificate for localhost with a serial number, and writes it and its
// key as PEM files that were modified at an instant.
func writeCertificate(
	t *testing.T, certFile, keyFile string, serial int64, modified time.Time,
) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotBefore:    modified.Add(-time.Hour),
		NotAfter:     modified.Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificateIsReloaded(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	writeCertificate(t, certFile, keyFile, 1, now)
	log := slog.New(slog.DiscardHandler)
	files := config.TLS{CertFile: certFile, KeyFile: keyFile}
	c, err := tlsConfig(files, func() time.Time { return now }, log)
	if err != nil {
		t.Fatal(err)
	}
	want := func(serial int64) {
		t.Helper()
		now = now.Add(time.Minute)
		got, err := c.GetCertificate(nil)
		if err != nil || got.Leaf.SerialNumber.Int64() != serial {
			t.Errorf("GetCertificate() = %v, %v, want serial number %d",
				got.Leaf.SerialNumber, err, serial)
		}
	}
	want(1)
	writeCertificate(t, certFile, keyFile, 2, now)
	want(2)
	// Half of a renewal: the certificate was replaced, and the key was not yet.
	writeCertificate(t, certFile, filepath.Join(dir, "other.pem"), 3, now)
	want(2)
	if err := os.Rename(filepath.Join(dir, "other.pem"), keyFile); err != nil {
		t.Fatal(err)
	}
	want(3)
	files.CertFile = filepath.Join(dir, "missing.pem")
	if _, err := tlsConfig(files, time.Now, log); err == nil {
		t.Error("tlsConfig with a missing file: got no error")
	}
}

// With admin.tls the administrators' listener uses TLS, and its certificate is reloaded too.
func TestAdminTLS(t *testing.T) {
	dir := t.TempDir()
	files := config.TLS{
		CertFile: filepath.Join(dir, "cert.pem"),
		KeyFile:  filepath.Join(dir, "key.pem"),
	}
	var now atomic.Int64 // in Unix seconds
	now.Store(time.Now().Unix())
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	roots := x509.NewCertPool()
	roots.AddCert(writeCertificate(t, files.CertFile, files.KeyFile, 1, clock()))
	s, err := Listen(ServerOptions{
		Listen:      []string{"127.0.0.1:0"},
		AdminListen: []string{"127.0.0.1:0"},
		Viewers:     http.NotFoundHandler(),
		Metrics:     metrics.New("test"),
		Log:         slog.New(slog.DiscardHandler),
		AdminTLS:    files,
		Clock:       clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	for _, serial := range []int64{1, 2} {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "localhost"},
			ForceAttemptHTTP2: true,
		}
		client := &http.Client{Transport: transport}
		resp, err := client.Get("https://" + s.AdminAddr.String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got := resp.TLS.PeerCertificates[0].SerialNumber.Int64()
		if resp.StatusCode != http.StatusOK || got != serial || resp.Proto != "HTTP/2.0" {
			t.Errorf("/healthz: %d over %s with certificate %d, want 200 over HTTP/2.0 with %d",
				resp.StatusCode, resp.Proto, got, serial)
		}
		transport.CloseIdleConnections()
		now.Add(60)
		roots.AddCert(writeCertificate(t, files.CertFile, files.KeyFile, serial+1, clock()))
	}
	if code, body := get(t, http.DefaultClient, s.AdminAddr, "/healthz"); code == http.StatusOK {
		t.Errorf("/healthz without TLS: got %d %s, want an error", code, body)
	}
	if code, _ := get(t, http.DefaultClient, s.Addr, "/"); code != http.StatusNotFound {
		t.Errorf("the viewers' listener without TLS: status %d, want 404", code)
	}
}

// If a certificate cannot be read, the error begins with its configuration key.
func TestListenNamesUnreadableCertificate(t *testing.T) {
	missing := config.TLS{CertFile: "missing.pem", KeyFile: "missing-key.pem"}
	for want, o := range map[string]ServerOptions{
		"tls: ":       {TLS: missing},
		"admin.tls: ": {AdminTLS: missing},
	} {
		o.Listen, o.AdminListen = []string{"127.0.0.1:0"}, []string{"127.0.0.1:0"}
		o.Clock = time.Now
		o.Metrics, o.Log = metrics.New("test"), slog.New(slog.DiscardHandler)
		if _, err := Listen(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Listen() = %v, want an error that begins with %q", err, want)
		}
	}
}

// The TLS listener serves complete redirects over HTTP/2 and HTTP/1.1, and rejects versions before
// TLS 1.2.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := x509.NewCertPool()
	roots.AddCert(writeCertificate(t, certFile, keyFile, 1, time.Now()))
	w := newWorld(t)
	w.put("bucket", "k", "text")
	s, err := Listen(ServerOptions{
		Listen:      []string{"127.0.0.1:0"},
		AdminListen: []string{"127.0.0.1:0"},
		Viewers:     w,
		Metrics:     metrics.New("test"),
		Log:         slog.New(slog.DiscardHandler),
		TLS:         config.TLS{CertFile: certFile, KeyFile: keyFile},
		Clock:       time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	for protocol, alpn := range map[string][]string{"HTTP/2.0": {"h2"}, "HTTP/1.1": {"http/1.1"}} {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{
				RootCAs:    roots,
				ServerName: "localhost",
				NextProtos: alpn,
			},
			ForceAttemptHTTP2: alpn[0] == "h2",
		}
		seen := map[string]bool{}
		for range 50 {
			for _, method := range []string{"GET", "HEAD"} {
				target := "https://" + s.Addr.String() + "/s3/bucket/k"
				req, err := http.NewRequestWithContext(t.Context(), method, target, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || len(body) > 0 || resp.StatusCode != 302 ||
					resp.Proto != protocol || resp.Header.Get("Content-Length") != "0" {
					t.Fatalf("%s %s: got %v, %v, body %q, want 302 without a body", protocol,
						method, resp, err, body)
				}
				seen[method+resp.Header.Get("Location")] = true
			}
		}
		if len(seen) != 2 {
			t.Errorf("%s: got %d Locations for GET and HEAD, want 2: %v", protocol, len(seen), seen)
		}
		transport.CloseIdleConnections()
	}
	old := &tls.Config{
		RootCAs:    roots,
		ServerName: "localhost",
		MinVersion: tls.VersionTLS10,
		MaxVersion: tls.VersionTLS11,
	}
	if c, err := tls.Dial("tcp", s.Addr.String(), old); err == nil {
		c.Close()
		t.Error("the server accepted TLS 1.1")
	}
}
