package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"sync"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"s3redirect/internal/reread"
)

// NewTransport returns a copy of a transport that trusts the certificate authorities of the SDK's
// setting AWS_CA_BUNDLE, or ca_bundle in the shared configuration file, instead of the system's. It
// reads the file again when it changes.
//
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html
func NewTransport(base *http.Transport) http.RoundTripper { return &bundleTransport{base: base} }

type bundleTransport struct {
	base *http.Transport

	mu      sync.Mutex // guards the fields below; not held during a request
	name    string     // of the file; "" means the system's authorities
	version reread.Versions
	current *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *bundleTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	current, err := t.transport()
	if err != nil {
		return nil, err
	}
	return current.RoundTrip(r)
}

// transport returns the transport for the current setting.
func (t *bundleTransport) transport() (*http.Transport, error) {
	name := bundleFile()
	version := reread.VersionsOf(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil && t.name == name && t.version.Equal(version) {
		return t.current, nil
	}
	next := t.base.Clone()
	if name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
		}
		if next.TLSClientConfig == nil {
			next.TLSClientConfig = &tls.Config{}
		}
		next.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !next.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %s has no certificate", name)
		}
	}
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
	t.name, t.version, t.current = name, version, next
	return next, nil
}

// bundleFile returns the name of the file of certificate authorities, or "" if there is none.
func bundleFile() string {
	env, _ := awsconfig.NewEnvConfig() // an error is about another variable
	if env.CustomCABundle != "" {
		return env.CustomCABundle
	}
	return sharedProfile(env).CustomCABundle
}

// sharedProfile returns the profile that the process uses in the SDK's shared files, or an empty
// one.
func sharedProfile(env awsconfig.EnvConfig) awsconfig.SharedConfig {
	profile := env.SharedConfigProfile
	if profile == "" {
		profile = awsconfig.DefaultSharedConfigProfile
	}
	files := sharedFiles()
	// The error is reported where the profile's credentials are needed.
	shared, _ := awsconfig.LoadSharedConfigProfile(context.Background(), profile,
		func(o *awsconfig.LoadSharedConfigOptions) {
			o.ConfigFiles, o.CredentialsFiles = files[:1], files[1:]
			o.Logger = logging.Nop{}
		})
	return shared
}
