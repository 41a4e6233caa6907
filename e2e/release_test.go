package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A release that is built twice, in two folders, has the same bytes; its checksums hold, and its list of materials names what the program
// is made of.
func TestRelease(t *testing.T) {
	t.Parallel()
	need(t, "cyclonedx-gomod", "git", "make", "sha256sum")
	var sums []string
	for range 2 {
		tree, dist := t.TempDir(), t.TempDir()
		if out, err := exec.Command("git", "clone", "-q", "..", tree).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		tools, err := filepath.Abs("../.tools")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(tools, filepath.Join(tree, ".tools")); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "make", "release", "VERSION=v0.0.0-test", "PLATFORMS=linux/amd64", "DIST="+dist)
		cmd.Dir = tree
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

// The Dockerfile is built as it stands, with stand-ins under the names of the images that it begins with; what comes out runs as
// nobody, on a root that cannot be written, and gets ready.
func TestImage(t *testing.T) {
	t.Parallel()
	need(t, "buildah")
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
		"--volume", goEnv(t, "GOCACHE")+":/root/.cache/go-build:rw", "-t", "s3redirect", "..")

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
	// As the image says: that user, that root, of which nothing can be written; and the configuration mounted into it.
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
	var log strings.Builder
	run := exec.CommandContext(ctx, "/s3redirect", "serve", "--config", "/etc/s3redirect/config.yaml")
	run.Env, run.Dir, run.Stderr = []string{}, "/", &log
	run.SysProcAttr = &syscall.SysProcAttr{Chroot: fs, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}, Pdeathsig: syscall.SIGKILL}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, "the image gets ready", func() bool { return answersOK("http://" + address + "/readyz") })
	status := readFile(t, fmt.Sprintf("/proc/%d/status", run.Process.Pid))
	if !strings.Contains(status, "Uid:\t65532\t65532") || !strings.Contains(status, "CapEff:\t0000000000000000") {
		t.Errorf("it runs as\n%s", status)
	}
	_ = run.Process.Signal(syscall.SIGTERM)
	if err := run.Wait(); err != nil || !strings.Contains(log.String(), "v0.0.0-image") {
		t.Errorf("%v\n%s", err, log.String())
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
