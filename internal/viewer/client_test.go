package viewer

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// The client's address is the rightmost hop that is not a trusted proxy. A client may have
// written the hops to its left.
func TestClientAddress(t *testing.T) {
	blocks := prefixes("10.0.0.0/8", "fd00::/64")
	byForwarded := newGate(t, forwarded(), nil)
	byOption, err := New(&config.Viewers{Anonymous: true}, Options{TrustedProxies: blocks})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		remote    string
		hops      []string // lines of X-Forwarded-For
		want, log string   // the address for the rate limit and for the access log
	}{
		{"192.0.2.1:1", nil, "192.0.2.1", "192.0.2.1:1"},
		{"192.0.2.1:1", []string{"198.51.100.7"}, "192.0.2.1", "192.0.2.1:1"},
		{"10.0.0.1:1", nil, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"198.51.100.7"}, "198.51.100.7", "198.51.100.7"},
		{"[::ffff:10.0.0.1]:1", []string{"198.51.100.7"}, "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:1", []string{"::ffff:198.51.100.7"}, "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:1", []string{"198.51.100.7, ::ffff:10.0.0.2"}, "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:1", []string{"1.2.3.4, 198.51.100.7"}, "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:1", []string{"1.2.3.4, 198.51.100.7, 10.0.0.2"}, "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:1", []string{"10.0.0.9, 10.0.0.2"}, "10.0.0.9", "10.0.0.9"},
		// Several lines form one list, in their order (RFC 9110, section 5.3).
		{"10.0.0.1:1", []string{"1.2.3.4", "198.51.100.7"}, "198.51.100.7", "198.51.100.7"},
		{
			"10.0.0.1:1",
			[]string{"1.2.3.4, 198.51.100.7", "10.0.0.2,10.0.0.3"},
			"198.51.100.7",
			"198.51.100.7",
		},
		// A hop that is not an address ends the search at the proxy that reported it.
		{"10.0.0.1:1", []string{"junk"}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4, junk"}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4", "junk"}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4, junk, 10.0.0.2"}, "10.0.0.2", "10.0.0.2"},
		{"10.0.0.1:1", []string{"1.2.3.4, unknown, 10.0.0.2, 10.0.0.3"}, "10.0.0.2", "10.0.0.2"},
		{"10.0.0.1:1", []string{"1.2.3.4, _hidden"}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4,"}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4", ""}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4, 999.1.1.1"}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4, 010.0.0.2"}, "10.0.0.1", "10.0.0.1:1"},
		{"10.0.0.1:1", []string{"1.2.3.4 10.0.0.2"}, "10.0.0.1", "10.0.0.1:1"},
		{
			"10.0.0.1:1",
			[]string{"198.51.100.7:4711, [fd00::9]:1, 10.0.0.2:80"},
			"198.51.100.7",
			"198.51.100.7",
		},
		{"10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::", "2001:db8::1"},
		{"10.0.0.1:1", []string{"[2001:db8::1]:4711"}, "2001:db8::", "2001:db8::1"},
		{"[fd00::1]:1", []string{"2001:db8::1, fd00::2"}, "2001:db8::", "2001:db8::1"},
		{"[fd00::1%eth0]:1", []string{"2001:db8::1"}, "2001:db8::", "2001:db8::1"},
		{"[fd00::1]:1", []string{"fe80::1%eth0"}, "fe80::", "fe80::1"},
		{"[fd00::1]:1", []string{"[fe80::1%25eth0]:4711"}, "fe80::", "fe80::1"},
		{"[fd00::1]:1", []string{"2001:db8::1:4711:port"}, "fd00::", "[fd00::1]:1"},
		{"[fd00:0:0:1::1]:1", []string{"2001:db8::1"}, "fd00:0:0:1::", "[fd00:0:0:1::1]:1"},
		{"[2001:db8:1:2:3:4:5:6]:1", nil, "2001:db8:1:2::", "[2001:db8:1:2:3:4:5:6]:1"},
		{"[fe80::1%eth0]:1", nil, "fe80::", "[fe80::1%eth0]:1"},
		// So does a hop after maxHops trusted ones.
		{
			"10.0.0.1:1",
			[]string{"1.2.3.4" + strings.Repeat(", 10.0.0.2", maxHops-1)},
			"1.2.3.4",
			"1.2.3.4",
		},
		{
			"10.0.0.1:1",
			[]string{"1.2.3.4" + strings.Repeat(", 10.0.0.2", maxHops)},
			"10.0.0.2",
			"10.0.0.2",
		},
		{
			"10.0.0.1:1",
			[]string{"1.2.3.4", strings.Repeat("10.0.0.2, ", maxHops-1) + "10.0.0.3"},
			"10.0.0.2",
			"10.0.0.2",
		},
	} {
		r := request(c.remote)
		r.Header["X-Forwarded-For"] = c.hops
		for name, g := range map[string]*Gate{
			"forwarded":       byForwarded,
			"trusted_proxies": byOption,
		} {
			if got := g.network(NewRequest(r)); got != netip.MustParseAddr(c.want) {
				t.Errorf("%s: network(%s, %q) = %v, want %s", name, c.remote, c.hops, got, c.want)
			}
			if got := string(g.AppendRemote(nil, NewRequest(r))); got != c.log {
				t.Errorf("%s: AppendRemote(%s, %q) = %s, want %s",
					name, c.remote, c.hops, got, c.log)
			}
		}
		want := NewRequest(r).Peer
		untrusting := newGate(t, &config.Viewers{Anonymous: true}, nil)
		if got, _ := untrusting.client(NewRequest(r)); got != want {
			t.Errorf("without trusted proxies: client(%s, %q) = %v, want %v",
				c.remote, c.hops, got, want)
		}
	}
}

