package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
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

// TestAuditLogIsRotated checks that no line of the audit log is missing after rotations by a real
// logrotate, with the configuration of docs/logs.md, and that the URLs are not in it.
func TestAuditLogIsRotated(t *testing.T) {
	t.Parallel()
	need(t, "logrotate")
	dir := writeConfig(t, signing)
	audit, config := filepath.Join(dir, "audit.log"), filepath.Join(dir, "config.yaml")
	text := strings.Replace(readFile(t, config), "access: true", "access: true, audit: "+audit, 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProxyAt(t, dir, freeAddress(t), freeAddress(t))
	_, rest, _ := strings.Cut(readFile(t, "../../docs/logs.md"), "/var/log/s3redirect/audit.log {")
	directives, _, ok := strings.Cut(rest, "}")
	if !ok || !strings.Contains(directives, "rotate") {
		t.Fatal("docs/logs.md has no configuration of logrotate")
	}
	conf := filepath.Join(dir, "logrotate.conf")
	if err := os.WriteFile(conf, []byte(audit+" {"+directives+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		text, _ := os.ReadFile(audit) // it does not exist right after a rotation
		return string(text)
	}
	var keys, secrets []string
	for range 3 {
		key := fmt.Sprintf("photo-%d.jpg", len(keys))
		location, err := url.Parse(p.location(t, http.MethodGet, path("logged", key)))
		if err != nil {
			t.Fatal(err)
		}
		keys, secrets = append(keys, key), append(secrets, location.Query().Get("X-Amz-Signature"))
		logLine(t, read, key)
		out, err := program(t, "logrotate", "--force", "--state", filepath.Join(dir, "state"), conf)
		if err != nil {
			t.Fatalf("logrotate: %v\n%s", err, out)
		}
		p.location(t, http.MethodGet, path("logged", "after-"+key)) // creates the new file
		logLine(t, read, "after-"+key)
	}
	p.location(t, http.MethodGet, path("logged", "last.jpg"))
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if out, err := program(t, "gzip", "-d", audit+".2.gz", audit+".3.gz"); err != nil {
		t.Fatalf("gzip: %v\n%s", err, out)
	}
	all := readFile(t, audit+".3") + readFile(t, audit+".2") + readFile(t, audit+".1") + readFile(t, audit)
	if got := strings.Count(all, "\n"); got != 7 {
		t.Errorf("got %d lines, want 7:\n%s", got, all)
	}
	for n, key := range append(keys, "last.jpg") {
		if strings.Count(all, `"key":"`+key+`"`) != 1 || n < len(secrets) && strings.Contains(all, secrets[n]) {
			t.Errorf("want one line of %s without its signature:\n%s", key, all)
		}
	}
	if info, err := os.Stat(audit); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the new file: %v, %v, want mode 0600", info, err)
	}
}
