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

// mishap is a fault of the common store.
type mishap struct {
	name        string
	cause, mend func()
	counted     string // as, in the metrics; "" where nothing is wrong with what is found
}

// toxic is a mishap of the way to the common store.
func (x *toxiproxy) toxic(t *testing.T, proxy, name, kind, stream string, attributes map[string]any) mishap {
	return mishap{name: name, counted: "error", cause: func() {
		x.call(t, http.MethodPost, "/proxies/"+proxy+"/toxics", map[string]any{"name": "it", "type": kind, "stream": stream, "attributes": attributes})
	}, mend: func() { x.call(t, http.MethodDelete, "/proxies/"+proxy+"/toxics/it", nil) }}
}

// The common store is frozen, killed and started again, cut off and slow, full, read-only, flushed, and filled with what is not ours, all
// under load: no request fails, each replica goes on alone, says so, and counts it; and once the store is well, windows are shared again.
func TestFleetFaults(t *testing.T) {
	t.Parallel()
	need(t, "toxiproxy-server")
	x, err := startedToxiproxy()
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(fleetConfig, "url_lifetime: 8s", "url_lifetime: 5s", 1) // windows of three seconds
	for group, mishaps := range map[string]func(f *fleet, proxy string) []mishap{
		"the server": func(f *fleet, proxy string) []mishap {
			return []mishap{
				{"frozen", func() { f.common.sendSignal(syscall.SIGSTOP) }, func() { f.common.sendSignal(syscall.SIGCONT) }, "error"},
				{"killed", func() { f.common.stop() }, func() { f.common.start() }, "error"},
				x.toxic(f.t, proxy, "partitioned", "timeout", "upstream", map[string]any{"timeout": 0}), // what is sent vanishes
				x.toxic(f.t, proxy, "slow", "latency", "downstream", map[string]any{"latency": 3000}),
			}
		},
		"what it holds": func(f *fleet, _ string) []mishap {
			return []mishap{
				{"full", func() { f.common.do("CONFIG", "SET", "maxmemory", "1") }, func() { f.common.do("CONFIG", "SET", "maxmemory", "0") }, "error"},
				{"read-only", func() { f.common.do("REPLICAOF", "127.0.0.1", "1") }, func() { f.common.do("REPLICAOF", "NO", "ONE") }, "error"},
				{"flushed", func() { f.common.do("FLUSHALL") }, func() {}, ""},
				f.tampered(),
			}
		},
	} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			proxy := strings.ReplaceAll(group, " ", "-")
			f := startFleetVia(t, "redis-server", 2, config, func(address string) string {
				return x.call(t, http.MethodPost, "/proxies", map[string]any{"name": proxy, "listen": "127.0.0.1:0", "upstream": address, "enabled": true})["listen"].(string)
			})
			var took latencies
			stop := load(t, 2*time.Millisecond, func(key string) error { return took.ask(f, key) })
			f.shareANewWindow(t)
			t.Logf("%-12s %s", "well", took.take())
			for _, m := range mishaps(f, proxy) {
				f.goesThrough(t, m, &took)
			}
			stop()
		})
	}
}

// goesThrough puts the fleet through a mishap.
func (f *fleet) goesThrough(t *testing.T, m mishap, took *latencies) {
	t.Helper()
	counts := func() (n float64, said int) {
		for _, p := range f.replicas {
			if m.counted != "" {
				n += p.sharedSessions(t, m.counted)
			}
			said += strings.Count(p.output(), "shared store unreachable") + strings.Count(p.output(), "shared session rejected")
		}
		return n, said
	}
	beforeCounted, beforeSaid := counts()
	took.take()
	m.cause()
	f.awaitWindows(t, 3)
	awaitThat(t, m.name+" is counted and said", func() bool {
		n, said := counts()
		return m.counted == "" || n > beforeCounted && said > beforeSaid
	})
	during := took.take()
	m.mend()
	f.shareANewWindow(t)
	n, said := counts()
	t.Logf("%-12s %s; counted %v times, said %d times", m.name, during, n-beforeCounted, said-beforeSaid)
}

// serve asks every replica for an object, and wants a redirect of each. It returns when each one's URL was signed, and whether it is one URL.
func (f *fleet) serve(t *testing.T) (signed []string, same bool) {
	t.Helper()
	var locations []string
	for _, p := range f.replicas {
		a := fetch(t, http.MethodGet, p.url("/s3/fleet/k"))
		if err := a.checkRedirect(); err != nil {
			t.Fatal(err)
		}
		locations, signed = append(locations, a.header.Get("Location")), append(signed, a.query().Get("X-Amz-Date"))
	}
	return signed, len(slices.Compact(locations)) == 1
}

// awaitWindows waits until every replica has come to so many windows more.
func (f *fleet) awaitWindows(t *testing.T, n int) {
	t.Helper()
	last, seen := make([]string, len(f.replicas)), make([]int, len(f.replicas))
	awaitThat(t, fmt.Sprintf("%d windows more", n), func() bool {
		signed, _ := f.serve(t)
		for r, at := range signed {
			if at != last[r] {
				last[r], seen[r] = at, seen[r]+1
			}
		}
		return slices.Min(seen) > n
	})
}

// shareANewWindow waits until all replicas have one URL that was signed from now on.
func (f *fleet) shareANewWindow(t *testing.T) {
	t.Helper()
	began := time.Now().UTC().Format("20060102T150405Z")
	awaitThat(t, "a new window is shared", func() bool {
		signed, same := f.serve(t)
		return same && signed[0] > began
	})
}

// tampered has somebody swap what the store holds, change it, and put garbage of all kinds in its place, all the time, and for ever.
func (f *fleet) tampered() mishap {
	stop, done := make(chan struct{}), make(chan struct{})
	return mishap{"tampered", func() {
		go func() {
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
		}()
	}, func() {
		close(stop)
		<-done
		f.common.do("FLUSHALL")
	}, "refused"}
}

// latencies is how long requests took.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

// ask asks through nginx for a redirect.
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

// take tells of the requests since it was last called.
func (l *latencies) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.all)
	at := func(q float64) time.Duration { return l.all[int(q*float64(len(l.all)-1))].Round(10 * time.Microsecond) }
	if len(l.all) == 0 {
		return "no requests"
	}
	defer func() { l.all = nil }()
	return fmt.Sprintf("%d requests, p50 %v, p99 %v, longest %v", len(l.all), at(0.5), at(0.99), at(1))
}

// A replica is killed while it asks STS for everybody: its lease ends, another replica takes over, and nobody fails.
func TestLeaseHolderDies(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "redis-server", 2, longWindows.Replace(fleetConfig))
	release := f.sts.hold(t)
	dying, heir := f.replicas[0], f.replicas[1]
	go func() { _, _ = try(t, http.MethodGet, dying.url("/s3/fleet/k")) }()
	awaitThat(t, "the first replica asks STS", func() bool { return f.sts.arrived.Load() == 1 })
	dying.stop()
	release()
	heir.location(t, http.MethodGet, "/s3/fleet/k")
	if calls, stored := f.sts.arrived.Load(), heir.sharedSessions(t, "stored"); calls != 2 || stored != 1 {
		t.Errorf("%d calls, %v stored", calls, stored)
	}
	for name := range f.common.contents() {
		if strings.HasSuffix(name, ":lease") {
			t.Error("the heir has not given its lease back")
		}
	}
}
