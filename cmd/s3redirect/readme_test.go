package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
)

// process is a program that a line of the README starts.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner // what it prints, on standard output or standard error
}

// start starts a program in a folder. It ends with the test, and with all that it has started.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	printed, out := io.Pipe()
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait(); _ = out.Close() })
	return &process{cmd, bufio.NewScanner(printed)}
}

// says reads what the program prints until it is like a pattern, and returns the pattern's first group.
func (p *process) says(t *testing.T, pattern string) string {
	t.Helper()
	said, like := "", regexp.MustCompile(pattern)
	timeout := time.AfterFunc(2*time.Minute, func() { _ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) })
	defer timeout.Stop()
	for p.lines.Scan() {
		if m := like.FindStringSubmatch(p.lines.Text()); m != nil {
			go func() {
				for p.lines.Scan() { // what comes after it is not to hold the program up
				}
			}()
			return m[1]
		}
		said += p.lines.Text() + "\n"
	}
	t.Fatalf("it never says %s, but:\n%s", pattern, said)
	return ""
}

// The README's commands, line by line: the demo shows its gallery; what is built serves the README's configuration, and answers with
// a redirect. Only the addresses are others, and STS is a stand-in that knows the configuration's role and external ID.
func TestREADMECommands(t *testing.T) {
	readme, dir, root := read(t, "README.md"), t.TempDir(), filepath.Join("..", "..")
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: demoAccessKey, SecretAccessKey: demoSecret})
	cloud.AddRole(fakeaws.Role{ARN: "arn:aws:iam::123456789012:role/s3redirect", ExternalID: "9d0c3a53-6d1f-4f0e-9f55-1f1f1f1f1f1f", Trusts: []string{demoAccessKey}, Buckets: []string{"my-photos"}})
	sts := httptest.NewServer(cloud.STS())
	t.Cleanup(sts.Close)
	env := []string{"HOME=" + dir, "AWS_ACCESS_KEY_ID=" + demoAccessKey, "AWS_SECRET_ACCESS_KEY=" + demoSecret, "AWS_SESSION_TOKEN=", "AWS_PROFILE=", "AWS_ENDPOINT_URL_STS=" + sts.URL}
	snippet := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readme)
	config := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(snippet[1], "127.0.0.1:0")
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	var lines []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(readme, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	address := ""
	for _, line := range lines {
		args := strings.Fields(line)
		switch {
		case line == "make test": // which runs this
		case args[0] == "go" && args[1] == "run":
			page := start(t, root, nil, append(args, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")...).says(t, `gallery +(\S+)`)
			if resp, err := http.Get(page); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %v %v", line, resp, err)
			} else {
				_ = resp.Body.Close()
			}
		case args[0] == "go" && args[1] == "build":
			build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, args[3]), args[4])
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", line, err, out)
			}
		case args[0] == "./s3redirect":
			address = start(t, dir, env, append([]string{filepath.Join(dir, "s3redirect")}, args[1:]...)...).says(t, `"listen":"([^"]+)"`)
		case args[0] == "curl" && args[1] == "-I":
			url := strings.Replace(args[2], "127.0.0.1:8080", address, 1)
			direct := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp, err := direct.Head(url)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			_ = resp.Body.Close()
			if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || !strings.HasPrefix(to, "https://my-photos.s3.eu-central-1.amazonaws.com/holiday/beach.jpg?X-Amz-Algorithm=") {
				t.Errorf("%s: %d, Location: %s", line, resp.StatusCode, to)
			}
		default:
			t.Errorf("the test does not know what is to come of %q", line)
		}
	}
	if address == "" {
		t.Fatal("nothing was served")
	}
	readmeTable(t, readme, dir, env)
}

// readmeTable runs the table's commands that end by themselves and ask no one but STS.
func readmeTable(t *testing.T, readme, dir string, env []string) {
	t.Helper()
	want := map[string]string{
		"presign": `^https://my-photos\.s3\.eu-central-1\.amazonaws\.com/holiday/beach\.jpg\?X-Amz-Algorithm=`,
		"policy":  `(?s)s3:GetObject.*arn:aws:s3:::my-photos/\*`,
		"link":    `has no viewers\.links`, // "where viewers.links is on"
		"check":   `^allowed, `,
		"version": `^s3redirect \S+`,
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `s3redirect ([a-z]+)([^`]*)` \\|").FindAllStringSubmatch(readme, -1) {
		pattern, ok := want[m[1]]
		if !ok || strings.Contains(m[2], "--sample") { // which asks S3
			continue
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "s3redirect"), append([]string{m[1]}, strings.Fields(strings.ReplaceAll(m[2], "s3://bucket/key", "s3://my-photos/holiday/beach.jpg"))...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput() // what it says tells whether it did
		if !regexp.MustCompile(pattern).Match(out) {
			t.Errorf("s3redirect %s%s: %s", m[1], m[2], out)
		}
		delete(want, m[1])
	}
	if len(want) > 0 {
		t.Errorf("the README lacks %v", want)
	}
}
