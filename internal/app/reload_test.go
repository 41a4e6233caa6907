package app

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/viewer"
	"s3redirect/proxy"
)

// TestReload removes an integration and adds it again. The other one keeps its session and URLs.
// The removed one loses its cache entries and metric series at once.
func TestReload(t *testing.T) {
	a := newTestApp(t)
	_, media := a.get(mediaObject)
	if status, _ := a.get(teamObject); status != http.StatusFound || media == "" {
		t.Fatalf("before the reload: status %d, URL %q, want 302 and a URL", status, media)
	}
	handler := a.current.Load().handler
	a.reload(withoutTeams(a.text))
	a.wantURL("the other integration", mediaObject, media)
	if got := a.cloud.Calls().AssumeRole; got != 2 {
		t.Errorf("AssumeRole calls = %d, want 2", got)
	}
	a.wantStatus("the removed integration", teamObject, http.StatusNotFound)
	a.wantMetric(`s3redirect_cache_evictions_total{cache="urls",reason="purged"} 1`)
	a.wantMetric(`s3redirect_cache_entries{cache="urls"} 1`)
	a.wantMetric(`s3redirect_cache_entries{cache="credentials"} 1`)
	a.wantMetric("s3redirect_config_reload_success 1")
	if strings.Contains(a.scrape(), `integration="teams"`) {
		t.Error("the removed integration still has series")
	}
	if a.current.Load().handler == handler {
		t.Error("the reload kept the handler, want a new one")
	}
	a.reload(a.text)
	a.wantStatus("added again", teamObject, http.StatusFound)
}

// A reload reads the password file at once, also if the configuration is the same. A file with a
// mistake fails the reload, and the previous passwords stay valid.
func TestReloadReadsThePasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := func(password string) string {
		t.Helper()
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return "ann:" + string(hash) + "\n"
	}
	write(line("old"))
	a := newTestApp(t)
	text := strings.Replace(a.text, "{anonymous: true}", "{basic: {htpasswd_file: '"+file+"'}}", 1)
	a.reload(text)
	want := func(password string, status int) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, mediaObject, nil)
		r.SetBasicAuth("ann", password)
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, r)
		if rec.Code != status {
			t.Errorf("password %s: status %d, want %d", password, rec.Code, status)
		}
	}
	want("old", http.StatusFound)
	gate := a.current.Load().gate
	write(line("new"))
	a.reload(text)
	want("old", http.StatusUnauthorized)
	want("new", http.StatusFound)
	if a.current.Load().gate != gate {
		t.Error("the reload replaced the gate, want the same one")
	}
	write("canary")
	var invalid config.Errors
	if err := a.Reload(); !errors.As(err, &invalid) || strings.Contains(err.Error(), "canary") {
		t.Errorf("Reload with a broken password file = %v, want config.Errors without its text", err)
	}
	want("new", http.StatusFound)
}

// TestReloadAppliesTrustedProxies checks that a reload applies trusted_proxies, and that it keeps
// the gate and its state while viewers and proxies stay the same.
func TestReloadAppliesTrustedProxies(t *testing.T) {
	a := newTestApp(t)
	r := httptest.NewRequest(http.MethodGet, mediaObject, nil)
	r.RemoteAddr = "10.0.0.1:1234"
	r.Header.Set("X-Forwarded-For", "198.51.100.7")
	for _, c := range []struct{ name, text, want string }{
		{"without the key", a.text, "10.0.0.1:1234"},
		{"with the client's proxy", "trusted_proxies: [10.0.0.1]\n" + a.text, "198.51.100.7"},
		{"with another proxy", "trusted_proxies: [10.0.0.2]\n" + a.text, "10.0.0.1:1234"},
	} {
		a.reload(c.text)
		gate := a.current.Load().gate
		if got := string(gate.AppendRemote(nil, viewer.NewRequest(r))); got != c.want {
			t.Errorf("%s: the client is %s, want %s", c.name, got, c.want)
		}
		a.reload(c.text + "drain_delay: 1s\n")
		if a.current.Load().gate != gate {
			t.Errorf("%s: an unrelated change replaced the gate", c.name)
		}
	}
}

