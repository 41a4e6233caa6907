// Package integration maps buckets, and prefixes of their keys, to the roles that serve them, and
// keeps the sessions of those roles.
//
// Each integration's time is divided into windows. A window has one session and one signing
// instant, so that an object's URL does not change within it. The session of the next window is
// fetched ahead of time while the integration is in use, else by the first request that needs it;
// all other requests wait for that one call. A session's true expiry always counts. While STS
// fails, the newest session that is still valid continues to sign.
package integration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/cache"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/policy"
	"s3redirect/internal/presign"
	"s3redirect/metrics"
)

// Options holds the dependencies of a [Set]. Clock, Log, Metrics and STS are required.
type Options struct {
	Clock   func() time.Time
	Log     *slog.Logger
	Metrics *metrics.Metrics
	STS     STS
	// Transport carries the requests for buckets' regions. nil means http.DefaultTransport with
	// AWS_CA_BUNDLE; see [NewTransport].
	Transport http.RoundTripper
	// Shared is the store through which replicas share sessions. nil means that they do not.
	Shared Shared
	// Random returns numbers uniform in [0, 1), for jitter. It must be safe for concurrent use. nil
	// means math/rand's.
	Random func() float64
}

// Integration is a role or a pair of static keys, a region, and the buckets or the prefix of one that
// it serves. It is immutable; what changes is in its keeper.
type Integration struct {
	Name string
	// Versions reports whether ?versionId= is allowed.
	Versions bool
	// Overrides selects the response-* parameters that are allowed; see [config.Integration].
	Overrides string
	// InPlace selects documents that the proxy answers itself; nil selects none.
	InPlace *config.InPlace
	// Params are the parameters of every URL, whatever the request; see also [Integration.ParamsOf].
	Params  presign.Params
	Metrics *metrics.Integration

	config    *config.Integration
	canonical canonicalParams // of Params
	types     []typedParams   // for keys with a content type, the longest suffix first
	keeper    *keeper
	pool      *pool
}

// pool holds what a set shares with the sets that follow it.
type pool struct {
	sessions *cache.LRU[identity, *sessionSet]
	regions  *regions
	store    *sharedStore // nil: sessions are not shared
	calls    *budget      // of STS
	waiters  atomic.Int64 // requests that wait for a call
	life     context.Context
	end      context.CancelFunc
	fetches  sync.WaitGroup
}

// maxCalls bounds the calls to STS in flight.
const maxCalls = 1000

// maxFound bounds the buckets that match a pattern and are remembered with their region.
const maxFound = 16384

// Set holds all integrations of a configuration.
type Set struct {
	integrations []*Integration
	buckets      map[string]*Bucket // named in the configuration, without a prefix
	scopes       map[string]*scope  // of the buckets with prefixes or blocked prefixes
	patterns     locator.Patterns[*Integration]
	found        *cache.LRU[string, *Bucket] // matched by a pattern
	*pool
}

// NewSet returns the integrations of a valid configuration.
func NewSet(c *config.Config, o Options) (*Set, error) {
	sessions, err := cache.New(c.Cache.Credentials, dropSnapshot)
	if err != nil {
		return nil, err
	}
	regions, err := newRegions(o.Transport)
	if err != nil {
		return nil, err
	}
	p := &pool{sessions: sessions, regions: regions, calls: newBudget(maxCalls)}
	if o.Shared != nil {
		p.store = &sharedStore{Shared: o.Shared}
	}
	p.life, p.end = context.WithCancel(context.Background())
	o.Metrics.WatchCache("credentials", sessions.Len, map[string]func() uint64{
		"capacity": func() uint64 { return sessions.Evictions().Capacity },
		"expired":  func() uint64 { return sessions.Evictions().Expired },
		"purged":   func() uint64 { return sessions.Evictions().Purged },
	})
	return newSet(c, o, p, nil)
}

