// Package integration knows which role serves which bucket, and keeps for each integration a window: a span of time with one
// session and one signing instant, so that a URL made within it is always the same.
//
// A window's session is fetched ahead while the integration is in use, else by the first who needs it; everybody else waits
// for that one call. What counts is always the session's true expiry. While STS fails, the newest session that is still
// true goes on signing.
package integration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/cache"
	"s3redirect/config"
	"s3redirect/locator"
	"s3redirect/metrics"
	"s3redirect/policy"
	"s3redirect/presign"
)

// Options are what integrations need from outside. Clock, Log, Metrics and STS are required.
type Options struct {
	Clock   func() time.Time
	Log     *slog.Logger
	Metrics *metrics.Metrics
	STS     STS
	// Transport carries the questions for buckets' regions. nil means http.DefaultTransport.
	Transport http.RoundTripper
	// Shared is where replicas find each other's sessions. nil means that each has its own.
	Shared Shared
	// Random is uniform in [0, 1), for jitter, and safe for concurrent use. nil means math/rand's.
	Random func() float64
}

// Integration is a role (or keys), a region, and the buckets that it serves.
type Integration struct {
	Name string
	// Versions tells whether ?versionId= is allowed.
	Versions bool
	// Overrides says which response-* parameters are allowed: see [config.Integration].
	Overrides string
	// Params are what every URL carries, whatever is asked for.
	Params  presign.Params
	Metrics *metrics.Integration

	config        *config.Integration
	plain, cors   string // Params' canonical forms
	identity      identity
	plan          plan
	sessionPolicy string
	static        *session // of an integration with keys and no role

	clock  func() time.Time
	random func() float64
	log    *slog.Logger
	sts    STS
	*pool
	*tenancy
}

// tenancy is what an integration knows beside its configuration. It goes from one configuration to the next, as long as the
// integration's identity stays the same.
type tenancy struct {
	lease   atomic.Pointer[lease]
	waiting atomic.Int64
	touched atomic.Int64 // the second in which the cache was last told that it is in use
	proven  atomic.Bool  // the last call made a session

	mu        sync.Mutex // guards what follows; it is never held over a call
	windows   []*Window
	fetching  *fetch
	asked     time.Time // when STS, or who asked it for us, answered last
	failures  int       // in a row
	failure   *AssumeRoleError
	pausedAt  time.Time // STS is not to be asked from then
	retryAt   time.Time // until then
	purged    []string  // access key IDs of sessions that are not to come back from the common store,
	notBefore time.Time // and until when sessions were issued that are not, either
	removed   bool      // from the configuration: no session is kept any more
}

// pool is what all sets share that came one from the other.
type pool struct {
	sessions *cache.LRU[identity, *holding]
	regions  *regions
	fleet    *fleet  // nil: none
	calls    *budget // of STS
	crowd    atomic.Int64
	life     context.Context
	end      context.CancelFunc
	fetches  sync.WaitGroup
}

// maxCalls bounds the calls of STS that are on their way at once.
const maxCalls = 1000

// maxFound bounds how many buckets that match a pattern are remembered with their region.
const maxFound = 16384

// Set is all integrations of a configuration.
type Set struct {
	integrations []*Integration
	buckets      map[string]*Bucket // those that the configuration names
	patterns     []pattern
	found        *cache.LRU[string, *Bucket] // those that match a pattern
	*pool
}

type pattern struct {
	text        string
	integration *Integration
}

// NewSet makes the integrations of a configuration that passed config's checks.
func NewSet(c *config.Config, o Options) (*Set, error) {
	sessions, err := cache.New(c.Cache.Credentials, func(_ identity, h *holding) { h.owner.lease.Store(nil) })
	if err != nil {
		return nil, err
	}
	regions, err := newRegions(o.Transport)
	if err != nil {
		return nil, err
	}
	p := &pool{sessions: sessions, regions: regions, calls: newBudget(maxCalls)}
	if o.Shared != nil {
		p.fleet = &fleet{Shared: o.Shared}
	}
	p.life, p.end = context.WithCancel(context.Background())
	o.Metrics.WatchCache("credentials", sessions.Len, map[string]func() uint64{
		"capacity": func() uint64 { return sessions.Evictions().Capacity },
		"expired":  func() uint64 { return sessions.Evictions().Expired },
		"purged":   func() uint64 { return sessions.Evictions().Purged },
	})
	return newSet(c, o, p, nil)
}

