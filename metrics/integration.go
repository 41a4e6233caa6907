package metrics

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Integration holds the metrics of one integration. [Metrics.Integration] returns it.
//
// An integration has no series until it is used for the first time, by a request or by a call on
// its behalf: 10,000 integrations have 300,000 series, of which a few are of interest.
// [Metrics.ExportAll] changes that.
type Integration struct {
	// URLs and Credentials count the lookups in the two caches.
	URLs, Credentials Lookups

	name     string
	metrics  *Metrics
	families atomic.Uint32            // see Has
	counters atomic.Pointer[counters] // nil until the integration is used
}

// counters are the counters of an integration that is used.
type counters struct {
	requests [len(methods) + 1][len(codes) + 1]atomic.Uint64 // except those in hot
	hot      []hotCounts                                     // by shard
}

// Family is a set of series that only some integrations have.
type Family uint32

// The families.
const (
	AssumeRole Family = 1 << iota
	SharedSessions
	InPlace
)

// Has adds families to those of the integration. Their series begin with 0 when the integration is
// used.
func (i *Integration) Has(families Family) {
	added := families &^ Family(i.families.Or(uint32(families)))
	if added != 0 && i.counters.Load() != nil {
		i.begin(added)
	}
}

// used returns the counters. The first call creates the series.
func (i *Integration) used() *counters {
	if c := i.counters.Load(); c != nil {
		return c
	}
	return i.use()
}

// use creates the series, unless another request has.
func (i *Integration) use() *counters {
	c := &counters{hot: make([]hotCounts, shardCount())}
	if !i.counters.CompareAndSwap(nil, c) {
		return i.counters.Load()
	}
	i.begin(Family(i.families.Load()))
	return c
}

// begin creates the series of families with the value 0. Two calls for one family do no harm.
func (i *Integration) begin(families Family) {
	m := i.metrics
	for _, family := range []struct {
		Family
		series  *prometheus.CounterVec
		results []string
	}{
		{AssumeRole, m.assumeRole, []string{
			"ok", "denied", "throttled", "unavailable", "malformed", "own_credentials",
		}},
		{SharedSessions, m.sharedSessions, []string{"hit", "miss", "stored", "refused", "error"}},
		{InPlace, m.inPlace, []string{
			"served", "range_not_satisfiable", "precondition_failed", "too_large", "active_type",
			"other_status", "not_found", "denied", "overloaded", "unavailable", "internal_error",
		}},
	} {
		if families&family.Family == 0 {
			continue
		}
		for _, result := range family.results {
			family.series.WithLabelValues(i.name, result)
		}
	}
	if families&AssumeRole != 0 {
		m.assumeRoleDuration.WithLabelValues(i.name)
	}
}

// Name returns the integration's name, or [NoIntegration].
func (i *Integration) Name() string { return i.name }

// hotCounts are the counters that redirects increment. They fill a cache line of the processor.
type hotCounts [8]atomic.Uint64

// The indexes of hotCounts. A cache's misses follow its hits.
const (
	redirectedGETs = iota
	redirectedHEADs
	urlHits
	urlMisses
	credentialHits
	credentialMisses
)

// Lookups counts a cache's hits and misses.
type Lookups struct {
	integration *Integration
	hits        int // an index of hotCounts
}

// Count counts a lookup.
func (l Lookups) Count(shard Shard, hit bool) {
	counter := l.hits
	if !hit {
		counter++
	}
	of(shard, l.integration.used().hot)[counter].Add(1)
}

// sum adds a counter up over all shards.
func (u *counters) sum(counter int) (n uint64) {
	for s := range u.hot {
		n += u.hot[s][counter].Load()
	}
	return n
}

// The methods and status codes that have their own series. All others share the series "other", so
// that requests cannot create series.
var (
	methods = [...]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost}
	codes   = [...]int{302, 200, 204, 206, 304, 400, 401, 403, 404, 405, 413, 415, 429, 499, 500, 502, 503}
)

const other = "other"

// The indexes of the hot series.
const (
	indexGET, indexHEAD = 0, 1
	index302            = 0
)

// Request counts a request and the status code of its response.
func (i *Integration) Request(shard Shard, method string, code int) {
	u := i.used()
	m, c := 0, 0
	for m < len(methods) && methods[m] != method {
		m++
	}
	for c < len(codes) && codes[c] != code {
		c++
	}
	switch {
	case c == index302 && m == indexGET:
		of(shard, u.hot)[redirectedGETs].Add(1)
	case c == index302 && m == indexHEAD:
		of(shard, u.hot)[redirectedHEADs].Add(1)
	default:
		u.requests[m][c].Add(1)
	}
}

// count returns how many requests were counted with a method and a status code, by their indexes.
func (u *counters) count(m, c int) uint64 {
	switch {
	case c == index302 && m == indexGET:
		return u.sum(redirectedGETs)
	case c == index302 && m == indexHEAD:
		return u.sum(redirectedHEADs)
	}
	return u.requests[m][c].Load()
}

// isInitial reports whether a series exists although its value is 0: rate() does not see the first
// event of a counter that begins with 1, so the common series begin with 0.
func (i *Integration) isInitial(m, c int) bool {
	if i.name == NoIntegration {
		return m == indexGET && codes[c] == 404
	}
	switch codes[c] {
	case 302:
		return m == indexGET || m == indexHEAD
	case 403, 502, 503:
		return m == indexGET
	}
	return false
}

// AssumeRole counts an AssumeRole call. The result is ok, denied, throttled, unavailable, malformed
// or own_credentials.
func (i *Integration) AssumeRole(result string, took time.Duration) {
	i.used()
	i.metrics.assumeRole.WithLabelValues(i.name, result).Inc()
	i.metrics.assumeRoleDuration.WithLabelValues(i.name).Observe(took.Seconds())
}

// SharedSession counts an access to the shared session store. The result is hit, miss, stored,
// refused or error.
func (i *Integration) SharedSession(result string) {
	i.used()
	i.metrics.sharedSessions.WithLabelValues(i.name, result).Inc()
}

// InPlace counts a request for a document that is answered in place. The result is one of those in
// begin.
func (i *Integration) InPlace(result string) {
	i.used()
	i.metrics.inPlace.WithLabelValues(i.name, result).Inc()
}

// SessionExpires sets the time at which the newest session expires.
func (i *Integration) SessionExpires(at time.Time) {
	i.used()
	i.metrics.credentialsExpiry.WithLabelValues(i.name).Set(float64(at.Unix()))
}