// newSet returns a set that takes over from previous, which may be nil, the integrations whose
// configuration is the same one, and the keepers of those with the same identity.
func newSet(c *config.Config, o Options, p *pool, previous *Set) (*Set, error) {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	found, err := cache.New[string, *Bucket](maxFound, nil)
	if err != nil {
		return nil, err
	}
	s := &Set{
		integrations: make([]*Integration, 0, len(c.Integrations)),
		buckets:      make(map[string]*Bucket, len(c.Integrations)),
		scopes:       map[string]*scope{},
		found:        found,
		pool:         p,
	}
	known := previous.known()
	for _, i := range c.Integrations {
		if same, ok := known.integrations[i]; ok {
			s.add(same, previous)
		} else {
			s.add(newIntegration(i, o, p, known.keepers), nil)
		}
	}
	return s, nil
}

// known is what a set passes on to the next one.
type known struct {
	integrations map[*config.Integration]*Integration
	keepers      map[identity]*keeper
}

// known returns what the next set can take over. s may be nil.
func (s *Set) known() (k known) {
	if s == nil {
		return k
	}
	k.integrations = make(map[*config.Integration]*Integration, len(s.integrations))
	k.keepers = make(map[identity]*keeper, len(s.integrations))
	for _, i := range s.integrations {
		k.integrations[i.config], k.keepers[i.keeper.identity] = i, i.keeper
	}
	return k
}

// add adds an integration, with the buckets that it has in previous, which may be nil.
func (s *Set) add(i *Integration, previous *Set) {
	s.integrations = append(s.integrations, i)
	if s.addScope(i, previous); i.config.Prefix != "" {
		return
	}
	for _, name := range i.config.Buckets() {
		switch {
		case locator.IsPattern(name):
			s.patterns.Add(name, i)
		case previous != nil:
			s.buckets[name] = previous.buckets[name]
		default:
			s.buckets[name] = &Bucket{Name: name, Integration: i}
		}
	}
}

func newIntegration(
	c *config.Integration, o Options, p *pool, keepers map[identity]*keeper,
) *Integration {
	i := &Integration{
		Name:      c.Name,
		Versions:  c.FileVersioning,
		Overrides: c.Overrides,
		InPlace:   c.InPlace,
		Metrics:   o.Metrics.Integration(c.Name),
		config:    c,
		pool:      p,
	}
	i.setParams(c)
	if c.RoleARN != "" || c.OwnCredentials {
		i.Metrics.Has(metrics.AssumeRole)
		if o.Shared != nil && !c.OwnCredentials {
			i.Metrics.Has(metrics.SharedSessions)
		}
	}
	if c.InPlace != nil {
		i.Metrics.Has(metrics.InPlace)
	}
	sessionPolicy, omitted := c.SessionDocument()
	if omitted == policy.OmittedAll {
		o.Log.Warn("session policy omitted: it would be longer than STS accepts; "+
			"sessions have all rights of the role; use bucket patterns, or restrict the role",
			"integration", c.Name,
			"limit", policy.MaxSession,
			"buckets", len(c.PermittedBuckets))
	}
	id := identityOf(c, sessionPolicy)
	if k, ok := keepers[id]; ok {
		i.keeper = k
		return i
	}
	i.keeper = &keeper{
		name:     c.Name,
		identity: id,
		config:   c,
		plan:     newPlan(c.URLLifetime, c.MinRemaining, id),
		static:   staticSession(c),
		clock:    o.Clock,
		random:   o.Random,
		baseLog:  o.Log,
		metrics:  i.Metrics,
		sts:      o.STS,
		pool:     p,
	}
	return i
}

// staticSession returns the session of an integration with static keys, or nil for one with a role or
// with the process's own credentials.
func staticSession(c *config.Integration) *session {
	if c.RoleARN != "" || c.OwnCredentials {
		return nil
	}
	return &session{expires: forever, credentials: presign.Credentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: string(c.SecretAccessKey),
	}}
}

// Window returns the window to sign with, and the instant for which it was chosen: later than now
// if the request waited for STS. It counts a lookup of credentials in a shard. The error is an
// [*AssumeRoleError], or the context's.
func (i *Integration) Window(
	ctx context.Context, now time.Time, shard metrics.Shard,
) (*Window, time.Time, error) {
	return i.keeper.window(ctx, now, shard)
}

