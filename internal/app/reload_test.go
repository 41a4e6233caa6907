package app

import (
	"bytes"
	"context"
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

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/proxy"
)

// followed is a proxy before the demo's stand-ins, which follows a file.
type followed struct {
	*App
	t     *testing.T
	cloud *fakeaws.Cloud
	text  string // of the configuration, as it was at first
	path  string
	log   *logged
}

// logged is what was logged so far.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func follow(t *testing.T) *followed {
	t.Helper()
	f := &followed{t: t, path: filepath.Join(t.TempDir(), "config.yaml"), log: &logged{}}
	f.cloud, f.text = startStores(t)
	f.write(f.text)
	source, err := config.Read(f.path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := source.Parse(os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if f.App, err = New(Options{Path: f.path, Source: source, Config: c, Stderr: f.log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func (f *followed) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// ask asks for an object, and returns the status and where it leads.
func (f *followed) ask(path string) (int, string) {
	rec := httptest.NewRecorder()
	f.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Header().Get("Location")
}

func (f *followed) wantMetric(line string) {
	f.t.Helper()
	rec := httptest.NewRecorder()
	f.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "\n"+line+"\n") {
		f.t.Errorf("the metrics lack %s", line)
	}
}

const (
	mediaObject = "/s3/demo-media/images/sunset.jpg"
	teamObject  = "/s3/team-notes/notes/x"
)

// What has not changed keeps its session and its URLs over a reload; what is gone is gone at once,
// with its entries and series.
func TestReload(t *testing.T) {
	f := follow(t)
	_, media := f.ask(mediaObject)
	if status, _ := f.ask(teamObject); status != http.StatusFound || media == "" {
		t.Fatal(status, media)
	}
	entries := f.current.Load().handler
	i, j := strings.Index(f.text, "  - name: teams"), strings.Index(f.text, "viewers:")
	f.write(f.text[:i] + f.text[j:])
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, location := f.ask(mediaObject); status != http.StatusFound || location != media ||
		f.cloud.Calls().AssumeRole != 2 {
		t.Errorf("what stayed: %d, the same URL: %v, %d calls", status, location == media, f.cloud.Calls().AssumeRole)
	}
	if status, _ := f.ask(teamObject); status != http.StatusNotFound {
		t.Errorf("what is gone: %d", status)
	}
	f.wantMetric(`s3redirect_cache_evictions_total{cache="urls",reason="purged"} 1`)
	f.wantMetric(`s3redirect_cache_entries{cache="urls"} 1`)
	f.wantMetric(`s3redirect_cache_entries{cache="credentials"} 1`)
	f.wantMetric("s3redirect_config_reload_success 1")
	if strings.Contains(scrapeAll(f), `integration="teams"`) {
		t.Error("there are still series of what is gone")
	}
	if f.current.Load().handler == entries {
		t.Error("the handler is the old one")
	}
	f.write(f.text)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := f.ask(teamObject); status != http.StatusFound {
		t.Errorf("what came back: %d", status)
	}
}

// A reload follows trusted_proxies, and keeps what the gate knows where viewers and proxies stay the same.
func TestReloadOfTrustedProxies(t *testing.T) {
	f := follow(t)
	r := httptest.NewRequest(http.MethodGet, mediaObject, nil)
	r.RemoteAddr = "10.0.0.1:1234"
	r.Header.Set("X-Forwarded-For", "198.51.100.7")
	for _, c := range []struct{ what, text, want string }{
		{"without the key", f.text, "10.0.0.1:1234"},
		{"with a proxy", "trusted_proxies: [10.0.0.1]\n" + f.text, "198.51.100.7"},
		{"with another proxy", "trusted_proxies: [10.0.0.2]\n" + f.text, "10.0.0.1:1234"},
	} {
		f.write(c.text)
		if err := f.Reload(); err != nil {
			t.Fatal(err)
		}
		gate := f.current.Load().gate
		if got := string(gate.AppendRemote(nil, r)); got != c.want {
			t.Errorf("%s: the client is %s, want %s", c.what, got, c.want)
		}
		f.write(c.text + "drain_delay: 1s\n")
		if err := f.Reload(); err != nil {
			t.Fatal(err)
		}
		if f.current.Load().gate != gate {
			t.Errorf("%s: there is another gate after a change elsewhere", c.what)
		}
	}
}

func scrapeAll(f *followed) string {
	rec := httptest.NewRecorder()
	f.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

// A configuration with mistakes changes nothing, and is told of; the next good one counts again.
func TestReloadOfABadFile(t *testing.T) {
	f := follow(t)
	_, media := f.ask(mediaObject)
	for _, bad := range []string{"listn: x\n" + f.text, "", f.text[:len(f.text)/2],
		strings.Replace(f.text, "secret_access_key", "secret_acces_key", 1), "\x00"} {
		f.write(bad)
		if err := f.Reload(); err == nil || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%.30q: %v", bad, err)
		}
		if status, location := f.ask(mediaObject); status != http.StatusFound || location != media {
			t.Errorf("after %.30q: %d", bad, status)
		}
		f.wantMetric("s3redirect_config_reload_success 0")
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), "the file does not exist") {
		t.Errorf("no file: %v", err)
	}
	if log := f.log.String(); !strings.Contains(log,
		"keeping the previous configuration") || !strings.Contains(log, "did you mean listen") ||
		strings.Contains(log, testSecret) {
		t.Errorf("the log: %s", log)
	}
	f.write(f.text)
	if err := f.Reload(); err != nil {
		t.Error(err)
	}
	f.wantMetric("s3redirect_config_reload_success 1")
}

// A secret that is mistyped so that it becomes a key, an alias, a tag or a variable is in no log,
// in no answer and not on the page.
func TestReloadShowsNoMistypedSecret(t *testing.T) {
	const secret = "hunter2-canary"
	f := follow(t)
	page := f.Console(os.LookupEnv)
	for _, admin := range []string{
		"{token:" + secret + "}", "{token: *" + secret + "}", "{token: !" + secret + " x}",
		"{token: !" + secret + "}", "{token: &" + secret + " x}",
		"\n  ? " + secret, "{token: \"${" + secret + "}\"}", secret, "{token: " + secret + "}",
		"{hosts: [token " + secret + "]}", "{<<: " + secret + "}",
	} {
		f.write("admin: " + admin + "\n" + f.text)
		err := f.Reload()
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: Reload() = %v, want an error without the secret", admin, err)
		}
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/api/overview", nil)
		r.Host = "localhost"
		page.ServeHTTP(rec, r)
		if body := rec.Body.String(); !strings.Contains(body, `"problem":"`+f.path) ||
			strings.Contains(body, "hunter2") {
			t.Errorf("%s: GET /api/overview = %s, want a problem without the secret", admin, body)
		}
	}
	if log := f.log.String(); !strings.Contains(log, "reload failed") || strings.Contains(log, "hunter2") {
		t.Errorf("the log is %s\nwant failed reloads, without the secret", log)
	}
}

// What only a restart can follow is named, and the rest takes effect.
func TestReloadThatNeedsARestart(t *testing.T) {
	f := follow(t)
	f.write(strings.NewReplacer("\nlisten: \"127.0.0.1:0\"", "\nlisten: 127.0.0.1:1",
		"admin_listen: \"127.0.0.1:0\"", "admin_listen: 127.0.0.1:2", "level: warn", "level: debug",
		"anonymous: true",
		"anonymous: true, rules: [{anonymous: true, locators: [\"s3://team-notes/*\"]}]").Replace(f.text))
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if log := f.log.String(); !strings.Contains(log,
		"takes effect only after a restart") || !strings.Contains(log, "key=listen") ||
		!strings.Contains(log, "key=admin_listen") {
		t.Errorf("the log: %s", log)
	}
	if status, _ := f.ask(mediaObject); status != http.StatusForbidden {
		t.Errorf("the new rules: %d", status)
	}
	// It is said as long as it is so, and no longer.
	said := func() int { return strings.Count(f.log.String(), "takes effect only after a restart") }
	before := said()
	if err := f.Reload(); err != nil || said() != before+2 {
		t.Errorf("the same again: said %d times more, %v", said()-before, err)
	}
	before = said()
	f.write(f.text)
	if err := f.Reload(); err != nil || said() != before {
		t.Errorf("as it was: said %d times more, %v", said()-before, err)
	}
}

// A text counts once it was there twice: who writes a file writes it in pieces. Editors put a new
// file under the old name, and
// Kubernetes leads a link elsewhere.
func TestLook(t *testing.T) {
	f := follow(t)
	without := func(text string) string { return strings.Replace(text, "demo-media", "demo-other", 1) }
	served := func(want int) {
		t.Helper()
		if status, _ := f.ask(mediaObject); status != want {
			t.Errorf("%d, want %d", status, want)
		}
	}
	last := f.poll(nil)
	f.write(without(f.text))
	last = f.poll(last)
	served(http.StatusFound)
	last = f.poll(last)
	served(http.StatusNotFound)

	beside := filepath.Join(filepath.Dir(f.path), "new")
	if err := os.WriteFile(beside, []byte(f.text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, f.path); err != nil {
		t.Fatal(err)
	}
	last = f.poll(f.poll(last))
	served(http.StatusFound)

	// ConfigMaps: config.yaml -> ..data/config.yaml, ..data -> ..1, then ..2.
	dir := filepath.Dir(f.path)
	for n, text := range []string{f.text, without(f.text)} {
		version := filepath.Join(dir, []string{"..1", "..2"}[n])
		if err := os.Mkdir(version, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(version, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, "tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	link(filepath.Join("..data", "config.yaml"), "config.yaml")
	last = f.poll(f.poll(last))
	served(http.StatusFound)
	link("..2", "..data")
	last = f.poll(f.poll(last))
	served(http.StatusNotFound)

	// A bad text is tried once, not at every look; and a file that is away for a moment is no change.
	f.write("bad")
	before := strings.Count(f.log.String(), "reload failed")
	for range 5 {
		last = f.poll(last)
	}
	if got := strings.Count(f.log.String(), "reload failed") - before; got != 1 {
		t.Errorf("a bad text was refused %d times", got)
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if f.poll(last) != nil {
		t.Error("a file that is not there has a text")
	}
	served(http.StatusNotFound)
}

// A reload follows the directory of included files: what is added, changed, half written, replaced through a symbolic
// link, and removed.
func TestWatchFollowsIncludedFiles(t *testing.T) {
	f := follow(t)
	i, j := strings.Index(f.text, "  - name: teams"), strings.Index(f.text, "viewers:")
	dir := filepath.Join(filepath.Dir(f.path), "integrations.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	teams := strings.ReplaceAll(strings.TrimPrefix(f.text[i:j], "  - "), "\n    ", "\n")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, ".tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, ".tmp"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var last *config.Source
	served := func(what, path string, want int) {
		t.Helper()
		last = f.poll(f.poll(last))
		if status, _ := f.ask(path); status != want {
			t.Errorf("%s: status %d, want %d", what, status, want)
		}
	}
	f.write("include: [integrations.d/*.yaml]\n" + f.text[:i] + f.text[j:])
	served("an empty directory", teamObject, http.StatusNotFound)
	_, media := f.ask(mediaObject)
	put("teams.yaml", teams)
	served("added", teamObject, http.StatusFound)
	put("teams.yaml", strings.Replace(teams, "team-*", "crew-*", 1))
	served("changed", teamObject, http.StatusNotFound)
	put("teams.yaml", "name: te")
	before := strings.Count(f.log.String(), "reload failed")
	last = f.poll(last)
	put("teams.yaml", teams)
	served("half written for one poll", teamObject, http.StatusFound)
	if got := strings.Count(f.log.String(), "reload failed") - before; got != 0 {
		t.Errorf("a file that was half written for one poll made %d reloads fail, want 0", got)
	}
	for _, version := range []string{"..1", "..2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put("..1/teams.yaml", teams)
	put("..2/teams.yaml", strings.Replace(teams, "team-*", "crew-*", 1))
	link("..1", "..data")
	link("..data/teams.yaml", "teams.yaml")
	served("a link", teamObject, http.StatusFound)
	link("..2", "..data")
	served("the link moved", teamObject, http.StatusNotFound)
	put("..2/teams.yaml", teams)
	served("changed behind the link", teamObject, http.StatusFound)
	if err := os.Remove(filepath.Join(dir, "teams.yaml")); err != nil {
		t.Fatal(err)
	}
	served("removed", teamObject, http.StatusNotFound)
	if _, again := f.ask(mediaObject); again != media {
		t.Error("the URL of an integration of the main file has changed")
	}
	// A directory that stays away is a problem that is reported once, and the previous configuration is kept.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	before = strings.Count(f.log.String(), "does not exist; create it")
	for range 5 {
		served("without the directory", mediaObject, http.StatusFound)
	}
	if got := strings.Count(f.log.String(), "does not exist; create it") - before; got != 1 {
		t.Errorf("the missing directory was reported %d times, want 1", got)
	}
}

func TestPurgeByNameAndLocator(t *testing.T) {
	f := follow(t)
	_, media := f.ask(mediaObject)
	f.ask(teamObject)
	done, err := f.Purge("", "s3://team-notes/*")
	if err != nil || len(done.Integrations) != 1 || done.Integrations[0] != "teams" || done.URLs != 1 {
		t.Errorf("%+v %v", done, err)
	}
	if _, again := f.ask(mediaObject); again != media {
		t.Error("another integration's URL changed")
	}
	calls := f.cloud.Calls().AssumeRole
	if done, err := f.Purge("media", ""); err != nil || done.URLs != 1 {
		t.Errorf("%+v %v", done, err)
	}
	if _, again := f.ask(mediaObject); again == media || f.cloud.Calls().AssumeRole != calls+1 {
		t.Errorf("after the purge: the same URL: %v, %d calls", again == media, f.cloud.Calls().AssumeRole-calls)
	}
	if done, err := f.Purge("", ""); err != nil || len(done.Integrations) != 2 {
		t.Errorf("%+v %v", done, err)
	}
	for _, wrong := range [][2]string{{"nobody", ""}, {"", "s3://nobodys/x"},
		{"media", "s3://demo-media/x"}, {"", "demo-media"}} {
		if done, err := f.Purge(wrong[0], wrong[1]); err == nil {
			t.Errorf("%q: %+v", wrong, done)
		}
	}
}

// Reloads under load: no request fails, whichever configuration answers it, and URLs of what stays do not change.
func TestReloadUnderLoad(t *testing.T) {
	f := follow(t)
	_, media := f.ask(mediaObject)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, location := f.ask(mediaObject); status != http.StatusFound || location != media {
					t.Errorf("%d", status)
					return
				}
			}
		})
	}
	// What comes and goes, and is purged meanwhile, is served or is not.
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if status, _ := f.ask(teamObject); status != http.StatusFound &&
				status != http.StatusNotFound && status != http.StatusServiceUnavailable {
				t.Errorf("what comes and goes: %d", status)
			}
			if _, err := f.Purge("teams", ""); err != nil && !errors.Is(err, proxy.ErrNothingToPurge) {
				t.Error(err)
			}
		}
	})
	i, j := strings.Index(f.text, "  - name: teams"), strings.Index(f.text, "viewers:")
	for n := range 50 {
		text := f.text
		if n%2 == 0 {
			text = f.text[:i] + f.text[j:]
		}
		f.write(text)
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if _, location := f.ask(mediaObject); location != media {
		t.Error("the URL of what stayed has changed")
	}
}

// A request that waits for STS while the configuration changes is answered: with a redirect where
// its integration stays, and where
// it is gone, that it cannot be had.
func TestReloadWhileARequestWaits(t *testing.T) {
	f := follow(t)
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	f.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
		arrived <- struct{}{}
		<-release
		return nil
	})
	stays, goes := make(chan int, 1), make(chan int, 1)
	go func() { status, _ := f.ask(mediaObject); stays <- status }()
	go func() { status, _ := f.ask(teamObject); goes <- status }()
	<-arrived
	<-arrived
	i, j := strings.Index(f.text, "  - name: teams"), strings.Index(f.text, "viewers:")
	f.write(f.text[:i] + f.text[j:])
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := f.ask(teamObject); status != http.StatusNotFound {
		t.Errorf("what is gone: %d", status)
	}
	close(release)
	if status := <-stays; status != http.StatusFound {
		t.Errorf("who waited for what stays: %d", status)
	}
	if status := <-goes; status != http.StatusServiceUnavailable {
		t.Errorf("who waited for what is gone: %d", status)
	}
	if n := f.cloud.Calls().AssumeRole; n != 2 {
		t.Errorf("%d calls", n)
	}
	f.wantMetric(`s3redirect_cache_entries{cache="credentials"} 1`)
}

