package metrics

import (
	"maps"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// newUsed returns metrics after some events.
func newUsed() *Metrics {
	m := New("1.2.3")
	m.ConfigRead(true, time.Unix(1_700_000_000, 500_000_000))
	m.WatchCache("urls", func() int { return 7 }, Evictions{"capacity": func() uint64 { return 3 }})
	i := m.Integration("lab")
	i.Has(AssumeRole)
	i.Request(0, "GET", 302)
	i.Request(0, "GET", 302)
	i.Request(0, "PROPFIND", 405)
	i.Request(0, "GET", 418)
	i.URLs.Count(0, true)
	i.Credentials.Count(0, false)
	i.AssumeRole("ok", 100*time.Millisecond)
	i.SessionExpires(time.Unix(1_700_003_600, 0))
	return m
}

func TestSeries(t *testing.T) {
	s := httptest.NewServer(newUsed().Handler())
	defer s.Close()
	want := `
# HELP s3redirect_requests_total Requests answered on the viewers' listener, by integration ` +
		`(- if none serves the bucket), method and status code.
# TYPE s3redirect_requests_total counter
s3redirect_requests_total{code="302",integration="lab",method="GET"} 2
s3redirect_requests_total{code="302",integration="lab",method="HEAD"} 0
s3redirect_requests_total{code="403",integration="lab",method="GET"} 0
s3redirect_requests_total{code="405",integration="lab",method="other"} 1
s3redirect_requests_total{code="502",integration="lab",method="GET"} 0
s3redirect_requests_total{code="503",integration="lab",method="GET"} 0
s3redirect_requests_total{code="other",integration="lab",method="GET"} 1
# HELP s3redirect_cache_lookups_total Lookups in the two caches (urls, credentials), ` +
		`by integration and result (hit, miss). ` +
		`A credentials miss is a request that waited for STS.
# TYPE s3redirect_cache_lookups_total counter
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="hit"} 0
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="miss"} 1
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="hit"} 1
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="miss"} 0
# HELP s3redirect_cache_entries Entries in the two caches (urls, credentials).
# TYPE s3redirect_cache_entries gauge
s3redirect_cache_entries{cache="urls"} 7
# HELP s3redirect_cache_evictions_total Entries that left a cache, by reason ` +
		`(capacity, expired, purged).
# TYPE s3redirect_cache_evictions_total counter
s3redirect_cache_evictions_total{cache="urls",reason="capacity"} 3
# HELP s3redirect_assume_role_total AssumeRole calls, by integration and result ` +
		`(ok, denied, throttled, unavailable, malformed, own_credentials).
# TYPE s3redirect_assume_role_total counter
s3redirect_assume_role_total{integration="lab",result="denied"} 0
s3redirect_assume_role_total{integration="lab",result="malformed"} 0
s3redirect_assume_role_total{integration="lab",result="ok"} 1
s3redirect_assume_role_total{integration="lab",result="own_credentials"} 0
s3redirect_assume_role_total{integration="lab",result="throttled"} 0
s3redirect_assume_role_total{integration="lab",result="unavailable"} 0
# HELP s3redirect_credentials_expiry_timestamp_seconds Unix time at which the newest session ` +
		`expires, by integration.
# TYPE s3redirect_credentials_expiry_timestamp_seconds gauge
s3redirect_credentials_expiry_timestamp_seconds{integration="lab"} 1.7000036e+09
# HELP s3redirect_config_reload_success 1 if the last reload of the configuration succeeded, ` +
		`0 otherwise.
# TYPE s3redirect_config_reload_success gauge
s3redirect_config_reload_success 1
# HELP s3redirect_config_reload_timestamp_seconds Unix time at which the current ` +
		`configuration was loaded.
# TYPE s3redirect_config_reload_timestamp_seconds gauge
s3redirect_config_reload_timestamp_seconds 1.7000000005e+09
`
	err := testutil.ScrapeAndCompare(s.URL, strings.NewReader(want),
		"s3redirect_requests_total", "s3redirect_cache_lookups_total",
		"s3redirect_cache_entries", "s3redirect_cache_evictions_total",
		"s3redirect_assume_role_total", "s3redirect_credentials_expiry_timestamp_seconds",
		"s3redirect_config_reload_success", "s3redirect_config_reload_timestamp_seconds")
	if err != nil {
		t.Error(err)
	}
}

// TestLint checks names, units and help texts with Prometheus's linter.
func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(newUsed().registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestRequestDoesNotAllocate(t *testing.T) {
	i := New("").Integration("lab")
	i.Request(0, "GET", 302)
	n := testing.AllocsPerRun(1000, func() {
		i.Request(0, "GET", 302)
		i.URLs.Count(0, true)
	})
	if n > 0 {
		t.Errorf("counting a request allocates %v times, want 0", n)
	}
}

// TestCounts checks that counts agree with the series, and that Forget removes them.
func TestCounts(t *testing.T) {
	m := newUsed()
	m.Integration(NoIntegration).Request(0, "GET", 404)
	m.Integration("other").Request(0, "HEAD", 503)
	want := map[string]Counts{
		"lab":         {Requests: 4, Redirects: 2, Refused: 1, URLHits: 1, CredentialMisses: 1},
		"other":       {Requests: 1, Failed: 1},
		NoIntegration: {Requests: 1, Refused: 1},
	}
	if got := m.Counts(); !maps.Equal(got, want) {
		t.Errorf("Counts() = %+v, want %+v", got, want)
	}
	total := Counts{
		Requests:         6,
		Redirects:        2,
		Refused:          2,
		Failed:           1,
		URLHits:          1,
		CredentialMisses: 1,
	}
	if got := m.Total(); got != total {
		t.Errorf("Total() = %+v, want %+v", got, total)
	}
	m.Forget("lab")
	m.Integration("lab").Request(0, "GET", 302)
	after := Counts{Requests: 1, Redirects: 1}
	if got := m.Counts()["lab"]; got != after {
		t.Errorf("Counts() of lab after Forget = %+v, want %+v", got, after)
	}
}

// seriesOf returns the number of exported series that have an integration's label.
func seriesOf(t *testing.T, m *Metrics, name string) (n int) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, series := range f.GetMetric() {
			for _, label := range series.GetLabel() {
				if label.GetName() == "integration" && label.GetValue() == name {
					n++
				}
			}
		}
	}
	return n
}

