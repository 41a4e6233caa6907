package viewer

import (
	"net/netip"
	"strings"

	"s3redirect/internal/config"
)

// maxHops bounds how many hops of X-Forwarded-For are examined.
const maxHops = 32

// PeerOf returns the [Peer] of a RemoteAddr.
func PeerOf(remoteAddr string) netip.Addr {
	a, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return Peer(netip.Addr{}, remoteAddr)
	}
	return Peer(a.Addr(), remoteAddr)
}

// Peer returns the peer in canonical form, given the address in a RemoteAddr, or the zero address if
// it has none. It returns [config.UnixPeer] for a client of a Unix socket.
func Peer(a netip.Addr, remoteAddr string) netip.Addr {
	if !a.IsValid() && remoteAddr == config.UnixProxy {
		return config.UnixPeer
	}
	return Canonical(a)
}

// Canonical returns a in the form that is compared with blocks: an IPv4-mapped IPv6 address becomes
// IPv4, and a zone is dropped.
func Canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// contains reports whether any of blocks contains a.
func contains(blocks []netip.Prefix, a netip.Addr) bool {
	for _, b := range blocks {
		if b.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the client's address: the peer's or, behind trusted proxies, the rightmost hop of
// X-Forwarded-For that is not a trusted proxy. The client itself may have written the hops to its
// left. The search ends at the proxy that reported a hop that is not an address. relayed reports
// whether the address comes from X-Forwarded-For.
func (g *Gate) client(r *Request) (a netip.Addr, relayed bool) {
	a = r.Peer
	lines := r.Header.Values("X-Forwarded-For")
	hops := 0
	for n := len(lines) - 1; n >= 0; n-- {
		for rest, more := lines[n], true; more; hops++ {
			if hops == maxHops || !contains(g.proxies, a) {
				return a, relayed
			}
			hop := rest
			if i := strings.LastIndexByte(rest, ','); i >= 0 {
				rest, hop = rest[:i], rest[i+1:]
			} else {
				more = false
			}
			next, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return a, relayed
			}
			a, relayed = next, true
		}
	}
	return a, relayed
}

// parseHop parses a hop of X-Forwarded-For: an address, with or without a port.
func parseHop(hop string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(hop)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return Canonical(a), true
}

// AppendRemote appends the client's address to b: the one in X-Forwarded-For behind trusted
// proxies, otherwise the peer's with its port.
func (g *Gate) AppendRemote(b []byte, r *Request) []byte {
	if a, relayed := g.client(r); relayed {
		return a.AppendTo(b)
	}
	return append(b, r.RemoteAddr...)
}

// AppendClient appends the client's address to b without a port, or - if it is unknown.
func (g *Gate) AppendClient(b []byte, r *Request) []byte {
	if a, _ := g.client(r); a.IsValid() {
		return a.AppendTo(b)
	}
	return append(b, '-')
}

// Trusts reports whether r comes from a trusted proxy.
func (g *Gate) Trusts(r *Request) bool { return contains(g.proxies, r.Peer) }

// network returns the part of the client's address that identifies it to the rate limit: the entire
// address for IPv4, the /64 for IPv6, since that is what one household gets.
func (g *Gate) network(r *Request) netip.Addr {
	a, _ := g.client(r)
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// Client identifies the client of a request: the viewer by ID or, if it has none, the network that
// the request comes from.
type Client struct {
	id      string
	network netip.Addr
}

// Client returns the client that sent r as v. The rate limit counts by the same identity.
func (g *Gate) Client(v *Viewer, r *Request) Client {
	if v.ID != "" {
		return Client{id: v.ID}
	}
	return Client{network: g.network(r)}
}
