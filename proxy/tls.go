package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/reread"
)

// tlsConfig returns a server's TLS configuration, or nil if no files are given. It reads the
// certificate again when its files change. The minimum version is TLS 1.2 unless files has another,
// with Go's default cipher suites. With client_ca_file, clients must have a certificate of one of
// its authorities.
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
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c := pair.Get()
			return &c, nil
		},
	}
	if files.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	if files.ClientCAFile == "" {
		return c, nil
	}
	authorities, err := reread.New(files.ClientCAs, clock, log, files.ClientCAFile)
	if err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAnyClientCert // verified below, with the current authorities
	// A resumed session would have the client's certificate of the first connection, which may have
	// been replaced since.
	c.SessionTicketsDisabled = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		return verifyClient(state.PeerCertificates, authorities.Get(), clock())
	}
	return c, nil
}

// verifyClient verifies a client's certificate.
func verifyClient(chain []*x509.Certificate, authorities *x509.CertPool, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("the client has sent no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         authorities,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}
