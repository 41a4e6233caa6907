package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"
)

// needIPv6 skips the test if the machine has no IPv6 loopback address.
func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("the machine has no ::1: %v", err)
	}
	_ = l.Close()
}

// freeAddress6 returns an address with a free port on ::1.
func freeAddress6(t *testing.T) string {
	t.Helper()
	return "[::1]:" + portOf(freeAddress(t))
}

// minio6 is a MinIO that listens on ::1 only.
var minio6 = sync.OnceValues(func() (*store, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	return startMinIOAt("minio-ipv6", "us-east-1", fmt.Sprintf("[::1]:%d", ports[0]))
})

// TestIPv6 checks that the proxy and a store with IPv6 addresses only work together, and that the
// access log has the client's address in each form in which fronts write it.
func TestIPv6(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	need(t, "minio")
	s, err := minio6()
	if err != nil {
		t.Fatal(err)
	}
	s.createBucket(t, "ipv6")
	s.put(t, "ipv6", "a b.txt", []byte("over IPv6"))
	dir := writeConfig(t, `
trusted_proxies: ["::1", "fd00:1::/64"]
integrations:
  - name: role
    bucket: ipv6
`+withRole)
	p := startProxyAt(t, dir, freeAddress6(t), freeAddress6(t), s.env()...)
	for forwarded, want := range map[string]string{
		"":                                    `"remote":"[::1]:`,
		"2001:db8::1":                         `"remote":"2001:db8::1"`,
		"[2001:db8::2]":                       `"remote":"2001:db8::2"`,
		"[2001:db8::3]:4711":                  `"remote":"2001:db8::3"`,
		"fe80::4%eth0":                        `"remote":"fe80::4"`,
		"[fe80::5%eth0]:4711":                 `"remote":"fe80::5"`,
		"::ffff:192.0.2.6":                    `"remote":"192.0.2.6"`,
		"2001:DB8:0:0:0:0:0:7":                `"remote":"2001:db8::7"`,
		"203.0.113.1, 2001:db8::8, fd00:1::9": `"remote":"2001:db8::8"`,
	} {
		var header []string
		if forwarded != "" {
			header = []string{"X-Forwarded-For: " + forwarded}
		}
		a := fetch(t, http.MethodGet, p.url("/s3/ipv6/a%20b.txt"), header...)
		if err := a.checkRedirect(); err != nil {
			t.Fatalf("X-Forwarded-For %q: %v", forwarded, err)
		}
		object := fetch(t, http.MethodGet, a.header.Get("Location"))
		if object.status != http.StatusOK || string(object.body) != "over IPv6" {
			t.Errorf("%s: got %d %q, want the stored bytes",
				a.header.Get("Location"), object.status, object.body)
		}
		awaitThat(t, "the access log has "+want, func() bool {
			return strings.Contains(p.output(), want)
		})
	}
	env := append(s.env(), "LISTEN=[::1]:1", "ADMIN_LISTEN=[::1]:2")
	code, out := command(t, dir, env, "check", "--config", "config.yaml", "--sample", "s3://ipv6/a b.txt")
	if code != 0 {
		t.Errorf("check --sample = %d:\n%s", code, out)
	}
}

// TestListenOnAllAddresses checks that a listener on all addresses accepts IPv4 and IPv6, and that
// IPv4 clients have IPv4 addresses.
func TestListenOnAllAddresses(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	for _, host := range []string{"", "[::]"} {
		port, admin := portOf(freeAddress(t)), freeAddress(t)
		p := startProxyAt(t, writeConfig(t, listening), host+":"+port, admin)
		for client, want := range map[string]string{
			"127.0.0.1": `"remote":"127.0.0.1:`,
			"[::1]":     `"remote":"[::1]:`,
		} {
			a := fetch(t, http.MethodGet, "http://"+client+":"+port+"/s3/photos/a.jpg")
			if err := a.checkRedirect(); err != nil {
				t.Errorf("listen: %s:%s, client %s: %v", host, port, client, err)
			}
			awaitThat(t, "the access log has "+want, func() bool {
				return strings.Contains(p.output(), want)
			})
		}
	}
}

// proxyHeader6 returns a header of the PROXY protocol, version 2, for a TCP connection over IPv6.
func proxyHeader6(client, server netip.AddrPort) []byte {
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24")
	for _, a := range []netip.AddrPort{client, server} {
		address := a.Addr().As16()
		header = append(header, address[:]...)
	}
	for _, a := range []netip.AddrPort{client, server} {
		header = append(header, byte(a.Port()>>8), byte(a.Port()))
	}
	return header
}

// TestProxyProtocolOverIPv6 checks that the client's address comes from a header of version 2 that a
// trusted load balancer sends over IPv6.
func TestProxyProtocolOverIPv6(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	dir := writeConfig(t, "trusted_proxies: [\"::1\"]\nproxy_protocol: true\n"+listening)
	p := startProxyAt(t, dir, freeAddress6(t), freeAddress6(t))
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	header := proxyHeader6(netip.MustParseAddrPort("[2001:db8::7]:4711"), netip.MustParseAddrPort(p.host))
	request := "GET /s3/photos/a.jpg HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	if _, err := c.Write(append(header, request...)); err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(http.ReadResponse(bufio.NewReader(c), nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.checkRedirect(); err != nil {
		t.Error(err)
	}
	awaitThat(t, "the access log has the client's address", func() bool {
		return strings.Contains(p.output(), `"remote":"[2001:db8::7]:4711"`)
	})
}

// TestChartWithoutIPv4 starts the proxy with the listeners of the chart in a network whose only
// IPv4 address is loopback, as in a pod of a cluster with IPv6 only, and sends the chart's probes to
// its IPv6 address.
func TestChartWithoutIPv4(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	need(t, "helm")
	const pod = "fd00:1::10"
	n := newNetwork(t, assign(pod))
	out, err := template(t, "-f", minimal, "-s", "templates/config.yaml")
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	var secret struct {
		StringData map[string]string `yaml:"stringData"`
	}
	if err := yaml.Unmarshal([]byte(out), &secret); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(secret.StringData["config.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	s := n.start(t, dir, []string{"ADMIN_TOKEN=" + adminToken},
		built(t), "serve", "--config", "config.yaml")
	probe := func(target string) int { return n.status("http://[" + pod + "]:" + target) }
	if err := s.await("s3redirect", func() bool { return probe("9090/readyz") == 200 }); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]int{
		"9090/healthz":        http.StatusOK,
		"8080/s3/my-photos/k": http.StatusUnauthorized, // the chart's viewers need a token
	} {
		if got := probe(target); got != want {
			t.Errorf("GET %s = %d, want %d\n%s", target, got, want, s.output())
		}
	}
}
