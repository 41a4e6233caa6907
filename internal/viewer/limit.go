package viewer

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"s3redirect/cache"
	"s3redirect/internal/config"
)

// maxLimiters is how many limiters are kept. A viewer whose limiter is evicted starts with a full
// burst again.
const maxLimiters = 65_536

// LimitError means that a viewer, or the address of an anonymous client, exceeded its rate limit.
type LimitError struct {
	// RetryAfter is how long to wait.
	RetryAfter time.Duration
}

func (*LimitError) Error() string { return "viewer: rate limit exceeded" }

// limiters bound the requests of each viewer and the bad credentials from each address. A nil
// *limiters does not limit verifications.
type limiters struct {
	perSecond rate.Limit
	burst     int
	clock     func() time.Time
	all       *cache.LRU[limiterKey, *limiter]
	adding    sync.Mutex // held while a limiter is added, so that no viewer gets two
}

// limiterKey identifies the viewer or the address whose requests share a limiter.
type limiterKey struct {
	user string
	addr netip.Addr // as network returns it; the zero address for a user
}

// limiter is a token bucket. Verifications in flight reserve tokens in it.
type limiter struct {
	*rate.Limiter

	mu       sync.Mutex // guards reserved
	reserved int        // one for each verification in flight
}

// Deadline implements [cache.Perishable]. A limiter does not expire; it can only be evicted.
func (*limiter) Deadline() time.Time { return time.Unix(1<<40, 0) }

func newLimiters(c *config.RateLimit, clock func() time.Time) (*limiters, error) {
	all, err := cache.New[limiterKey, *limiter](maxLimiters, nil)
	if err != nil {
		return nil, err
	}
	return &limiters{
		perSecond: rate.Limit(c.PerSecond),
		burst:     c.Burst,
		clock:     clock,
		all:       all,
	}, nil
}

// Limit takes n tokens from v's bucket, or from that of the client's address if v has no name. If
// there are too few, it returns a [*LimitError] that says how long to wait.
func (g *Gate) Limit(v *Viewer, r *Request, n int, now time.Time) error {
	if v.charged { // Identify has taken one of the n
		n--
		v.charged = false
	}
	if g.limiters == nil || n == 0 {
		return nil
	}
	return g.limiters.take(g.limiterKey(v, r), n, now)
}

// LimitBatch takes the tokens for a batch of n requests, except the first, which [Gate.Limit] has
// taken. The batch is allowed if the bucket was full before, or had n tokens. What the bucket does
// not have becomes debt, so that the next request waits until the long-term rate is kept.
func (g *Gate) LimitBatch(v *Viewer, r *Request, n int, now time.Time) error {
	if g.limiters == nil || n <= 1 {
		return nil
	}
	return g.limiters.takeBatch(g.limiterKey(v, r), n, now)
}

func (g *Gate) limiterKey(v *Viewer, r *Request) limiterKey {
	if v.ID != "" {
		return limiterKey{user: v.ID}
	}
	return limiterKey{addr: g.network(r)}
}

// take takes n tokens. If there are too few, it takes none and returns a [*LimitError].
func (l *limiters) take(key limiterKey, n int, now time.Time) error {
	b := l.get(key, now)
	n = min(n, l.burst) // more would never be allowed
	if b.AllowN(now, n) {
		return nil
	}
	return l.exceeded(float64(n) - b.TokensAt(now))
}

// takeBatch takes all but the first of n tokens, the last ones as debt. If there are too few, it
// takes none and returns a [*LimitError].
func (l *limiters) takeBatch(key limiterKey, n int, now time.Time) error {
	b := l.get(key, now)
	first := min(n, l.burst) // the tokens that the bucket must have had
	if !b.AllowN(now, first-1) {
		// The client's next attempt takes its first token again.
		return l.exceeded(float64(first) - b.TokensAt(now))
	}
	for debt := n - first; debt > 0; debt -= l.burst {
		b.ReserveN(now, min(debt, l.burst))
	}
	return nil
}

// exceeded returns the error for a bucket with too few tokens.
func (l *limiters) exceeded(missing float64) *LimitError {
	seconds := missing / float64(l.perSecond)
	return &LimitError{RetryAfter: time.Duration(seconds * float64(time.Second))}
}

// get returns the limiter for key. It adds one if there is none.
func (l *limiters) get(key limiterKey, now time.Time) *limiter {
	if b, ok := l.all.Get(key, now); ok {
		return b
	}
	l.adding.Lock()
	defer l.adding.Unlock()
	if b, ok := l.all.Get(key, now); ok {
		return b
	}
	b := &limiter{Limiter: rate.NewLimiter(l.perSecond, l.burst)}
	key.user = strings.Clone(key.user) // it may be part of a request's memory
	l.all.Add(key, b)
	return b
}

// verify verifies a credential that an address sent. A bad credential takes a token from the
// address's bucket. Each verification in flight reserves a token, so no more run at once than there
// are tokens. If none is left, verify returns a [*LimitError] without verifying the credential.
func (l *limiters) verify(
	from netip.Addr, credential func() (Viewer, error),
) (v Viewer, err error) {
	if l == nil {
		return credential()
	}
	now := l.clock()
	b := l.get(limiterKey{addr: from}, now)
	if missing := b.reserve(now); missing > 0 {
		return Viewer{}, l.exceeded(missing)
	}
	bad := true // unless credential returns: a panic takes a token too
	defer func() { b.settle(bad, l.clock()) }()
	v, err = credential()
	bad = errors.Is(err, ErrUnknown)
	v.charged = bad
	return v, err
}

// reserve reserves a token, or returns how many tokens are missing.
func (b *limiter) reserve(now time.Time) (missing float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if missing = float64(b.reserved+1) - b.TokensAt(now); missing > 0 {
		return missing
	}
	b.reserved++
	return 0
}

// settle ends a reservation. If take is true, it takes the token even if other requests have
// emptied the bucket in the meantime.
func (b *limiter) settle(take bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved--
	if take {
		b.ReserveN(now, 1)
	}
}
