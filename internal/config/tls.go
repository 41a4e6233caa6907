package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"slices"
)

// TLS names the files of a certificate. They are read again when they change.
type TLS struct {
	// CertFile and KeyFile are PEM files, relative to the working directory. CertFile includes the
	// certificate's chain.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCAFile is a PEM file of certificate authorities. If it is set, clients must have a
	// certificate of one of them. Optional.
	ClientCAFile string `yaml:"client_ca_file"`
	// MinVersion is the lowest version to accept, "1.2" or "1.3". Default "1.2".
	MinVersion string `yaml:"min_version"`
}

// ClientCAs reads ClientCAFile.
func (t *TLS) ClientCAs() (*x509.CertPool, error) {
	text, err := os.ReadFile(t.ClientCAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("the file has no certificate in PEM")
	}
	return pool, nil
}

// tlsVersions are the values of min_version.
var tlsVersions = []string{"1.2", "1.3"}

// checkTLS requires both files. [certificateProblems] reads them.
func (k *checker) checkTLS(at string, files TLS) {
	if files.MinVersion != "" && !slices.Contains(tlsVersions, files.MinVersion) {
		k.wrong(at+".min_version", `%s is not a version; write "1.2" or "1.3", with quotes`,
			value(at+".min_version"))
	}
	for key, name := range map[string]string{at + ".cert_file": files.CertFile, at + ".key_file": files.KeyFile} {
		if name == "" && files != (TLS{}) {
			k.wrong(at, "set both cert_file and key_file, or remove tls").Needs = []string{key}
			return
		}
	}
}

// certificateProblems reads the certificates of c, and reports those that do not load.
func certificateProblems(c *Config) []Problem {
	k := &checker{Config: c}
	for at, files := range map[string]TLS{"tls": c.TLS, "admin.tls": c.Admin.TLS} {
		k.pairProblems(at, files)
		k.clientCAProblems(at+".client_ca_file", files)
	}
	if r := c.Cache.Redis; r != nil && r.TLS != nil {
		k.redisFileProblems(r.TLS)
	}
	return k.problems
}

// pairProblems reads a certificate and its key, if both are given.
func (k *checker) pairProblems(at string, files TLS) {
	if files.CertFile == "" || files.KeyFile == "" {
		return
	}
	_, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	key := at + ".cert_file"
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		if missing.Path == files.KeyFile {
			key = at + ".key_file"
		}
		// The path may contain the value of an environment variable.
		k.wrong(key, "%v: %v; give PEM files of a certificate and of its key", value(key), missing.Err)
	} else if err != nil {
		k.wrong(key, "%v; give PEM files of a certificate and of its key", err)
	}
}

// clientCAProblems reads the certificate authorities of clients, if there are any.
func (k *checker) clientCAProblems(key string, files TLS) {
	if files.CertFile == "" || files.KeyFile == "" || files.ClientCAFile == "" {
		return
	}
	_, err := files.ClientCAs()
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		err = missing.Err // without the path, as above
	}
	if err != nil {
		k.wrong(key, "%v: %v; give a PEM file of the authorities", value(key), err)
	}
}
