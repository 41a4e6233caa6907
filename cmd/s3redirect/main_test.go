package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/demo"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// runDemoFor starts the demo on free ports and returns its output.
func runDemoFor(t *testing.T) (printed string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stdout, out := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan int, 1)
	args := []string{"demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}
	go func() {
		ended <- run(ctx, args, out, &stderr)
		_ = out.Close()
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 || stderr.Len() > 0 {
			t.Errorf("demo: exit code %d, stderr %q, want 0 and nothing", code, &stderr)
		}
	})
	lines := bufio.NewScanner(stdout)
	for n := len(demo.Samples()); n > 0 && lines.Scan(); {
		printed += lines.Text() + "\n"
		if strings.Contains(lines.Text(), locator.PathPrefix) {
			n--
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return printed
}

// notFollowing is a client that does not follow redirects.
var notFollowing = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get returns the response of a URL, and its body.
func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// objectURL matches the URLs of objects that the demo prints.
const objectURL = `http://\S+/s3/\S+`

// TestDemo checks that each URL that the demo prints leads to its object, and that HEAD shows the
// redirect.
func TestDemo(t *testing.T) {
	printed := runDemoFor(t)
	urls := matches(objectURL, printed)
	samples := demo.Samples()
	if len(urls) != len(samples) {
		t.Fatalf("demo printed %d URLs, want %d:\n%s", len(urls), len(samples), printed)
	}
	cacheControl := regexp.MustCompile(`^(private, max-age=[1-9]\d*|no-store)$`)
	for n, m := range urls {
		resp, body := get(t, m[0])
		if resp.StatusCode != http.StatusOK || body != string(samples[n].Data) {
			t.Errorf("GET %s: status %d, %d bytes, want 200 and the sample's %d bytes",
				m[0], resp.StatusCode, len(body), len(samples[n].Data))
		}
		if got := resp.Header.Get("Content-Type"); got != samples[n].ContentType {
			t.Errorf("GET %s: Content-Type %q, want %q", m[0], got, samples[n].ContentType)
		}
		resp, err := notFollowing.Head(m[0])
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got := resp.Header.Get("Cache-Control")
		if len(samples[n].Parts) > 0 { // a document that is answered in place
			if resp.StatusCode != http.StatusOK || got != "private, no-cache" {
				t.Errorf("HEAD %s: status %d, Cache-Control %q, want 200 and private, no-cache",
					m[0], resp.StatusCode, got)
			}
			continue
		}
		if resp.StatusCode != http.StatusFound || !cacheControl.MatchString(got) {
			t.Errorf("HEAD %s: status %d, Cache-Control %q, want 302 and %s",
				m[0], resp.StatusCode, got, cacheControl)
		}
	}
	page, err := url.Parse(matches(`gallery\s+(\S+)`, printed)[0][1])
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":           samples[0].Locator.Path(),
		"demo/stats": `"requests":18,"url_hits":1,"url_misses":17,`,
	} {
		if _, got := get(t, page.JoinPath(path).String()); !strings.Contains(got, want) {
			t.Errorf("GET /%s = %.300s, want it to contain %s", path, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("listn: x\nurl_lifetime: 45\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte("listen: "+taken.Addr().String()+`
admin_listen: 127.0.0.1:0
viewers: {anonymous: true}
integrations:
  - name: keys
    bucket: scans
    region: eu-central-1
    access_key_id: AKIA
    secret_access_key: canary
  - name: tenant-a
    bucket: films
    prefix: tenant-a/
    blocked_prefixes: [tenant-a/raw/]
    region: eu-central-1
    access_key_id: AKIATENANTA
    secret_access_key: canary
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		code   int
		output []string // parts of it
	}{
		{nil, 2, []string{"Usage:"}},
		{[]string{"--help"}, 0, []string{"Usage:"}},
		{[]string{"serv"}, 2, []string{`unknown command "serv"`}},
		{[]string{"serve", "--help"}, 0, []string{"-config file"}},
		{[]string{"serve", "--nope"}, 2, []string{"-nope", "invalid command line"}},
		{[]string{"serve", "x"}, 2, []string{"got 1 arguments, want 0"}},
		{
			[]string{"serve", "--config", broken},
			2, []string{
				broken + ":1:1: unknown key; did you mean listen?",
				broken + ":2: url_lifetime: ",
				": viewers: ",
			},
		},
		{[]string{"serve", "--config", dir}, 2, []string{"this is a directory"}},
		{
			[]string{"serve", "--config", good},
			1, []string{"listen: address already in use"},
		},
		{
			[]string{"demo", "--listen", taken.Addr().String(), "--admin-listen", "127.0.0.1:0"},
			1, []string{"listen: address already in use", "Try --listen 127.0.0.1:0"},
		},
		{[]string{"demo", "--listen", "nonsense"}, 2, []string{"nonsense is not an address"}},
		{[]string{"version"}, 0, []string{"s3redirect "}},
		{[]string{"presign", "--config", good}, 2, []string{"got 0 arguments, want 1"}},
		{[]string{"presign", "--config", good, "https://x"}, 2, []string{"not a locator"}},
		{
			[]string{"presign", "--config", good, "s3://nobodys/key"},
			1, []string{"no integration serves bucket nobodys"},
		},
		{
			[]string{"presign", "--config", good, "s3://films/tenant-b/x"},
			1, []string{"no integration serves this key of bucket films"},
		},
		{
			[]string{"presign", "--config", good, "s3://films//tenant-a/raw/x"},
			1, []string{"under one of the blocked_prefixes"},
		},
		{
			[]string{"presign", "--config", good, "s3://films/tenant-a/x"},
			0, []string{"/tenant-a/x?X-Amz-Algorithm=", "X-Amz-Credential=AKIATENANTA%2F"},
		},
		{
			[]string{"check", "--config", good, "--sample", "s3://films/tenant-b/x"},
			2, []string{"is under none of the prefixes of bucket films: tenant-a/ of tenant-a"},
		},
		{
			[]string{"check", "--config", good, "--sample", "s3://films/tenant-a/raw/x"},
			2, []string{"integration tenant-a blocks the sample"},
		},
		{
			[]string{"presign", "--config", good, "s3://scans/a b"},
			0, []string{
				"https://scans.s3.eu-central-1.amazonaws.com/a%20b?X-Amz-Algorithm=",
				"&X-Amz-Signature=",
			},
		},
	} {
		code, stdout, stderr := running(c.args...)
		if output := stdout + stderr; code != c.code {
			t.Errorf("%q: exit code %d, want %d: %s", c.args, code, c.code, output)
		}
		for _, want := range c.output {
			if output := stdout + stderr; !strings.Contains(output, want) {
				t.Errorf("%q: output %s, want it to contain %q", c.args, output, want)
			}
		}
		if strings.Contains(stdout+stderr, "canary") {
			t.Errorf("%q prints the secret key", c.args)
		}
	}
}

// read returns the text of a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestREADME checks that the README's configuration loads, that its commands and make targets
// exist, that it names all commands, and that its links lead to files.
func TestREADME(t *testing.T) {
	readme := read(t, "README.md")
	snippets := matches("(?s)```yaml\n(.*?)```", readme)
	if len(snippets) == 0 {
		t.Error("the README has no configuration")
	}
	for _, s := range snippets {
		if _, err := config.Parse("README.md", []byte(s[1]), os.LookupEnv); err != nil {
			t.Error(err)
		}
	}
	named := map[string]bool{}
	for _, m := range matches("[`/ ]s3redirect ([a-z]+)\\b", readme) {
		named[m[1]] = true
	}
	for name := range commands {
		if !named[name] {
			t.Errorf("the README does not name the command %s", name)
		}
		if !strings.Contains(usage, "s3redirect "+name) {
			t.Errorf("the usage does not name the command %s", name)
		}
	}
	makefile := read(t, "Makefile")
	for _, m := range matches(`(?m)^make ([a-z]+)$`, readme) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("the Makefile has no target %s", m[1])
		}
	}
	for _, m := range matches(`\]\(([^)#:]+)\)`, readme) {
		if _, err := os.Stat(filepath.Join("..", "..", m[1])); err != nil {
			t.Errorf("the README links to a missing file: %v", err)
		}
	}
}

// TestDocumentedMetrics compares docs/metrics.md with the metrics of the demo and their labels.
func TestDocumentedMetrics(t *testing.T) {
	printed := runDemoFor(t)
	for _, m := range matches(objectURL, printed) {
		get(t, m[0])
	}
	_, scrape := get(t, matches(`metrics\s+(\S+)`, printed)[0][1])
	// The demo has no shared session store and no credentials, so it lacks their metrics.
	exported := map[string]bool{
		"s3redirect_shared_sessions_total":          true,
		"s3redirect_viewer_refusals_total":          true,
		"s3redirect_jwks_refresh_failures_total":    true,
		"s3redirect_jwks_refresh_timestamp_seconds": true,
	}
	for _, m := range matches(`(?m)^# TYPE (s3redirect_\w+)`, scrape) {
		exported[m[1]] = true
	}
	documented := map[string]bool{}
	page := read(t, "docs/metrics.md")
	for _, m := range matches("(?m)^\\| `(s3redirect_\\w+)`", page) {
		documented[m[1]] = true
	}
	for name := range exported {
		if !documented[name] {
			t.Errorf("docs/metrics.md lacks %s", name)
		}
	}
	for name := range documented {
		if !exported[name] {
			t.Errorf("docs/metrics.md has %s, which is not exported", name)
		}
	}
	if len(exported) < 10 {
		t.Errorf("found %d metrics, want at least 10", len(exported))
	}
	for _, m := range matches("(?m)^\\| `(s3redirect_\\w+)` \\| ([^|]*) \\|", page) {
		series := matches("(?m)^"+m[1]+`(?:_count)?(?:\{(.*)\})? `, scrape)
		if len(series) == 0 {
			continue
		}
		labels := map[string]bool{}
		for _, l := range matches(`(\w+)="`, series[0][1]) {
			labels[l[1]] = true
		}
		for _, word := range matches(`\w+`, m[2]) {
			if !labels[word[0]] {
				t.Errorf("docs/metrics.md has the label %s of %s, which is not exported",
					word[0], m[1])
			}
			delete(labels, word[0])
		}
		if len(labels) > 0 {
			t.Errorf("docs/metrics.md lacks the labels %v of %s", labels, m[1])
		}
	}
}

// demoWorld starts the demo's S3 and STS, and returns the text of a configuration that uses them.
// Its windows last for days, so that none ends during a test.
func demoWorld(t *testing.T) string {
	t.Helper()
	cloud := demoCloud(demo.Samples())
	const long = 400 * time.Hour
	cloud.AddRole(fakeaws.Role{
		ARN:         demoMediaRole,
		ExternalID:  demoMediaID,
		Trusts:      []string{demoAccessKey},
		Buckets:     []string{demo.MediaBucket},
		MaxDuration: long,
	})
	cloud.AddRole(fakeaws.Role{
		ARN:         demoTeamRole,
		ExternalID:  demoTeamID,
		Trusts:      []string{demoAccessKey},
		Buckets:     []string{"team-*"},
		Versions:    true,
		MaxDuration: long,
	})
	var urls []string
	for _, h := range []http.Handler{cloud.S3(), cloud.STS()} {
		s, err := serveStandIn(h)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		urls = append(urls, s.URL)
	}
	text := fmt.Sprintf(demoConfig, "127.0.0.1:0", "127.0.0.1:0", urls[0], urls[1])
	return strings.NewReplacer(
		"${DEMO_SECRET}", demoSecret,
		"url_lifetime: 3m", "url_lifetime: 160h",
		"min_remaining: 1m", "min_remaining: 1h",
		"session_duration: 15m", "session_duration: 400h",
	).Replace(text)
}

func TestCommandsShowNoMistypedSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	for _, admin := range []string{
		"{token:hunter2}",
		"{token: *hunter2}",
		"{token: !hunter2 x}",
		"{token: \"${hunter2}\"}",
		"\n  ? hunter2",
	} {
		text := "listen: 127.0.0.1:0\nadmin: " + admin + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"serve", "--config", path},
			{"check", "--config", path},
			{"presign", "--config", path, "s3://bucket/key"},
			{"link", "--config", path, "s3://bucket/key"},
			{"policy", "access", "--config", path, "--integration", "a"},
			{"integrate", "--config", path, "--yes", "--bucket", "photos"},
		} {
			code, stdout, stderr := running(args...)
			output := stdout + stderr
			if code == 0 || !strings.Contains(output, path+":") ||
				strings.Contains(output, "hunter2") {
				t.Errorf("%s with %s: exit code %d, output %s, "+
					"want an error about the file without the secret",
					args[0], admin, code, output)
			}
		}
	}
}
