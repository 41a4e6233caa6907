package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// checkProxies parses the top level's trusted_proxies.
func (k *checker) checkProxies() {
	const key = "trusted_proxies"
	if k.named(key) && len(k.TrustedProxies) == 0 {
		k.wrong(key, "the addresses of the reverse proxies are missing; add them, or remove the key")
	}
	k.Proxies = k.parseProxies(key, k.TrustedProxies)
}

// parseProxies parses a list of addresses and CIDR blocks, and reports those that are not valid. IPv4-mapped IPv6 becomes
// IPv4, as the addresses of clients do.
func (k *checker) parseProxies(list string, texts []string) (proxies []netip.Prefix) {
	for n, text := range texts {
		key := fmt.Sprintf("%s[%d]", list, n)
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil && !strings.Contains(text, "/") { // a zone may hold one
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		const mapped = 96 // bits that come before the IPv4 address
		if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= mapped {
			prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-mapped)
		}
		switch {
		case err != nil, prefix.Addr().Is4In6():
			k.wrong(key, "%s is neither an address nor a block; write it as 10.0.0.0/8", k.written(key))
		case prefix.Bits() < 7:
			k.wrong(key, "%s is half the world, and any client in it could forge the headers; name the reverse proxy's own addresses", k.written(key))
		case prefix.Masked() != prefix:
			k.wrong(key, "%s has more than the block; did you mean %s?", k.written(key), prefix.Masked())
		default:
			proxies = append(proxies, prefix)
		}
	}
	return proxies
}

// checkForwardedProxies requires that a proxy that may name the user is one that may name the client's address as well.
func (k *checker) checkForwardedProxies(list string, f *Forwarded) {
	if len(k.Proxies) == 0 || len(k.Proxies) < len(k.TrustedProxies) || len(f.Proxies) < len(f.TrustedProxies) {
		return // there is nothing to compare with, or a mistake that is reported already
	}
	for n, inner := range f.Proxies {
		within := func(outer netip.Prefix) bool { return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr()) }
		if key := fmt.Sprintf("%s[%d]", list, n); !slices.ContainsFunc(k.Proxies, within) {
			k.wrong(key, "%s is not within any of the trusted_proxies %s; add it there too", k.written(key), k.where("trusted_proxies", key))
		}
	}
}
