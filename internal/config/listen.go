package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Address is an address to listen on.
type Address struct {
	// Network is "tcp", "unix" or "systemd".
	Network string
	// Address is host:port, the path of a Unix socket, or the name of the sockets that systemd
	// passes (FileDescriptorName=, systemd.socket(5)).
	Address string
	// Mode is the mode of a Unix socket. Clients need permission to write.
	Mode fs.FileMode
}

const (
	unixPrefix    = "unix:"
	systemdPrefix = "systemd:"
	// defaultSocketMode admits the user of the process only.
	defaultSocketMode fs.FileMode = 0o600
)

// socketName is the grammar of FileDescriptorName=, without what would need quotes.
var socketName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,255}$`)

// ParseAddress parses an address of listen or admin_listen. Its errors do not repeat the text, which
// may come from a variable.
func ParseAddress(text string) (Address, error) {
	if rest, ok := strings.CutPrefix(text, unixPrefix); ok {
		return parseUnix(rest)
	}
	if name, ok := strings.CutPrefix(text, systemdPrefix); ok {
		if !socketName.MatchString(name) {
			return Address{}, errors.New("has no name of a socket; " +
				"write systemd: and the FileDescriptorName of its unit, such as systemd:viewers")
		}
		return Address{Network: "systemd", Address: name}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, errors.New("is not an address; " +
			`write host:port, such as 127.0.0.1:8080 or "[::1]:8080"`)
	}
	if !isListenHost(host) {
		return Address{}, errors.New("has a host that is neither an address nor a host name; write it as " +
			"127.0.0.1:8080")
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return Address{}, errors.New("has no port from 0 to 65535")
	}
	return Address{Network: "tcp", Address: text}, nil
}

// isListenHost reports whether host is an address, or may be the name of one. A name whose last label
// is a number is a mistyped address: RFC 3696, section 2.
func isListenHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return hostGrammar.MatchString(host) && strings.Trim(last, "0123456789") != ""
}

// parseUnix parses PATH or PATH?mode=0660.
func parseUnix(text string) (Address, error) {
	path, query, hasQuery := strings.Cut(text, "?")
	a := Address{Network: "unix", Address: path, Mode: defaultSocketMode}
	// The kernel's limit is 108 bytes, with a NUL at the end (unix(7)).
	if !filepath.IsAbs(path) || len(path) > 107 || strings.HasSuffix(path, "/") ||
		strings.Contains(path, "\x00") {
		return a, errors.New("has no absolute path of at most 107 bytes; " +
			"write it as unix:/run/s3redirect/viewers.sock")
	}
	if !hasQuery {
		return a, nil
	}
	digits, ok := strings.CutPrefix(query, "mode=")
	mode, err := strconv.ParseUint(digits, 8, 32)
	if !ok || err != nil || mode == 0 || mode > 0o777 {
		return a, errors.New("has no mode in octal digits; " +
			"write it as unix:/run/s3redirect/viewers.sock?mode=0660")
	}
	a.Mode = fs.FileMode(mode)
	return a, nil
}

func (k *checker) checkListeners() {
	for key, addresses := range map[string][]string{"listen": k.Listen, "admin_listen": k.AdminListen} {
		if len(addresses) == 0 {
			k.wrong(key, needAddress)
		}
		for n, text := range addresses {
			at := fmt.Sprintf("%s[%d]", key, n)
			switch _, err := ParseAddress(text); {
			case text == "":
				k.wrong(at, needAddress)
			case err != nil:
				k.wrong(at, "%s %v", value(at), err)
			case slices.Contains(addresses[:n], text) && !anyPort(text):
				k.wrong(at, "%s is in the list twice; remove one", value(at))
			}
		}
	}
	for n, text := range k.AdminListen {
		if slices.Contains(k.Listen, text) && !anyPort(text) {
			k.wrong(fmt.Sprintf("admin_listen[%d]", n),
				"it must differ from listen; use an address that viewers cannot reach")
		}
	}
	if k.ProxyProtocol && len(k.TrustedProxies) == 0 {
		k.wrong("proxy_protocol", "connections are accepted from trusted_proxies only, and there are none; add "+
			"the addresses of the load balancers there").Needs = []string{"trusted_proxies"}
	}
}

const needAddress = "an address is needed: host:port, such as 127.0.0.1:8080, or :8080 for every interface"

// anyPort reports whether the kernel chooses the port of an address.
func anyPort(text string) bool { return strings.HasSuffix(text, ":0") }
