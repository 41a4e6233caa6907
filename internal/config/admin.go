package config

import (
	"fmt"
	"net"
	"strings"
)

// Admin configures the administrators' listener at admin_listen.
type Admin struct {
	// Token authenticates administrators: at least 32 bytes. If it is set, purges, reloads and
	// checks require it, and users who sign in to the console with it can change the configuration.
	// Without it, every client that reaches admin_listen may purge, reload and check, and the
	// console changes nothing. Optional.
	Token Secret `yaml:"token"`
	// TLS is the certificate of AdminListen. Optional.
	TLS TLS `yaml:"tls"`
	// Hosts are further host names at which browsers reach admin_listen. Addresses and localhost
	// are always accepted. Any other name could be that of a page which directs its visitors'
	// browsers here (DNS rebinding).
	Hosts []string `yaml:"hosts"`
	// Variables are the environment variables that users of the console may use in access_key_id
	// and secret_access_key. Default: none.
	Variables []string `yaml:"variables"`
}

func (k *checker) checkAdmin() {
	if k.Admin.Token != "" && len(k.Admin.Token) < minSecret {
		k.wrong("admin.token", "it is too short: use %d bytes at least, such as openssl rand -base64 32 prints",
			minSecret)
	}
	k.checkTLS("admin.tls", k.Admin.TLS)
	for n, name := range k.Admin.Variables {
		if key := fmt.Sprintf("admin.variables[%d]", n); !envName.MatchString(name) {
			k.wrong(key, "%s is not the name of an environment variable; write the name alone, such as SCANS_KEY",
				value(key))
		}
	}
	for n, host := range k.Admin.Hosts {
		key := fmt.Sprintf("admin.hosts[%d]", n)
		switch {
		case strings.Contains(host, "://") || strings.Contains(host, "/"):
			k.wrong(key, "%s is a URL; write its host alone, such as admin.example.com", value(key))
		case !hostGrammar.MatchString(host) || net.ParseIP(host) != nil:
			k.wrong(key,
				"%s is not a host name; write it without a port, such as admin.example.com "+
					"(addresses need not be named)", value(key))
		}
	}
}
