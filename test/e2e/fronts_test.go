package e2e

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shipped copies a folder of deploy/ and replaces pieces of its files: pieces are pairs of an old
// and a new string. Every old string must occur.
func shipped(t *testing.T, folder string, pieces ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	from := filepath.Join("..", "..", "deploy", folder)
	found := make([]bool, len(pieces))
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(pieces); i += 2 {
			found[i] = found[i] || strings.Contains(string(text), pieces[i])
		}
		replaced := strings.ReplaceAll(string(text), "/etc/nginx/s3redirect", dir)
		replaced = strings.NewReplacer(pieces...).Replace(replaced)
		return os.WriteFile(filepath.Join(dir, entry.Name()), []byte(replaced), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(pieces); i += 2 {
		if !found[i] {
			t.Fatalf("no file in deploy/%s contains %q", folder, pieces[i])
		}
	}
	return dir
}

// front is a reverse proxy in front of s3redirect.
type front struct {
	*server
	host string // the address for viewers
	// tls returns a viewer's TLS configuration; it is nil unless viewers have certificates.
	tls func(viewer string) *tls.Config
}

// startFront starts a reverse proxy and waits until it listens.
func startFront(t *testing.T, dir, host string, args ...string) *front {
	t.Helper()
	env := []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	s, err := startServer(dir, args[0], env, args...)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{server: s, host: host}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			log := s.output()
			t.Logf("output of %s:\n%s", args[0], log[max(0, len(log)-3000):])
		}
	})
	if err := s.await(args[0], func() bool {
		c, err := net.Dial("tcp", host)
		return err == nil && c.Close() == nil
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// asProxy returns a proxy whose requests go through the front.
func (f *front) asProxy() *proxy { return &proxy{host: f.host} }

// freeAddress returns a loopback address with a free port.
func freeAddress(t *testing.T) string {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}

// behindShippedNginx starts nginx with the shipped location, and with more directives in the server
// block.
func behindShippedNginx(t *testing.T, p *proxy, more string) *front {
	t.Helper()
	host, dir := freeAddress(t), shipped(t, "nginx", "127.0.0.1:8080", p.host)
	return nginxWith(t, host, fmt.Sprintf(`
include %[1]s/upstream.conf;
server { listen %[2]s; include %[1]s/location.conf; %[3]s }`, dir, host, more))
}

// behindShippedHAProxy starts HAProxy as shipped, with and without TLS, and checks that it answers
// with TLS and HTTP/2. more are further pieces to replace.
func behindShippedHAProxy(t *testing.T, p *proxy, more ...string) *front {
	t.Helper()
	host, secure := freeAddress(t), freeAddress(t)
	authority := newAuthority(t)
	pieces := append(haproxyPieces(t, p, authority),
		"127.0.0.1:8000", host,
		":443 ssl", secure+" ssl")
	dir := shipped(t, "haproxy", append(pieces, more...)...)
	f := startFront(t, dir, host, "haproxy", "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	resp, err := authority.client.Get("https://" + secure + "/s3/not-served/x")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound || resp.ProtoMajor != 2 {
		t.Errorf("HAProxy with TLS: got %d with %s, want 404 with HTTP/2",
			resp.StatusCode, resp.Proto)
	}
	return f
}

// haproxyPieces returns the replacements that both of HAProxy's files need.
func haproxyPieces(t *testing.T, p *proxy, authority *authority) []string {
	t.Helper()
	pair := filepath.Join(t.TempDir(), "pair.pem")
	text := readFile(t, authority.certificate) + readFile(t, authority.key)
	if err := os.WriteFile(pair, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"/etc/haproxy/app.example.com.pem", pair,
		"127.0.0.1:8080", p.host,
		"port 9090", "port " + portOf(p.admin),
	}
}

// behindClientCertificates starts HAProxy with the shipped file that identifies viewers by their
// certificates.
func behindClientCertificates(t *testing.T, p *proxy) *front {
	t.Helper()
	need(t, "haproxy")
	host, server, viewers := freeAddress(t), newAuthority(t), newIssuer(t)
	pieces := append(haproxyPieces(t, p, server),
		":443 ssl", host+" ssl",
		"/etc/haproxy/viewers-ca.pem", viewers.file)
	dir := shipped(t, "haproxy", pieces...)
	config := filepath.Join(dir, "client-certificates.cfg")
	f := startFront(t, dir, host, "haproxy", "-db", "-f", config)
	f.tls = func(viewer string) *tls.Config {
		c := server.client.Transport.(*http.Transport).TLSClientConfig.Clone()
		if viewer != "" {
			name := strings.TrimSuffix(viewer, unnamed)
			c.Certificates = []tls.Certificate{viewers.issue(t, name, groupsOf[viewer]...)}
		}
		return c
	}
	return f
}

// behindShippedCaddy starts Caddy with one of the shipped files, but without TLS: Caddy would
// request its certificates from a public CA.
func behindShippedCaddy(t *testing.T, name string, p *proxy, pieces ...string) *front {
	t.Helper()
	need(t, "caddy")
	host := freeAddress(t)
	pieces = append(pieces, "app.example.com", "http://"+host, "127.0.0.1:8080", p.host)
	caddyfile := filepath.Join(shipped(t, "caddy", pieces...), name)
	text := "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n" + readFile(t, caddyfile)
	if err := os.WriteFile(caddyfile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startFront(t, filepath.Dir(caddyfile), host,
		"caddy", "run", "--config", caddyfile, "--adapter", "caddyfile")
}

// behindAuthRequest starts nginx with the shipped file that asks a sign-in proxy about viewers.
func behindAuthRequest(t *testing.T, p *proxy, signIn string) *front {
	t.Helper()
	host := freeAddress(t)
	dir := shipped(t, "nginx", "127.0.0.1:8080", p.host, "127.0.0.1:4180", signIn)
	return nginxWith(t, host, fmt.Sprintf(`
include %[1]s/upstream.conf;
server { listen %[2]s; include %[1]s/auth_request.conf; }`, dir, host))
}

// behindComposedNginx starts nginx with the compose file's configuration.
func behindComposedNginx(t *testing.T, replicas ...*proxy) *front {
	t.Helper()
	host := freeAddress(t)
	servers := ""
	for _, p := range replicas {
		servers += "server " + p.host + "; "
	}
	local := strings.NewReplacer(
		"server s3redirect:8080;", servers,
		"listen 80", "listen "+host,
		"events {}\nhttp {", "",
		"/etc/nginx/s3redirect", shipped(t, "nginx"))
	conf := local.Replace(readFile(t, "../../deploy/compose/nginx.conf"))
	return nginxWith(t, host, strings.TrimSuffix(strings.TrimSpace(conf), "}"))
}

// ask sends a GET request to the front as a viewer from a loopback address, with the header lines.
// An empty viewer has not signed in.
func (f *front) ask(t *testing.T, from, viewer, path string, header ...string) *answer {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if f.tls != nil {
		scheme, transport.TLSClientConfig = "https", f.tls(viewer)
	} else if viewer != "" {
		header = append(header, "Cookie: session=secret-of-"+viewer)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+f.host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	a, err := readAnswer(transport.RoundTrip(req))
	if err != nil {
		t.Fatal(err)
	}
	return a
}
