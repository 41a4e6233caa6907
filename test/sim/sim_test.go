package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What TestSeeds runs. make sim and make nightly set them.
const (
	envSeeds = "SIM_SEEDS" // the number of seeds
	envFirst = "SIM_FIRST" // the first seed
	envTime  = "SIM_TIME"  // runs seeds for this time instead

	// defaultSeeds take some seconds.
	defaultSeeds = 40
)

// seeds hands out seeds to the workers of TestSeeds, and adds up what they covered.
type seeds struct {
	mu        sync.Mutex // guards the fields below
	next, end uint64
	until     time.Time // replaces end if it is not zero
	failed    bool
	ran       int
	total     Stats
}

// take returns the next seed. It reports false if there is none, or if one has failed.
func (s *seeds) take() (seed uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := s.next == s.end
	if !s.until.IsZero() {
		over = time.Now().After(s.until)
	}
	if s.failed || over {
		return 0, false
	}
	s.next++
	return s.next - 1, true
}

func (s *seeds) add(r Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran++
	s.total.Add(r.Stats)
	s.failed = s.failed || r.Violation != nil
}

// newSeeds reads the environment.
func newSeeds(t *testing.T) *seeds {
	number := func(name string, fallback uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return fallback
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	fallback := uint64(defaultSeeds)
	if testing.Short() {
		fallback /= 4
	}
	s := &seeds{next: number(envFirst, 0)}
	s.end = s.next + number(envSeeds, fallback)
	if text := os.Getenv(envTime); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", envTime, err)
		}
		s.until = time.Now().Add(d)
	}
	return s
}

// TestSeeds runs seeds until an invariant is violated, on all processors. It then shrinks the
// schedule and writes it to testdata, where TestReplays finds it.
func TestSeeds(t *testing.T) {
	s, start := newSeeds(t), time.Now()
	before := heap(t)
	t.Run("workers", func(t *testing.T) {
		for n := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				for {
					seed, ok := s.take()
					if !ok {
						return
					}
					schedule := Generate(seed)
					r := Run(t, schedule)
					s.add(r)
					if r.Violation != nil {
						reportViolation(t, schedule, r)
					}
				}
			})
		}
	})
	took := time.Since(start)
	t.Logf("%d seeds in %v: %v", s.ran, took.Round(time.Millisecond), s.total)
	t.Logf("%.0f virtual hours of one replica in an hour of this machine",
		s.total.Replicas.Hours()/took.Hours())
	// The runtime keeps some memory for goroutines and tables that have been larger.
	if after, most := heap(t), before+8<<20; after > most {
		t.Errorf("the heap has %d bytes after the runs and had %d before, want %d at most",
			after, before, most)
	}
}

// heap returns the bytes in use, after some runs that fill pools and tables.
func heap(t *testing.T) uint64 {
	for seed := range uint64(3) {
		Run(t, Generate(seed))
	}
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// String returns the counts in words.
func (s Stats) String() string {
	var checks []string
	for n := 1; n <= invariants; n++ {
		checks = append(checks, fmt.Sprintf("%v %d", Invariant(n), s.Checks[n]))
	}
	return fmt.Sprintf("%.0f virtual hours of one replica, %d requests, %d URLs opened, "+
		"%d calls of STS; checks: %s", s.Replicas.Hours(), s.Requests, s.Opened, s.Calls, strings.Join(checks, ", "))
}

// reportViolation shrinks a schedule that violates an invariant, and writes it.
func reportViolation(t *testing.T, s Schedule, r Result) {
	t.Errorf("seed %d: violation of %v", s.Seed, r.Violation)
	if os.Getenv("SIM_SHRINK") == "0" {
		return
	}
	short := Shrink(s, func(s Schedule) bool {
		v := Run(t, s).Violation
		return v != nil && v.Invariant == r.Violation.Invariant
	})
	path := filepath.Join("testdata", fmt.Sprintf("seed-%d.json", s.Seed))
	if err := short.Write(path); err != nil {
		t.Error(err)
	}
	last := Run(t, short)
	t.Errorf("shrunk from %d steps to %d, in test/sim/%s: violation of %v\n%s",
		len(s.Steps), len(short.Steps), path, last.Violation, lastLines(last.Trace, 40))
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// replay plays the schedules in a directory, and calls check with what became of each.
func replay(t *testing.T, directory string, check func(t *testing.T, r Result)) {
	paths, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s has no schedules: %v", directory, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			s, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			check(t, Run(t, s))
		})
	}
}

// TestReplays plays the schedules that once found a bug.
func TestReplays(t *testing.T) {
	replay(t, "testdata", func(t *testing.T, r Result) {
		if r.Violation != nil {
			t.Errorf("violation of %v\n%s", r.Violation, lastLines(r.Trace, 40))
		}
	})
}

// TestLimits plays the schedules of limits that the docs describe, which Generate avoids. Whoever
// removes a limit moves its schedule to TestReplays.
func TestLimits(t *testing.T) {
	replay(t, filepath.Join("testdata", "limits"), func(t *testing.T, r Result) {
		if r.Violation == nil {
			t.Error("no invariant is violated: the limit is gone")
		}
	})
}

// TestDeterminism compares the traces of a schedule, on one processor and on several.
func TestDeterminism(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	s := newSeeds(t)
	for seed := s.next; seed < s.next+(s.end-s.next)/8; seed++ {
		schedule := Generate(seed)
		var traces []string
		for _, procs := range []int{1, 2, 8} {
			runtime.GOMAXPROCS(procs)
			traces = append(traces, Run(t, schedule).Trace)
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
	around := func(text string) string { return text[max(0, n-200):min(len(text), n+200)] }
	return "want …" + around(a) + "\ngot …" + around(b)
}

// TestShrink shrinks a schedule that fails if it has two certain steps.
func TestShrink(t *testing.T) {
	s := Generate(1)
	first, second := s.Steps[len(s.Steps)/3], s.Steps[len(s.Steps)-1]
	short := Shrink(s, func(s Schedule) bool {
		found := 0
		for _, step := range s.Steps {
			if step == first || step == second {
				found++
			}
		}
		return found == 2
	})
	if len(short.Steps) != 2 || short.Steps[0] != first || short.Steps[1] != second {
		t.Errorf("Shrink returned the steps %v, want %v and %v", short.Steps, first, second)
	}
}

// TestWriteAndRead compares a schedule with what is read from its file.
func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "schedule.json")
	s := Generate(7)
	if err := s.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(s) {
		t.Errorf("Read = %v, %v, want %v", got, err, s)
	}
}
