package proxy

import (
	"crypto/tls"
	"log/slog"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/reread"
)

// tlsConfig returns a server's TLS configuration, or nil if no files are given. It reads the
// certificate again when its files change. The minimum version is TLS 1.2, with Go's default cipher
// suites.
func tlsConfig(files config.TLS, clock func() time.Time, log *slog.Logger) (*tls.Config, error) {
	if files == (config.TLS{}) {
		return nil, nil
	}
	load := func() (tls.Certificate, error) {
		return tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	}
	pair, err := reread.New(load, clock, log, files.CertFile, files.KeyFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c := pair.Get()
			return &c, nil
		},
	}, nil
}