func TestFailedReloadKeepsThePreviousConfiguration(t *testing.T) {
	a := newTestApp(t)
	_, media := a.get(mediaObject)
	for _, bad := range []string{
		"listn: x\n" + a.text,
		"",
		a.text[:len(a.text)/2],
		strings.Replace(a.text, "secret_access_key", "secret_acces_key", 1),
		"\x00",
	} {
		a.write(bad)
		if err := a.Reload(); err == nil || strings.Contains(err.Error(), testSecret) {
			t.Errorf("Reload of %.30q = %v, want an error without the secret", bad, err)
		}
		a.wantURL("after a failed reload", mediaObject, media)
		a.wantMetric("s3redirect_config_reload_success 0")
	}
	if err := os.Remove(a.path); err != nil {
		t.Fatal(err)
	}
	err := a.Reload()
	if want := "the file does not exist"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Reload of a missing file = %v, want %s", err, want)
	}
	for _, want := range []string{
		"keeping the previous configuration",
		"did you mean listen",
	} {
		if a.logCount(want) == 0 {
			t.Errorf("the log is %s, want it to contain %q", a.log, want)
		}
	}
	if a.logCount(testSecret) > 0 {
		t.Errorf("the log contains the secret: %s", a.log)
	}
	a.reload(a.text)
	a.wantMetric("s3redirect_config_reload_success 1")
}

// TestReloadShowsNoMistypedSecret mistypes a token, so that YAML decodes it as a key, an alias, a
// tag or a variable. It must not appear in the error, the log or the console.
func TestReloadShowsNoMistypedSecret(t *testing.T) {
	const secret = "hunter2-canary"
	a := newTestApp(t)
	page := a.Console(os.LookupEnv)
	for _, admin := range []string{
		"{token:" + secret + "}",
		"{token: *" + secret + "}",
		"{token: !" + secret + " x}",
		"{token: !" + secret + "}",
		"{token: &" + secret + " x}",
		"\n  ? " + secret,
		"{token: \"${" + secret + "}\"}",
		secret,
		"{token: " + secret + "}",
		"{hosts: [token " + secret + "]}",
		"{<<: " + secret + "}",
	} {
		a.write("admin: " + admin + "\n" + a.text)
		err := a.Reload()
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: Reload() = %v, want an error without the secret", admin, err)
		}
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/api/overview", nil)
		r.Host = "localhost"
		page.ServeHTTP(rec, r)
		body := rec.Body.String()
		if !strings.Contains(body, `"problem":"`+a.path) || strings.Contains(body, "hunter2") {
			t.Errorf("%s: GET /api/overview = %s, want a problem without the secret", admin, body)
		}
	}
	if a.logCount("reload failed") == 0 || a.logCount("hunter2") > 0 {
		t.Errorf("the log is %s\nwant failed reloads, without the secret", a.log)
	}
}

// TestReloadNamesKeysThatNeedARestart checks that each reload logs these keys while they differ
// from the configuration at start, and that the other changes take effect.
func TestReloadNamesKeysThatNeedARestart(t *testing.T) {
	const warning = "takes effect only after a restart"
	a := newTestApp(t)
	a.reload(strings.NewReplacer(
		"\nlisten: \"127.0.0.1:0\"", "\nlisten: 127.0.0.1:1",
		"admin_listen: \"127.0.0.1:0\"", "admin_listen: 127.0.0.1:2",
		"level: warn", "level: debug, access_format: combined, audit: stdout",
		"anonymous: true",
		"anonymous: true, rules: [{anonymous: true, locators: [\"s3://team-notes/*\"]}]",
	).Replace(a.text))
	for _, want := range []string{warning, "key=listen", "key=admin_listen", "key=log.access_format",
		"key=log.audit"} {
		if a.logCount(want) == 0 {
			t.Errorf("the log is %s, want it to contain %q", a.log, want)
		}
	}
	a.wantStatus("with the new rules", mediaObject, http.StatusForbidden)
	before := a.logCount(warning)
	if err := a.Reload(); err != nil {
		t.Error(err)
	}
	if got := a.logCount(warning) - before; got != 4 {
		t.Errorf("a reload without a change logged %d warnings, want 4", got)
	}
	before = a.logCount(warning)
	a.reload(a.text)
	if got := a.logCount(warning) - before; got != 0 {
		t.Errorf("a reload of the initial configuration logged %d warnings, want 0", got)
	}
}