func TestAdministration(t *testing.T) {
	f := follow(t)
	s, err := proxy.Listen(proxy.ServerOptions{Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
		Viewers: f, Metrics: f.metrics, Log: f.App.log, Operator: f})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		method, target, header string
		status                 int
		says                   string
	}{
		{"POST", "/-/reload", "", 200, "reloaded"},
		{"GET", "/-/reload", "", 405, ""},
		{"POST", "/-/reload", "Origin: https://evil.example", 403, "not for pages"},
		{"POST", "/-/purge", "Sec-Fetch-Site: cross-site", 403, "not for pages"},
		{"POST", "/-/purge?integration=media", "", 200, `{"integrations":["media"],"urls":0}`},
		{"POST", "/-/purge?integration=none", "", 404, "no integration has that name"},
		{"POST", "/-/purge?locator=x", "", 400, "locator"},
		{"POST", "/-/purge", "", 200, `"media","teams"`},
	} {
		req, err := http.NewRequest(c.method, "http://"+s.AdminAddr.String()+c.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(body.String(), c.says) {
			t.Errorf("%s %s %s: %d %s", c.method, c.target, c.header, resp.StatusCode, &body)
		}
	}
	// The token of the configuration in use counts, from the reload that brings it.
	post := func(header string, want int) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, "http://"+s.AdminAddr.String()+"/-/reload", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("POST /-/reload with %q: status %d, want %d", header, resp.StatusCode, want)
		}
	}
	const first, second = "first-canary-0123456789abcdef0123456789", "second-canary-0123456789abcdef0123456789"
	f.write("admin: {token: " + first + "}\n" + f.text)
	post("", http.StatusOK)
	post("", http.StatusUnauthorized)
	f.write("admin: {token: " + second + "}\n" + f.text)
	post("Bearer "+second, http.StatusUnauthorized)
	post("Bearer "+first, http.StatusOK)
	post("Bearer "+first, http.StatusUnauthorized)
	f.write(f.text)
	post("Bearer "+second, http.StatusOK)
	post("", http.StatusOK)
	if log := f.log.String(); strings.Contains(log, "canary") ||
		!strings.Contains(log, "administrators' request refused") {
		t.Errorf("the log is %s, want refusals without the tokens", log)
	}
	f.write("bad: true\n")
	resp, err := http.Post("http://"+s.AdminAddr.String()+"/-/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a bad file: %d", resp.StatusCode)
	}
}