// An integration has series once it is used, whatever uses it, and until it is forgotten. They
// include those with the value 0.
func TestSeriesOfUsedIntegrations(t *testing.T) {
	// Five of requests, four of look-ups; six of AssumeRole and its duration, five of shared
	// sessions, eleven of documents in place.
	const series = 5 + 4 + 6 + 1 + 5 + 11
	for name, use := range map[string]func(*Integration){
		"request":        func(i *Integration) { i.Request(0, "GET", 302) },
		"URL":            func(i *Integration) { i.URLs.Count(0, true) },
		"session":        func(i *Integration) { i.Credentials.Count(0, false) },
		"AssumeRole":     func(i *Integration) { i.AssumeRole("ok", time.Second) },
		"shared session": func(i *Integration) { i.SharedSession("hit") },
		"in place":       func(i *Integration) { i.InPlace("served") },
		"session expiry": func(i *Integration) { i.SessionExpires(time.Unix(1_700_000_000, 0)) },
	} {
		m := New("")
		used, unused := m.Integration("used"), m.Integration("unused")
		used.Has(AssumeRole | SharedSessions)
		unused.Has(AssumeRole)
		if n := seriesOf(t, m, "used"); n > 0 {
			t.Errorf("%s: %d series before the first use, want none", name, n)
		}
		use(used)
		used.Has(InPlace)
		want := series
		if name == "session expiry" {
			want++
		}
		if n := seriesOf(t, m, "used"); n != want {
			t.Errorf("%s: %d series after the first use, want %d", name, n, want)
		}
		if n := seriesOf(t, m, "unused"); n > 0 {
			t.Errorf("%s: %d series of the unused integration, want none", name, n)
		}
		if n := seriesOf(t, m, NoIntegration); n > 0 {
			t.Errorf("%s: %d series of %s, want none before its first use", name, n, NoIntegration)
		}
		m.Forget("used")
		if n := seriesOf(t, m, "used"); n > 0 {
			t.Errorf("%s: %d series after Forget, want none", name, n)
		}
	}
}

// ExportAll gives series to integrations that exist and to those that follow. Switching it off
// removes none.
func TestExportAll(t *testing.T) {
	m := New("")
	m.Integration("before")
	m.ExportAll(true)
	m.Integration("after").Has(AssumeRole)
	m.ExportAll(false)
	m.Integration("later")
	for name, want := range map[string]int{"before": 9, "after": 16, "later": 0} {
		if got := seriesOf(t, m, name); got != want {
			t.Errorf("%d series of %s, want %d", got, name, want)
		}
	}
}

// An integration that is not used costs little memory, which is counted in allocations: 10,000
// integrations of which 100 are used are common.
func TestUnusedIntegrationIsSmall(t *testing.T) {
	m := New("")
	n := 0
	got := testing.AllocsPerRun(1000, func() {
		n++
		i := m.Integration(strconv.Itoa(n))
		i.Has(AssumeRole | SharedSessions | InPlace)
	})
	if got > 3 { // the name, the handle, and the growth of the map
		t.Errorf("an unused integration makes %v allocations, want at most 3", got)
	}
	if size := unsafe.Sizeof(Integration{}); size > 96 {
		t.Errorf("an unused integration takes %d bytes, want at most 96", size)
	}
}

// Concurrent first uses lose no count.
func TestConcurrentFirstUse(t *testing.T) {
	m := New("")
	i := m.Integration("lab")
	const goroutines = 8
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range goroutines {
		wg.Go(func() {
			<-start
			i.Request(m.NewShard(), "GET", 302)
			i.Has(AssumeRole)
		})
	}
	close(start)
	wg.Wait()
	if got := m.Counts()["lab"].Redirects; got != goroutines {
		t.Errorf("%d redirects were counted, want %d", got, goroutines)
	}
	if got := seriesOf(t, m, "lab"); got != 16 {
		t.Errorf("%d series, want 16", got)
	}
}
