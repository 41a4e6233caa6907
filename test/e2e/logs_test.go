package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// signing is a configuration that signs URLs without any other server.
const signing = `
trusted_proxies: [127.0.0.1]
integrations:
  - name: album
    bucket: logged
    region: us-east-1
    endpoint: http://127.0.0.1:9
    path_style: true
    access_key_id: AKIAEXAMPLE
    secret_access_key: canary-of-the-key
`

// logLine returns the fields of the first line of a log that has all of parts, which it awaits.
func logLine(t *testing.T, read func() string, parts ...string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(read()) {
			has := strings.HasSuffix(line, "\n")
			for _, part := range parts {
				has = has && strings.Contains(line, part)
			}
			var fields map[string]any
			if has && json.Unmarshal([]byte(line), &fields) == nil {
				return fields
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log has no line with %q:\n%s", parts, read())
		}
	}
}

// TestRequestIDBehindNginx checks that the access log and a problem have the request ID of the
// shipped nginx, not the one that the client chose.
func TestRequestIDBehindNginx(t *testing.T) {
	t.Parallel()
	p := startProxy(t, signing)
	f := behindShippedNginx(t, p, "")
	ids := map[string]bool{}
	for _, path := range []string{"/s3/logged/photo.jpg", "/s3/not-served/photo.jpg"} {
		a := fetch(t, http.MethodGet, "http://"+f.host+path, "X-Request-ID: canary-of-the-client",
			"User-Agent: Probe/1.0", "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
		fields := logLine(t, p.output, `"msg":"request"`, strings.Split(path, "/")[2])
		id, _ := fields["request_id"].(string)
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || ids[id] {
			t.Errorf("%s: request_id = %q, want a new one that nginx made", path, id)
		}
		ids[id] = true
		if got := a.header.Get("X-Request-Id"); a.status == http.StatusNotFound && got != id {
			t.Errorf("%s: got X-Request-Id %q, want %q", path, got, id)
		}
		if fields["user_agent"] != "Probe/1.0" ||
			fields["trace_id"] != "4bf92f3577b34da6a3ce929d0e0e4736" {
			t.Errorf("%s: got %v, want the client's user agent and trace", path, fields)
		}
	}
	if strings.Contains(p.output(), "canary") {
		t.Errorf("the log contains the client's ID or the key:\n%s", p.output())
	}
}

// TestPrometheusStoresExemplars checks that a real Prometheus stores the trace ID of a sampled
// request as an exemplar of the request's duration.
func TestPrometheusStoresExemplars(t *testing.T) {
	t.Parallel()
	p := startProxy(t, signing)
	m := startPrometheus(t, p)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	fetch(t, http.MethodGet, p.url("/s3/logged/photo.jpg"),
		"Traceparent: 00-"+trace+"-00f067aa0ba902b7-01")
	query := url.Values{
		"query": {"s3redirect_request_duration_seconds_bucket"},
		"start": {"2000-01-01T00:00:00Z"}, "end": {"2100-01-01T00:00:00Z"},
	}
	var body string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		body = string(fetch(t, http.MethodGet, m.url+"/api/v1/query_exemplars?"+query.Encode()).body)
		if strings.Contains(body, `"trace_id":"`+trace+`"`) {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Errorf("query_exemplars = %s, want the trace ID", body)
}
