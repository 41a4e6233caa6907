package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/metrics"
)

const (
	testToken  = "canary-token-0123456789abcdef0123456789"
	testSecret = "canary-secret/of+the+user"
	testKey    = "AKIATESTTESTTESTTEST"
	roleARN    = "arn:aws:iam::123456789012:role/lab"
)

// testFile is a configuration in the txtar format: the main file and then the included files. The
// console may change lab.yaml. The main file has an integration with a literal secret.
const testFile = `listen: 127.0.0.1:8080
admin_listen: 127.0.0.1:9090
public_url: https://media.example.com
admin:
  token: ` + testToken + `
  hosts: [admin.example.com]
  variables: {ids: [FRESH_KEY], secrets: [FRESH_SECRET, LAB_SECRET, UNSET]}
viewers: {anonymous: true}
include: [integrations.d/*.yaml]
integrations:
  - name: keys # for the scanner
    bucket: scans
    region: us-east-1
    endpoint: https://store.example.com
    access_key_id: ` + testKey + `
    secret_access_key: canary-written-out
-- lab.yaml --
` + config.Marker + `
name: lab
bucket: photos
role_arn: ` + roleARN + `
external_id: id-0123456789
region: eu-central-1
access_key_id: ` + testKey + `
secret_access_key: ${LAB_SECRET}
`

// testEnv looks up the test's environment variables. No response may contain a value with "canary".
func testEnv(name string) (string, bool) {
	value, ok := map[string]string{"LAB_SECRET": testSecret, "LAB_KEY": testKey,
		"FRESH_KEY": testKey, "FRESH_SECRET": testSecret, "HOME": "/canary",
		"ELSEWHERE": "canary-elsewhere", "OTHER_SECRET": testSecret,
		"FLEET_KEY": "canary-fleet-0123456789abcdef0123456789",
		"LINK_KEY":  "canary-link-0123456789abcdef0123456789"}[name]
	return value, ok
}

// world is a console with configuration files, a fake proxy and a fake AWS account.
type world struct {
	*Console
	t       *testing.T
	path    string
	cloud   *fakeaws.Cloud
	metrics *metrics.Metrics
	log     *bytes.Buffer

	mu      sync.Mutex // guards state
	state   State
	set     *integration.Set
	reloads int
	refuses error // if set, the error of Reload
	cookie  *http.Cookie
	csrf    string
}

func newWorld(t *testing.T, text string) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "config.yaml"),
		cloud: fakeaws.NewCloud(time.Now), metrics: metrics.New("test"), log: &bytes.Buffer{}}
	w.cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret,
		ARN: "arn:aws:iam::123456789012:user/proxy"})
	w.cloud.AddRole(fakeaws.Role{ARN: roleARN, ExternalID: "id-0123456789",
		Trusts: []string{testKey}, Buckets: []string{"photos"}})
	w.cloud.CreateBucket("photos", "eu-central-1")
	w.cloud.Put(locator.Locator{Bucket: "photos", Key: "a.jpg"},
		fakeaws.Object{ContentType: "image/jpeg", Data: []byte("0123456789")})
	w.write(text)
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.Console = New(Options{
		Proxy:     w,
		Metrics:   w.metrics,
		Log:       slog.New(slog.NewJSONHandler(w.log, nil)),
		Clock:     time.Now,
		Version:   "1.2.3",
		Getenv:    testEnv,
		Transport: fakeaws.InMemory{Handler: http.HandlerFunc(w.aws)},
	})
	return w
}

// aws serves STS and S3.
func (w *world) aws(rw http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Host, "sts.") {
		w.cloud.STS().ServeHTTP(rw, r)
	} else {
		w.cloud.S3().ServeHTTP(rw, r)
	}
}

// folder returns the directory of the included files.
func (w *world) folder() string { return filepath.Join(filepath.Dir(w.path), "integrations.d") }

