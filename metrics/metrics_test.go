package metrics

import (
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// newUsed is instruments after one of everything.
func newUsed() *Metrics {
	m := New("1.2.3")
	m.ConfigRead(true, time.Unix(1_700_000_000, 500_000_000))
	m.WatchCache("urls", func() int { return 7 }, Evictions{"capacity": func() uint64 { return 3 }})
	i := m.Integration("lab")
	i.HasRole()
	i.Request("GET", 302)
	i.Request("GET", 302)
	i.Request("PROPFIND", 405)
	i.Request("GET", 418)
	i.URLs.Count(true)
	i.Credentials.Count(false)
	i.AssumeRole("ok", 100*time.Millisecond)
	i.SessionExpires(time.Unix(1_700_003_600, 0))
	return m
}

func TestSeries(t *testing.T) {
	s := httptest.NewServer(newUsed().Handler())
	defer s.Close()
	want := `
# HELP s3redirect_requests_total Requests answered on the viewers' listener, by integration (- where none serves the bucket), method and status code.
# TYPE s3redirect_requests_total counter
s3redirect_requests_total{code="302",integration="lab",method="GET"} 2
s3redirect_requests_total{code="302",integration="lab",method="HEAD"} 0
s3redirect_requests_total{code="403",integration="lab",method="GET"} 0
s3redirect_requests_total{code="405",integration="lab",method="other"} 1
s3redirect_requests_total{code="502",integration="lab",method="GET"} 0
s3redirect_requests_total{code="503",integration="lab",method="GET"} 0
s3redirect_requests_total{code="other",integration="lab",method="GET"} 1
# HELP s3redirect_cache_lookups_total Look-ups in the two caches (urls, credentials), by integration and result (hit, miss). A credentials hit is a request that did not wait for STS.
# TYPE s3redirect_cache_lookups_total counter
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="hit"} 0
s3redirect_cache_lookups_total{cache="credentials",integration="lab",result="miss"} 1
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="hit"} 1
s3redirect_cache_lookups_total{cache="urls",integration="lab",result="miss"} 0
# HELP s3redirect_cache_entries Entries in the two caches (urls, credentials).
# TYPE s3redirect_cache_entries gauge
s3redirect_cache_entries{cache="urls"} 7
# HELP s3redirect_cache_evictions_total Entries that left a cache, by reason (capacity, expired, purged).
# TYPE s3redirect_cache_evictions_total counter
s3redirect_cache_evictions_total{cache="urls",reason="capacity"} 3
# HELP s3redirect_assume_role_total AssumeRole calls, by integration and result (ok, denied, throttled, unavailable).
# TYPE s3redirect_assume_role_total counter
s3redirect_assume_role_total{integration="lab",result="denied"} 0
s3redirect_assume_role_total{integration="lab",result="ok"} 1
s3redirect_assume_role_total{integration="lab",result="throttled"} 0
s3redirect_assume_role_total{integration="lab",result="unavailable"} 0
# HELP s3redirect_credentials_expiry_timestamp_seconds When the newest session expires, in Unix time, by integration.
# TYPE s3redirect_credentials_expiry_timestamp_seconds gauge
s3redirect_credentials_expiry_timestamp_seconds{integration="lab"} 1.7000036e+09
# HELP s3redirect_config_reload_success 1 if the configuration was read without a mistake the last time.
# TYPE s3redirect_config_reload_success gauge
s3redirect_config_reload_success 1
# HELP s3redirect_config_reload_timestamp_seconds When the configuration in use was read, in Unix time.
# TYPE s3redirect_config_reload_timestamp_seconds gauge
s3redirect_config_reload_timestamp_seconds 1.7000000005e+09
`
	if err := testutil.ScrapeAndCompare(s.URL, strings.NewReader(want), "s3redirect_requests_total", "s3redirect_cache_lookups_total",
		"s3redirect_cache_entries", "s3redirect_cache_evictions_total", "s3redirect_assume_role_total",
		"s3redirect_credentials_expiry_timestamp_seconds", "s3redirect_config_reload_success", "s3redirect_config_reload_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}

// Prometheus's own rules for names, units and help texts.
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
	i.Request("GET", 302)
	if n := testing.AllocsPerRun(1000, func() { i.Request("GET", 302); i.URLs.Count(true) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Counts say what the series say, and an integration that is forgotten is no longer in them.
func TestCounts(t *testing.T) {
	m := newUsed()
	m.Integration(NoIntegration).Request("GET", 404)
	m.Integration("other").Request("HEAD", 503)
	want := map[string]Counts{
		"lab":         {Requests: 4, Redirects: 2, Refused: 1, URLHits: 1, CredentialMisses: 1},
		"other":       {Requests: 1, Failed: 1},
		NoIntegration: {Requests: 1, Refused: 1},
	}
	if got := m.Counts(); !maps.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got := m.Total(); got != (Counts{Requests: 6, Redirects: 2, Refused: 2, Failed: 1, URLHits: 1, CredentialMisses: 1}) {
		t.Errorf("%+v", got)
	}
	m.Forget("lab")
	m.Integration("lab").Request("GET", 302)
	if got := m.Counts()["lab"]; got != (Counts{Requests: 1, Redirects: 1}) {
		t.Errorf("after it was forgotten: %+v", got)
	}
}
