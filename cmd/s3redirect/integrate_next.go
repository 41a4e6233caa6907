package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// sayNext prints the commands that start the proxy and show an object. c is the configuration with
// the integration.
func (n *newIntegration) sayNext(c *config.Config) error {
	object, more := n.sample, ""
	if object == "" {
		bucket := "BUCKET"
		known := func(b string) bool { return !locator.IsPattern(b) }
		if at := slices.IndexFunc(n.Buckets(), known); at >= 0 {
			bucket = n.Buckets()[at]
		}
		object = "s3://" + bucket + "/" + n.Prefix + "KEY"
		more = ", with its key instead of KEY"
	}
	l, err := locator.Parse(object)
	if err != nil {
		return err
	}
	what, command := n.request(c, l, object)
	if n.passwords != "" {
		n.say("Make the password file:\n\n  htpasswd -B -c %s USER\n", shellQuote(n.passwords))
	}
	begin := "Start the proxy"
	if !n.isNew {
		begin = "Start the proxy, unless it runs and follows the change"
	}
	n.say("%s; then, in another terminal, %s%s:\n", begin, what, more)
	n.say("  %s", commandLine("serve", "--config", n.path))
	n.say("  %s", command)
	return nil
}

// request returns a command that shows an object, or who may read it, and what the command does. It
// sends GET: a URL that is signed for HEAD, as curl -I would get it, is a 403 in a browser.
func (n *newIntegration) request(
	c *config.Config, l locator.Locator, object string,
) (what, command string) {
	what = "ask for an object"
	url := shellQuote(origin(c) + l.Path())
	v := &c.Viewers
	switch {
	case v.Anonymous:
		return what, "curl -i " + url
	case v.Basic != nil:
		return what, "curl -i -u USER " + url
	case len(v.JWT) > 0:
		return what, `curl -i -H "Authorization: Bearer $TOKEN" ` + url
	case v.Links != nil:
		return "make a link to an object", commandLine("link", "--config", n.path, object)
	}
	return "see whether USER may read an object",
		commandLine("check", "--config", n.path, "--as", "USER", object)
}

// origin returns the origin at which viewers reach the proxy from this machine.
func origin(c *config.Config) string {
	if c.PublicURL != "" {
		return strings.TrimSuffix(c.PublicURL, "/")
	}
	scheme := "http://"
	if c.TLS.CertFile != "" {
		scheme = "https://"
	}
	host, port := "localhost", "80" // for sockets, which a reverse proxy connects to
	for _, text := range c.Listen {
		if a, err := config.ParseAddress(text); err == nil && a.Network == "tcp" {
			host, port, _ = net.SplitHostPort(text)
			break
		}
	}
	if host == "" {
		host = "127.0.0.1"
	} else if addr, err := netip.ParseAddr(host); err == nil && addr.IsUnspecified() {
		host = map[bool]string{true: "127.0.0.1", false: "::1"}[addr.Is4()]
	}
	return scheme + net.JoinHostPort(host, port)
}
