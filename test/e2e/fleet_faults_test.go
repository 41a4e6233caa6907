package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// storeFault is a fault of the shared store.
type storeFault struct {
	name          string
	cause, repair func()
	counted       string // the result in the metrics; "" if replicas do not notice the fault
}

// toxic returns a fault of the connection to the shared store: a toxic of toxiproxy.
func (x *toxiproxy) toxic(
	t *testing.T, proxy, name, kind, stream string, attributes map[string]any,
) storeFault {
	return storeFault{
		name: name,
		cause: func() {
			x.call(t, http.MethodPost, "/proxies/"+proxy+"/toxics", map[string]any{
				"name":       "it",
				"type":       kind,
				"stream":     stream,
				"attributes": attributes,
			})
		},
		repair:  func() { x.call(t, http.MethodDelete, "/proxies/"+proxy+"/toxics/it", nil) },
		counted: "error",
	}
}

// TestFleetFaults makes the shared store freeze, restart, lose its connections, slow down, fill up,
// become read-only, lose its data, and return foreign data, all under load. No request fails: each
// replica continues alone, logs the fault and counts it. When the store recovers, the replicas
// share windows again.
func TestFleetFaults(t *testing.T) {
	t.Parallel()
	need(t, "toxiproxy-server")
	x, err := startedToxiproxy()
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(fleetConfig, "url_lifetime: 8s", "url_lifetime: 5s", 1) // three-second windows
	for group, faults := range map[string]func(f *fleet, proxy string) []storeFault{
		"the server": func(f *fleet, proxy string) []storeFault {
			return []storeFault{
				{
					name:    "frozen",
					cause:   func() { f.common.sendSignal(syscall.SIGSTOP) },
					repair:  func() { f.common.sendSignal(syscall.SIGCONT) },
					counted: "error",
				},
				{
					name:    "killed",
					cause:   func() { f.common.stop() },
					repair:  func() { f.common.start() },
					counted: "error",
				},
				// Requests to the store are dropped.
				x.toxic(f.t, proxy, "partitioned", "timeout", "upstream",
					map[string]any{"timeout": 0}),
				x.toxic(f.t, proxy, "slow", "latency", "downstream",
					map[string]any{"latency": 3000}),
			}
		},
		"its contents": func(f *fleet, _ string) []storeFault {
			return []storeFault{
				{
					name:    "full",
					cause:   func() { f.common.do("CONFIG", "SET", "maxmemory", "1") },
					repair:  func() { f.common.do("CONFIG", "SET", "maxmemory", "0") },
					counted: "error",
				},
				{
					name:    "read-only",
					cause:   func() { f.common.do("REPLICAOF", "127.0.0.1", "1") },
					repair:  func() { f.common.do("REPLICAOF", "NO", "ONE") },
					counted: "error",
				},
				{
					name:   "flushed",
					cause:  func() { f.common.do("FLUSHALL") },
					repair: func() {},
				},
				f.tampering(),
			}
		},
	} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			proxy := strings.ReplaceAll(group, " ", "-")
			f := startFleetVia(t, "redis-server", 2, config, func(address string) string {
				made := x.call(t, http.MethodPost, "/proxies", map[string]any{
					"name":     proxy,
					"listen":   "127.0.0.1:0",
					"upstream": address,
					"enabled":  true,
				})
				return made["listen"].(string)
			})
			var took latencies
			stop := load(t, 2*time.Millisecond, func(key string) error { return took.ask(f, key) })
			f.shareANewWindow(t)
			t.Logf("%-13s %s", "no fault", took.take())
			for _, fault := range faults(f, proxy) {
				f.checkFault(t, fault, &took)
			}
			stop()
		})
	}
}

// checkFault causes a fault for three windows, repairs it, and checks that the replicas log and
// count it and share windows afterwards.
func (f *fleet) checkFault(t *testing.T, fault storeFault, took *latencies) {
	t.Helper()
	counts := func() (n float64, logged int) {
		for _, p := range f.replicas {
			if fault.counted != "" {
				n += p.sharedSessions(t, fault.counted)
			}
			log := p.output()
			logged += strings.Count(log, "shared store unreachable")
			logged += strings.Count(log, "shared session rejected")
		}
		return n, logged
	}
	beforeCounted, beforeLogged := counts()
	took.take()
	fault.cause()
	f.awaitWindows(t, 3)
	awaitThat(t, fault.name+" is counted and logged", func() bool {
		n, logged := counts()
		return fault.counted == "" || n > beforeCounted && logged > beforeLogged
	})
	during := took.take()
	fault.repair()
	f.shareANewWindow(t)
	n, logged := counts()
	t.Logf("%-13s %s; counted %v times, logged %d times",
		fault.name, during, n-beforeCounted, logged-beforeLogged)
}

