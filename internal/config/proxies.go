package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// checkProxies checks the top level's trusted_proxies.
func (k *checker) checkProxies() {
	if k.TrustedProxies != nil && len(k.TrustedProxies) == 0 {
		k.wrong("trusted_proxies", "the addresses of the reverse proxies are missing; add them, or remove the key")
	}
	k.checkProxyList("trusted_proxies", k.TrustedProxies)
}

// UnixProxy stands in trusted_proxies for the clients of Unix sockets, which have no address.
const UnixProxy = "unix"

// UnixPeer is the address of a client of a Unix socket. No other client can have it, in a connection
// or in a header, because IPv4-mapped IPv6 addresses become IPv4.
var UnixPeer = netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff})

// parseProxy parses an address, a CIDR block or UnixProxy. IPv4-mapped IPv6 becomes IPv4, as the addresses of
// clients do.
func parseProxy(text string) (prefix netip.Prefix, ok bool) {
	if text == UnixProxy {
		return netip.PrefixFrom(UnixPeer, UnixPeer.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && !strings.Contains(text, "/") { // a zone may hold one
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	const mapped = 96 // bits before the IPv4 address
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= mapped {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-mapped)
	}
	return prefix, err == nil && !prefix.Addr().Is4In6()
}

// parseProxies returns the parsed texts, without those that are invalid.
func parseProxies(texts []string) (proxies []netip.Prefix) {
	for _, text := range texts {
		if prefix, ok := parseProxy(text); ok {
			proxies = append(proxies, prefix)
		}
	}
	return proxies
}

// checkProxyList checks a list of addresses and CIDR blocks, and reports whether all are valid.
func (k *checker) checkProxyList(list string, texts []string) (valid bool) {
	before := len(k.problems)
	for n, text := range texts {
		key := fmt.Sprintf("%s[%d]", list, n)
		switch prefix, ok := parseProxy(text); {
		case !ok:
			k.wrong(key, "%s is neither an address nor a block; write it as 10.0.0.0/8", value(key))
		case prefix.Bits() < 7:
			k.wrong(key,
				"%s is so large that clients in it could forge the headers; use the reverse proxy's own addresses",
				value(key))
		case prefix.Masked() != prefix:
			k.wrong(key, "%s has bits set beyond the prefix; did you mean %s?", value(key), prefix.Masked())
		}
	}
	return len(k.problems) == before
}

// checkForwardedProxies requires that every proxy trusted for the user header is also trusted for
// the client's address.
func (k *checker) checkForwardedProxies(list string, texts []string) {
	outer := parseProxies(k.TrustedProxies)
	for n, inner := range parseProxies(texts) {
		within := func(p netip.Prefix) bool { return p.Bits() <= inner.Bits() && p.Contains(inner.Addr()) }
		if key := fmt.Sprintf("%s[%d]", list, n); len(outer) > 0 && !slices.ContainsFunc(outer, within) {
			k.wrong(key, "%s is not within any of the trusted_proxies %v; add it there too",
				value(key), place{"trusted_proxies", key})
		}
	}
}
