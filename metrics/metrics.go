// Package metrics holds the program's Prometheus metrics.
//
// Label values come from the configuration and from fixed sets, never from a request, so that
// clients cannot create series. Callers look up a series once and keep it, because the lookup
// would dominate the cost of counting a cached redirect.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "s3redirect"

// NoIntegration is the label value for buckets that no integration serves. It is not a valid name
// of an integration.
const NoIntegration = "-"

// Metrics holds the metrics. Create it with [New].
type Metrics struct {
	// RequestDuration is the time from a request's header to its response, in seconds.
	RequestDuration *Histogram
	// URLRemaining is the remaining lifetime of each URL that was returned, in seconds.
	URLRemaining *Histogram
	// URLBytes is the length of each URL that was returned.
	URLBytes *Histogram
	// AccessLogLost counts the lines that the access log dropped.
	AccessLogLost prometheus.Counter
	// AuditLost counts the lines that the audit log dropped.
	AuditLost prometheus.Counter
	// ClockJumps counts how often the clock was stepped or the machine was suspended.
	ClockJumps prometheus.Counter
	// ClockSkew is how far the clock is ahead of the clock of STS, in seconds.
	ClockSkew prometheus.Gauge

	registry           *prometheus.Registry
	assumeRole         *prometheus.CounterVec
	assumeRoleDuration *prometheus.HistogramVec
	credentialsExpiry  *prometheus.GaugeVec
	sharedSessions     *prometheus.CounterVec
	inPlace            *prometheus.CounterVec
	viewerRefusals     *prometheus.CounterVec
	keysFailures       *prometheus.CounterVec
	keysRefresh        *prometheus.GaugeVec
	reloadSuccess      prometheus.Gauge
	reloadTimestamp    prometheus.Gauge

	nextShard atomic.Uint32
	served    []served // by shard

	mu           sync.Mutex              // guards the fields below
	integrations map[string]*Integration // by name
	exportAll    bool
}

// New returns metrics in a new registry, which also contains the metrics of the Go runtime and of
// the process.
func New(version string) *Metrics {
	m := &Metrics{
		RequestDuration: newHistogram("request_duration_seconds",
			"Time from a request's header to its response.",
			10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3,
			1, 2.5, 5, 10),
		URLRemaining: newHistogram("url_remaining_seconds",
			"Remaining lifetime of the presigned URLs that were returned.",
			60, 300, 600, 900, 1200, 1800, 2700, 3600, 7200, 21600, 43200, 86400, 604800),
		URLBytes: newHistogram("url_bytes",
			"Length of the presigned URLs that were returned. "+
				"By default, nginx accepts 4 kB of response headers.",
			512, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 6144, 8192, 16384),
		AccessLogLost: newCounter("access_log_lost_lines_total",
			"Lines that the access log dropped because they could not be written, or not fast enough."),
		AuditLost: newCounter("audit_lost_lines_total",
			"Lines that the audit log dropped because they could not be written, or not fast enough."),
		ClockJumps: newCounter("clock_jumps_total",
			"How often the clock was stepped by more than two seconds, "+
				"or the machine was suspended."),
		ClockSkew: newGauge("clock_skew_seconds",
			"How far the clock is ahead of the clock of STS, "+
				"according to the Date of its last response, to within a second."),
		registry: prometheus.NewRegistry(),
		assumeRole: newCounters("assume_role_total",
			"AssumeRole calls, by integration and result "+
				"(ok, denied, throttled, unavailable, malformed, own_credentials).",
			"integration", "result"),
		assumeRoleDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace,
			Name:      "assume_role_duration_seconds",
			Help:      "Duration of AssumeRole calls, by integration.",
			Buckets:   []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"integration"}),
		credentialsExpiry: newGauges("credentials_expiry_timestamp_seconds",
			"Unix time at which the newest session expires, by integration.",
			"integration"),
		sharedSessions: newCounters("shared_sessions_total",
			"Accesses to the shared session store, by integration and result "+
				"(hit, miss, stored, refused, error).",
			"integration", "result"),
		inPlace: newCounters("in_place_total",
			"Requests for documents that are answered in place, by integration and result "+
				"(served, range_not_satisfiable, precondition_failed, too_large, active_type, "+
				"other_status, not_found, denied, overloaded, unavailable, internal_error).",
			"integration", "result"),
		viewerRefusals: newCounters("viewer_refusals_total",
			"Credentials that were refused, by method (jwt, basic, forwarded, link) and reason.",
			"method", "reason"),
		keysFailures: newCounters("jwks_refresh_failures_total",
			"Failed fetches of an identity provider's keys, by issuer.",
			"issuer"),
		keysRefresh: newGauges("jwks_refresh_timestamp_seconds",
			"Unix time at which an identity provider's keys were last fetched, by issuer.",
			"issuer"),
		reloadSuccess: newGauge("config_reload_success",
			"1 if the last reload of the configuration succeeded, 0 otherwise."),
		reloadTimestamp: newGauge("config_reload_timestamp_seconds",
			"Unix time at which the current configuration was loaded."),
		served:       make([]served, shardCount()),
		integrations: map[string]*Integration{},
	}
	build := newGauges("build_info",
		"Always 1; the labels contain the program's version and the version of Go.",
		"version", "goversion")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(
		m.RequestDuration, m.URLRemaining, m.URLBytes, m.AccessLogLost, m.AuditLost,
		m.ClockJumps, m.ClockSkew, newCollector(m), m.assumeRole, m.assumeRoleDuration, m.credentialsExpiry,
		m.sharedSessions, m.inPlace, m.viewerRefusals, m.keysFailures, m.keysRefresh,
		m.reloadSuccess, m.reloadTimestamp, build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: name, Help: help,
	})
}