// write replaces the configuration files with those of text, in the format of testFile.
func (w *world) write(text string) {
	w.t.Helper()
	files := txtar.Parse([]byte(text))
	err := errors.Join(os.WriteFile(w.path, files.Comment, 0o600), os.RemoveAll(w.folder()),
		os.Mkdir(w.folder(), 0o700))
	for _, f := range files.Files {
		err = errors.Join(err, os.WriteFile(filepath.Join(w.folder(), f.Name), f.Data, 0o600))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// file returns the configuration files in the format of testFile.
func (w *world) file() string {
	w.t.Helper()
	main, err := os.ReadFile(w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	entries, err := os.ReadDir(w.folder())
	if err != nil {
		w.t.Fatal(err)
	}
	files := &txtar.Archive{Comment: main}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(w.folder(), e.Name()))
		if err != nil {
			w.t.Fatal(err)
		}
		files.Files = append(files.Files, txtar.File{Name: e.Name(), Data: text})
	}
	return string(txtar.Format(files))
}

// State implements [Proxy].
func (w *world) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Reload implements [Proxy].
func (w *world) Reload() error {
	w.reloads++
	if w.refuses != nil {
		return w.refuses
	}
	source, err := config.Read(w.path)
	if err != nil {
		return err
	}
	c, err := source.Parse(testEnv)
	if err != nil {
		return err
	}
	o := integration.Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: w.metrics,
		STS: &integration.AWSSTS{HTTPClient: &http.Client{
			Transport: fakeaws.InMemory{Handler: http.HandlerFunc(w.aws)},
		}}}
	if w.set == nil {
		w.set, err = integration.NewSet(c, o)
		w.t.Cleanup(func() { w.set.Close() })
	} else {
		w.set, err = w.set.Next(c, o)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = State{
		Config:       c,
		Integrations: w.set,
		Listen:       "127.0.0.1:8080",
		File:         w.path,
		Read:         time.Now(),
	}
	return err
}

// Try implements [Proxy].
func (w *world) Try(l locator.Locator, asker Asker) Trial {
	i, ok := w.state.Config.ServedBy(l)
	if !ok {
		return Trial{Why: "refused: no integration serves bucket " + l.Bucket}
	}
	return Trial{
		Allowed:     true,
		Why:         "allowed to " + asker.User + strings.Join(asker.Groups, "|"),
		Integration: i.Name,
		Region:      i.Region,
		Origin:      "https://store.example.com",
		Session:     true,
		Hit:         true,
		MaxAge:      time.Minute,
		Bytes:       1234,
		WindowEnds:  time.Now(),
		Expires:     time.Now(),
	}
}

// CallerIdentity implements [Proxy].
func (w *world) CallerIdentity(context.Context, *config.Integration) (string, error) {
	return "arn:aws:iam::123456789012:user/proxy", nil
}

// answer holds a response with its whole body.
type answer struct {
	status int
	header http.Header
	body   string
}

// into decodes the body's JSON into v.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

// send sends a request with the headers of the console's own page, modified by the edits. It fails
// the test if the response contains a secret.
func (w *world) send(method, target string, body any, edit ...func(*http.Request)) answer {
	w.t.Helper()
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			w.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, target, bytes.NewReader(b))
	r.Host = "127.0.0.1:9090"
	if method != http.MethodGet {
		r.Header.Set("Origin", "http://127.0.0.1:9090")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Content-Type", "application/json")
	}
	if w.cookie != nil {
		r.AddCookie(w.cookie)
		r.Header.Set(csrfHeader, w.csrf)
	}
	for _, e := range edit {
		e(r)
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	all, err := io.ReadAll(rec.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.Contains(string(all), "canary") {
		w.t.Errorf("%s %s: the response contains a secret: %s", method, target, all)
	}
	return answer{status: rec.Code, header: rec.Header(), body: string(all)}
}

func (w *world) get(target string) answer {
	w.t.Helper()
	return w.send(http.MethodGet, target, nil)
}

func (w *world) post(target string, body any) answer {
	w.t.Helper()
	return w.send(http.MethodPost, target, body)
}

// signInAs signs in, and keeps the cookie and the CSRF token for the following requests.
func (w *world) signInAs(name string) {
	w.t.Helper()
	a := w.post("/api/sign-in", map[string]string{"name": name, "token": testToken})
	if a.status != http.StatusNoContent {
		w.t.Fatalf("sign-in: got status %d, %s, want 204", a.status, a.body)
	}
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		w.t.Fatalf("sign-in: got %v, want one cookie", a.header)
	}
	w.cookie = cookies[0]
	var s sessionAnswer
	w.get("/api/session").into(w.t, &s)
	if !s.SignedIn || s.Name != name || s.CSRF == "" {
		w.t.Fatalf("session = %+v, want %q signed in with a CSRF token", s, name)
	}
	w.csrf = s.CSRF
}
