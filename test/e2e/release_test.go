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

// A release that is built twice, in two folders and with nothing from the first in the second's build cache, has the same bytes; its
// checksums hold, and its list of materials names what the program is made of. Of the six platforms one is built here: the others take minutes.
func TestRelease(t *testing.T) {
	t.Parallel()
	need(t, "cyclonedx-gomod", "git", "make", "sha256sum")
	const platforms = "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64"
	if out := output(t, "make", "-C", "../..", "-pn", "help"); !strings.Contains(out, "PLATFORMS ?= "+platforms) && !strings.Contains(out, "PLATFORMS = "+platforms) {
		t.Error("a release has other platforms")
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
		if out, err := exec.Command("git", "clone", "-q", "../..", tree).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		if err := os.Symlink(tools, filepath.Join(tree, ".tools")); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "make", "release", "VERSION=v0.0.0-test", "PLATFORMS=linux/amd64", "DIST="+dist)
		cmd.Dir, cmd.Env = tree, os.Environ()
		if n == 1 {
			cmd.Env = append(cmd.Env, "GOCACHE="+t.TempDir())
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		check := exec.Command("sha256sum", "-c", "SHA256SUMS")
		check.Dir = dist
		if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 2 {
			t.Errorf("%v %s", err, out)
		}
		if out, err := exec.Command(filepath.Join(dist, "s3redirect_v0.0.0-test_linux_amd64"), "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "v0.0.0-test") {
			t.Errorf("%v %s", err, out)
		}
		var bom struct{ Components []struct{ Name string } }
		if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dist, "s3redirect_v0.0.0-test.cdx.json"))), &bom); err != nil {
			t.Fatal(err)
		}
		names := fmt.Sprint(bom.Components)
		for _, part := range []string{"github.com/aws/aws-sdk-go-v2", "github.com/redis/rueidis", "gopkg.in/yaml.v3", "github.com/prometheus/client_golang"} {
			if !strings.Contains(names, part) {
				t.Errorf("the list of materials lacks %s", part)
			}
		}
		if strings.Contains(names, "chromedp") {
			t.Error("it names what only tests need")
		}
		sums = append(sums, readFile(t, filepath.Join(dist, "SHA256SUMS")))
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds:\n%s\n%s", sums[0], sums[1])
	}
}

// Whatever runs these tests gives them more time than the 10 minutes of go test, which a slow machine needs.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	need(t, "make")
	lines := map[string]string{".ci/run": readFile(t, "../../.ci/run")}
	for _, target := range []string{"test", "e2e", "soak"} {
		lines["make "+target] = output(t, "make", "-C", "../..", "-n", target)
	}
	for from, text := range lines {
		runs := regexp.MustCompile(`go test (?:[^|;&\n]|\|[^|])*`).FindAllString(text, -1)
		if len(runs) == 0 {
			t.Errorf("%s runs no go test:\n%s", from, text)
		}
		for _, run := range runs {
			atLeast := 45 * time.Minute
			if strings.Contains(run, "packages[@]") || strings.Contains(run, "grep -v '/test/e2e$'") { // all but these tests
				atLeast = 20 * time.Minute
			}
			var timeout time.Duration
			if m := regexp.MustCompile(`-timeout (\S+)`).FindStringSubmatch(run); m != nil {
				timeout, _ = time.ParseDuration(m[1]) // 0 is too short
			}
			if timeout < atLeast {
				t.Errorf("%s: %q has a timeout of %v, want %v at least", from, run, timeout, atLeast)
			}
		}
	}
}