// newSet makes a set with what an older one knew.
func newSet(c *config.Config, o Options, p *pool, known map[identity]*Integration) (*Set, error) {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	found, err := cache.New[string, *Bucket](maxFound, nil)
	if err != nil {
		return nil, err
	}
	s := &Set{buckets: map[string]*Bucket{}, found: found, pool: p}
	for n := range c.Integrations {
		i := newIntegration(&c.Integrations[n], o)
		i.pool, i.tenancy = p, &tenancy{}
		if old, ok := known[i.identity]; ok {
			i.tenancy = old.tenancy
		}
		s.add(i)
	}
	return s, nil
}

func (s *Set) add(i *Integration) {
	s.integrations = append(s.integrations, i)
	for _, name := range i.config.Buckets() {
		if locator.IsPattern(name) {
			s.patterns = append(s.patterns, pattern{text: name, integration: i})
		} else {
			s.buckets[name] = newBucket(name, i)
		}
	}
}

func newIntegration(c *config.Integration, o Options) *Integration {
	i := &Integration{
		Name: c.Name, Versions: c.FileVersioning, Overrides: c.Overrides, Params: c.Params(),
		Metrics: o.Metrics.Integration(c.Name),
		config:  c, clock: o.Clock, random: o.Random, sts: o.STS, log: o.Log.With("integration", c.Name),
	}
	if c.RoleARN == "" {
		i.static = &session{expires: forever, credentials: presign.Credentials{
			AccessKeyID: c.AccessKeyID, SecretAccessKey: string(c.SecretAccessKey)}}
	}
	i.plain = i.Params.Canonical()
	withCORS := i.Params
	withCORS.CORS = true
	i.cors = withCORS.Canonical()
	if c.RoleARN != "" {
		i.Metrics.HasRole()
		if o.Shared != nil {
			i.Metrics.Shares()
		}
	}
	var fits bool
	if i.sessionPolicy, fits = policy.Session(c); !fits {
		i.log.Warn("the session policy for so many buckets is longer than STS takes: sessions have all rights of the role; use patterns, or give the role no more than it needs",
			"limit", policy.MaxSession, "buckets", len(c.PermittedBuckets))
	}
	i.identity = identityOf(c, i.sessionPolicy)
	i.plan = newPlan(c.URLLifetime, c.MinRemaining, i.identity)
	return i
}

// CanonicalParams are the canonical form of [Integration.Params], for scripts that read across origins or for others.
func (i *Integration) CanonicalParams(cors bool) string {
	if cors {
		return i.cors
	}
	return i.plain
}

func identityOf(c *config.Integration, sessionPolicy string) (id identity) {
	h := sha256.New()
	for _, field := range []string{c.Name, c.RoleARN, c.ExternalID, c.SessionName, c.SessionDuration.String(), sessionPolicy,
		c.Region, c.STSEndpoint, c.Endpoint, strconv.FormatBool(c.PathStyle), c.AccessKeyID, string(c.SecretAccessKey), c.URLLifetime.String(), c.MinRemaining.String()} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field)))) // so that no two lists of fields read the same
		h.Write([]byte(field))
	}
	h.Sum(id[:0])
	return id
}

// Find is the bucket of a name in S3's grammar, and whether an integration serves it. A bucket's own integration comes
// before any pattern; that it fails is no reason to try another.
func (s *Set) Find(name string, now time.Time) (*Bucket, bool) {
	if b, ok := s.buckets[name]; ok {
		return b, true
	}
	if len(s.patterns) == 0 {
		return nil, false
	}
	if b, ok := s.found.Get(name, now); ok {
		return b, true
	}
	for _, p := range s.patterns {
		if locator.MatchBucket(p.text, name) {
			name = strings.Clone(name) // it is a piece of a request
			b := newBucket(name, p.integration)
			s.found.Add(name, b)
			return b, true
		}
	}
	return nil, false
}

// Close ends all calls that are on their way, and waits until they have ended. It closes the sets that s came from, too.
func (s *Set) Close() {
	s.end()
	s.fetches.Wait()
}
