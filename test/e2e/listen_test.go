package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listening is a configuration with one integration that needs no store. Every client has two
// requests.
const listening = `
viewers:
  anonymous: true
  rate_limit: {per_second: 1, burst: 3}
integrations:
  - name: keys
    bucket: photos
    endpoint: http://127.0.0.1:9
    path_style: true
    access_key_id: AKIAIOSFODNN7EXAMPLE
    secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
`

// checkRemote asks for an object from 127.0.0.3, and checks that the access log has that address.
func checkRemote(t *testing.T, p *proxy, front string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}
	c, err := dialer.DialContext(t.Context(), "tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "GET /s3/photos/a.jpg HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	a, err := readAnswer(http.ReadResponse(bufio.NewReader(c), nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.checkRedirect(); err != nil {
		t.Error(err)
	}
	awaitThat(t, "the access log has 127.0.0.3", func() bool {
		return strings.Contains(p.output(), `"remote":"127.0.0.3`)
	})
}

// socketPath returns a path for a Unix socket, which is short.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s3r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "viewers.sock")
}

// Behind nginx over a Unix socket, the client's address comes from X-Forwarded-For.
func TestUnixSocketBehindNginx(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	socket := socketPath(t)
	p := startProxyAt(t, writeConfig(t, "trusted_proxies: [unix]\n"+listening),
		"unix:"+socket+"?mode=0660", freeAddress(t))
	f := startNginx(t, `location / {
    proxy_pass http://unix:${SOCKET}:;
    proxy_set_header X-Forwarded-For $remote_addr;
}`, "SOCKET", socket)
	checkRemote(t, p, f.host)
}

// Behind nginx and HAProxy on layer 4, the client's address comes from the header of the PROXY
// protocol, version 1 and 2. A connection without a header is closed.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	need(t, "haproxy")
	for _, send := range []string{"send-proxy", "send-proxy-v2"} {
		p := startProxy(t, "trusted_proxies: [127.0.0.1]\nproxy_protocol: true\n"+listening)
		dir, host := t.TempDir(), freeAddress(t)
		config := fmt.Sprintf(`
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen viewers
    bind %s
    server s3redirect %s %s
`, host, p.host, send)
		path := filepath.Join(dir, "haproxy.cfg")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		startFront(t, dir, host, "haproxy", "-f", path)
		checkRemote(t, p, host)
		if a, err := try(t, http.MethodGet, p.url("/s3/photos/a.jpg")); err == nil {
			t.Errorf("%s: without a header: got %d, want a closed connection", send, a.status)
		}
	}
}

// systemd passes the sockets of both listeners, by name.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	need(t, "systemd-socket-activate")
	host, admin, dir := freeAddress(t), freeAddress(t), writeConfig(t, listening)
	s, err := startServer(dir, "activated",
		[]string{"LISTEN=systemd:viewers", "ADMIN_LISTEN=systemd:admin"},
		"systemd-socket-activate", "--listen="+host, "--listen="+admin, "--fdname=viewers:admin",
		"--setenv=LISTEN", "--setenv=ADMIN_LISTEN",
		built(t), "serve", "--config", "config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	p := &proxy{server: s, host: host, admin: "http://" + admin}
	if err := s.await("s3redirect", func() bool { return answersOK(p.admin + "/readyz") }); err != nil {
		t.Fatal(err)
	}
	if err := fetch(t, http.MethodGet, p.url("/s3/photos/a.jpg")).checkRedirect(); err != nil {
		t.Error(err)
	}
}