// The Dockerfile is built as it stands, with stand-ins under the names of the images that it begins with; what comes out runs as
// nobody, on a root that cannot be written, and gets ready.
func TestImage(t *testing.T) {
	t.Parallel()
	need(t, "buildah", "unshare")
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("buildah wants root here")
		}
		t.Skip("buildah wants root here")
	}
	root := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	buildah := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, "buildah", append([]string{"--storage-driver", "vfs", "--root", root + "/root", "--runroot", root + "/run"}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("buildah %v: %v\n%s%s", args, err, out, stderr.String())
		}
		return strings.TrimSpace(string(out))
	}
	// golang: a shell, this machine's Go, and its certificates.
	builder := buildah("from", "scratch")
	mount := buildah("mount", builder)
	goroot, busybox := goEnv(t, "GOROOT"), output(t, "sh", "-c", "command -v busybox")
	for _, step := range [][]string{
		{"mkdir", "-p", mount + "/bin", mount + "/tmp", mount + "/root", mount + "/usr/local", mount + "/etc/ssl/certs"}, {"cp", busybox, mount + "/bin/sh"},
		{"cp", "-a", goroot, mount + "/usr/local/go"}, {"cp", "-L", "/etc/ssl/certs/ca-certificates.crt", mount + "/etc/ssl/certs/"},
	} {
		if out, err := program(t, step...); err != nil {
			t.Fatalf("%v: %v %s", step, err, out)
		}
	}
	buildah("config", "--env", "PATH=/usr/local/go/bin:/bin", "--env", "GOTOOLCHAIN=local", "--env", "GOPATH=/go", "--env", "GOPROXY="+goEnv(t, "GOPROXY"), "--env", "HOME=/root", builder)
	buildah("umount", builder)
	buildah("commit", "-q", builder, "docker.io/library/golang:1.26")
	buildah("build", "-q", "--isolation", "chroot", "--pull-never", "--format", "docker", "--build-arg", "VERSION=v0.0.0-image", "--volume", goEnv(t, "GOMODCACHE")+":/go/pkg/mod:rw",
		"--volume", goEnv(t, "GOCACHE")+":/root/.cache/go-build:rw", "-t", "s3redirect", "../..")

	var image struct {
		OCIv1 struct {
			Config struct {
				User       string
				Entrypoint []string
				Cmd        []string
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(buildah("inspect", "--type", "image", "s3redirect")), &image); err != nil {
		t.Fatal(err)
	}
	if c := image.OCIv1.Config; c.User != "65532:65532" || strings.Join(append(c.Entrypoint, c.Cmd...), " ") != "/s3redirect serve --config /etc/s3redirect/config.yaml" {
		t.Errorf("%+v", c)
	}
	container := buildah("from", "--pull-never", "s3redirect")
	fs := buildah("mount", container)
	if out := output(t, "find", fs, "-type", "f", "-perm", "/111"); out != fs+"/s3redirect" {
		t.Errorf("programs in the image: %s", out)
	}
	// As the image says: that user, that root, which is mounted so that nothing can be written; and the configuration mounted into it.
	for _, dir := range []string{"/etc/s3redirect", "/proc"} {
		if err := os.MkdirAll(fs+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	config := fmt.Sprintf("listen: 127.0.0.1:0\nadmin_listen: %s\nviewers: {anonymous: true}\nintegrations: [{name: a, bucket: a-bucket, region: eu-central-1, access_key_id: A, secret_access_key: s}]\n", address)
	if err := os.WriteFile(fs+"/etc/s3redirect/config.yaml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	const run = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && user=$1 && shift && exec chroot --userspec="$user" "$0" "$@"`
	c := image.OCIv1.Config
	args := append(append([]string{"unshare", "-m", "sh", "-c", run, fs, c.User}, c.Entrypoint...), c.Cmd...)
	s, err := startServer(t.TempDir(), "image", nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	if err := s.await("the image gets ready", func() bool { return answersOK("http://" + address + "/readyz") }); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	if status := readFile(t, proc+"status"); !strings.Contains(status, "Name:\ts3redirect\n") || !strings.Contains(status, "Uid:\t65532\t65532") || !strings.Contains(status, "CapEff:\t0000000000000000") {
		t.Errorf("it runs as\n%s", status)
	}
	if mounts := readFile(t, proc+"mountinfo"); !regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ / ro`).MatchString(mounts) {
		t.Errorf("its root is not read-only:\n%s", mounts)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-ctx.Done():
		t.Fatal("it does not end")
	}
	if !s.cmd.ProcessState.Success() || !strings.Contains(s.output(), "v0.0.0-image") {
		t.Errorf("%v\n%s", s.cmd.ProcessState, s.output())
	}
}

// goEnv is one of Go's settings on this machine.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
