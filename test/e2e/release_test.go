package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Two builds of a release, in different folders and with separate build caches, have the same
// bytes. The checksums match, and the bill of materials lists the program's modules. The test
// builds one of the six platforms, since the others take minutes.
func TestReleaseIsReproducible(t *testing.T) {
	t.Parallel()
	need(t, "cyclonedx-gomod", "git", "make", "sha256sum")
	const platforms = "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 " +
		"windows/amd64 windows/arm64"
	variables := output(t, "make", "-C", "../..", "-pn", "help")
	if !strings.Contains(variables, "PLATFORMS ?= "+platforms) &&
		!strings.Contains(variables, "PLATFORMS = "+platforms) {
		t.Errorf("PLATFORMS in the Makefile is not %q", platforms)
	}
	tools, err := filepath.Abs("../../.tools")
	if err != nil {
		t.Fatal(err)
	}
	var sums []string
	for n := range 2 {
		tree, dist := t.TempDir(), t.TempDir()
		if n == 1 {
			tree = filepath.Join(tree, "a", "longer", "path")
		}
		out, err := exec.Command("git", "clone", "-q", "../..", tree).CombinedOutput()
		if err != nil {
			t.Fatalf("git clone: %v\n%s", err, out)
		}
		if err := os.Symlink(tools, filepath.Join(tree, ".tools")); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "make", "release",
			"VERSION=v0.0.0-test", "PLATFORMS=linux/amd64", "DIST="+dist)
		cmd.Dir, cmd.Env = tree, os.Environ()
		if n == 1 {
			cmd.Env = append(cmd.Env, "GOCACHE="+t.TempDir())
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make release: %v\n%s", err, out)
		}
		check := exec.Command("sha256sum", "-c", "SHA256SUMS")
		check.Dir = dist
		out, err = check.CombinedOutput()
		if err != nil || strings.Count(string(out), ": OK") != 2 {
			t.Errorf("sha256sum -c: %v, output:\n%s\nwant 2 files OK", err, out)
		}
		program := filepath.Join(dist, "s3redirect_v0.0.0-test_linux_amd64")
		out, err = exec.Command(program, "version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "v0.0.0-test") {
			t.Errorf("s3redirect version: %v, output %q, want v0.0.0-test", err, out)
		}
		var bom struct{ Components []struct{ Name string } }
		text := readFile(t, filepath.Join(dist, "s3redirect_v0.0.0-test.cdx.json"))
		if err := json.Unmarshal([]byte(text), &bom); err != nil {
			t.Fatal(err)
		}
		names := fmt.Sprint(bom.Components)
		for _, module := range []string{
			"github.com/aws/aws-sdk-go-v2",
			"github.com/redis/rueidis",
			"gopkg.in/yaml.v3",
			"github.com/prometheus/client_golang",
		} {
			if !strings.Contains(names, module) {
				t.Errorf("the bill of materials lacks %s", module)
			}
		}
		if strings.Contains(names, "chromedp") {
			t.Error("the bill of materials contains chromedp, which only tests use")
		}
		sums = append(sums, readFile(t, filepath.Join(dist, "SHA256SUMS")))
	}
	if sums[0] != sums[1] {
		t.Errorf("checksums of the second build =\n%s\nwant those of the first\n%s",
			sums[1], sums[0])
	}
}

// The Makefile and CI run these tests with longer timeouts than the default 10 minutes, which are
// too short for slow machines.
func TestTimeoutsSuitSlowMachines(t *testing.T) {
	t.Parallel()
	need(t, "make")
	lines := map[string]string{".ci/run": readFile(t, "../../.ci/run")}
	for _, target := range []string{"test", "e2e", "soak"} {
		lines["make "+target] = output(t, "make", "-C", "../..", "-n", target)
	}
	for from, text := range lines {
		runs := regexp.MustCompile(`go test (?:[^|;&\n]|\|[^|])*`).FindAllString(text, -1)
		if len(runs) == 0 {
			t.Errorf("%s does not run go test:\n%s", from, text)
		}
		for _, run := range runs {
			atLeast := 45 * time.Minute
			if strings.Contains(run, "packages[@]") ||
				strings.Contains(run, "grep -v '/test/e2e$'") { // all packages except this one
				atLeast = 20 * time.Minute
			}
			var timeout time.Duration
			if m := regexp.MustCompile(`-timeout (\S+)`).FindStringSubmatch(run); m != nil {
				timeout, _ = time.ParseDuration(m[1]) // 0, which is too short, on an error
			}
			if timeout < atLeast {
				t.Errorf("%s: timeout of %q = %v, want at least %v", from, run, timeout, atLeast)
			}
		}
	}
}