// TestReloadUnderLoad reloads and purges while requests are served. No request fails, and the URL
// of an unchanged integration stays the same.
func TestReloadUnderLoad(t *testing.T) {
	a := newTestApp(t)
	_, media := a.get(mediaObject)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	for range 4 {
		wg.Go(func() {
			for !stopped() && !t.Failed() {
				a.wantURL("under load", mediaObject, media)
			}
		})
	}
	// The integration teams is removed, added and purged all the time.
	wg.Go(func() {
		for !stopped() {
			switch status, _ := a.get(teamObject); status {
			case http.StatusFound, http.StatusNotFound, http.StatusServiceUnavailable:
			default:
				t.Errorf("GET %s: status %d, want 302, 404 or 503", teamObject, status)
			}
			if _, err := a.Purge("teams", ""); err != nil &&
				!errors.Is(err, proxy.ErrNothingToPurge) {
				t.Error(err)
			}
		}
	})
	for n := range 50 {
		text := a.text
		if n%2 == 0 {
			text = withoutTeams(a.text)
		}
		a.write(text)
		if err := a.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	a.wantURL("after the reloads", mediaObject, media)
}

// TestReloadWhileRequestsWait reloads while two requests wait for STS. The one whose integration
// stays gets a redirect, and the one whose integration was removed gets 503.
func TestReloadWhileRequestsWait(t *testing.T) {
	a := newTestApp(t)
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	a.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
		arrived <- struct{}{}
		<-release
		return nil
	})
	kept, removed := make(chan int, 1), make(chan int, 1)
	go func() {
		status, _ := a.get(mediaObject)
		kept <- status
	}()
	go func() {
		status, _ := a.get(teamObject)
		removed <- status
	}()
	<-arrived
	<-arrived
	a.reload(withoutTeams(a.text))
	a.wantStatus("after the reload", teamObject, http.StatusNotFound)
	close(release)
	if got := <-kept; got != http.StatusFound {
		t.Errorf("waiting for an integration that stays: status %d, want 302", got)
	}
	if got := <-removed; got != http.StatusServiceUnavailable {
		t.Errorf("waiting for an integration that was removed: status %d, want 503", got)
	}
	if got := a.cloud.Calls().AssumeRole; got != 2 {
		t.Errorf("AssumeRole calls = %d, want 2", got)
	}
	a.wantMetric(`s3redirect_cache_entries{cache="credentials"} 1`)
}

// TestReloadForgetsSeriesOfRequestsInFlight removes an integration while requests with the previous
// configuration are in flight. The series that they create are deleted, too.
func TestReloadForgetsSeriesOfRequestsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := configFor("http://127.0.0.1:1", "http://127.0.0.1:1")
		source := config.New("demo", []byte(text))
		c, err := source.Parse(os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(Options{Path: "demo", Source: source, Config: c, Stderr: &logBuffer{}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		a := &testApp{t: t, App: p}
		before := a.current.Load().handler
		a.mu.Lock()
		err = a.applyLocked(config.New("demo", []byte(withoutTeams(text))), nil)
		a.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []struct{ method, target string }{
			{http.MethodPost, teamObject},
			{http.MethodHead, teamObject + "?versionId=%00"},
			{http.MethodHead, mediaObject + "?versionId=%00"},
		} {
			before.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(r.method, r.target, nil))
		}
		time.Sleep(requestTimeout + time.Second)
		all := a.scrape()
		if strings.Contains(all, `integration="teams"`) {
			t.Error("the removed integration has series after the timeout of requests")
		}
		if !strings.Contains(all, `integration="media"`) {
			t.Error("the other integration lacks series")
		}
	})
}

// TestReloadLoadsTheOwnCredentials rotates the process's own credentials in the environment.
func TestReloadLoadsTheOwnCredentials(t *testing.T) {
	const second = "AKIASECONDSECONDSECO"
	t.Setenv("AWS_ACCESS_KEY_ID", testKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	a := newTestApp(t)
	a.cloud.AddUser(fakeaws.User{AccessKeyID: second, SecretAccessKey: testSecret, ARN: "second"})
	a.cloud.AddRole(fakeaws.Role{ARN: mediaRole, Trusts: []string{testKey, second},
		Buckets: []string{"demo-media"}, MaxDuration: 400 * time.Hour})
	var caller string
	a.cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error {
		caller = c.CallerARN
		return nil
	})
	keys := "    access_key_id: " + testKey + "\n    secret_access_key: " + testSecret + "\n"
	text := strings.Replace(a.text, keys, "", 1)
	a.reload(text)
	a.wantStatus("before the rotation", mediaObject, http.StatusFound)
	t.Setenv("AWS_ACCESS_KEY_ID", second)
	a.reload(text)
	if _, err := a.Purge("media", ""); err != nil {
		t.Fatal(err)
	}
	a.wantStatus("after the rotation", mediaObject, http.StatusFound)
	if caller != "second" {
		t.Errorf("the caller after the reload is %q, want second", caller)
	}
}
