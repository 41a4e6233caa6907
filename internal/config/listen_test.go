package config

import (
	"strings"
	"testing"
)

// The addresses of listen may be IPv6. Mistakes in their notation get a message with the remedy.
func TestListenIPv6(t *testing.T) {
	const quote = "config.yaml:1: invalid YAML: did not find expected node content; quote addresses in brackets"
	for text, want := range map[string]string{
		`"[::]:8080"`:                       "",
		`"[::1]:8080"`:                      "",
		`"[2001:db8::1]:8080"`:              "",
		`"[fe80::1%eth0]:8080"`:             "",
		`["127.0.0.1:8080", "[::1]:8080"]`:  "",
		`[::]:8080`:                         quote,
		`[::1]:8080`:                        quote,
		`[127.0.0.1:8080, [::1]:8080]`:      quote,
		`"[::1]"`:                           "config.yaml:1: listen: [::1] is not an address; write host:port",
		`::1:8080`:                          `write host:port, such as 127.0.0.1:8080 or "[::1]:8080"`,
		`"[::1"`:                            "is not an address; write host:port",
		`"[::12345]:8080"`:                  "neither an address nor a host name",
		`"[::1]:8080" # not [::1]:9000 yet`: "",
	} {
		err := parseListen(t, text)
		switch {
		case want == "" && err != nil:
			t.Errorf("listen: %s: %v, want no error", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("listen: %s: error %v, want one with %q", text, err, want)
		}
	}
	// The parser's other errors keep their messages.
	_, err := Parse("config.yaml", []byte("a: {\nb: http://[::1]:9000\n"), testEnvironment)
	if err == nil || strings.Contains(err.Error(), "brackets") {
		t.Errorf("an open brace: error %v, want one that does not name brackets", err)
	}
}

// parseListen parses a configuration with a value of listen.
func parseListen(t *testing.T, value string) error {
	t.Helper()
	_, err := Parse("config.yaml", []byte("listen: "+value+`
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: aaa, role_arn: 'arn:aws:iam::123456789012:role/r', region: us-east-1}
`), testEnvironment)
	return err
}
