package viewer

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"s3redirect/cache"
	"s3redirect/internal/config"
)

// maxLimited is how many viewers' rates are known at once. A viewer that is forgotten begins with a full burst.
const maxLimited = 65_536

// LimitError means that a viewer, or the address of a client without a name, has used up its rate limit.
type LimitError struct {
	// RetryAfter is how long to wait.
	RetryAfter time.Duration
}

func (*LimitError) Error() string { return "viewer: the rate limit is used up" }

// limits bounds each viewer's requests, and the credentials that are not good from each address. nil bounds nothing.
type limits struct {
	perSecond rate.Limit
	burst     int
	clock     func() time.Time
	viewers   *cache.LRU[limited, *bucket]
	adding    sync.Mutex // held while a bucket is added, so that a viewer never has two
}

// limited is whose requests are counted together: a user's, or those of an address (of a /64 for IPv6, which is what one
// household gets).
type limited struct {
	user string
	addr netip.Addr
}

// bucket is a token bucket of which verifications reserve tokens.
type bucket struct {
	*rate.Limiter

	mu       sync.Mutex
	reserved int // one for each verification in flight
}

// Deadline implements [cache.Perishable]: a bucket is forgotten when its place is needed.
func (*bucket) Deadline() time.Time { return time.Unix(1<<40, 0) }

func newLimits(c *config.RateLimit, clock func() time.Time) (*limits, error) {
	viewers, err := cache.New[limited, *bucket](maxLimited, nil)
	return &limits{perSecond: rate.Limit(c.PerSecond), burst: c.Burst, clock: clock, viewers: viewers}, err
}

// Limit takes n tokens from v's bucket, or from that of the client's address where v has no name. If there are too few, its
// error is a [*LimitError].
func (g *Gate) Limit(v *Viewer, r *http.Request, n int, now time.Time) error {
	if v.charged { // once, by Identify
		n--
		v.charged = false
	}
	if g.limits == nil || n == 0 {
		return nil
	}
	who := limited{user: v.ID}
	if v.ID == "" {
		who.addr = g.network(r)
	}
	return g.limits.take(who, n, now)
}

func (l *limits) take(who limited, n int, now time.Time) error {
	b := l.bucket(who, now)
	n = min(n, l.burst) // more would never be allowed
	if b.AllowN(now, n) {
		return nil
	}
	return l.exceeded(float64(n) - b.TokensAt(now))
}

func (l *limits) exceeded(missing float64) *LimitError {
	return &LimitError{RetryAfter: time.Duration(missing / float64(l.perSecond) * float64(time.Second))}
}

func (l *limits) bucket(who limited, now time.Time) *bucket {
	if b, ok := l.viewers.Get(who, now); ok {
		return b
	}
	l.adding.Lock()
	defer l.adding.Unlock()
	if b, ok := l.viewers.Get(who, now); ok {
		return b
	}
	b := &bucket{Limiter: rate.NewLimiter(l.perSecond, l.burst)}
	who.user = strings.Clone(who.user) // it is a piece of a request
	l.viewers.Add(who, b)
	return b
}

// guess runs the verification of a credential that comes from an address. A credential that is not good takes a token from
// the address's bucket. Verifications in flight reserve theirs, so that no more guesses run at once than the bucket has
// tokens for: where none is left, guess returns a [*LimitError] and verifies nothing.
func (l *limits) guess(from netip.Addr, verify func() (Viewer, error)) (v Viewer, err error) {
	if l == nil {
		return verify()
	}
	now := l.clock()
	b := l.bucket(limited{addr: from}, now)
	if missing := b.reserve(now); missing > 0 {
		return Viewer{}, l.exceeded(missing)
	}
	bad := true // as far as a panic is concerned
	defer func() { b.settle(bad, l.clock()) }()
	v, err = verify()
	bad = errors.Is(err, ErrUnknown)
	v.charged = bad
	return v, err
}

// reserve reserves a token for a verification, or returns how many are missing.
func (b *bucket) reserve(now time.Time) (missing float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if missing = float64(b.reserved+1) - b.TokensAt(now); missing > 0 {
		return missing
	}
	b.reserved++
	return 0
}

// settle gives a reserved token back, or takes it, even if other requests have emptied the bucket meanwhile.
func (b *bucket) settle(take bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved--
	if take {
		b.ReserveN(now, 1)
	}
}
