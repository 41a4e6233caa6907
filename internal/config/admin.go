package config

import (
	"fmt"
	"net"
	"slices"
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
	// are always accepted. Any other name could belong to a page that directs its visitors'
	// browsers here (DNS rebinding).
	Hosts []string `yaml:"hosts"`
	// Variables are the variables that users of the console may name in a draft.
	// Default: none.
	Variables AdminVariables `yaml:"variables"`
}

// AdminVariables are the variables that drafts of the console may name: environment variables,
// file:PATH and credential:NAME. An access key
// ID is part of every URL, so IDs must not contain a variable that holds a secret.
type AdminVariables struct {
	// IDs are the variables that access_key_id may name.
	IDs []string `yaml:"ids"`
	// Secrets are the variables that secret_access_key may name.
	Secrets []string `yaml:"secrets"`
}

func (k *checker) checkAdmin() {
	if k.Admin.Token != "" && len(k.Admin.Token) < minSecret {
		k.wrong("admin.token", "it is too short: use %d bytes at least, such as openssl rand -base64 32 prints",
			minSecret)
	}
	if strings.ContainsFunc(string(k.Admin.Token), isControl) {
		k.wrong("admin.token", "it has a line break or another control character, so that no request can carry it; "+
			"remove it")
	}
	k.checkTLS("admin.tls", k.Admin.TLS)
	k.checkVariables("admin.variables.ids", k.Admin.Variables.IDs)
	k.checkVariables("admin.variables.secrets", k.Admin.Variables.Secrets)
	for n, name := range k.Admin.Variables.IDs {
		if slices.Contains(k.Admin.Variables.Secrets, name) {
			key := fmt.Sprintf("admin.variables.ids[%d]", n)
			k.wrong(key, "%s is in admin.variables.secrets too: access key IDs are part of every URL; "+
				"remove it from one of the lists", value(key))
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

func (k *checker) checkVariables(list string, names []string) {
	for n, name := range names {
		if !isVariableName(name) {
			key := fmt.Sprintf("%s[%d]", list, n)
			k.wrong(key, "%s is not the name of a variable; write the name alone, such as SCANS_KEY, "+
				"file:/run/secrets/scans or credential:scans", value(key))
		}
	}
}
