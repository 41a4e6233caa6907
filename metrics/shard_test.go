package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"testing"

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
		now := i.counts()
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
