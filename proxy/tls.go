package proxy

import (
	"crypto/tls"
	"log/slog"
	"time"

	"s3redirect/internal/reread"
)

// tlsConfig is that of a server with a certificate, which is read again when its files change. TLS 1.2 is the least, with
// Go's choice of cipher suites.
func tlsConfig(certFile, keyFile string, clock func() time.Time, log *slog.Logger) (*tls.Config, error) {
	pair, err := reread.New(func() (tls.Certificate, error) { return tls.LoadX509KeyPair(certFile, keyFile) }, clock, log, certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c := pair.Get()
		return &c, nil
	}}, nil
}
