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
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// http2 compares redirects over TLS with HTTP/2, where each long Location has to be encoded for its connection.
func (b *bench) http2() error {
	fmt.Printf("## HTTP/2 over TLS\n\n%d rounds of %v, h2load -t1 -c16 -m8\n\n", b.rounds, b.duration)
	cert, key := filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	if err := writeCertificate(cert, key); err != nil {
		return err
	}
	ours, err := b.startProxy("tls", fmt.Sprintf("tls: {cert_file: %s, key_file: %s}\n", cert, key))
	if err != nil {
		return err
	}
	bare, err := b.startSelf("bare-tls")
	if err != nil {
		return err
	}
	var rates, theirs, ratios []float64
	for range b.rounds {
		their, err := b.h2load(bare)
		if err != nil {
			return err
		}
		our, err := b.h2load(ours)
		if err != nil {
			return err
		}
		rates, theirs, ratios = append(rates, our), append(theirs, their), append(ratios, our/their)
	}
	sorted := sortedCopy(ratios)
	fmt.Printf("| | requests/s | ratio | min | max |\n|---|---|---|---|---|\n| bare net/http | %.0f | 1.00 | | |\n| hit, 1 key | %.0f | %.2f | %.2f | %.2f |\n\n",
		median(theirs), median(rates), median(ratios), sorted[0], sorted[len(sorted)-1])
	return nil
}

var h2Rate = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)
var h2Failed = regexp.MustCompile(`requests: .* 0 failed, 0 errored`)

// h2load is a rate in requests per second.
func (b *bench) h2load(p *process) (float64, error) {
	out, err := exec.Command("taskset", "-c", loadCore, "h2load", "-t1", "-c16", "-m8", "-D"+strconv.Itoa(max(1, int(b.duration.Seconds()))),
		"https://"+p.address+keyPath(0)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("h2load: %w: %s", err, out)
	}
	rate := h2Rate.FindSubmatch(out)
	if rate == nil || !h2Failed.Match(out) {
		return 0, fmt.Errorf("h2load said something else: %s", out)
	}
	return strconv.ParseFloat(string(rate[1]), 64)
}

func writeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}
