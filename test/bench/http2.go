package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// http2 compares redirects over TLS and HTTP/2, where each connection encodes Location with HPACK.
func (b *bench) http2() error {
	fmt.Printf("## HTTP/2 over TLS\n\n%d rounds of %v, h2load -t1 -c16 -m8\n\n",
		b.rounds, b.duration)
	if _, err := b.startProxy("location", "", ""); err != nil { // for the bare handler
		return err
	}
	b.stopAll()
	cert, key := filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	if err := writeCertificate(cert, key); err != nil {
		return err
	}
	config := fmt.Sprintf("tls: {cert_file: %s, key_file: %s}\n", cert, key)
	proxy, err := b.startProxy("tls", config, "")
	if err != nil {
		return err
	}
	bare, err := b.startSelf("bare-tls")
	if err != nil {
		return err
	}
	var bareRates, hitRates, ratios []float64
	for range b.rounds {
		bareRate, err := b.h2load(bare)
		if err != nil {
			return err
		}
		hitRate, err := b.h2load(proxy)
		if err != nil {
			return err
		}
		bareRates, hitRates = append(bareRates, bareRate), append(hitRates, hitRate)
		ratios = append(ratios, hitRate/bareRate)
	}
	fmt.Printf("| | requests/s | ratio | min | max |\n|---|---|---|---|---|\n")
	fmt.Printf("| bare net/http | %.0f | 1.00 | | |\n", median(bareRates))
	fmt.Printf("| hit, 1 key | %.0f | %.2f | %.2f | %.2f |\n\n",
		median(hitRates), median(ratios), slices.Min(ratios), slices.Max(ratios))
	return nil
}

var (
	h2Rate      = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)
	h2Succeeded = regexp.MustCompile(`requests: .* 0 failed, 0 errored`)
)

// h2load loads a server with h2load and returns the rate in requests per second.
func (b *bench) h2load(p *process) (float64, error) {
	seconds := strconv.Itoa(max(1, int(b.duration.Seconds())))
	out, err := pinned(loadCore, "h2load", "-t1", "-c16", "-m8",
		"-D"+seconds, "https://"+p.address+keyPath(0)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("h2load: %w: %s", err, out)
	}
	rate := h2Rate.FindSubmatch(out)
	if rate == nil || !h2Succeeded.Match(out) {
		return 0, fmt.Errorf("h2load: failed requests or unexpected output: %s", out)
	}
	return strconv.ParseFloat(string(rate[1]), 64)
}

// writeCertificate writes a self-signed certificate for localhost and its key.
func writeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, certPEM, 0o600); err != nil {
		return err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return os.WriteFile(keyFile, keyPEM, 0o600)
}
