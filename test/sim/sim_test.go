package sim

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

func TestScan(t *testing.T) {
	from, _ := strconv.Atoi(os.Getenv("FROM"))
	n, _ := strconv.Atoi(os.Getenv("N"))
	var total Stats
	start := time.Now()
	for seed := from; seed < from+n; seed++ {
		r := Run(t, Generate(uint64(seed)))
		total.Add(r.Stats)
		if r.Violation != nil {
			t.Logf("seed %d: %v", seed, r.Violation)
			_ = os.WriteFile("/tmp/sim-trace-"+strconv.Itoa(seed), []byte(r.Trace), 0o644)
		}
	}
	t.Logf("%+v in %v", total, time.Since(start))
}

// TestDeterminism compares the traces of a schedule, on one processor and on several.
func TestDeterminism(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for seed := range uint64(20) {
		s := Generate(seed)
		var traces []string
		for _, procs := range []int{1, 4, 4} {
			runtime.GOMAXPROCS(procs)
			traces = append(traces, Run(t, s).Trace)
		}
		for n, trace := range traces[1:] {
			if trace != traces[0] {
				t.Errorf("seed %d: trace %d differs from the first: %s", seed, n+1, difference(traces[0], trace))
			}
		}
	}
}

// difference returns the first lines in which two texts differ.
func difference(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return "want …" + a[max(0, n-200):min(len(a), n+200)] + "\ngot …" + b[max(0, n-200):min(len(b), n+200)]
}