// WindowEnd returns when the window that an instant is in ends.
func (i *Integration) WindowEnd(now time.Time) time.Time {
	return i.keeper.plan.end(now)
}

// identityOf returns the identity of an integration. Replicas of all versions of the program must
// agree on it, or they do not share sessions.
func identityOf(c *config.Integration, sessionPolicy string) (id identity) {
	h := sha256.New()
	fields := []string{
		c.Name,
		c.RoleARN,
		c.ExternalID,
		c.SessionName,
		c.SessionDuration.String(),
		sessionPolicy,
		c.Region,
		c.STSEndpoint,
		c.Endpoint,
		strconv.FormatBool(c.PathStyle),
		c.AccessKeyID,
		string(c.SecretAccessKey),
		c.URLLifetime.String(),
		c.MinRemaining.String(),
	}
	// Newer keys count only if they are set, so that older versions agree on the others.
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"dualstack", c.DualStack}, {"fips", c.FIPS}, {"accelerate", c.Accelerate},
		{"host style", c.HostStyle},
	} {
		if key.set {
			fields = append(fields, key.name)
		}
	}
	if len(c.SessionTags) > 0 || c.SourceIdentity != "" {
		fields = append(fields, "tags", c.SourceIdentity, strings.Join(c.TransitiveTags, " "))
		for _, name := range slices.Sorted(maps.Keys(c.SessionTags)) {
			fields = append(fields, name, c.SessionTags[name])
		}
	}
	if c.STSRegion != "" {
		fields = append(fields, "sts_region", c.STSRegion)
	}
	if c.AccessPoint != "" {
		fields = append(fields, "access point", c.AccessPoint)
	}
	if c.OwnCredentials {
		fields = append(fields, "own_credentials")
	}
	if c.Prefix != "" { // blocked prefixes are in the session policy
		fields = append(fields, "*prefix", c.Prefix) // tags may be named prefix, but not *prefix
	}
	if c.WebIdentityTokenFile != "" {
		fields = append(fields, "web_identity_token_file", c.WebIdentityTokenFile)
	}
	for _, field := range fields {
		// With the lengths, different lists of fields never hash the same bytes.
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
		h.Write([]byte(field))
	}
	h.Sum(id[:0])
	return id
}

// Find returns the bucket of an object, and reports whether an integration serves the object. The
// bucket's name must be valid. The integration with the longest prefix of the key takes precedence,
// then the one that names the bucket, then patterns, even if its calls fail. Callers must also check
// [Set.Blocked].
func (s *Set) Find(l locator.Locator, now time.Time) (*Bucket, bool) {
	if b, settled := s.named(l); settled {
		return b, b != nil
	}
	name := l.Bucket
	if s.patterns.Empty() {
		return nil, false
	}
	if b, ok := s.found.Get(name, now); ok {
		return b, true
	}
	i := s.matching(name)
	if i == nil {
		return nil, false
	}
	name = strings.Clone(name) // it shares memory with a request
	b := &Bucket{Name: name, Integration: i}
	s.found.Add(name, b)
	return b, true
}

// matching returns the integration with a pattern that matches a bucket, or nil.
func (s *Set) matching(name string) *Integration {
	for text, i := range s.patterns.Matches(name) {
		if i.config.MatchBucket(text, name) {
			return i
		}
	}
	return nil
}

// Ready reports whether a request for an object can be answered without waiting for STS or the
// store. It has no effects: it starts no calls, counts nothing and remembers nothing.
func (s *Set) Ready(l locator.Locator, now time.Time) bool {
	b, settled := s.named(l)
	if !settled && !s.patterns.Empty() {
		b, _ = s.found.Peek(l.Bucket, now)
	}
	switch {
	case settled && b == nil, s.Blocked(l):
		return true
	case b != nil:
		return b.known() != nil && b.Integration.keeper.ready(now) &&
			!b.Integration.InPlace.Matches(l.Key) // the store answers
	}
	// A request for an object that no integration serves is answered at once.
	return s.matching(l.Bucket) == nil
}

// Close ends all calls in flight and waits for them. That includes the calls of the sets before s.
func (s *Set) Close() {
	s.end()
	s.fetches.Wait()
}
