package metrics

import (
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// collector exports the counters that are kept per shard.
type collector struct {
	*Metrics
	requests, lookups, servers *prometheus.Desc
}

func newCollector(m *Metrics) *collector {
	return &collector{
		Metrics: m,
		requests: newDesc("requests_total",
			"Requests answered on the viewers' listener, by integration ("+NoIntegration+
				" if none serves the bucket), method and status code.",
			"integration", "method", "code"),
		lookups: newDesc("cache_lookups_total",
			"Lookups in the two caches (urls, credentials), by integration and result "+
				"(hit, miss). A credentials miss is a request that waited for STS.",
			"cache", "integration", "result"),
		servers: newDesc("server_requests_total",
			"Requests answered on the viewers' listener, by the server that answered them: wire for "+
				"plain requests for objects without TLS, net_http for all others.",
			"server"),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.requests
	to <- c.lookups
	to <- c.servers
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.integrations))
	c.mu.Unlock()
	for _, i := range all {
		u := i.counters.Load()
		if u == nil {
			continue
		}
		i.collect(u, func(n uint64, method, code string) {
			send(c.requests, n, i.name, method, code)
		})
		if i.name == NoIntegration {
			continue
		}
		send(c.lookups, u.sum(urlHits), "urls", i.name, "hit")
		send(c.lookups, u.sum(urlMisses), "urls", i.name, "miss")
		send(c.lookups, u.sum(credentialHits), "credentials", i.name, "hit")
		send(c.lookups, u.sum(credentialMisses), "credentials", i.name, "miss")
	}
	for server, name := range servers {
		var n uint64
		for s := range c.served {
			n += c.served[s].requests[server].Load()
		}
		send(c.servers, n, name)
	}
}

// collect calls send for each series of requests that u counts.
func (i *Integration) collect(u *counters, send func(n uint64, method, code string)) {
	for m := range u.requests {
		for c := range u.requests[m] {
			method, code := other, other
			if m < len(methods) {
				method = methods[m]
			}
			if c < len(codes) {
				code = strconv.Itoa(codes[c])
			}
			n := u.count(m, c)
			if n > 0 || m < len(methods) && c < len(codes) && i.isInitial(m, c) {
				send(n, method, code)
			}
		}
	}
}

// Server is one of the two servers that answer requests on the viewers' listener.
type Server int

// The servers.
const (
	Wire Server = iota
	NetHTTP
)

var servers = [...]string{Wire: "wire", NetHTTP: "net_http"}

// served counts the requests that each server has answered, in one shard.
type served struct {
	requests [len(servers)]atomic.Uint64
	_        [48]byte // pads the shard to a cache line of the processor
}

// Served counts a request that a server has answered.
func (m *Metrics) Served(shard Shard, by Server) { of(shard, m.served).requests[by].Add(1) }
