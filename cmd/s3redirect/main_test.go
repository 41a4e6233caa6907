package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
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

// runDemoFor starts the demo on free ports and returns what it printed.
func runDemoFor(t *testing.T) (printed string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stdout, out := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, out, &stderr)
		_ = out.Close()
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 || stderr.Len() > 0 {
			t.Errorf("exit %d: %s", code, &stderr)
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

// Every URL that the demo prints leads to its object's bytes, and HEAD shows the redirect.
func TestDemo(t *testing.T) {
	printed := runDemoFor(t)
	urls := regexp.MustCompile(`http://\S+/s3/\S+`).FindAllString(printed, -1)
	samples := demo.Samples()
	if len(urls) != len(samples) {
		t.Fatalf("%d URLs printed for %d samples:\n%s", len(urls), len(samples), printed)
	}
	direct := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for n, u := range urls {
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !bytes.Equal(body, samples[n].Data) || resp.Header.Get("Content-Type") != samples[n].ContentType {
			t.Errorf("%s: %d, %d bytes of %s, %v", u, resp.StatusCode, len(body), resp.Header.Get("Content-Type"), err)
		}
		resp, err = direct.Head(u)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if age := resp.Header.Get("Cache-Control"); resp.StatusCode != 302 || age != "no-store" && !regexp.MustCompile(`^private, max-age=[1-9]\d*$`).MatchString(age) {
			t.Errorf("HEAD %s: %d, Cache-Control: %s", u, resp.StatusCode, age)
		}
	}
	page, err := url.Parse(regexp.MustCompile(`gallery\s+(\S+)`).FindStringSubmatch(printed)[1])
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"": samples[0].Locator.Path(), "demo/stats": `"requests":16,"url_hits":0,"url_misses":16,`} {
		resp, err := http.Get(page.JoinPath(path).String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("/%s lacks %s: %.300s %v", path, want, body, err)
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
integrations: [{name: keys, bucket: scans, region: eu-central-1, access_key_id: AKIA, secret_access_key: canary}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{nil, 2, []string{"Usage:"}},
		{[]string{"--help"}, 0, []string{"Usage:"}},
		{[]string{"serv"}, 2, []string{`there is no command "serv"`}},
		{[]string{"serve", "--help"}, 0, []string{"-config file"}},
		{[]string{"serve", "--nope"}, 2, []string{"-nope", "the command line is wrong"}},
		{[]string{"serve", "x"}, 2, []string{"1 arguments given, 0 wanted"}},
		{[]string{"serve", "--config", broken}, 2, []string{broken + ":1:1: unknown key; did you mean listen?", broken + ":2: url_lifetime: ", ": viewers: "}},
		{[]string{"serve", "--config", dir}, 2, []string{"it is a directory"}},
		{[]string{"serve", "--config", good}, 1, []string{"listen: address already in use"}},
		{[]string{"demo", "--listen", taken.Addr().String(), "--admin-listen", "127.0.0.1:0"}, 1, []string{"listen: address already in use", "Try --listen 127.0.0.1:0"}},
		{[]string{"demo", "--listen", "nonsense"}, 2, []string{"nonsense is no address"}},
		{[]string{"version"}, 0, []string{"s3redirect "}},
		{[]string{"presign", "--config", good}, 2, []string{"0 arguments given, 1 wanted"}},
		{[]string{"presign", "--config", good, "https://x"}, 2, []string{"not a locator"}},
		{[]string{"presign", "--config", good, "s3://nobodys/key"}, 1, []string{"no integration serves bucket nobodys"}},
		{[]string{"presign", "--config", good, "s3://scans/a b"}, 0, []string{"https://scans.s3.eu-central-1.amazonaws.com/a%20b?X-Amz-Algorithm=", "&X-Amz-Signature="}},
	} {
		var said bytes.Buffer
		if code := run(context.Background(), c.args, &said, &said); code != c.code {
			t.Errorf("%q: exit %d, want %d: %s", c.args, code, c.code, &said)
		}
		for _, want := range c.says {
			if !strings.Contains(said.String(), want) {
				t.Errorf("%q does not say %q: %s", c.args, want, &said)
			}
		}
		if strings.Contains(said.String(), "canary") {
			t.Errorf("%q shows the secret key", c.args)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The README's configuration loads, its commands are the program's, and its links lead somewhere.
func TestREADME(t *testing.T) {
	readme := read(t, "README.md")
	snippets := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme, -1)
	if len(snippets) == 0 {
		t.Error("no configuration")
	}
	for _, s := range snippets {
		if _, err := config.Parse("README.md", []byte(s[1]), os.LookupEnv); err != nil {
			t.Error(err)
		}
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("[`/ ]s3redirect ([a-z]+)\\b").FindAllStringSubmatch(readme, -1) {
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
	for _, m := range regexp.MustCompile(`(?m)^make ([a-z]+)$`).FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("there is no make %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join("..", "..", m[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
}

// Every metric is documented, and every documented one is there.
func TestDocumentedMetrics(t *testing.T) {
	printed := runDemoFor(t)
	for _, u := range regexp.MustCompile(`http://\S+/s3/\S+`).FindAllString(printed, -1) {
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	resp, err := http.Get(regexp.MustCompile(`metrics\s+(\S+)`).FindStringSubmatch(printed)[1])
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	there, documented := map[string]bool{"s3redirect_shared_sessions_total": true}, map[string]bool{} // which needs a common store
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (s3redirect_\w+)`).FindAllStringSubmatch(string(body), -1) {
		there[m[1]] = true
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(s3redirect_\\w+)`").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		documented[m[1]] = true
	}
	for name := range there {
		if !documented[name] {
			t.Errorf("docs/metrics.md lacks %s", name)
		}
	}
	for name := range documented {
		if !there[name] {
			t.Errorf("docs/metrics.md has %s, the program has not", name)
		}
	}
	if len(there) < 10 {
		t.Errorf("%d metrics: the test did not test", len(there))
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(s3redirect_\\w+)` \\| ([^|]*) \\|").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		series := regexp.MustCompile("(?m)^" + m[1] + `(?:_count)?(?:\{(.*)\})? `).FindStringSubmatch(string(body))
		if series == nil {
			continue
		}
		labels := map[string]bool{}
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(series[1], -1) {
			labels[l[1]] = true
		}
		for _, name := range regexp.MustCompile(`\w+`).FindAllString(m[2], -1) {
			if !labels[name] {
				t.Errorf("%s has no label %s, docs/metrics.md says", m[1], name)
			}
			delete(labels, name)
		}
		if len(labels) > 0 {
			t.Errorf("docs/metrics.md does not say that %s has the labels %v", m[1], labels)
		}
	}
}

func TestBallast(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	if n := len(newBallast(math.MaxInt64)); n != ballastBytes {
		t.Errorf("%d bytes", n)
	}
	if n := len(newBallast(roomForBallast - 1)); n != 0 {
		t.Errorf("%d bytes in a small container", n)
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	if n := len(newBallast(1 << 30)); n != 0 {
		t.Errorf("%d bytes beside a limit that is the operator's", n)
	}
}

// demoWorld starts the demo's S3 and STS, and returns the text of its configuration.
func demoWorld(t *testing.T) string {
	t.Helper()
	_, text := demoStores(t)
	return text
}

// demoStores starts the demo's S3 and STS. The text is that of its configuration, with windows of days, so that none turns while
// a test runs.
func demoStores(t *testing.T) (cloud *fakeaws.Cloud, text string) {
	t.Helper()
	cloud = demoCloud(demo.Samples())
	const long = 400 * time.Hour
	cloud.AddRole(fakeaws.Role{ARN: demoMediaRole, ExternalID: demoMediaID, Trusts: []string{demoAccessKey}, Buckets: []string{demo.MediaBucket}, MaxDuration: long})
	cloud.AddRole(fakeaws.Role{ARN: demoTeamRole, ExternalID: demoTeamID, Trusts: []string{demoAccessKey}, Buckets: []string{"team-*"}, Versions: true, MaxDuration: long})
	var urls []string
	for _, h := range []http.Handler{cloud.S3(), cloud.STS()} {
		s, err := serveStandIn(h)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		urls = append(urls, s.URL)
	}
	return cloud, strings.NewReplacer("${DEMO_SECRET}", demoSecret, "url_lifetime: 3m", "url_lifetime: 160h", "min_remaining: 1m", "min_remaining: 1h",
		"session_duration: 15m", "session_duration: 400h").Replace(demoConfigFor(urls[0], urls[1]))
}

func demoConfigFor(s3, sts string) string {
	return fmt.Sprintf(demoConfig, "127.0.0.1:0", "127.0.0.1:0", s3, sts)
}

// A secret that is mistyped in the configuration is in no command's output.
func TestCommandsShowNoMistypedSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	for _, admin := range []string{"{token:hunter2}", "{token: *hunter2}", "{token: !hunter2 x}", "{token: \"${hunter2}\"}", "\n  ? hunter2"} {
		if err := os.WriteFile(path, []byte("listen: 127.0.0.1:0\nadmin: "+admin+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"serve", "--config", path}, {"check", "--config", path}, {"presign", "--config", path, "s3://bucket/key"}, {"link", "--config", path, "s3://bucket/key"},
			{"policy", "access", "--config", path, "--integration", "a"}, {"integrate", "--config", path, "--yes", "--bucket", "photos"},
		} {
			code, stdout, stderr := running(args...)
			if code == 0 || !strings.Contains(stdout+stderr, path+":") || strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("%s with %s: exit code %d, want an error about the file without the secret: %s%s", args[0], admin, code, stdout, stderr)
			}
		}
	}
}
