package metrics

import (
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// newUsed returns metrics after some events.
func newUsed() *Metrics {
	m := New("1.2.3")
	m.ConfigRead(true, time.Unix(1_700_000_000, 500_000_000))
	m.WatchCache("urls", func() int { return 7 }, Evictions{"capacity": func() uint64 { return 3 }})
	i := m.Integration("lab")
	i.InitAssumeRole()
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
