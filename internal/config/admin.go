package config

import (
	"fmt"
	"net"
	"strings"
)

// Admin is about the console, the administrators' page at admin_listen.
type Admin struct {
	// Token lets whoever signs in with it change the configuration: 32 bytes at least. Optional: without it the console shows,
	// and changes nothing.
	Token Secret `yaml:"token"`
	// Hosts are further names by which browsers reach admin_listen. Addresses and localhost always are: any other name could be
	// a page's that leads its visitors' browsers here (DNS rebinding).
	Hosts []string `yaml:"hosts"`
}

func (k *checker) checkAdmin() {
	if k.Admin.Token != "" && len(k.Admin.Token) < minSecret {
		k.wrong("admin.token", "it is too short: use %d bytes at least, such as openssl rand -base64 32 prints", minSecret)
	}
	for n, host := range k.Admin.Hosts {
		key := fmt.Sprintf("admin.hosts[%d]", n)
		switch {
		case strings.Contains(host, "://") || strings.Contains(host, "/"):
			k.wrong(key, "%s is a URL; write its host alone, such as admin.example.com", k.written(key))
		case !hostGrammar.MatchString(host) || net.ParseIP(host) != nil:
			k.wrong(key, "%s is no host's name; write one without a port, such as admin.example.com (addresses need not be named)", k.written(key))
		}
	}
}
