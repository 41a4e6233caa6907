package app

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
)

const (
	testKey    = "AKIATESTTESTTESTTEST"
	testSecret = "test/secret"
	mediaRole  = "arn:aws:iam::123456789012:role/media"
	teamRole   = "arn:aws:iam::123456789012:role/teams"

	// Targets that the integrations media and teams serve.
	mediaObject = "/s3/demo-media/images/sunset.jpg"
	teamObject  = "/s3/team-notes/notes/x"
)

const testConfig = `
listen: "127.0.0.1:0"
admin_listen: "127.0.0.1:0"
url_lifetime: 160h
min_remaining: 1h
integrations:
` + testIntegrationMedia + testIntegrationTeams + `viewers: {anonymous: true}
log: {level: warn, format: text}
`

const testIntegrationMedia = `  - name: media
    bucket: demo-media
    role_arn: ` + mediaRole + testIntegrationRest

const testIntegrationTeams = `  - name: teams
    permitted_buckets: ["team-*"]
    role_arn: ` + teamRole + testIntegrationRest

const testIntegrationRest = `
    session_duration: 400h
    file_versioning: true
    endpoint: %[1]s
    sts_endpoint: %[2]s
    path_style: true
    access_key_id: ` + testKey + `
    secret_access_key: ` + testSecret + "\n"

// configFor returns the text of a configuration with the integrations media, for a bucket, and
// teams, for a pattern. Its windows last for days, so that none ends during a test.
func configFor(s3, sts string) string { return fmt.Sprintf(testConfig, s3, sts) }

// withoutTeams returns the text of a configuration without the integration teams.
func withoutTeams(text string) string {
	before, _, after := cutTeams(text)
	return before + after
}

// cutTeams slices the text of a configuration around the integration teams.
func cutTeams(text string) (before, teams, after string) {
	i, j := strings.Index(text, "  - name: teams"), strings.Index(text, "viewers:")
	return text[:i], text[i:j], text[j:]
}

// startStores starts stand-ins for S3 and STS, and returns them with the text of a configuration
// that uses them.
func startStores(t *testing.T) (cloud *fakeaws.Cloud, text string) {
	t.Helper()
	const long = 400 * time.Hour
	cloud = fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret})
	cloud.AddRole(fakeaws.Role{
		ARN:         mediaRole,
		Trusts:      []string{testKey},
		Buckets:     []string{"demo-media"},
		MaxDuration: long,
	})
	cloud.AddRole(fakeaws.Role{
		ARN:         teamRole,
		Trusts:      []string{testKey},
		Buckets:     []string{"team-*"},
		Versions:    true,
		MaxDuration: long,
	})
	var urls []string
	for _, h := range []http.Handler{cloud.S3(), cloud.STS()} {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	return cloud, configFor(urls[0], urls[1])
}

// testApp is an App with stand-ins for S3 and STS and a configuration file.
type testApp struct {
	*App
	t     testing.TB
	cloud *fakeaws.Cloud
	text  string // the initial configuration
	path  string // of the configuration file
	log   *logBuffer
}

// logBuffer holds the log. It is safe for concurrent use.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newTestApp(t *testing.T) *testApp {
	t.Helper()
	a := &testApp{t: t, path: filepath.Join(t.TempDir(), "config.yaml"), log: &logBuffer{}}
	a.cloud, a.text = startStores(t)
	a.write(a.text)
	source, err := config.Read(a.path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := source.Parse(os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	a.App, err = New(Options{Path: a.path, Source: source, Config: c, Stderr: a.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// write writes the configuration file.
func (a *testApp) write(text string) {
	a.t.Helper()
	if err := os.WriteFile(a.path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// reload writes the configuration file and reloads it.
func (a *testApp) reload(text string) {
	a.t.Helper()
	a.write(text)
	if err := a.Reload(); err != nil {
		a.t.Fatal(err)
	}
}

// get requests a target, and returns the status and the Location of the response.
func (a *testApp) get(target string) (status int, location string) {
	rec := httptest.NewRecorder()
	a.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, target, nil))
	return rec.Code, rec.Header().Get("Location")
}

// wantStatus requests a target and compares the status of the response.
func (a *testApp) wantStatus(when, target string, want int) {
	a.t.Helper()
	if got, _ := a.get(target); got != want {
		a.t.Errorf("%s: GET %s: status %d, want %d", when, target, got, want)
	}
}

// wantURL requests a target and compares the URL that it redirects to.
func (a *testApp) wantURL(when, target, want string) {
	a.t.Helper()
	if status, got := a.get(target); status != http.StatusFound || got != want {
		a.t.Errorf("%s: GET %s: status %d, Location %s, want 302, %s",
			when, target, status, got, want)
	}
}

// scrape returns the metrics.
func (a *testApp) scrape() string {
	rec := httptest.NewRecorder()
	a.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

// wantMetric checks that the metrics have a line.
func (a *testApp) wantMetric(line string) {
	a.t.Helper()
	if !strings.Contains(a.scrape(), "\n"+line+"\n") {
		a.t.Errorf("the metrics lack the line %s", line)
	}
}

// logCount returns how often the log contains a text.
func (a *testApp) logCount(text string) int { return strings.Count(a.log.String(), text) }
