package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// prometheus is a real Prometheus server.
type prometheus struct{ url string }

// startPrometheus starts Prometheus with the shipped configuration, asking each second.
func startPrometheus(t *testing.T, p *proxy) *prometheus {
	t.Helper()
	need(t, "prometheus", "promtool")
	dir := shipped(t, "prometheus", "127.0.0.1:9090", strings.TrimPrefix(p.admin, "http://"))
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {scrape_interval: 1s, evaluation_interval: 1s}\n"+readFile(t, filepath.Join(dir, "scrape.yml"))), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	server, err := startServer(dir, "prometheus", nil, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.stop()
		if t.Failed() {
			log := server.output()
			t.Logf("Prometheus said:\n%s", log[max(0, len(log)-3000):])
		}
	})
	m := &prometheus{url: "http://" + address}
	if err := server.await("Prometheus", func() bool { return answersOK(m.url + "/-/ready") }); err != nil {
		t.Fatal(err)
	}
	return m
}

// query asks Prometheus, and returns the values of all series. Its error is what Prometheus has against the query.
func (m *prometheus) query(t *testing.T, expr string) ([]float64, error) {
	t.Helper()
	a := fetch(t, http.MethodGet, m.url+"/api/v1/query?query="+url.QueryEscape(expr))
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		t.Fatalf("%s: %v: %s", expr, err, a.body)
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	var values []float64
	for _, r := range answer.Data.Result {
		v, err := strconv.ParseFloat(r.Value[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values, nil
}

// await asks until one value comes, and it is right.
func (m *prometheus) await(t *testing.T, expr string, right func(float64) bool) {
	t.Helper()
	var values []float64
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var err error
		if values, err = m.query(t, expr); err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		if len(values) == 1 && right(values[0]) {
			return
		}
	}
	t.Fatalf("%s is %v", expr, values)
}

// A real Prometheus scrapes the proxy: its recording rule tells exactly the hit ratio of what was asked, its linter has
// nothing to say, and every query of the dashboard has an answer.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
cache: {redis: {url: "redis://127.0.0.1:1/0", encryption_key: "${FLEET_KEY}"}} # nobody is there, and it is counted
integrations:
  - name: album
    bucket: scraped
`+withRole, append(s.env(), fleetKey)...)
	m := startPrometheus(t, p)
	const lookups = `sum(s3redirect_cache_lookups_total{cache="urls",integration="album"})`
	m.await(t, lookups, func(v float64) bool { return v == 0 })

	for range 5 { // 8 misses, then 32 hits
		for n := range 8 {
			p.location(t, http.MethodGet, path("scraped", fmt.Sprint(n)))
		}
	}
	p.wantProblem(t, "/s3/not-served/x", http.StatusNotFound, "bucket_not_permitted")
	m.await(t, lookups, func(v float64) bool { return v == 40 })
	m.await(t, `s3redirect:url_hit_ratio:rate5m{integration="album"}`, func(v float64) bool { return math.Abs(v-0.8) < 1e-12 })
	m.await(t, `s3redirect:credentials_hit_ratio:rate5m{integration="album"}`, func(v float64) bool { return math.Abs(v-39.0/40) < 1e-12 })
	m.await(t, `s3redirect:error_ratio:rate5m{integration="album"}`, func(v float64) bool { return v == 0 })
	m.await(t, `count(ALERTS) or vector(0)`, func(v float64) bool { return v == 0 })

	for title, expr := range dashboardQueries(t) {
		values, err := m.query(t, expr)
		known := false
		for _, v := range values {
			known = known || !math.IsNaN(v)
		}
		if err != nil || !known {
			t.Errorf("%s: %s: %v %v", title, expr, values, err)
		}
	}

	check := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(string(fetch(t, http.MethodGet, p.admin+"/metrics").body))
	if out, err := check.CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// dashboardQueries are the dashboard's, as Grafana would ask them, by their panels' titles.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, "../deploy/grafana/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries[p.Title+" "+target.RefID] = strings.NewReplacer("$job", ".*", "$integration", ".*", "$__rate_interval", "1m").Replace(target.Expr)
		}
	}
	if len(queries) < 20 {
		t.Fatalf("%d queries", len(queries))
	}
	return queries
}

// Each alert fires when it should, and does not when it should not.
func TestAlerts(t *testing.T) {
	t.Parallel()
	need(t, "promtool")
	cmd := exec.CommandContext(t.Context(), "promtool", "test", "rules", "s3redirect.rules.test.yml")
	cmd.Dir = "../deploy/prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	tests := readFile(t, "../deploy/prometheus/s3redirect.rules.test.yml")
	for line := range strings.Lines(readFile(t, "../deploy/prometheus/s3redirect.rules.yml")) {
		if _, name, found := strings.Cut(strings.TrimSpace(line), "alert: "); found && (strings.Count(tests, "alertname: "+name+", ") == 0 || strings.Count(tests, "alertname: "+name+"\n") == 0) {
			t.Errorf("%s is not tested firing and not firing", name)
		}
	}
}
