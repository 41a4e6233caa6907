package sessionstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Options are the options of a [Redis]. URL, Keys and Clock are required.
type Options struct {
	// URL has the scheme redis, rediss (TLS), valkey or valkeys (TLS), and may have an ACL's user and
	// password. Its parameters are addr=host:port for each further node of a cluster or each
	// further Sentinel, master_set for the name of the master that Sentinels watch, and
	// sentinel_username and sentinel_password if the Sentinels require them.
	URL string
	// Username and Password are those of the servers, unless the URL has them.
	Username, Password string
	// KeyPrefix precedes all names.
	KeyPrefix string
	// CAFile, CertFile and KeyFile are PEM files for TLS, which are read for each connection: the
	// trusted authorities instead of the system's, and the client's certificate with its key. Optional.
	CAFile, CertFile, KeyFile string
	// IAM authenticates at Amazon ElastiCache. Optional.
	IAM *IAM
	// Keys have 32 bytes each. The first encrypts; the others decrypt older values.
	Keys [][]byte
	// Clock times the pause after a failed attempt to connect.
	Clock func() time.Time
}

// client returns the client's options. It reads no files.
func (o *Options) client() (rueidis.ClientOption, error) {
	// rueidis rejects a path without a number.
	address, query, hasQuery := strings.Cut(o.URL, "?")
	address = strings.TrimSuffix(address, "/")
	if hasQuery {
		address += "?" + query
	}
	options, err := rueidis.ParseURL(address)
	if err != nil {
		// The error's own text may hold the password.
		return options, errors.New("invalid Redis or Valkey URL")
	}
	options.DisableCache, options.DisableRetry = true, true
	options.Dialer = net.Dialer{Timeout: Timeout}
	if o.Username != "" || o.Password != "" {
		options.Username, options.Password = o.Username, o.Password
	}
	if o.IAM != nil {
		options.AuthCredentialsFn = o.IAM.authenticate
	}
	if u, err := url.Parse(o.URL); err == nil { // Sentinels have their own users
		options.Sentinel.Username = u.Query().Get("sentinel_username")
		options.Sentinel.Password = u.Query().Get("sentinel_password")
	}
	options.Sentinel.Dialer, options.Sentinel.TLSConfig = options.Dialer, options.TLSConfig
	// Without a refresh, one missed event would make the client stay with the old master forever.
	options.Sentinel.TopologyRefreshInterval = connectPause
	options.ConnWriteTimeout = Timeout
	options.PipelineMultiplex = -1 // a single connection suffices
	if o.CAFile+o.CertFile != "" && options.TLSConfig != nil {
		files := *o
		options.DialCtxFn = files.dial
	}
	return options, nil
}

// dial makes a TLS connection with the present content of the files. They may be renewed.
func (o *Options) dial(
	ctx context.Context, address string, dialer *net.Dialer, base *tls.Config,
) (net.Conn, error) {
	c := base.Clone()
	if o.CAFile != "" {
		text, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fileError("ca_file", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, &FileError{"ca_file", errors.New("it has no certificate")}
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fileError("cert_file and key_file", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return (&tls.Dialer{NetDialer: dialer, Config: c}).DialContext(ctx, "tcp", address)
}

// FileError is a file of the configuration that cannot be used for a connection.
type FileError struct {
	// Key is the file's key below cache.redis.tls. The file's name may come from a variable.
	Key string
	Err error
}

func (e *FileError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// fileError returns an error about a file without its path.
func fileError(key string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return &FileError{key, err}
}
