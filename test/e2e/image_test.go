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

// newBuildah returns a function that runs buildah, with storage for this test only, and returns its
// output. It skips the test without buildah, or without root.
func newBuildah(t *testing.T) func(args ...string) string {
	t.Helper()
	need(t, "buildah", "unshare")
	needRoot(t, "buildah")
	root := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return func(args ...string) string {
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
}

// needRoot skips the test if it does not run as root, which a program needs. In CI, the test fails
// instead.
func needRoot(t *testing.T, program string) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s needs root on this machine", program)
	}
	t.Skipf("%s needs root on this machine", program)
}

// The image built from the unchanged Dockerfile runs as an unprivileged user on a read-only root
// and becomes ready. Local images stand in for the base images.
func TestImageRunsUnprivileged(t *testing.T) {
	t.Parallel()
	buildah := newBuildah(t)
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

	runImage(t, buildah, "s3redirect", "v0.0.0-image")
}

// The released image is one that buildah accepts, digests included. It runs like the Dockerfile's.
func TestReleasedImage(t *testing.T) {
	t.Parallel()
	buildah := newBuildah(t)
	dist := released(t)
	image := buildah("pull", "-q", "oci-archive:"+filepath.Join(dist, releaseFiles["image"]))
	fs := runImage(t, buildah, image, releaseVersion)
	program := readFile(t, filepath.Join(dist, releaseFiles["program"]))
	if readFile(t, fs+"/s3redirect") != program {
		t.Error("the program in the image is not the released one")
	}
}

// runImage checks how an image is configured, and runs it until it is ready. It returns the folder
// with its content.
func runImage(
	t *testing.T, buildah func(args ...string) string, name, version string,
) (fs string) {
	t.Helper()
	var image struct {
		OCIv1 struct {
			Config struct {
				User       string
				Entrypoint []string
				Cmd        []string
			} `json:"config"`
		}
	}
	inspected := buildah("inspect", "--type", "image", name)
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
	container := buildah("from", "--pull-never", name)
	fs = buildah("mount", container)
	if out := output(t, "find", fs, "-type", "f", "-perm", "/111"); out != fs+"/s3redirect" {
		t.Errorf("executables in the image = %s, want %s/s3redirect only", out, fs)
	}
	runUnprivileged(t, fs, c.User, append(c.Entrypoint, c.Cmd...), version)
	return fs
}

// runUnprivileged runs an image's command as its user, with the content of fs as a read-only root,
// until it is ready, and stops it.
func runUnprivileged(t *testing.T, fs, user string, command []string, version string) {
	t.Helper()
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
	args := []string{"unshare", "-m", "sh", "-c", run, fs, user}
	args = append(args, command...)
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
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-s.exited:
	case <-ctx.Done():
		t.Fatal("the process does not exit after SIGTERM")
	}
	if !s.cmd.ProcessState.Success() || !strings.Contains(s.output(), version) {
		t.Errorf("%v, want success and %s in the log:\n%s",
			s.cmd.ProcessState, version, s.output())
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
