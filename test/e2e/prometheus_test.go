package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"gopkg.in/yaml.v3"
)

// prometheus is a real Prometheus server.
type prometheus struct{ url string }

// startPrometheus starts Prometheus with the shipped configuration and a scrape interval of one
// second.
func startPrometheus(t *testing.T, p *proxy) *prometheus {
	t.Helper()
	need(t, "prometheus", "promtool")
	dir := shipped(t, "prometheus", "127.0.0.1:9090", strings.TrimPrefix(p.admin, "http://"))
	config := filepath.Join(dir, "prometheus.yml")
	text := "global: {scrape_interval: 1s, evaluation_interval: 1s}\n" +
		readFile(t, filepath.Join(dir, "scrape.yml"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	server, err := startServer(dir, "prometheus", nil, "prometheus",
		"--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address,
		"--enable-feature=exemplar-storage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.stop()
		if t.Failed() {
			log := server.output()
			t.Logf("the end of the log of Prometheus:\n%s", log[max(0, len(log)-3000):])
		}
	})
	m := &prometheus{url: "http://" + address}
	ready := func() bool { return answersOK(m.url + "/-/ready") }
	if err := server.await("Prometheus", ready); err != nil {
		t.Fatal(err)
	}
	return m
}

// query evaluates expr and returns the values of all series. The error is Prometheus's message.
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

// await evaluates expr until it has exactly one value and right accepts it.
func (m *prometheus) await(t *testing.T, expr string, right func(float64) bool) {
	t.Helper()
	var values []float64
	deadline := time.Now().Add(30 * time.Second)
	for ; time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var err error
		if values, err = m.query(t, expr); err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		if len(values) == 1 && right(values[0]) {
			return
		}
	}
	t.Fatalf("%s still is %v after 30 seconds, want another single value", expr, values)
}

// startIssuer starts a server that publishes the key of an issuer of tokens, and returns its URL.
func startIssuer(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "k", Key: key.Public()}}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(set)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A real Prometheus scrapes the proxy. The recording rules give the exact hit ratios of the
// requests sent, the linter accepts the metrics, and every query of the dashboard returns values.
// Queries for an unknown integration return none.
func TestPrometheusScrapesProxy(t *testing.T) {
	t.Parallel()
	s := minio(t)
	shared := startSharedStore(t, "redis-server")
	issuer := startIssuer(t)
	// With used, Prometheus's rates would not have what precedes the first sample.
	p := startProxy(t, `
metrics: {integrations: all}
viewers:
  anonymous: true
  jwt: {issuer: "${ISSUER}", jwks_url: "${ISSUER}/keys", audience: media, cookie: session}
cache: {redis: {url: "redis://:`+sharedPassword+`@${SHARED}/0", encryption_key: "${FLEET_KEY}"}}
integrations:
  - name: album
    bucket: scraped
    url_lifetime: 11h
    min_remaining: 1h
    session_duration: 12h
    in_place: {suffixes: [.m3u8]}
`+withRole, append(s.env(), "SHARED="+shared.address, fleetKey,
		"ISSUER="+issuer)...)
	m := startPrometheus(t, p)
	// The proxy fetches the issuer's keys, and refuses the token, because it names another key.
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"other"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`"}`)) + ".eA"
	fetch(t, http.MethodGet, p.url("/s3/not-served/x"), "Cookie: session="+token)
	m.await(t, `s3redirect_viewer_refusals_total{method="jwt",reason="key_unknown"}`,
		func(v float64) bool { return v == 1 })
	const lookups = `sum(s3redirect_cache_lookups_total{cache="urls",integration="album"})`
	m.await(t, lookups, func(v float64) bool { return v == 0 })

	hitRatioIs := func(cache string, want float64) {
		t.Helper()
		m.await(t, "s3redirect:"+cache+`_hit_ratio:rate5m{integration="album"}`,
			func(v float64) bool { return math.Abs(v-want) < 1e-12 })
	}
	for range 5 { // 8 misses, then 32 hits
		for n := range 8 {
			p.location(t, http.MethodGet, path("scraped", fmt.Sprint(n)))
		}
	}
	p.wantProblem(t, "/s3/not-served/x", http.StatusNotFound, "bucket_not_permitted")
	m.await(t, lookups, func(v float64) bool { return v == 40 })
	hitRatioIs("url", 0.8)
	hitRatioIs("credentials", 39.0/40)
	m.await(t, `s3redirect:error_ratio:rate5m{integration="album"}`,
		func(v float64) bool { return v == 0 })
	m.await(t, `count(ALERTS) or vector(0)`, func(v float64) bool { return v == 0 })

	d := readDashboard(t)
	for title, expr := range d.queries("album") {
		values, err := m.query(t, expr)
		known := false
		for _, v := range values {
			known = known || !math.IsNaN(v)
		}
		if err != nil || !known {
			t.Errorf("%s: %s = %v, %v, want a number", title, expr, values, err)
		}
	}
	for title, expr := range d.queries("absent") {
		values, err := m.query(t, expr)
		if strings.Contains(expr, "absent") && (err != nil || len(values) > 0) {
			t.Errorf("%s, unknown integration: %s = %v, %v, want no values",
				title, expr, values, err)
		}
	}
	variables := map[string]string{"job": "s3redirect", "integration": "album"}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		got, want := m.labelValues(t, v.Query.Query), variables[v.Name]
		if len(got) != 1 || got[0] != want {
			t.Errorf("values of the variable %s = %q, want %s only", v.Name, got, want)
		}
	}

	check := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(string(fetch(t, http.MethodGet, p.admin+"/metrics").body))
	if out, err := check.CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("promtool check metrics: %v, want no complaints:\n%s", err, out)
	}
}

