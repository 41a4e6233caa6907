package config

import (
	"fmt"
	"testing"
)

// IPv4-mapped IPv6 addresses and blocks become IPv4, as the addresses of clients do.
func TestParseProxiesUnmapsIPv4(t *testing.T) {
	const text = `
listen: 127.0.0.1:8080
trusted_proxies:
  [10.0.0.0/8, "::ffff:192.0.2.0/120", "::ffff:198.51.100.7", 203.0.113.9, "fd00::/8",
   "fe80::1%eth0"]
viewers:
  forwarded:
    user_header: x-user
    trusted_proxies: ["::ffff:10.2.0.0/112", 192.0.2.1, "fd00::7"]
integrations:
  - {name: a, bucket: aaa, role_arn: 'arn:aws:iam::123456789012:role/r', region: us-east-1}
`
	c, err := Parse("config.yaml", []byte(text), testEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	want := "[10.0.0.0/8 192.0.2.0/24 198.51.100.7/32 203.0.113.9/32 fd00::/8 fe80::1/128]"
	if got := fmt.Sprint(c.Proxies); got != want {
		t.Errorf("trusted_proxies = %s, want %s", got, want)
	}
	want = "[10.2.0.0/16 192.0.2.1/32 fd00::7/128]"
	if got := fmt.Sprint(c.Viewers.Forwarded.Proxies); got != want {
		t.Errorf("viewers.forwarded.trusted_proxies = %s, want %s", got, want)
	}
}