func newCounters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: name, Help: help,
	}, labels)
}

func newGauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func newGauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: name, Help: help,
	}, labels)
}

// Handler returns a handler for scrapes by Prometheus. Only the OpenMetrics format has exemplars.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry:          m.registry,
		EnableOpenMetrics: true,
	})
}

// ConfigRead records whether loading the configuration succeeded.
func (m *Metrics) ConfigRead(ok bool, at time.Time) {
	if !ok {
		m.reloadSuccess.Set(0)
		return
	}
	m.reloadSuccess.Set(1)
	m.reloadTimestamp.Set(float64(at.UnixNano()) / 1e9)
}

// Evictions returns the number of a cache's evictions by reason.
type Evictions map[string]func() uint64

// WatchCache exports the number of a cache's entries and evictions, read at each scrape.
func (m *Metrics) WatchCache(name string, entries func() int, evictions Evictions) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace:   namespace,
		Name:        "cache_entries",
		Help:        "Entries in the two caches (urls, credentials).",
		ConstLabels: prometheus.Labels{"cache": name},
	}, func() float64 { return float64(entries()) }))
	for reason, count := range evictions {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace:   namespace,
			Name:        "cache_evictions_total",
			Help:        "Entries that left a cache, by reason (capacity, expired, purged).",
			ConstLabels: prometheus.Labels{"cache": name, "reason": reason},
		}, func() float64 { return float64(count()) }))
	}
}

// Forget removes the series of an integration that no longer exists.
func (m *Metrics) Forget(name string) {
	m.mu.Lock()
	delete(m.integrations, name)
	m.mu.Unlock()
	labels := prometheus.Labels{"integration": name}
	m.assumeRole.DeletePartialMatch(labels)
	m.assumeRoleDuration.DeletePartialMatch(labels)
	m.credentialsExpiry.DeletePartialMatch(labels)
	m.sharedSessions.DeletePartialMatch(labels)
	m.inPlace.DeletePartialMatch(labels)
}

// Integration returns the metrics of an integration, or of [NoIntegration]. It returns the same
// metrics each time, until [Metrics.Forget].
func (m *Metrics) Integration(name string) *Integration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.integrations[name]; ok {
		return i
	}
	i := m.newIntegrationLocked(name)
	m.integrations[name] = i
	return i
}

// newIntegrationLocked returns the metrics of a new integration. The caller holds m.mu.
func (m *Metrics) newIntegrationLocked(name string) *Integration {
	i := &Integration{name: name, metrics: m}
	i.URLs, i.Credentials = Lookups{i, urlHits}, Lookups{i, credentialHits}
	if m.exportAll || name == NoIntegration {
		i.use()
	}
	return i
}

// ExportAll decides whether integrations have series before they are used. Series that exist remain
// until [Metrics.Forget].
func (m *Metrics) ExportAll(all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.exportAll = all; !all {
		return
	}
	for _, i := range m.integrations {
		i.used()
	}
}