// labelValues evaluates Grafana's label_values(series, label).
func (m *prometheus) labelValues(t *testing.T, query string) []string {
	t.Helper()
	parts := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(query)
	if parts == nil {
		t.Fatalf("%s is not a label_values query", query)
	}
	series := url.QueryEscape(strings.ReplaceAll(parts[1], "$job", ".*"))
	a := fetch(t, http.MethodGet, m.url+"/api/v1/label/"+parts[2]+"/values?match[]="+series)
	var answer struct{ Data []string }
	if err := json.Unmarshal(a.body, &answer); err != nil {
		t.Fatalf("%s: %v: %s", query, err, a.body)
	}
	return answer.Data
}

// dashboard holds the parts of Grafana's dashboard that the tests check.
type dashboard struct {
	Panels []struct {
		ID                       int
		Title, Type, Description string
		GridPos                  struct{ X, Y, W, H int }
		FieldConfig              struct{ Defaults struct{ Unit string } }
		Targets                  []struct{ RefID, Expr string }
	}
	Templating struct {
		List []struct {
			Name, Type string
			Query      variableQuery
		}
	}
}

// variableQuery is a string or an object, depending on the type of the variable.
type variableQuery struct{ Query string }

func (q *variableQuery) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &q.Query)
	}
	type plain variableQuery
	return json.Unmarshal(text, (*plain)(q))
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text := readFile(t, "../../deploy/grafana/dashboard.json")
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries returns the dashboard's queries for an integration, as Grafana sends them. The keys are
// the panels' titles and the queries' letters.
func (d *dashboard) queries(integration string) map[string]string {
	queries := map[string]string{}
	variables := strings.NewReplacer(
		"$job", ".*", "$integration", integration, "$__rate_interval", "1m")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries[p.Title+" "+target.RefID] = variables.Replace(target.Expr)
		}
	}
	return queries
}

// The dashboard can be imported anywhere, as it names no data source. Each panel has a description,
// a unit and its own place, and the panels and alerts together show every metric.
func TestDashboardIsComplete(t *testing.T) {
	t.Parallel()
	d, text := readDashboard(t), readFile(t, "../../deploy/grafana/dashboard.json")
	for _, m := range regexp.MustCompile(`"uid": "([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if m[1] != "${datasource}" && m[1] != "s3redirect" {
			t.Errorf("the dashboard names the data source %s", m[1])
		}
	}
	ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] {
			t.Errorf("%q: another panel has the same title or the number %d", p.Title, p.ID)
		}
		unit := p.FieldConfig.Defaults.Unit
		if p.Title == "" || p.Description == "" || unit == "" || len(p.Targets) == 0 {
			t.Errorf("%q: the panel lacks a title, a description, a unit or a query", p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q overlaps %q or the right edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	text += readFile(t, "../../deploy/prometheus/s3redirect.rules.yml")
	metrics := regexp.MustCompile("(?m)^\\| `(s3redirect_\\w+)`").
		FindAllStringSubmatch(readFile(t, "../../docs/metrics.md"), -1)
	for _, m := range metrics {
		if !strings.Contains(text, m[1]) && m[1] != "s3redirect_config_reload_timestamp_seconds" {
			t.Errorf("neither the dashboard nor an alert shows %s", m[1])
		}
	}
	if len(metrics) < 15 || len(d.queries("x")) < 25 {
		t.Errorf("%d metrics and %d queries, want at least 15 and 25",
			len(metrics), len(d.queries("x")))
	}
}

// The rule tests pass, and they test each alert both firing and not firing.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	need(t, "promtool")
	cmd := exec.CommandContext(t.Context(),
		"promtool", "test", "rules", "s3redirect.rules.test.yml")
	cmd.Dir = "../../deploy/prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
	var rules struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	var tests struct {
		Tests []struct {
			Alerts []struct {
				Name     string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	for path, into := range map[string]any{
		"s3redirect.rules.yml":      &rules,
		"s3redirect.rules.test.yml": &tests,
	} {
		text := readFile(t, filepath.Join(cmd.Dir, path))
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	firing, silent, alerts := map[string]bool{}, map[string]bool{}, 0
	for _, test := range tests.Tests {
		for _, a := range test.Alerts {
			if len(a.Expected) > 0 {
				firing[a.Name] = true
			} else {
				silent[a.Name] = true
			}
		}
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			if alerts++; !firing[rule.Alert] || !silent[rule.Alert] {
				t.Errorf("%s: tested firing %v and not firing %v, want both",
					rule.Alert, firing[rule.Alert], silent[rule.Alert])
			}
		}
	}
	if alerts < 7 {
		t.Errorf("%d alerts, want at least 7", alerts)
	}
}