// The image built from the unchanged Dockerfile runs as an unprivileged user on a read-only root
// and becomes ready. Local images stand in for the base images.
func TestImageRunsUnprivileged(t *testing.T) {
	t.Parallel()
	need(t, "buildah", "unshare")
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("buildah needs root on this machine")
		}
		t.Skip("buildah needs root on this machine")
	}
	root := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	buildah := func(args ...string) string {
		t.Helper()
		args = append([]string{
			"--storage-driver", "vfs", "--root", root + "/root", "--runroot", root + "/run",
		}, args...)
		cmd := exec.CommandContext(ctx, "buildah", args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("buildah %v: %v\n%s%s", args, err, out, stderr.String())
		}
		return strings.TrimSpace(string(out))
	}
	// The stand-in for the golang image has a shell and this machine's Go and certificates.
	builder := buildah("from", "scratch")
	mount := buildah("mount", builder)
	goroot, busybox := goEnv(t, "GOROOT"), output(t, "sh", "-c", "command -v busybox")
	for _, step := range [][]string{
		{
			"mkdir", "-p", mount + "/bin", mount + "/tmp", mount + "/root", mount + "/usr/local",
			mount + "/etc/ssl/certs",
		},
		{"cp", busybox, mount + "/bin/sh"},
		{"cp", "-a", goroot, mount + "/usr/local/go"},
		{"cp", "-L", "/etc/ssl/certs/ca-certificates.crt", mount + "/etc/ssl/certs/"},
	} {
		if out, err := program(t, step...); err != nil {
			t.Fatalf("%v: %v %s", step, err, out)
		}
	}
	buildah("config",
		"--env", "PATH=/usr/local/go/bin:/bin",
		"--env", "GOTOOLCHAIN=local",
		"--env", "GOPATH=/go",
		"--env", "GOPROXY="+goEnv(t, "GOPROXY"),
		"--env", "HOME=/root",
		builder)
	buildah("umount", builder)
	buildah("commit", "-q", builder, "docker.io/library/golang:1.26")
	buildah("build", "-q",
		"--isolation", "chroot",
		"--pull-never",
		"--format", "docker",
		"--build-arg", "VERSION=v0.0.0-image",
		"--volume", goEnv(t, "GOMODCACHE")+":/go/pkg/mod:rw",
		"--volume", goEnv(t, "GOCACHE")+":/root/.cache/go-build:rw",
		"-t", "s3redirect",
		"../..")

	var image struct {
		OCIv1 struct {
			Config struct {
				User       string
				Entrypoint []string
				Cmd        []string
			} `json:"config"`
		}
	}
	inspected := buildah("inspect", "--type", "image", "s3redirect")
	if err := json.Unmarshal([]byte(inspected), &image); err != nil {
		t.Fatal(err)
	}
	c := image.OCIv1.Config
	if c.User != "65532:65532" {
		t.Errorf("the image's user = %q, want 65532:65532", c.User)
	}
	commandLine := strings.Join(append(c.Entrypoint, c.Cmd...), " ")
	if want := "/s3redirect serve --config /etc/s3redirect/config.yaml"; commandLine != want {
		t.Errorf("the image's command = %q, want %q", commandLine, want)
	}
	container := buildah("from", "--pull-never", "s3redirect")
	fs := buildah("mount", container)
	if out := output(t, "find", fs, "-type", "f", "-perm", "/111"); out != fs+"/s3redirect" {
		t.Errorf("executables in the image = %s, want %s/s3redirect only", out, fs)
	}
	// Run the command as the image's user, with the image's content as a read-only root.
	for _, dir := range []string{"/etc/s3redirect", "/proc"} {
		if err := os.MkdirAll(fs+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	config := fmt.Sprintf(`
listen: 127.0.0.1:0
admin_listen: %s
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: a-bucket, region: eu-central-1, access_key_id: A, secret_access_key: s}
`, address)
	if err := os.WriteFile(fs+"/etc/s3redirect/config.yaml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	const run = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && user=$1 && shift &&
		exec chroot --userspec="$user" "$0" "$@"`
	args := []string{"unshare", "-m", "sh", "-c", run, fs, c.User}
	args = append(append(args, c.Entrypoint...), c.Cmd...)
	s, err := startServer(t.TempDir(), "image", nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	ready := func() bool { return answersOK("http://" + address + "/readyz") }
	if err := s.await("the image is ready", ready); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	status := readFile(t, proc+"status")
	for _, want := range []string{
		"Name:\ts3redirect\n", "Uid:\t65532\t65532", "CapEff:\t0000000000000000",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("%sstatus does not contain %q:\n%s", proc, want, status)
		}
	}
	readOnlyRoot := regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ / ro`)
	if mounts := readFile(t, proc+"mountinfo"); !readOnlyRoot.MatchString(mounts) {
		t.Errorf("the process's root is not read-only:\n%s", mounts)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-ctx.Done():
		t.Fatal("the process does not exit after SIGTERM")
	}
	if !s.cmd.ProcessState.Success() || !strings.Contains(s.output(), "v0.0.0-image") {
		t.Errorf("%v, want success and v0.0.0-image in the log:\n%s",
			s.cmd.ProcessState, s.output())
	}
}

// goEnv returns the value that go env prints for name.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
