package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"s3redirect/internal/locator"
)

// proxy is a running s3redirect.
type proxy struct {
	*server
	host  string // address of the viewers' listener
	admin string // URL of the administrators' listener
}

// everyTest is the part of the configuration that all tests share. The log has all levels and an
// access log, so that a leaked secret is found.
const everyTest = `
listen: ${LISTEN}
admin_listen: ${ADMIN_LISTEN}
log: {level: debug, access: true}
`

// writeConfig writes a configuration into a new folder. A configuration without viewers gets
// anonymous access. Files for integrations.d follow it in the txtar format.
func writeConfig(t *testing.T, config string) (dir string) {
	t.Helper()
	files := txtar.Parse([]byte(config))
	main := everyTest + string(files.Comment)
	if !strings.Contains(main, "\nviewers:") {
		main += "\nviewers: {anonymous: true}\n"
	}
	dir = t.TempDir()
	err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(main), 0o600)
	if strings.Contains(main, "\ninclude:") {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, "integrations.d"), 0o700))
	}
	for _, f := range files.Files {
		path := filepath.Join(dir, "integrations.d", f.Name)
		err = errors.Join(err, os.WriteFile(path, f.Data, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// startProxy starts the proxy with a configuration and waits until it is ready. env gives the
// values of the ${NAME}s in the configuration.
func startProxy(t *testing.T, config string, env ...string) *proxy {
	t.Helper()
	p, _ := startProxyIn(t, config, env...)
	return p
}

// startProxyIn is startProxy that also returns the folder of config.yaml.
func startProxyIn(t *testing.T, config string, env ...string) (*proxy, string) {
	t.Helper()
	return startBinaryIn(t, built(t), config, env...)
}

// startBinaryIn is startProxyIn for the binary at path.
func startBinaryIn(t *testing.T, path, config string, env ...string) (*proxy, string) {
	t.Helper()
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	dir := writeConfig(t, config)
	host, admin := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	return startBinaryAt(t, path, dir, host, admin, nil, env...), dir
}

// startProxyAt starts the proxy with the config.yaml in dir, listening at the given addresses.
func startProxyAt(t *testing.T, dir, host, admin string, env ...string) *proxy {
	t.Helper()
	return startBinaryAt(t, built(t), dir, host, admin, nil, env...)
}

// startBinaryAt is startProxyAt for the binary at path, with more flags.
func startBinaryAt(
	t *testing.T, path, dir, host, admin string, flags []string, env ...string,
) *proxy {
	t.Helper()
	p := &proxy{host: host, admin: "http://" + admin}
	var err error
	p.server, err = startServer(dir, "s3redirect",
		append(env, "LISTEN="+host, "ADMIN_LISTEN="+admin),
		append([]string{path, "serve", "--config", "config.yaml"}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			log := p.output()
			t.Logf("the end of the proxy's log:\n%s", log[max(0, len(log)-4000):])
		}
	})
	ready := func() bool { return answersOK(p.admin + "/readyz") }
	if err := p.await("s3redirect", ready); err != nil {
		t.Fatal(err)
	}
	return p
}

// built returns the path of the binary, which it builds once.
func built(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs the binary until it exits, for at most 10 seconds.
func command(t *testing.T, dir string, env []string, args ...string) (code int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t), args...)
	cmd.Dir, cmd.Env = dir, append([]string{"HOME=" + dir}, env...)
	timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// wait waits until the process exits and returns its exit code.
func (p *proxy) wait(t *testing.T, atMost time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(atMost):
		t.Fatalf("the proxy is still running after %v, want it to exit", atMost)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *proxy) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// answer is an HTTP response with its whole body.
type answer struct {
	status int
	header http.Header
	length int64 // Content-Length; -1 if unknown
	body   []byte
}

// client does not follow redirects. The tests follow them and check each step.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       20 * time.Second,
}

// fetch sends a request with header lines such as "Range: bytes=0-9" and returns the response.
func fetch(t *testing.T, method, url string, header ...string) *answer {
	t.Helper()
	a, err := try(t, method, url, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// try is fetch for requests that may fail and for goroutines.
func try(t *testing.T, method, url string, header ...string) (*answer, error) {
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		return nil, err
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	return readAnswer(client.Do(req))
}

func readAnswer(resp *http.Response, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{
		status: resp.StatusCode,
		header: resp.Header,
		length: resp.ContentLength,
		body:   body,
	}, err
}

// path returns an object's path on the proxy.
func path(bucket, key string) string { return locator.Locator{Bucket: bucket, Key: key}.Path() }

// url returns a path's URL on the proxy.
func (p *proxy) url(path string) string { return "http://" + p.host + path }

// raw sends a request target unchanged. HTTP clients would normalize it.
func (p *proxy) raw(t *testing.T, method, target string) *answer {
	t.Helper()
	conn, err := net.Dial("tcp", p.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		method, target, p.host)
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method}))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// location requests a redirect, checks it with checkRedirect and returns its Location.
func (p *proxy) location(t *testing.T, method, path string) string {
	t.Helper()
	a := fetch(t, method, p.url(path))
	if err := a.checkRedirect(); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a.header.Get("Location")
}

var privateMaxAge = regexp.MustCompile(`^(no-store|private, max-age=[1-9][0-9]*)$`)

// checkRedirect checks the status and the headers that every redirect must have.
func (a *answer) checkRedirect() error {
	switch query := a.query(); {
	case a.status != http.StatusFound:
		return fmt.Errorf("status = %d, want 302: %s", a.status, a.body)
	case len(a.body) != 0:
		return fmt.Errorf("body = %q, want none", a.body)
	case !privateMaxAge.MatchString(a.header.Get("Cache-Control")):
		return fmt.Errorf("Cache-Control = %q, want a match of %s",
			a.header.Get("Cache-Control"), privateMaxAge)
	case a.header.Get("Referrer-Policy") != "no-referrer":
		return fmt.Errorf("Referrer-Policy = %q, want no-referrer", a.header.Get("Referrer-Policy"))
	case query.Get("X-Amz-SignedHeaders") != "host":
		// Browsers do not send other signed headers.
		return fmt.Errorf("X-Amz-SignedHeaders = %q, want host", query.Get("X-Amz-SignedHeaders"))
	}
	return nil
}

// query returns the query parameters of an answer's Location.
func (a *answer) query() url.Values {
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return nil
	}
	return u.Query()
}

