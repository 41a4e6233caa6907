package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The metrics count exactly the requests that the test sends.
func TestMetricsCountRequests(t *testing.T) {
	t.Parallel()
	s := minio(t)
	// Windows last 10 hours, so that none ends while the test runs.
	p := startProxy(t, `
integrations:
  - name: role
    permitted_buckets: ["counted-*"]
    url_lifetime: 11h
    min_remaining: 1h
    session_duration: 12h
`+withRole+`
  - name: keys
    bucket: counted
    url_lifetime: 11h
    min_remaining: 1h
`+withKeys, s.env()...)

	send := func(method, path string, times int) {
		for range times {
			if a := p.raw(t, method, path); a.status >= 500 {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	// The first request for a method, object or parameter is a miss, all others are hits.
	send(http.MethodGet, "/s3/counted-1/a", 5)
	send(http.MethodGet, "/s3/counted-1/%61", 2)
	send(http.MethodGet, "/s3/counted-1/b?utm_source=mail", 3)
	send(http.MethodHead, "/s3/counted-1/a", 4)
	send(http.MethodGet, "/s3/counted-1/a?download=x", 2)
	send(http.MethodGet, "/s3/counted/a", 3)
	send(http.MethodGet, "/s3/counted-1/a?versionId=1", 2)
	send(http.MethodOptions, "/s3/counted-1/a", 1)
	send(http.MethodPut, "/s3/counted-1/a", 2)
	send(http.MethodGet, "/s3/somebody-elses/a", 6)
	send(http.MethodGet, "/s3/counted-1/..", 1)

	got := p.scrape(t)
	for series, want := range map[string]float64{
		`cache_lookups_total{cache="urls",integration="role",result="miss"}`:        4,
		`cache_lookups_total{cache="urls",integration="role",result="hit"}`:         12,
		`cache_lookups_total{cache="urls",integration="keys",result="miss"}`:        1,
		`cache_lookups_total{cache="urls",integration="keys",result="hit"}`:         2,
		`cache_lookups_total{cache="credentials",integration="role",result="miss"}`: 1,
		`cache_lookups_total{cache="credentials",integration="role",result="hit"}`:  15,
		`cache_entries{cache="urls"}`:                                               5,
		`cache_entries{cache="credentials"}`:                                        1,
		`requests_total{code="302",integration="role",method="GET"}`:                12,
		`requests_total{code="302",integration="role",method="HEAD"}`:               4,
		`requests_total{code="302",integration="keys",method="GET"}`:                3,
		`requests_total{code="400",integration="role",method="GET"}`:                2,
		`requests_total{code="404",integration="-",method="GET"}`:                   6,
		`requests_total{code="400",integration="-",method="GET"}`:                   1,
		`requests_total{code="204",integration="-",method="OPTIONS"}`:               1,
		`requests_total{code="405",integration="-",method="other"}`:                 2,
		`request_duration_seconds_count`:                                            31,
		`url_bytes_count`:                                                           19,
		`url_remaining_seconds_count`:                                               19,
		// All URLs are valid for at least an hour.
		`url_remaining_seconds_bucket{le="2700"}`: 0,
		`config_reload_success`:                   1,
	} {
		if got, ok := got["s3redirect_"+series]; !ok || got != want {
			t.Errorf("%s = %v, want %v", series, got, want)
		}
	}
	n := got[`s3redirect_assume_role_total{integration="role",result="ok"}`]
	if n != 1 && n != 2 {
		t.Errorf("%v sessions, want 1 or, with a prefetched one, 2", n)
	}
	expires := got[`s3redirect_credentials_expiry_timestamp_seconds{integration="role"}`]
	if want := float64(time.Now().Add(11 * time.Hour).Unix()); expires < want {
		t.Errorf("the session expires at %v, want %v or later", expires, want)
	}
	for series := range got {
		if strings.Contains(series, "counted") || strings.Contains(series, "somebody") {
			t.Errorf("%s: a label has a bucket from a request, so clients could create series",
				series)
		}
	}
}

func TestHealthChecks(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: keys
    bucket: health
`+withKeys, s.env()...)
	for _, path := range []string{"/healthz", "/readyz"} {
		a := fetch(t, http.MethodGet, p.admin+path)
		got := a.header.Get("Cache-Control")
		if a.status != http.StatusOK || got != "no-store" {
			t.Errorf("%s: status %d, Cache-Control %q, want 200 and no-store", path, a.status, got)
		}
	}
	// The administrators' listener serves no redirects; TestInvalidPathsAreRejected shows that the
	// viewers' listener serves no administration pages.
	a := fetch(t, http.MethodGet, p.admin+"/s3/health/key")
	if a.status != http.StatusNotFound {
		t.Errorf("status of a redirect from the administrators' listener = %d, want 404", a.status)
	}
}

// Secret keys, session tokens and signatures appear in Location only: not in the debug log, the
// metrics or problem responses.
func TestSecretsAppearOnlyInLocation(t *testing.T) {
	t.Parallel()
	s, g := minio(t), radosgw(t)
	sts := s.sts(t)
	env := append(s.env(),
		"STS="+sts.url,
		"CEPH="+g.endpoint,
		"ROLE="+g.roleARN,
		"STRANGER_KEY="+g.stranger.AccessKeyID,
		"STRANGER_SECRET="+g.stranger.SecretAccessKey,
		"WRONG_SECRET=canary+wrong/secret")
	p := startProxy(t, `
integrations:
  - name: role
    bucket: secret-role
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}")+`
  - name: keys
    bucket: secret-keys
`+withKeys+`
  - name: denied
    bucket: secret-denied
`+strings.ReplaceAll(withRole, "${SECRET_KEY}", "${WRONG_SECRET}")+`
  - name: stranger
    bucket: secret-stranger
    endpoint: ${CEPH}
    path_style: true
    region: us-east-1
    role_arn: ${ROLE}
    sts_endpoint: ${CEPH}
    access_key_id: ${STRANGER_KEY}
    secret_access_key: ${STRANGER_SECRET}
  - name: nowhere
    bucket: secret-nowhere
`+strings.ReplaceAll(
		withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: http://127.0.0.1:1",
	), env...)

	outputs := map[string]string{}
	var secrets []string
	secret := func(values ...string) {
		for _, v := range values {
			if len(v) < 16 {
				t.Fatalf("%q is too short for a unique canary", v)
			}
			secrets = append(secrets, v, url.QueryEscape(v), url.PathEscape(v))
		}
	}
	secret(s.owner.SecretAccessKey, g.stranger.SecretAccessKey, "canary+wrong/secret")
	for _, bucket := range []string{"secret-role", "secret-keys"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := fetch(t, method, p.url(path(bucket, "a key")))
			if err := a.checkRedirect(); err != nil {
				t.Fatal(err)
			}
			secret(a.query().Get("X-Amz-Signature"))
			if bucket == "secret-role" {
				secret(a.query().Get("X-Amz-Security-Token"))
			}
			a.header.Del("Location")
			outputs["redirect without Location"] += fmt.Sprint(a.header)
		}
	}
	secret(sts.session(t).SecretAccessKey, sts.session(t).SessionToken)
	for name, target := range map[string]string{
		"problem: wrong secret key":     path("secret-denied", "key"),
		"problem: role denied":          path("secret-stranger", "key"),
		"problem: STS unreachable":      path("secret-nowhere", "key"),
		"problem: bucket not permitted": path("secret-other", "key"),
		"problem: empty key":            "/s3/secret-role/",
		"problem: version":              path("secret-role", "key") + "?versionId=1",
	} {
		a := p.raw(t, http.MethodGet, target)
		if a.status < 400 {
			t.Errorf("%s: status %d, want an error", name, a.status)
		}
		outputs[name] = fmt.Sprint(a.header) + string(a.body)
	}
	outputs["/metrics"] = string(fetch(t, http.MethodGet, p.admin+"/metrics").body)
	p.signal(t, syscall.SIGTERM)
	p.wait(t, 10*time.Second)
	outputs["log"] = p.output()

	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		for _, s := range secrets {
			if i := strings.Index(outputs[name], s); i >= 0 {
				t.Errorf("%s contains the secret %.20s…: …%s…",
					name, s, outputs[name][max(0, i-200):i])
			}
		}
	}
	// The search above proves nothing if the log is incomplete.
	for _, want := range []string{"a key", `"denied"`, `"unavailable"`} {
		if log := outputs["log"]; !strings.Contains(log, want) {
			t.Errorf("the log does not contain %q:\n%s", want, log)
		}
	}
}

// After SIGTERM the proxy reports that it is not ready, finishes the requests in flight and exits
// with code 0.
func TestDrainFinishesRequests(t *testing.T) {
	t.Parallel()
	s := minio(t)
	sts := s.sts(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: drained
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"),
		append(s.env(), "STS="+sts.url)...)
	running, release := p.startRequest(t, sts, "drained")
	p.signal(t, syscall.SIGTERM)
	p.awaitDraining(t)
	release()
	if err := <-running; err != nil {
		t.Errorf("the request in flight during SIGTERM failed: %v", err)
	}
	if code := p.wait(t, 10*time.Second); code != 0 {
		t.Errorf("exit code = %d, want 0", code)
	}
}

// A second signal ends the proxy without waiting for requests in flight.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := minio(t)
	sts := s.sts(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: stopped
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"),
		append(s.env(), "STS="+sts.url)...)
	running, _ := p.startRequest(t, sts, "stopped")
	p.signal(t, syscall.SIGINT)
	p.awaitDraining(t)
	p.signal(t, syscall.SIGINT)
	p.wait(t, 5*time.Second)
	if err := <-running; err == nil {
		t.Error("the proxy answered the request in flight, want a closed connection")
	}
}

// startRequest sends a request that waits for STS until release is called.
func (p *proxy) startRequest(
	t *testing.T, sts *sts, bucket string,
) (running chan error, release func()) {
	t.Helper()
	release = sts.hold(t)
	running = make(chan error, 1)
	go func() {
		a, err := try(t, http.MethodGet, p.url(path(bucket, "key")))
		if err == nil {
			err = a.checkRedirect()
		}
		running <- err
	}()
	arrived := func() bool { return sts.arrived.Load() > 0 }
	if err := p.await("a request to STS", arrived); err != nil {
		t.Fatal(err)
	}
	return running, release
}

// awaitDraining waits until the proxy reports that it is not ready.
func (p *proxy) awaitDraining(t *testing.T) {
	t.Helper()
	if err := p.await("status 503 from /readyz", func() bool {
		a, err := try(t, http.MethodGet, p.admin+"/readyz")
		return err == nil && a.status == http.StatusServiceUnavailable
	}); err != nil {
		t.Fatal(err)
	}
}

// With admin.token and admin.tls, the administrators' listener speaks HTTPS, purges and reloads
// need the token, and the token does not appear in the log.
func TestAdminTokenAndTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	dir := writeConfig(t, fmt.Sprintf(
		"admin: {token: \"${ADMIN_TOKEN}\", tls: {cert_file: %s, key_file: %s}}\n%s",
		a.certificate, a.key, fewIntegrations(1)))
	admin := fmt.Sprintf("https://127.0.0.1:%d", ports[1])
	s, err := startServer(dir, "s3redirect", []string{
		fmt.Sprintf("LISTEN=127.0.0.1:%d", ports[0]),
		fmt.Sprintf("ADMIN_LISTEN=127.0.0.1:%d", ports[1]),
		"ADMIN_TOKEN=" + adminToken,
		"SECRET=canary",
	}, built(t), "serve", "--config", "config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	ask := func(method, path, authorization string) (*answer, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, admin+path, nil)
		if err != nil {
			return nil, err
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		return readAnswer(a.client.Do(req))
	}
	if err := s.await("s3redirect over TLS", func() bool {
		got, err := ask(http.MethodGet, "/readyz", "")
		return err == nil && got.status == http.StatusOK
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, authorization string
		want                        int
	}{
		{"GET", "/metrics", "", 200},
		{"GET", "/healthz", "", 200},
		{"GET", "/", "", 200},
		{"POST", "/-/purge", "", 401},
		{"POST", "/-/reload", "", 401},
		{"POST", "/-/purge", "Bearer guess", 401},
		{"POST", "/-/purge", "Bearer " + adminToken, 200},
		{"POST", "/-/reload", "Bearer " + adminToken, 200},
	} {
		if got, err := ask(c.method, c.path, c.authorization); err != nil || got.status != c.want {
			t.Errorf("%s %s with %.25q: %v, %v, want status %d",
				c.method, c.path, c.authorization, got, err, c.want)
		}
	}
	plain, err := try(t, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", ports[1]))
	if err == nil && plain.status == http.StatusOK {
		t.Error("/healthz answers 200 without TLS")
	}
	log := s.output()
	if strings.Contains(log, adminToken) {
		t.Errorf("the log contains the token:\n%s", log)
	}
	if !strings.Contains(log, `"admin_tls":true`) {
		t.Errorf("the log does not contain \"admin_tls\":true:\n%s", log)
	}
}

// The presign command prints the URL that the proxy redirects to.
func TestPresignCommand(t *testing.T) {
	t.Parallel()
	s := minio(t)
	config := `
integrations:
  - name: keys
    bucket: printed
    url_lifetime: 168h
    min_remaining: 84h
` + withKeys
	p := startProxy(t, config, s.env()...)
	s.createBucket(t, "printed")
	s.put(t, "printed", "a b+c.txt", []byte("printed"))
	dir := writeConfig(t, config)
	env := append(s.env(), "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")
	code, out := command(t, dir, env, "presign", "--config", "config.yaml", "s3://printed/a b+c.txt")
	want := p.location(t, http.MethodGet, path("printed", "a b+c.txt"))
	if code != 0 || strings.TrimSpace(out) != want {
		t.Errorf("exit code %d, output\n%s\nwant 0 and\n%s", code, out, want)
	}
	if a := fetch(t, http.MethodGet, strings.TrimSpace(out)); string(a.body) != "printed" {
		t.Errorf("status %d, body %q, want \"printed\"", a.status, a.body)
	}
}
