package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

const traceA, traceB = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"

// exemplars returns the exemplars of the buckets of request_duration_seconds, by trace ID.
func exemplars(t *testing.T, m *Metrics) map[string]*dto.Bucket {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*dto.Bucket{}
	for _, f := range families {
		if f.GetName() != "s3redirect_request_duration_seconds" {
			continue
		}
		for _, b := range f.GetMetric()[0].GetHistogram().GetBucket() {
			if b.Exemplar != nil {
				found[b.Exemplar.GetLabel()[0].GetValue()] = b
			}
		}
	}
	return found
}

// Each bucket has the newest trace that fell into it, including the unbounded one.
func TestExemplars(t *testing.T) {
	m := New("")
	at := time.Unix(1_700_000_000, 0)
	m.RequestDuration.Observe(0, 20e-6)
	if got := exemplars(t, m); len(got) != 0 {
		t.Errorf("without traces: got the exemplars %v, want none", got)
	}
	m.RequestDuration.ObserveTraced(0, 30e-6, traceB, at)
	m.RequestDuration.ObserveTraced(1, 40e-6, traceA, at.Add(time.Second))
	m.RequestDuration.ObserveTraced(2, 3600, traceB, at)
	got := exemplars(t, m)
	if len(got) != 2 {
		t.Fatalf("got the exemplars %v, want two", got)
	}
	e := got[traceA].GetExemplar()
	if got[traceA].GetUpperBound() != 50e-6 || e.GetValue() != 40e-6 ||
		!e.GetTimestamp().AsTime().Equal(at.Add(time.Second)) {
		t.Errorf("got %v, want the newest trace at 40 µs", got[traceA])
	}
	if e := got[traceB].GetExemplar(); e.GetValue() != 3600 {
		t.Errorf("got %v, want the trace of an hour", got[traceB])
	}
}

// Scrapers that accept OpenMetrics get exemplars. Others get the text format, without.
func TestScrapesWithExemplars(t *testing.T) {
	m := New("")
	m.RequestDuration.ObserveTraced(0, 40e-6, traceA, time.Unix(1_700_000_000, 0))
	const want = `s3redirect_request_duration_seconds_bucket{le="5e-05"} 1 # {trace_id="` + traceA +
		`"} 4e-05 1.7e+09`
	for accept, has := range map[string]bool{
		"application/openmetrics-text;version=1.0.0,text/plain;q=0.5": true, "text/plain": false, "": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		rec := httptest.NewRecorder()
		m.Handler().ServeHTTP(rec, r)
		body := rec.Body.String()
		if got := strings.Contains(body, want); got != has || rec.Code != http.StatusOK {
			t.Errorf("Accept: %s: got %d, exemplar %v, want 200, %v:\n%s", accept, rec.Code, got, has,
				body)
		}
		if got := strings.HasSuffix(body, "# EOF\n"); got != has {
			t.Errorf("Accept: %s: the end of OpenMetrics: %v, want %v", accept, got, has)
		}
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	h := New("").RequestDuration
	if n := testing.AllocsPerRun(1000, func() { h.Observe(0, 1) }); n > 0 {
		t.Errorf("Observe allocates %v times, want 0", n)
	}
}
