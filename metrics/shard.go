package metrics

import (
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Shard selects one of several copies of the counters that every redirect increments. If all cores
// incremented the same counter, its cache line would move between them for every request. A scrape
// adds the copies up. The zero Shard is valid.
type Shard uint32

// NewShard returns the next shard in turn. A caller keeps it in state that usually stays on one
// core, such as a value from a [sync.Pool].
func (m *Metrics) NewShard() Shard { return Shard(m.nextShard.Add(1)) }

// shardCount returns the number of copies: a power of two that is at least the number of cores, but
// at most 16, because each integration has that many.
func shardCount() int {
	n := 1
	for n < min(16, runtime.GOMAXPROCS(0)) {
		n *= 2
	}
	return n
}

// of returns a shard's element.
func of[T any](shard Shard, elements []T) *T { return &elements[int(shard)&(len(elements)-1)] }

// Histogram is a Prometheus histogram with a copy of its counters per shard.
type Histogram struct {
	desc   *prometheus.Desc
	bounds []float64
	shards []histogramShard
	// exemplars holds the newest exemplar of each bucket, or nil. It is not sharded, because only
	// requests of sampled traces write it.
	exemplars [maxBuckets]atomic.Pointer[prometheus.Exemplar]
}

// maxBuckets is the maximum number of a histogram's buckets, including the last, unbounded one.
const maxBuckets = 16

type histogramShard struct {
	buckets [maxBuckets]atomic.Uint64 // not cumulative
	sum     atomic.Uint64             // the bits of a float64
	_       [56]byte                  // pads the shard to whole cache lines of the processor
}

// newHistogram returns a histogram with at most maxBuckets-1 bounds, in ascending order.
func newHistogram(name, help string, bounds ...float64) *Histogram {
	if len(bounds) >= maxBuckets {
		panic("metrics: " + name + " has too many buckets")
	}
	return &Histogram{
		desc:   newDesc(name, help),
		bounds: bounds,
		shards: make([]histogramShard, shardCount()),
	}
}

// bucket returns the index of a value's bucket.
func (h *Histogram) bucket(value float64) int {
	n := 0
	for n < len(h.bounds) && !(value <= h.bounds[n]) { // NaN belongs into the last bucket
		n++
	}
	return n
}

// ObserveTraced counts a value, and makes its trace the exemplar of its bucket. It copies trace,
// which must be a trace ID of W3C Trace Context.
func (h *Histogram) ObserveTraced(shard Shard, value float64, trace string, at time.Time) {
	h.Observe(shard, value)
	h.exemplars[h.bucket(value)].Store(&prometheus.Exemplar{
		Value:     value,
		Labels:    prometheus.Labels{"trace_id": strings.Clone(trace)},
		Timestamp: at,
	})
}

// Observe counts a value.
func (h *Histogram) Observe(shard Shard, value float64) {
	n := h.bucket(value)
	s := of(shard, h.shards)
	s.buckets[n].Add(1)
	for {
		old := s.sum.Load()
		if s.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+value)) {
			return
		}
	}
}

// Describe implements [prometheus.Collector].
func (h *Histogram) Describe(to chan<- *prometheus.Desc) { to <- h.desc }

// Collect implements [prometheus.Collector].
func (h *Histogram) Collect(to chan<- prometheus.Metric) {
	var count uint64
	var sum float64
	buckets := make(map[float64]uint64, len(h.bounds))
	for n := range len(h.bounds) + 1 {
		for s := range h.shards {
			count += h.shards[s].buckets[n].Load()
		}
		if n < len(h.bounds) {
			buckets[h.bounds[n]] = count
		}
	}
	for s := range h.shards {
		sum += math.Float64frombits(h.shards[s].sum.Load())
	}
	m := prometheus.MustNewConstHistogram(h.desc, count, sum, buckets)
	var exemplars []prometheus.Exemplar
	for n := range h.exemplars {
		if e := h.exemplars[n].Load(); e != nil {
			exemplars = append(exemplars, *e)
		}
	}
	if len(exemplars) > 0 {
		m = prometheus.MustNewMetricWithExemplars(m, exemplars...)
	}
	to <- m
}

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}
