package metrics

import (
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// Counters are exact after concurrent increments in all shards, and never decrease in between.
func TestShardsAddUp(t *testing.T) {
	m := New("")
	i := m.Integration("lab")
	const goroutines, each = 8, 2000
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			shard := m.NewShard()
			for n := range each {
				i.Request(shard, http.MethodGet, 302)
				i.Request(shard, http.MethodHead, 302)
				i.URLs.Count(shard, n%4 != 0)
				i.Credentials.Count(shard, true)
				m.Served(shard, Wire)
				m.URLBytes.Observe(shard, float64(n))
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var last Counts
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			runtime.Gosched()
		}
		now := i.used().counts()
		if now.Requests < last.Requests || now.URLHits < last.URLHits {
			t.Fatalf("counts() = %+v after %+v, want no decrease", now, last)
		}
		last = now
		if _, err := m.registry.Gather(); err != nil {
			t.Fatal(err)
		}
	}
	const all = goroutines * each
	want := Counts{
		Requests: 2 * all, Redirects: 2 * all,
		URLHits: all * 3 / 4, URLMisses: all / 4, CredentialHits: all,
	}
	if last != want {
		t.Errorf("counts() = %+v, want %+v", last, want)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "s3redirect_url_bytes":
			h := f.GetMetric()[0].GetHistogram()
			if h.GetSampleCount() != all || h.GetSampleSum() != goroutines*each*(each-1)/2 {
				t.Errorf("url_bytes: got %d values with the sum %v, want %d with %d",
					h.GetSampleCount(), h.GetSampleSum(), all, goroutines*each*(each-1)/2)
			}
			checkBuckets(t, h)
		case "s3redirect_server_requests_total":
			for _, s := range f.GetMetric() {
				want := map[string]float64{"wire": all}[s.GetLabel()[0].GetValue()]
				if got := s.GetCounter().GetValue(); got != want {
					t.Errorf("%v: got %v, want %v", s.GetLabel(), got, want)
				}
			}
		}
	}
}

// checkBuckets checks the buckets of a histogram of 0 to 1999, eight times each.
func checkBuckets(t *testing.T, h *dto.Histogram) {
	t.Helper()
	for _, b := range h.GetBucket() {
		want := uint64(8 * min(2000, int(b.GetUpperBound())+1))
		if b.GetCumulativeCount() != want {
			t.Errorf("bucket %v: got %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
		}
	}
}

// Successive shards use all copies of a counter in turn.
func TestNewShard(t *testing.T) {
	m := New("")
	for range 2 * shardCount() {
		m.Served(m.NewShard(), NetHTTP)
	}
	for n := range m.served {
		if got := m.served[n].requests[NetHTTP].Load(); got != 2 {
			t.Errorf("copy %d = %d, want 2", n, got)
		}
	}
}

// Two shards must not share a cache line of the processor.
func TestShardsFillCacheLines(t *testing.T) {
	const line = 64
	for what, size := range map[string]uintptr{
		"hotCounts":      unsafe.Sizeof(hotCounts{}),
		"served":         unsafe.Sizeof(served{}),
		"histogramShard": unsafe.Sizeof(histogramShard{}),
	} {
		if size%line != 0 {
			t.Errorf("%s has %d bytes, want a multiple of %d", what, size, line)
		}
	}
}

// A histogram must equal Prometheus's own, for values at and next to its bounds.
func TestHistogram(t *testing.T) {
	bounds := []float64{10e-6, 25e-6, 0.1, 1, 60, 604800}
	got := newHistogram("seconds", "Help.", bounds...)
	want := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "seconds", Help: "Help.", Buckets: bounds,
	})
	values := []float64{-1, 0, 1e9, math.Inf(1)}
	for _, b := range bounds {
		values = append(values, b, math.Nextafter(b, 0), math.Nextafter(b, math.Inf(1)))
	}
	for n, v := range append(values, math.NaN()) {
		got.Observe(Shard(n), v)
		want.Observe(v)
		if g, w := scraped(got), scraped(want); g != w {
			t.Errorf("after %v: got\n%s\nwant\n%s", v, g, w)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("newHistogram with too many bounds did not panic")
		}
	}()
	newHistogram("seconds", "", make([]float64, maxBuckets)...)
}

// scraped returns what a scrape of c prints.
func scraped(c prometheus.Collector) string {
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).
		ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}

// The series of requests without an integration begins with 0, and there are no lookups.
func TestSeriesOfNoIntegration(t *testing.T) {
	m := New("")
	m.Integration(NoIntegration)
	want := `
# HELP s3redirect_requests_total Requests answered on the viewers' listener, by integration ` +
		`(- if none serves the bucket), method and status code.
# TYPE s3redirect_requests_total counter
s3redirect_requests_total{code="404",integration="-",method="GET"} 0
`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want),
		"s3redirect_requests_total", "s3redirect_cache_lookups_total"); err != nil {
		t.Error(err)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := New("")
	i := m.Integration("lab")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		shard := m.NewShard()
		for pb.Next() {
			i.Request(shard, http.MethodGet, 302)
			i.URLs.Count(shard, true)
			i.Credentials.Count(shard, true)
			m.URLBytes.Observe(shard, 1700)
		}
	})
}
