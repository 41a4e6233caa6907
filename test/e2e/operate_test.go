package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the metrics count is what the test sent.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := minio(t)
	// Windows of 10 hours: none turns over while the test runs.
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
		`url_remaining_seconds_bucket{le="2700"}`:                                   0, // all have an hour at least
		`config_reload_success`:                                                     1,
	} {
		if got, ok := got["s3redirect_"+series]; !ok || got != want {
			t.Errorf("%s: %v, want %v", series, got, want)
		}
	}
	if n := got[`s3redirect_assume_role_total{integration="role",result="ok"}`]; n != 1 && n != 2 {
		t.Errorf("%v sessions, want one, and perhaps the next one ahead", n)
	}
	if expires := got[`s3redirect_credentials_expiry_timestamp_seconds{integration="role"}`]; expires < float64(time.Now().Add(11*time.Hour).Unix()) {
		t.Errorf("the session expires at %v", expires)
	}
	for series := range got {
		if strings.Contains(series, "counted") || strings.Contains(series, "somebody") {
			t.Errorf("%s: a bucket of a request's in a label: whoever asks could make series", series)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: keys
    bucket: health
`+withKeys, s.env()...)
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := fetch(t, http.MethodGet, p.admin+path); a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, Cache-Control %q", path, a.status, a.header.Get("Cache-Control"))
		}
	}
	// The administrators' side serves no viewers, and the other way round (see TestRefusedPaths).
	if a := fetch(t, http.MethodGet, p.admin+"/s3/health/key"); a.status != http.StatusNotFound {
		t.Errorf("the administrators' listener redirects: %d", a.status)
	}
}

// No secret key, no session token and no signature comes out anywhere but in Location: not in the log where it says most, not
// in the metrics, not in an answer that refuses.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	s, g := minio(t), radosgw(t)
	sts := s.sts(t)
	env := append(s.env(), "STS="+sts.url, "CEPH="+g.endpoint, "ROLE="+g.roleARN, "STRANGER_KEY="+g.stranger.AccessKeyID,
		"STRANGER_SECRET="+g.stranger.SecretAccessKey, "WRONG_SECRET=canary+wrong/secret")
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
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: http://127.0.0.1:1"), env...)

	said := map[string]string{}
	var secrets []string
	secret := func(values ...string) {
		for _, v := range values {
			if len(v) < 16 {
				t.Fatalf("%q is no canary", v)
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
			said["the rest of a redirect"] += fmt.Sprint(a.header)
		}
	}
	secret(sts.session(t).SecretAccessKey, sts.session(t).SessionToken)
	for what, target := range map[string]string{
		"a problem: denied":    path("secret-denied", "key"),
		"a problem: a no":      path("secret-stranger", "key"),
		"a problem: nowhere":   path("secret-nowhere", "key"),
		"a problem: no bucket": path("secret-other", "key"),
		"a problem: no key":    "/s3/secret-role/",
		"a problem: version":   path("secret-role", "key") + "?versionId=1",
	} {
		a := p.raw(t, http.MethodGet, target)
		if a.status < 400 {
			t.Errorf("%s: status %d", what, a.status)
		}
		said[what] = fmt.Sprint(a.header) + string(a.body)
	}
	said["/metrics"] = string(fetch(t, http.MethodGet, p.admin+"/metrics").body)
	p.signal(t, syscall.SIGTERM)
	p.wait(t, 10*time.Second)
	said["the log"] = p.output()

	for _, where := range slices.Sorted(maps.Keys(said)) {
		for _, s := range secrets {
			if i := strings.Index(said[where], s); i >= 0 {
				t.Errorf("%s holds the secret %.20s…: …%s…", where, s, said[where][max(0, i-200):i])
			}
		}
	}
	// What is looked through is really there.
	if log := said["the log"]; !strings.Contains(log, "a key") || !strings.Contains(log, `"denied"`) || !strings.Contains(log, `"unavailable"`) {
		t.Errorf("the log tells of neither requests nor failures:\n%s", log)
	}
}

// SIGTERM: readiness turns, what runs is finished, and the exit code is 0.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := minio(t)
	sts := s.sts(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: drained
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"), append(s.env(), "STS="+sts.url)...)
	running, release := p.startRequest(t, sts, "drained")
	p.signal(t, syscall.SIGTERM)
	p.awaitDraining(t)
	release()
	if err := <-running; err != nil {
		t.Errorf("the request that ran when SIGTERM came: %v", err)
	}
	if code := p.wait(t, 10*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A second signal means now.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	s := minio(t)
	sts := s.sts(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: stopped
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}"), append(s.env(), "STS="+sts.url)...)
	running, _ := p.startRequest(t, sts, "stopped")
	p.signal(t, syscall.SIGINT)
	p.awaitDraining(t)
	p.signal(t, syscall.SIGINT)
	p.wait(t, 5*time.Second)
	if err := <-running; err == nil {
		t.Error("the request was answered after all")
	}
}

// startRequest sends a request that waits for STS until release is called.
func (p *proxy) startRequest(t *testing.T, sts *sts, bucket string) (running chan error, release func()) {
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
	if err := p.await("STS asked", func() bool { return sts.arrived.Load() > 0 }); err != nil {
		t.Fatal(err)
	}
	return running, release
}

func (p *proxy) awaitDraining(t *testing.T) {
	t.Helper()
	if err := p.await("readiness turned", func() bool {
		a, err := try(t, http.MethodGet, p.admin+"/readyz")
		return err == nil && a.status == http.StatusServiceUnavailable
	}); err != nil {
		t.Fatal(err)
	}
}

// With admin.token and admin.tls: HTTPS, a purge and a reload with the token only, and a log without it.
func TestOperateWithTokenAndTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	dir := writeConfig(t, "admin: {token: \"${ADMIN_TOKEN}\", tls: {cert_file: "+a.certificate+", key_file: "+a.key+"}}\n"+fewIntegrations(1))
	admin := fmt.Sprintf("https://127.0.0.1:%d", ports[1])
	s, err := startServer(dir, "s3redirect", []string{fmt.Sprintf("LISTEN=127.0.0.1:%d", ports[0]), fmt.Sprintf("ADMIN_LISTEN=127.0.0.1:%d", ports[1]),
		"ADMIN_TOKEN=" + adminToken, "SECRET=canary"}, built(t), "serve", "--config", "config.yaml")
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
		{"GET", "/metrics", "", 200}, {"GET", "/healthz", "", 200}, {"GET", "/", "", 200},
		{"POST", "/-/purge", "", 401}, {"POST", "/-/reload", "", 401}, {"POST", "/-/purge", "Bearer guess", 401},
		{"POST", "/-/purge", "Bearer " + adminToken, 200}, {"POST", "/-/reload", "Bearer " + adminToken, 200},
	} {
		if got, err := ask(c.method, c.path, c.authorization); err != nil || got.status != c.want {
			t.Errorf("%s %s with %.25q: %v, %v, want status %d", c.method, c.path, c.authorization, got, err, c.want)
		}
	}
	if plain, err := try(t, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", ports[1])); err == nil && plain.status == http.StatusOK {
		t.Error("/healthz is answered without TLS")
	}
	if log := s.output(); strings.Contains(log, adminToken) || !strings.Contains(log, `"admin_tls":true`) {
		t.Errorf("the log has the token, or does not say that there is TLS:\n%s", log)
	}
}

// Presign prints the URL that the proxy redirects to.
func TestPresign(t *testing.T) {
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
	code, out := command(t, dir, append(s.env(), "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0"), "presign", "s3://printed/a b+c.txt")
	if want := p.location(t, http.MethodGet, path("printed", "a b+c.txt")); code != 0 || strings.TrimSpace(out) != want {
		t.Errorf("exit code %d:\n%s\nwant %s", code, out, want)
	}
	if a := fetch(t, http.MethodGet, strings.TrimSpace(out)); string(a.body) != "printed" {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, key := range []string{"listen", "admin_listen"} {
		addresses := map[string]string{"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
		addresses[key] = taken.Addr().String()
		code, out := serve(t, fmt.Sprintf("listen: %s\nadmin_listen: %s\nviewers: {anonymous: true}\nintegrations:\n  - name: keys\n    bucket: photos\n%s",
			addresses["listen"], addresses["admin_listen"], withKeys), "ENDPOINT=http://127.0.0.1:1", "ACCESS_KEY=key", "SECRET_KEY=secret")
		if code != 1 || !strings.Contains(out, "serve: "+key+": address already in use") {
			t.Errorf("%s in use: exit code %d, want 1, and the key and the cause:\n%s", key, code, out)
		}
	}
}

// serve runs the proxy with a configuration that must not let it start.
func serve(t *testing.T, config string, env ...string) (code int, output string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return command(t, dir, env, "serve", "--config", "config.yaml")
}

// A broken configuration is judged whole: every mistake at once, each with its line.
func TestBrokenConfig(t *testing.T) {
	t.Parallel()
	code, out := serve(t, `listen: 127.0.0.1:0
admin_lisen: 127.0.0.1:0
url_lifetime: 45 minutes
integrations:
  - name: a
    bucket: Photos
    region: us-east-1
    role_arn: arn:aws:iam::123:role/reader
  - name: b
    bucket: scans
    region: us-east-1
    role_arn: arn:aws:iam::123456789012:role/reader
    session_duration: 13h
    session_policy: perhaps
  - name: c
    bucket: scans
    region: us-east-1
    url_lifetime: 30m
    min_remaining: 30m
    role_arn: arn:aws:iam::123456789012:role/reader
    external_id: ${NOT_SET_ANYWHERE}
`)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for line, says := range map[int]string{
		2:  "admin_listen", // the nearest known key
		3:  "url_lifetime",
		6:  "Photos",
		8:  "role_arn",
		13: "session_duration",
		14: "session_policy",
		16: "scans",
		19: "min_remaining",
		21: "NOT_SET_ANYWHERE",
	} {
		at := fmt.Sprintf("config.yaml:%d:", line)
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(s string) bool { return strings.Contains(s, at) && strings.Contains(s, says) }) {
			t.Errorf("nothing about %s at %s", says, at)
		}
	}
	if !strings.Contains(out, "viewers") {
		t.Error("nothing about viewers, which are missing")
	}
	if t.Failed() {
		t.Logf("it said:\n%s", out)
	}
}

func TestNoConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, says := range map[string]string{"empty.yaml": "empty", "folder.yaml": "directory", "missing.yaml": "no such file"} {
		code, out := command(t, dir, nil, "serve", "--config", file)
		if code != 2 || !strings.Contains(out, file) || !strings.Contains(out, says) {
			t.Errorf("%s: exit code %d, want 2, and %q:\n%s", file, code, says, out)
		}
	}
	for _, args := range [][]string{{}, {"srve"}, {"serve", "--confg", "x"}, {"serve", "x"}} {
		if code, out := command(t, dir, nil, args...); code != 2 || !strings.Contains(out, "serve") {
			t.Errorf("s3redirect %v: exit code %d, want 2, and the usage:\n%s", args, code, out)
		}
	}
	if code, out := command(t, dir, nil, "version"); code != 0 || !strings.HasPrefix(out, "s3redirect ") {
		t.Errorf("version: exit code %d: %s", code, out)
	}
}
