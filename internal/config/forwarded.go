package config

import (
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"
)

// Forwarded names the headers that the reverse proxy sets.
type Forwarded struct {
	// UserHeader and GroupsHeader name the headers; only the first is required. They have no
	// defaults, because a client could set a header that the proxy does not set on every request. A
	// request with a user and without GroupsHeader is rejected.
	UserHeader   string `yaml:"user_header"`
	GroupsHeader string `yaml:"groups_header"`
	// TrustedProxies are the addresses or CIDR blocks from which the headers are trusted. Each must
	// be within one of the top level's trusted_proxies, if there are any. Required.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// GroupsSeparator is the character between the groups in GroupsHeader. Default ",".
	GroupsSeparator string `yaml:"groups_separator"`

	// Proxies is TrustedProxies, parsed.
	Proxies []netip.Prefix `yaml:"-"`
}

func (k *checker) checkForwarded(f *Forwarded) {
	const at = "viewers.forwarded."
	for key, name := range map[string]string{"user_header": f.UserHeader, "groups_header": f.GroupsHeader} {
		switch {
		case name == "":
		case !headerName.MatchString(name):
			k.wrong(at+key, "%s is not a header name", value(at+key))
		case slices.Contains(reservedHeaders, textproto.CanonicalMIMEHeaderKey(name)):
			k.wrong(at+key, "%s has another meaning, and clients set it; name a header that the "+
				"reverse proxy sets, such as X-Auth-Request-Email", value(at+key))
		case key == "groups_header" && strings.EqualFold(name, f.UserHeader):
			k.wrong(at+key, "%s is user_header too, so a user's name would count as a group; "+
				"name another header", value(at+key))
		}
	}
	if f.UserHeader == "" {
		k.wrong(at+"user_header",
			"it is needed: a header that the reverse proxy sets on every request, such as X-Auth-Request-Email")
	}
	if len(f.GroupsSeparator) != 1 || !strings.Contains(separators, f.GroupsSeparator) {
		k.wrong(at+"groups_separator", "%s cannot separate groups; use one of %s in quotes",
			value(at+"groups_separator"), separators)
	}
	if len(f.TrustedProxies) == 0 {
		k.wrong(at+"trusted_proxies",
			"the addresses of the reverse proxy are needed: the headers are believed from there, and from nowhere else")
	}
	sound := k.checkProxyList(at+"trusted_proxies", f.TrustedProxies)
	if outer := (&checker{}); sound && outer.checkProxyList("", k.TrustedProxies) {
		k.checkForwardedProxies(at+"trusted_proxies", f.TrustedProxies)
	}
}

// separators are the characters that may separate groups: punctuation that is rare in their names
// and that a header may contain without quotes.
const separators = `,|;:/#&+~^`

// foreignToGroups are the characters that no group in a groups header may contain.
const foreignToGroups = `,|;"%()[]{}<>`

// checkGroup rejects names that no viewer's groups can contain: a rule that denies that group
// would deny nothing.
func (k *checker) checkGroup(key, name string) {
	f := k.Viewers.Forwarded
	isRead := f != nil && f.GroupsHeader != ""
	switch {
	case name == "-":
		k.wrong(key, "- stands for no groups, as reverse proxies write it; name a group")
	case isRead && name != "" && (name[0] == '\'' || strings.Contains(name, "=?") ||
		strings.ContainsRune(name, utf8.RuneError)):
		k.wrong(key, "%s cannot come in groups_header, which refuses groups that start with an "+
			"apostrophe, encoded words (=?) and invalid text", value(key))
	case name == "" || !isRead ||
		!strings.ContainsAny(name, foreignToGroups+f.GroupsSeparator) &&
			strings.TrimSpace(name) == name:
	case f.GroupsSeparator == ",":
		k.wrong(key, "%s cannot come in groups_header, which separates groups by commas and "+
			"refuses bars, semicolons, quotes, percent signs and brackets",
			value(key))
	default:
		k.wrong(key, "%s cannot come in groups_header, which separates groups by "+
			"groups_separator and refuses commas, bars, semicolons, quotes, percent signs and "+
			"brackets", value(key))
	}
}
