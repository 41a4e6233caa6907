package metrics

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Integration holds the metrics of one integration. [Metrics.Integration] returns it.
type Integration struct {
	// URLs and Credentials count the lookups in the two caches.
	URLs, Credentials Lookups

	name     string
	metrics  *Metrics
	requests [len(methods) + 1][len(codes) + 1]atomic.Uint64 // except those in hot
	hot      []hotCounts                                     // by shard
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
	of(shard, l.integration.hot)[counter].Add(1)
}

// sum adds a counter up over all shards.
func (i *Integration) sum(counter int) (n uint64) {
	for s := range i.hot {
		n += i.hot[s][counter].Load()
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
	m, c := 0, 0
	for m < len(methods) && methods[m] != method {
		m++
	}
	for c < len(codes) && codes[c] != code {
		c++
	}
	switch {
	case c == index302 && m == indexGET:
		of(shard, i.hot)[redirectedGETs].Add(1)
	case c == index302 && m == indexHEAD:
		of(shard, i.hot)[redirectedHEADs].Add(1)
	default:
		i.requests[m][c].Add(1)
	}
}

// count returns how many requests were counted with a method and a status code, by their indexes.
func (i *Integration) count(m, c int) uint64 {
	switch {
	case c == index302 && m == indexGET:
		return i.sum(redirectedGETs)
	case c == index302 && m == indexHEAD:
		return i.sum(redirectedHEADs)
	}
	return i.requests[m][c].Load()
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

// InitAssumeRole creates the series of AssumeRole calls with the value 0.
func (i *Integration) InitAssumeRole() {
	for _, result := range []string{
		"ok", "denied", "throttled", "unavailable", "malformed", "own_credentials",
	} {
		i.metrics.assumeRole.WithLabelValues(i.name, result)
	}
	i.metrics.assumeRoleDuration.WithLabelValues(i.name)
}

// AssumeRole counts an AssumeRole call. The result is ok, denied, throttled, unavailable, malformed
// or own_credentials.
func (i *Integration) AssumeRole(result string, took time.Duration) {
	i.metrics.assumeRole.WithLabelValues(i.name, result).Inc()
	i.metrics.assumeRoleDuration.WithLabelValues(i.name).Observe(took.Seconds())
}

// InitSharedSessions creates the series of shared sessions with the value 0.
func (i *Integration) InitSharedSessions() {
	for _, result := range []string{"hit", "miss", "stored", "refused", "error"} {
		i.metrics.sharedSessions.WithLabelValues(i.name, result)
	}
}

// SharedSession counts an access to the shared session store. The result is hit, miss, stored,
// refused or error.
func (i *Integration) SharedSession(result string) {
	i.metrics.sharedSessions.WithLabelValues(i.name, result).Inc()
}

// InitInPlace creates the series of documents that are answered in place with the value 0.
func (i *Integration) InitInPlace() {
	for _, result := range []string{
		"served", "range_not_satisfiable", "precondition_failed", "too_large", "active_type",
		"other_status", "not_found", "denied", "overloaded", "unavailable", "internal_error",
	} {
		i.metrics.inPlace.WithLabelValues(i.name, result)
	}
}

// InPlace counts a request for a document that is answered in place. The result is one of
// [Integration.InitInPlace]'s.
func (i *Integration) InPlace(result string) {
	i.metrics.inPlace.WithLabelValues(i.name, result).Inc()
}

// SessionExpires sets the time at which the newest session expires.
func (i *Integration) SessionExpires(at time.Time) {
	i.metrics.credentialsExpiry.WithLabelValues(i.name).Set(float64(at.Unix()))
}