// A proxy may be trusted to report addresses but not users.
func TestUserHeaderFromProxyTrustedOnlyForAddresses(t *testing.T) {
	c := forwarded()
	c.Forwarded.GroupsHeader, c.Forwarded.Proxies = "", prefixes("10.1.0.0/16")
	g, err := New(c, Options{TrustedProxies: prefixes("10.0.0.0/8")})
	if err != nil {
		t.Fatal(err)
	}
	for remote, want := range map[string]string{"10.1.0.1:1": "ann", "10.2.0.1:1": ""} {
		r := request(remote, "X-Auth-Request-Email", "ann", "X-Forwarded-For", "198.51.100.7")
		if v, _ := g.Identify(NewRequest(r), now); v.ID != want {
			t.Errorf("Identify(from %s) = %q, want %q", remote, v.ID, want)
		}
		if got, want := g.network(NewRequest(r)), netip.MustParseAddr("198.51.100.7"); got != want {
			t.Errorf("network(from %s) = %v, want %v", remote, got, want)
		}
	}
}

func TestClientAddressDoesNotAllocate(t *testing.T) {
	g := newGate(t, forwarded(), nil)
	r := NewRequest(request("10.0.0.1:1",
		"X-Forwarded-For", "1.2.3.4, 198.51.100.7, 10.0.0.2"))
	b := make([]byte, 0, 64)
	n := testing.AllocsPerRun(1000, func() { b = g.AppendRemote(b[:0], r) })
	if n > 0 && !raceEnabled {
		t.Errorf("AppendRemote allocates %v times, want 0", n)
	}
}

// A viewer with an ID is the same client from everywhere; a viewer without one is its network.
func TestClient(t *testing.T) {
	g := &Gate{}
	from := func(id, addr string) Client {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = addr
		return g.Client(&Viewer{ID: id}, NewRequest(r))
	}
	for _, c := range []struct {
		id, addr, otherID, otherAddr string
		want                         bool
	}{
		{"ann", "192.0.2.1:1", "ann", "192.0.2.2:1", true},
		{"ann", "192.0.2.1:1", "bob", "192.0.2.1:1", false},
		{"ann", "192.0.2.1:1", "", "192.0.2.1:1", false},
		{"192.0.2.1", "192.0.2.1:1", "", "192.0.2.1:1", false},
		{"", "192.0.2.1:1", "", "192.0.2.1:2", true},
		{"", "192.0.2.1:1", "", "192.0.2.2:1", false},
		{"", "[2001:db8::1]:1", "", "[2001:db8::2]:1", true},
		{"", "[2001:db8::1]:1", "", "[2001:db8:0:1::1]:1", false},
	} {
		got := from(c.id, c.addr) == from(c.otherID, c.otherAddr)
		if got != c.want {
			t.Errorf("%q at %s and %q at %s: same client %v, want %v",
				c.id, c.addr, c.otherID, c.otherAddr, got, c.want)
		}
	}
}
