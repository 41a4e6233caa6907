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

// process is a running program.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner // its standard output and standard error
}

// start starts a program in a folder. The program and its children are killed when the test ends.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	printed, out := io.Pipe()
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, bufio.NewScanner(printed)}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		_ = out.Close() // ends the output, also for find
		close(exited)
	}()
	t.Cleanup(func() {
		p.kill()
		<-exited
	})
	return p
}

// kill kills the program and its children.
func (p *process) kill() { _ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }

// find reads the output until a line matches the pattern, and returns the pattern's first group.
func (p *process) find(t *testing.T, pattern string) string {
	t.Helper()
	output, want := "", regexp.MustCompile(pattern)
	timeout := time.AfterFunc(2*time.Minute, p.kill)
	defer timeout.Stop()
	for p.lines.Scan() {
		if m := want.FindStringSubmatch(p.lines.Text()); m != nil {
			go func() {
				for p.lines.Scan() { // a full pipe would block the program
				}
			}()
			return m[1]
		}
		output += p.lines.Text() + "\n"
	}
	t.Fatalf("%s: no line of the output matches %s:\n%s", p, pattern, output)
	return ""
}

// TestREADMECommands runs the README's commands. Only the addresses differ, and STS is a stand-in
// that has the role and the external ID of the README's configuration.
func TestREADMECommands(t *testing.T) {
	readme, dir, root := read(t, "README.md"), t.TempDir(), filepath.Join("..", "..")
	env := readmeEnvironment(t, dir)
	snippet := matches("(?s)```yaml\n(.*?)```", readme)[0][1]
	config := "admin_listen: 127.0.0.1:0\n" +
		regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(snippet, "127.0.0.1:0")
	var lines []string
	for _, block := range matches("(?s)```sh\n(.*?)```", readme) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	address := ""
	for _, line := range lines {
		args := strings.Fields(line)
		switch {
		case line == "make test": // it runs this test
		case args[0] == "go" && args[1] == "run":
			args = append(args, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
			page := start(t, root, nil, args...).find(t, `gallery +(\S+)`)
			if resp, _ := get(t, page); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: GET %s: status %d, want 200", line, page, resp.StatusCode)
			}
		case line == "make build":
			makeBuild(t, root, dir)
		case args[0] == "./bin/s3redirect" && args[1] == "integrate":
			integrateAsREADME(t, dir, env, args)
			path := filepath.Join(dir, "s3redirect.yaml") // the alternative: written by hand
			if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
		case args[0] == "./bin/s3redirect":
			address = start(t, dir, env, args...).find(t, `"listen":"([^"]+)"`)
		case args[0] == "curl" && args[1] == "-i": // GET, so that browsers can use the URL, too
			url := strings.Replace(args[2], "127.0.0.1:8080", address, 1)
			resp, err := notFollowing.Get(url)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			_ = resp.Body.Close()
			const want = "https://my-photos.s3.eu-central-1.amazonaws.com/holiday/beach.jpg" +
				"?X-Amz-Algorithm="
			got := resp.Header.Get("Location")
			if resp.StatusCode != http.StatusFound || !strings.HasPrefix(got, want) {
				t.Errorf("%s: status %d, Location %s, want 302, %s…",
					line, resp.StatusCode, got, want)
			}
		default:
			t.Errorf("the test does not know the command %q", line)
		}
	}
	if address == "" {
		t.Fatal("the README does not start s3redirect")
	}
	checkREADMETable(t, readme, dir, env)
}

// makeBuild runs the Makefile's target build in the repository, except that bin is a folder in dir.
func makeBuild(t *testing.T, root, dir string) {
	t.Helper()
	recipe := matches(`(?m)^build:.*\n\t(.* -o )(bin/s3redirect .*)$`, read(t, "Makefile"))
	if len(recipe) != 1 {
		t.Fatal("the Makefile's target build does not make bin/s3redirect")
	}
	build := exec.CommandContext(t.Context(), "sh", "-c",
		recipe[0][1]+shellQuote(dir)+"/"+recipe[0][2])
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v %s", err, out)
	}
}

// integrateAsREADME runs integrate in dir, and checks that it writes the configuration that the
// README names and prints commands of the README's program.
func integrateAsREADME(t *testing.T, dir string, env, args []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], append(args[1:], "--no-try")...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader("my-photos\n\n\n\n\n\n\n" +
		"arn:aws:iam::123456789012:role/s3redirect\n")
	out, err := cmd.CombinedOutput()
	const want = "\n  ./bin/s3redirect serve --config s3redirect.yaml\n" +
		"  curl -i http://127.0.0.1:8080/s3/my-photos/KEY\n"
	if err != nil || !strings.HasSuffix(string(out), want) {
		t.Fatalf("%q: %v, output\n%s\nwant %q at its end", args, err, out, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "s3redirect.yaml")); err != nil {
		t.Error(err)
	}
}

// readmeEnvironment starts a stand-in for STS that has the role of the README's configuration. It
// returns an environment with credentials that may assume the role.
func readmeEnvironment(t *testing.T, home string) []string {
	t.Helper()
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: demoAccessKey, SecretAccessKey: demoSecret})
	cloud.AddRole(fakeaws.Role{
		ARN:        "arn:aws:iam::123456789012:role/s3redirect",
		ExternalID: "9d0c3a53-6d1f-4f0e-9f55-1f1f1f1f1f1f",
		Trusts:     []string{demoAccessKey},
		Buckets:    []string{"my-photos"},
	})
	sts := httptest.NewServer(cloud.STS())
	t.Cleanup(sts.Close)
	return []string{
		"HOME=" + home,
		"AWS_ACCESS_KEY_ID=" + demoAccessKey,
		"AWS_SECRET_ACCESS_KEY=" + demoSecret,
		"AWS_SESSION_TOKEN=",
		"AWS_PROFILE=",
		"AWS_ENDPOINT_URL_STS=" + sts.URL,
	}
}

// checkREADMETable runs those commands of the README's table that exit and need only STS.
func checkREADMETable(t *testing.T, readme, dir string, env []string) {
	t.Helper()
	want := map[string]string{
		"presign": `^https://my-photos\.s3\.eu-central-1\.amazonaws\.com/holiday/beach\.jpg` +
			`\?X-Amz-Algorithm=`,
		"policy":  `(?s)s3:GetObject.*arn:aws:s3:::my-photos/\*`,
		"link":    `has no viewers\.links`, // the README's configuration has none
		"check":   `^allowed, `,
		"version": `^s3redirect \S+`,
	}
	for _, m := range matches("(?m)^\\| `\\./bin/s3redirect ([a-z]+)([^`]*)` \\|", readme) {
		pattern, ok := want[m[1]]
		if !ok || strings.Contains(m[2], "--sample") { // it would need S3
			continue
		}
		flags := strings.ReplaceAll(m[2], "s3://bucket/key", "s3://my-photos/holiday/beach.jpg")
		args := append([]string{m[1]}, strings.Fields(flags)...)
		cmd := exec.CommandContext(t.Context(), "./bin/s3redirect", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput() // link fails; the output shows the reason
		if !regexp.MustCompile(pattern).Match(out) {
			t.Errorf("./bin/s3redirect %s%s prints %s, want %s", m[1], m[2], out, pattern)
		}
		delete(want, m[1])
	}
	if len(want) > 0 {
		t.Errorf("the README's table lacks commands that print %v", want)
	}
}
