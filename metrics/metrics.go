// Package metrics holds every instrument of the program in one struct, which is passed to whoever counts.
//
// Label values come from the configuration and from fixed sets, never from a request: nobody outside can make a series. A
// series is looked up once and kept, because a look-up costs more than all else that a cached redirect does to be counted.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "s3redirect"

// NoIntegration labels what no integration serves. No integration can have it for a name.
const NoIntegration = "-"

// Metrics are the instruments. Make them with [New].
type Metrics struct {
	// RequestDuration is the time from a request's header to its answer, in seconds.
	RequestDuration prometheus.Histogram
	// URLRemaining is the life left of each URL that was handed out, in seconds.
	URLRemaining prometheus.Histogram
	// URLBytes is the length of each URL that was handed out.
	URLBytes prometheus.Histogram
	// AccessLogLost counts the lines that the access log had to let go.
	AccessLogLost prometheus.Counter
	// ClockJumps counts how often the clock was set, or stood still.
	ClockJumps prometheus.Counter
	// ClockSkew is how far our clock is ahead of STS's, in seconds.
	ClockSkew prometheus.Gauge

	registry           *prometheus.Registry
	requests           *prometheus.CounterVec
	lookups            *prometheus.CounterVec
	assumeRole         *prometheus.CounterVec
	assumeRoleDuration *prometheus.HistogramVec
	credentialsExpiry  *prometheus.GaugeVec
	sharedSessions     *prometheus.CounterVec
	reloadSuccess      prometheus.Gauge
	reloadTimestamp    prometheus.Gauge

	mu           sync.Mutex
	integrations map[string]*Integration
}

// New makes the instruments, in a registry of their own, with the Go runtime's and the process's beside them.
func New(version string) *Metrics {
	m := &Metrics{
		RequestDuration: newHistogram("request_duration_seconds", "Time from a request's header to its answer.",
			10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3, 1, 2.5, 5, 10),
		URLRemaining: newHistogram("url_remaining_seconds", "Life left of the presigned URLs that were handed out.",
			60, 300, 600, 900, 1200, 1800, 2700, 3600, 7200, 21600, 43200, 86400, 604800),
		URLBytes: newHistogram("url_bytes", "Length of the presigned URLs that were handed out. nginx takes 4 kB of response header unless told otherwise.",
			512, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 6144, 8192, 16384),
		AccessLogLost: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "access_log_lost_lines_total",
			Help: "Lines that the access log lost because they could not be written fast enough."}),
		ClockJumps: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "clock_jumps_total",
			Help: "How often the clock was set by more than two seconds, or stood still while the machine slept."}),
		ClockSkew:    newGauge("clock_skew_seconds", "How far the clock is ahead of STS's, by the Date of its last answer, to within a second."),
		registry:     prometheus.NewRegistry(),
		integrations: map[string]*Integration{},
		requests: newCounters("requests_total", "Requests answered on the viewers' listener, by integration ("+NoIntegration+" where none serves the bucket), method and status code.",
			"integration", "method", "code"),
		lookups: newCounters("cache_lookups_total", "Look-ups in the two caches (urls, credentials), by integration and result (hit, miss). A credentials hit is a request that did not wait for STS.",
			"cache", "integration", "result"),
		assumeRole: newCounters("assume_role_total", "AssumeRole calls, by integration and result (ok, denied, throttled, unavailable).",
			"integration", "result"),
		assumeRoleDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: "assume_role_duration_seconds",
			Help: "Time that AssumeRole calls took, by integration.", Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"integration"}),
		credentialsExpiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "credentials_expiry_timestamp_seconds",
			Help: "When the newest session expires, in Unix time, by integration."}, []string{"integration"}),
		sharedSessions: newCounters("shared_sessions_total", "Looks into the replicas' common store for a session, by integration and result (hit, miss, stored, refused, error).",
			"integration", "result"),
		reloadSuccess:   newGauge("config_reload_success", "1 if the configuration was read without a mistake the last time."),
		reloadTimestamp: newGauge("config_reload_timestamp_seconds", "When the configuration in use was read, in Unix time."),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info",
		Help: "1, labelled with the program's version and Go's."}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.RequestDuration, m.URLRemaining, m.URLBytes, m.AccessLogLost, m.ClockJumps, m.ClockSkew, m.requests, m.lookups, m.assumeRole, m.assumeRoleDuration,
		m.credentialsExpiry, m.sharedSessions, m.reloadSuccess, m.reloadTimestamp, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func newHistogram(name, help string, buckets ...float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
}

func newCounters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func newGauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

// Handler answers Prometheus's scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// ConfigRead notes that the configuration was read, and whether without a mistake.
func (m *Metrics) ConfigRead(ok bool, at time.Time) {
	if !ok {
		m.reloadSuccess.Set(0)
		return
	}
	m.reloadSuccess.Set(1)
	m.reloadTimestamp.Set(float64(at.UnixNano()) / 1e9)
}

// Evictions are a cache's counts, by the reason's label.
type Evictions map[string]func() uint64

// WatchCache exports a cache's entries and evictions, read at each scrape.
func (m *Metrics) WatchCache(name string, entries func() int, evictions Evictions) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "cache_entries",
		Help: "Entries in the two caches (urls, credentials).", ConstLabels: prometheus.Labels{"cache": name},
	}, func() float64 { return float64(entries()) }))
	for reason, count := range evictions {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: "cache_evictions_total",
			Help: "Entries that left a cache, by reason (capacity, expired, purged).", ConstLabels: prometheus.Labels{"cache": name, "reason": reason},
		}, func() float64 { return float64(count()) }))
	}
}

// Forget removes the series of an integration that is gone.
func (m *Metrics) Forget(name string) {
	m.mu.Lock()
	delete(m.integrations, name)
	m.mu.Unlock()
	labels := prometheus.Labels{"integration": name}
	m.requests.DeletePartialMatch(labels)
	m.lookups.DeletePartialMatch(labels)
	m.assumeRole.DeletePartialMatch(labels)
	m.assumeRoleDuration.DeletePartialMatch(labels)
	m.credentialsExpiry.DeletePartialMatch(labels)
	m.sharedSessions.DeletePartialMatch(labels)
}

// Integration are the instruments of one integration, or of [NoIntegration]: the same ones each time, until they are forgotten.
func (m *Metrics) Integration(name string) *Integration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.integrations[name]; ok {
		return i
	}
	i := m.newIntegration(name)
	m.integrations[name] = i
	return i
}

func (m *Metrics) newIntegration(name string) *Integration {
	lookups := func(cache string) Lookups {
		return Lookups{hit: m.lookups.WithLabelValues(cache, name, "hit"), miss: m.lookups.WithLabelValues(cache, name, "miss")}
	}
	i := &Integration{name: name, metrics: m}
	// A counter that begins with its first event hides it from rate(), which sees no rise: the usual ones begin with 0.
	if name == NoIntegration {
		m.requests.WithLabelValues(name, http.MethodGet, "404")
		return i
	}
	i.URLs, i.Credentials = lookups("urls"), lookups("credentials")
	for _, code := range []string{"302", "403", "502", "503"} {
		m.requests.WithLabelValues(name, http.MethodGet, code)
	}
	m.requests.WithLabelValues(name, http.MethodHead, "302")
	return i
}
