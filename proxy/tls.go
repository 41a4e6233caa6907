package proxy

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often, at most, handshakes look whether the certificate's files have changed.
const certificateCheck = 5 * time.Second

// certificate is a certificate and its key that are read again when their files change. What cannot be read, or does not go
// together, changes nothing: a renewal writes two files, one after the other.
type certificate struct {
	certFile, keyFile string
	clock             func() time.Time
	log               *slog.Logger

	mu      sync.Mutex
	checked time.Time
	read    [2]stamp // what the files were when they were last read
	current *tls.Certificate
}

// stamp tells one version of a file from another.
type stamp struct {
	changed time.Time
	size    int64
}

// newCertificate reads a certificate for the first time.
func newCertificate(certFile, keyFile string, clock func() time.Time, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, clock: clock, log: log, checked: clock()}
	return c, c.load()
}

// load reads the files.
func (c *certificate) load() error {
	read, err := c.stamps()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("tls: %s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.read, c.current = read, &pair
	return nil
}

func (c *certificate) stamps() (stamps [2]stamp, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamps, fmt.Errorf("tls: %w", err)
		}
		stamps[i] = stamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

// get is for [tls.Config.GetCertificate].
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clock(); now.Sub(c.checked) >= certificateCheck || now.Before(c.checked) {
		c.checked = now
		if stamps, err := c.stamps(); err != nil {
			c.log.Error("the certificate cannot be read again; the last one is used", "error", err.Error())
		} else if stamps != c.read {
			c.reload()
		}
	}
	return c.current, nil
}

func (c *certificate) reload() {
	if err := c.load(); err != nil {
		c.log.Error("the certificate cannot be read again; the last one is used", "error", err.Error())
		return
	}
	c.log.Info("certificate read", "file", c.certFile, "expires", c.current.Leaf.NotAfter)
}

// config is that of a server with the certificate. TLS 1.2 is the least, with Go's choice of cipher suites.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}