// checkProblem checks that an answer is the problem with the given code, with all fields and
// headers of a problem.
func (a *answer) checkProblem(status int, code string) error {
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	switch err := d.Decode(&p); {
	case a.status != status:
		return fmt.Errorf("status = %d, want %d: %s", a.status, status, a.body)
	case err != nil:
		return fmt.Errorf("body is not a problem in JSON: %w: %s", err, a.body)
	case a.header.Get("Content-Type") != "application/problem+json":
		return fmt.Errorf("Content-Type = %q, want application/problem+json",
			a.header.Get("Content-Type"))
	case a.header.Get("Cache-Control") != "no-store":
		return fmt.Errorf("Cache-Control = %q, want no-store", a.header.Get("Cache-Control"))
	case a.header.Get("Location") != "":
		return fmt.Errorf("Location = %q, want none in a problem", a.header.Get("Location"))
	case p.Code != code || p.Status != status || p.Type == "" || p.Title == "" || p.Detail == "":
		return fmt.Errorf("problem = %s, want code %s and every field", a.body, code)
	}
	return nil
}

// wantProblem sends a GET request and checks with checkProblem that the proxy rejects it.
func (p *proxy) wantProblem(t *testing.T, path string, status int, code string) *answer {
	t.Helper()
	a := fetch(t, http.MethodGet, p.url(path))
	if err := a.checkProblem(status, code); err != nil {
		t.Errorf("GET %s: %v", path, err)
	}
	return a
}

// scrape reads /metrics and returns the value of each series. The keys have the text format.
func (p *proxy) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	series := map[string]float64{}
	for line := range strings.Lines(string(fetch(t, http.MethodGet, p.admin+"/metrics").body)) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
			if err != nil {
				t.Fatalf("/metrics: cannot parse %q: %v", line, err)
			}
			series[line[:i]] = value
		}
	}
	return series
}
