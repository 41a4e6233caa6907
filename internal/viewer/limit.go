package viewer

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"s3redirect/cache"
	"s3redirect/internal/config"
)

// maxLimited is how many viewers' rates are known at once. Who is forgotten begins with a full burst.
const maxLimited = 65_536

// limits bounds each viewer's requests.
type limits struct {
	perSecond rate.Limit
	burst     int
	viewers   *cache.LRU[limited, *bucket]
}

// limited is whose requests are counted together: a user's, or those of an address (of a /64 for IPv6, which is what one
// household gets).
type limited struct {
	user string
	addr netip.Addr
}

type bucket struct{ *rate.Limiter }

// Deadline implements [cache.Perishable]: it is forgotten when its place is needed.
func (bucket) Deadline() time.Time { return time.Unix(1<<40, 0) }

func newLimits(c *config.RateLimit) (*limits, error) {
	viewers, err := cache.New[limited, *bucket](maxLimited, nil)
	return &limits{perSecond: rate.Limit(c.PerSecond), burst: c.Burst, viewers: viewers}, err
}

// Limit counts n requests of a viewer, and says for how long they should wait if that was too many.
func (g *Gate) Limit(v *Viewer, r *http.Request, n int, now time.Time) (wait time.Duration, ok bool) {
	if g.limits == nil {
		return 0, true
	}
	return g.limits.take(limited{user: v.ID, addr: g.client(v, r)}, n, now)
}

func (l *limits) take(who limited, n int, now time.Time) (wait time.Duration, ok bool) {
	b, known := l.viewers.Get(who, now)
	if !known {
		who.user = strings.Clone(who.user) // it is a piece of a request
		b = &bucket{rate.NewLimiter(l.perSecond, l.burst)}
		l.viewers.Add(who, b)
	}
	n = min(n, l.burst) // more would never be allowed
	if b.AllowN(now, n) {
		return 0, true
	}
	missing := float64(n) - b.TokensAt(now)
	return time.Duration(missing / float64(l.perSecond) * float64(time.Second)), false
}

// client is the address of a viewer without a name. Behind trusted proxies it is what the last of them that is not trusted
// said: whatever stands to the left of it in X-Forwarded-For anybody can have written.
func (g *Gate) client(v *Viewer, r *http.Request) netip.Addr {
	if v.ID != "" {
		return netip.Addr{}
	}
	a := peer(r)
	if g.trusted(a) {
		hops := r.Header["X-Forwarded-For"]
		for n := len(hops) - 1; n >= 0; n-- {
			for rest := hops[n]; rest != ""; {
				hop := rest
				if i := strings.LastIndexByte(rest, ','); i >= 0 {
					rest, hop = rest[:i], rest[i+1:]
				} else {
					rest = ""
				}
				next, ok := parseHop(strings.TrimSpace(hop))
				if !ok {
					return network(a)
				}
				if a = next; !g.trusted(a) {
					return network(a)
				}
			}
		}
	}
	return network(a)
}

// parseHop reads an address with or without a port, as proxies write it.
func parseHop(hop string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(hop)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

func network(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