// The clock is set forward by an hour, and back by a minute; between, it goes as it should.
func TestWatchClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		c, err := config.Parse("demo", []byte(strings.Replace(configFor("http://127.0.0.1:1",
			"http://127.0.0.1:1"), "format: text", "format: json", 1)), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(Options{Config: c, Stderr: log})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		var mu sync.Mutex
		var set time.Duration
		wall := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(set) }
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.WatchClock(ctx, wall, SinceStart()) }()
		for _, by := range []time.Duration{0, time.Hour, 0, -time.Minute, 0, time.Second} {
			mu.Lock()
			set += by
			mu.Unlock()
			time.Sleep(clockInterval + time.Second)
		}
		stop()
		<-done
		if got := strings.Count(log.String(), "the clock was stepped"); got != 2 ||
			!strings.Contains(log.String(), `"by":"1h0m0s"`) || !strings.Contains(log.String(), `"by":"-1m0s"`) {
			t.Errorf("%d jumps: %s", got, log)
		}
	})
}

func TestNoteSkew(t *testing.T) {
	f := follow(t)
	f.ask(mediaObject)
	f.wantMetric("s3redirect_clock_jumps_total 0")
	if log := f.log.String(); strings.Contains(log, "set the clock") {
		t.Error(log)
	}
	f.noteSkew(-90 * time.Second)
	f.wantMetric("s3redirect_clock_skew_seconds -90")
	if log := f.log.String(); !strings.Contains(log, "set the clock") || !strings.Contains(log, "-1m30s") {
		t.Error(log)
	}
}

// The series of what is gone end, those too that a request made which was on its way.
func TestSeriesOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := configFor("http://127.0.0.1:1", "http://127.0.0.1:1")
		c, err := config.Parse("demo", []byte(text), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(Options{Path: "demo", Source: config.New("demo", []byte(text)), Config: c, Stderr: &logged{}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		f := &followed{t: t, App: p}
		before := p.current.Load()
		i, j := strings.Index(text, "  - name: teams"), strings.Index(text, "viewers:")
		p.mu.Lock()
		err = p.applyLocked(config.New("demo", []byte(text[:i]+text[j:])), nil)
		p.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		before.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, teamObject, nil))
		before.handler.ServeHTTP(httptest.NewRecorder(),
			httptest.NewRequest(http.MethodHead, teamObject+"?versionId=%00", nil))
		time.Sleep(requestTimeout + time.Second)
		if all := scrapeAll(f); strings.Contains(all, `integration="teams"`) ||
			!strings.Contains(all, `integration="media"`) {
			t.Error("there are series of what is gone")
		}
	})
}
