package metrics

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Integration holds the metrics of one integration. [Metrics.Integration] returns it.
type Integration struct {
	// URLs and Credentials count the lookups in the two caches.
	URLs, Credentials Lookups

	name     string
	metrics  *Metrics
	requests [len(methods) + 1][len(codes) + 1]atomic.Pointer[prometheus.Counter]
}

// Lookups counts a cache's hits and misses.
type Lookups struct{ hit, miss prometheus.Counter }

// Count counts a lookup.
func (l Lookups) Count(hit bool) {
	if hit {
		l.hit.Inc()
	} else {
		l.miss.Inc()
	}
}

// The methods and status codes that have their own series. All others share the series "other", so
// that requests cannot create series.
var (
	methods = [...]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost}
	codes   = [...]int{302, 200, 204, 400, 401, 403, 404, 405, 413, 415, 429, 499, 500, 502, 503}
)

const other = "other"

// Request counts a request and the status code of its response.
func (i *Integration) Request(method string, code int) {
	m, c := 0, 0
	for m < len(methods) && methods[m] != method {
		m++
	}
	for c < len(codes) && codes[c] != code {
		c++
	}
	series := &i.requests[m][c]
	counter := series.Load()
	if counter == nil {
		counter = i.newRequests(m, c)
		series.Store(counter)
	}
	(*counter).Inc()
}

func (i *Integration) newRequests(m, c int) *prometheus.Counter {
	method, code := other, other
	if m < len(methods) {
		method = methods[m]
	}
	if c < len(codes) {
		code = strconv.Itoa(codes[c])
	}
	counter := i.metrics.requests.WithLabelValues(i.name, method, code)
	return &counter
}

// InitAssumeRole creates the series of AssumeRole calls with the value 0.
func (i *Integration) InitAssumeRole() {
	for _, result := range []string{"ok", "denied", "throttled", "unavailable", "malformed"} {
		i.metrics.assumeRole.WithLabelValues(i.name, result)
	}
	i.metrics.assumeRoleDuration.WithLabelValues(i.name)
}

// AssumeRole counts an AssumeRole call. The result is ok, denied, throttled, unavailable or
// malformed.
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

// SessionExpires sets the time at which the newest session expires.
func (i *Integration) SessionExpires(at time.Time) {
	i.metrics.credentialsExpiry.WithLabelValues(i.name).Set(float64(at.Unix()))
}
