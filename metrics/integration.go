package metrics

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Integration are the instruments of one integration. Make them with [Metrics.Integration].
type Integration struct {
	// URLs and Credentials count the look-ups in the two caches.
	URLs, Credentials Lookups

	name     string
	metrics  *Metrics
	requests [len(methods) + 1][len(codes) + 1]atomic.Pointer[prometheus.Counter]
}

// Lookups counts a cache's hits and misses.
type Lookups struct{ hit, miss prometheus.Counter }

// Count counts a look-up.
func (l Lookups) Count(hit bool) {
	if hit {
		l.hit.Inc()
	} else {
		l.miss.Inc()
	}
}

// The methods and status codes that have a series; any other shares the series "other", so that no request makes one.
var (
	methods = [...]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost}
	codes   = [...]int{302, 200, 204, 400, 401, 403, 404, 405, 413, 415, 429, 499, 500, 502, 503}
)

const other = "other"

// Request counts a request and the status code of its answer.
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

// HasRole has the series of AssumeRole begin with 0.
func (i *Integration) HasRole() {
	for _, result := range []string{"ok", "denied", "throttled", "unavailable", "malformed"} {
		i.metrics.assumeRole.WithLabelValues(i.name, result)
	}
	i.metrics.assumeRoleDuration.WithLabelValues(i.name)
}

// AssumeRole counts an AssumeRole call: its result is ok, denied, throttled, unavailable or malformed.
func (i *Integration) AssumeRole(result string, took time.Duration) {
	i.metrics.assumeRole.WithLabelValues(i.name, result).Inc()
	i.metrics.assumeRoleDuration.WithLabelValues(i.name).Observe(took.Seconds())
}

// Shares has the series of shared sessions begin with 0.
func (i *Integration) Shares() {
	for _, result := range []string{"hit", "miss", "stored", "refused", "error"} {
		i.metrics.sharedSessions.WithLabelValues(i.name, result)
	}
}

// SharedSession counts a look into the replicas' common store: its result is hit, miss, stored, refused or error.
func (i *Integration) SharedSession(result string) {
	i.metrics.sharedSessions.WithLabelValues(i.name, result).Inc()
}

// SessionExpires notes when the newest session expires.
func (i *Integration) SessionExpires(at time.Time) {
	i.metrics.credentialsExpiry.WithLabelValues(i.name).Set(float64(at.Unix()))
}