// serve requests an object from every replica and wants a redirect from each. It returns when each
// redirect's URL was signed, and whether all redirects have the same URL.
func (f *fleet) serve(t *testing.T) (signed []string, same bool) {
	t.Helper()
	var locations []string
	for _, p := range f.replicas {
		a := fetch(t, http.MethodGet, p.url("/s3/fleet/k"))
		if err := a.checkRedirect(); err != nil {
			t.Fatal(err)
		}
		locations = append(locations, a.header.Get("Location"))
		signed = append(signed, a.query().Get("X-Amz-Date"))
	}
	return signed, len(slices.Compact(locations)) == 1
}

// awaitWindows waits until every replica has reached n more windows.
func (f *fleet) awaitWindows(t *testing.T, n int) {
	t.Helper()
	last, seen := make([]string, len(f.replicas)), make([]int, len(f.replicas))
	awaitThat(t, fmt.Sprintf("%d more windows have begun", n), func() bool {
		signed, _ := f.serve(t)
		for r, at := range signed {
			if at != last[r] {
				last[r], seen[r] = at, seen[r]+1
			}
		}
		return slices.Min(seen) > n
	})
}

// shareANewWindow waits until all replicas redirect to one URL that is signed after the call.
func (f *fleet) shareANewWindow(t *testing.T) {
	t.Helper()
	began := time.Now().UTC().Format("20060102T150405Z")
	awaitThat(t, "a new window is shared", func() bool {
		signed, same := f.serve(t)
		return same && signed[0] > began
	})
}

// tampering returns a fault that exchanges values in the store, modifies them, and replaces them
// with garbage and with values of another type, until it is repaired.
func (f *fleet) tampering() storeFault {
	stop, done := make(chan struct{}), make(chan struct{})
	tamper := func() {
		defer close(done)
		last := "of nobody"
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			for name, value := range f.common.contents() {
				switch n % 4 {
				case 0:
					f.common.do("SET", name, last)
				case 1:
					f.common.do("SET", name, value[:max(1, len(value))-1]+"x")
				case 2:
					f.common.do("SET", name, strings.Repeat("garbage", 20_000))
				case 3:
					f.common.do("DEL", name)
					f.common.do("RPUSH", name, "a list")
				}
				last = value
			}
		}
	}
	return storeFault{
		name:  "tampered with",
		cause: func() { go tamper() },
		repair: func() {
			close(stop)
			<-done
			f.common.do("FLUSHALL")
		},
		counted: "refused",
	}
}

// latencies are the durations of requests.
type latencies struct {
	mu  sync.Mutex // guards all
	all []time.Duration
}

// ask requests a redirect through nginx and records how long that takes.
func (l *latencies) ask(f *fleet, key string) error {
	began := time.Now()
	a, err := try(f.t, http.MethodGet, "http://"+f.host+path("fleet", key))
	took := time.Since(began)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, took)
	return a.checkRedirect()
}

// take returns a summary of the requests since the previous call.
func (l *latencies) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.all)
	at := func(q float64) time.Duration {
		return l.all[int(q*float64(len(l.all)-1))].Round(10 * time.Microsecond)
	}
	if len(l.all) == 0 {
		return "no requests"
	}
	defer func() { l.all = nil }()
	return fmt.Sprintf("%d requests, p50 %v, p99 %v, longest %v",
		len(l.all), at(0.5), at(0.99), at(1))
}

// TestLeaseHolderDies kills a replica that holds the lease while it calls STS. The lease expires,
// another replica takes over, and its clients get redirects.
func TestLeaseHolderDies(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "redis-server", 2, longWindows.Replace(fleetConfig))
	release := f.sts.hold(t)
	first, second := f.replicas[0], f.replicas[1]
	go func() { _, _ = try(t, http.MethodGet, first.url("/s3/fleet/k")) }()
	awaitThat(t, "the first replica calls STS", func() bool { return f.sts.arrived.Load() == 1 })
	first.stop()
	release()
	second.location(t, http.MethodGet, "/s3/fleet/k")
	calls, stored := f.sts.arrived.Load(), second.sharedSessions(t, "stored")
	if calls != 2 || stored != 1 {
		t.Errorf("got %d STS calls and %v stored sessions, want 2 and 1", calls, stored)
	}
	for name := range f.common.contents() {
		if strings.HasSuffix(name, ":lease") {
			t.Errorf("the second replica has not returned the lease %s", name)
		}
	}
}
