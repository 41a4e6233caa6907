package e2e

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
)

// tunnels is an HTTP proxy that leads all tunnels to one TLS server.
type tunnels struct {
	url    string
	mu     sync.Mutex
	opened []string // the hosts that clients asked for
}

// startTunnels starts an HTTP proxy before the server at an address.
func startTunnels(t *testing.T, server string) *tunnels {
	t.Helper()
	all := &tunnels{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "not a tunnel", http.StatusMethodNotAllowed)
			return
		}
		all.mu.Lock()
		all.opened = append(all.opened, strings.TrimSuffix(r.Host, ":443"))
		all.mu.Unlock()
		out, err := net.Dial("tcp", server)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer out.Close()
		in, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer in.Close()
		if _, err := io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(out, buffered) // an error ends the tunnel
			_ = out.Close()
		}()
		_, _ = io.Copy(in, out)
	}))
	t.Cleanup(s.Close)
	all.url = s.URL
	return all
}

// hosts returns the hosts of the tunnels, each once.
func (s *tunnels) hosts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	hosts := slices.Clone(s.opened)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// startAWSHosts serves hosts of AWS with TLS. It returns the server's address, and the file of the
// authority that has signed its certificate.
func startAWSHosts(t *testing.T, hosts []string) (address, authorities string) {
	t.Helper()
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: docUser, SecretAccessKey: docSecret})
	cloud.AddRole(fakeaws.Role{ARN: docRole, Trusts: []string{docUser}, Buckets: []string{docBucket}})
	cloud.CreateBucket(docBucket, "eu-central-1")
	certificate, _ := selfSigned(t, hosts)
	authorities = filepath.Join(t.TempDir(), "aws.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}
	if err := os.WriteFile(authorities, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(awsHosts(cloud))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a proxy may refuse the certificate
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://"), authorities
}

// TestOutgoingConnections checks what docs/deployment says about HTTPS_PROXY, SSL_CERT_FILE and
// AWS's hosts with IPv6 addresses: an HTTP proxy sees tunnels to the hosts of STS and of S3, and no
// connection would be trusted without the certificate authority in SSL_CERT_FILE.
func TestOutgoingConnections(t *testing.T) {
	t.Parallel()
	const dualStack = "sts.eu-central-1.api.aws"
	address, authorities := startAWSHosts(t, []string{
		"sts.eu-central-1.amazonaws.com", dualStack, "*.s3.eu-central-1.amazonaws.com",
		"*.s3.us-east-1.amazonaws.com",
	})
	const (
		usual    = "sts.eu-central-1.amazonaws.com"
		regional = "    region: eu-central-1\n"
		keys     = "    access_key_id: ${AWS_ACCESS_KEY_ID}\n" +
			"    secret_access_key: ${AWS_SECRET_ACCESS_KEY}\n"
	)
	for name, c := range map[string]struct {
		config string // of the integration
		env    []string
		want   []string // nil if the role cannot be assumed
	}{
		"STS":               {regional, nil, []string{usual}},
		"a bucket's region": {"    region: auto\n", nil, []string{docBucket + ".s3.us-east-1.amazonaws.com", usual}},
		"a dual-stack STS":  {regional, []string{"AWS_USE_DUALSTACK_ENDPOINT=true"}, []string{dualStack}},
		"a dual-stack STS by name": {
			regional + "    sts_endpoint: https://" + dualStack + "\n" + keys, nil, []string{dualStack},
		},
		"an authority in a directory": {
			regional,
			[]string{"SSL_CERT_FILE=", "SSL_CERT_DIR=" + filepath.Dir(authorities)},
			[]string{usual},
		},
		"an unknown authority": {regional, []string{"SSL_CERT_FILE=/dev/null"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := startTunnels(t, address)
			env := []string{
				"HTTPS_PROXY=" + proxy.url, "SSL_CERT_FILE=" + authorities, "AWS_REGION=eu-central-1",
				"AWS_ACCESS_KEY_ID=" + docUser, "AWS_SECRET_ACCESS_KEY=" + docSecret,
			}
			env = append(env, c.env...)
			p := startProxy(t, "\nintegrations:\n  - name: photos\n    bucket: "+docBucket+
				"\n    role_arn: "+docRole+"\n"+c.config, env...)
			a := fetch(t, http.MethodGet, p.url(path(docBucket, docKey)))
			if c.want == nil {
				if a.status != http.StatusServiceUnavailable && a.status != http.StatusBadGateway {
					t.Errorf("got %d %s, want 502 or 503", a.status, a.body)
				}
				return
			}
			if err := a.checkRedirect(); err != nil {
				t.Error(err)
			}
			if got := proxy.hosts(); !slices.Equal(got, c.want) {
				t.Errorf("tunnels to %v, want %v", got, c.want)
			}
		})
	}
}
