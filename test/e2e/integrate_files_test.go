package e2e

import (
	"bytes"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mainFile is a main configuration file that includes integrations.d.
const mainFile = "listen: 127.0.0.1:0\nviewers: {anonymous: true}\n" +
	"include: [integrations.d/*.yaml]\nintegrations:\n" +
	"  - {name: old, bucket: bucket-old, region: eu-central-1, " +
	"access_key_id: A, secret_access_key: s}\n"

// largeIntegrationArgs returns the arguments that add an integration of 4,000 buckets. Writing its
// file takes long enough for a kill in the middle of the write.
func largeIntegrationArgs() []string {
	args := []string{
		"integrate", "--yes", "--no-try",
		"--config", "config.yaml",
		"--name", "new",
		"--region", "eu-central-1",
		"--external-id", "id-0123",
		"--principal", "123456789012",
		"--role-arn", "arn:aws:iam::123456789012:role/r",
	}
	for n := range 4000 {
		args = append(args, "--bucket", fmt.Sprintf("bucket-%d-%s", n, strings.Repeat("x", 50)))
	}
	return args
}

// TestIntegrateKilledLeavesNoPartialFile kills integrate at various times, half of them in the
// middle of the write. The integration's file is either missing or complete, and the configuration
// still loads.
func TestIntegrateKilledLeavesNoPartialFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "integrations.d")
	path, args := filepath.Join(folder, "new.yaml"), largeIntegrationArgs()
	const temporary = ".new.yaml."
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(mainFile), 0o600); err != nil {
		t.Fatal(err)
	}
	// run kills integrate after killAfter, or once its temporary file exists if killAfter is
	// negative. Zero lets it finish. midWrite reports whether the temporary file is left over.
	run := func(killAfter time.Duration) (took time.Duration, midWrite bool) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), built(t), args...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir}
		created, stop := watchCreations(t, folder)
		defer stop()
		began := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		switch {
		case killAfter > 0:
			time.AfterFunc(killAfter, func() { _ = cmd.Process.Kill() })
		case killAfter < 0:
			go func() {
				for name := range created {
					if strings.HasPrefix(name, temporary) {
						_ = cmd.Process.Kill()
					}
				}
			}()
		}
		_ = cmd.Wait() // fails if the process was killed
		took = time.Since(began)
		leftOver, err := filepath.Glob(filepath.Join(folder, temporary+"*"))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"check", "--config", "config.yaml", "--anonymous", "s3://bucket-old/x"}
		if code, out := command(t, dir, nil, args...); code != 0 {
			t.Fatalf("%q after integrate: exit code %d, want 0:\n%s", args, code, out)
		}
		return took, len(leftOver) > 0
	}
	duration, _ := run(0)
	text := readFile(t, path)
	if !strings.Contains(text, "bucket-3999-") {
		t.Fatal("integrate did not write all buckets in a run that was not killed")
	}
	completed, interrupted := 0, 0
	const runs = 16
	for n := range runs {
		after := duration * time.Duration(n+1) / (runs / 2)
		if n >= runs/2 {
			after = -1
		}
		if _, midWrite := run(after); midWrite {
			interrupted++
		}
		switch got, err := os.ReadFile(path); {
		case string(got) == text:
			completed++
		case errors.Is(err, fs.ErrNotExist):
		default:
			t.Fatalf("run %d, killed after %v: new.yaml has %d bytes (error %v), want %d or none",
				n, after, len(got), err, len(text))
		}
		if got := readFile(t, filepath.Join(dir, "config.yaml")); got != mainFile {
			t.Fatalf("run %d changed config.yaml to\n%s\nwant\n%s", n, got, mainFile)
		}
	}
	if interrupted == 0 {
		t.Error("runs killed in the middle of the write = 0, want at least 1")
	}
	t.Logf("of %d runs, %d were killed in the middle of the write and %d completed it",
		runs, interrupted, completed)
}

// watchCreations returns the names of the files that are created in a folder from now on, until stop
// is called.
func watchCreations(t *testing.T, folder string) (names <-chan string, stop func()) {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	events, created := os.NewFile(uintptr(fd), "inotify"), make(chan string, 16)
	if _, err := syscall.InotifyAddWatch(fd, folder, syscall.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(created)
		buf := make([]byte, 4<<10)
		for {
			n, err := events.Read(buf) // fails when events is closed
			if err != nil {
				return
			}
			for rest := buf[:n]; len(rest) >= syscall.SizeofInotifyEvent; {
				end := syscall.SizeofInotifyEvent + int(endian.NativeEndian.Uint32(rest[12:]))
				created <- string(bytes.TrimRight(rest[syscall.SizeofInotifyEvent:end], "\x00"))
				rest = rest[end:]
			}
		}
	}()
	return created, func() { _ = events.Close() }
}

// TestIntegrateReportsFullDisk runs integrate on a full disk. It reports the error and leaves no
// file behind.
func TestIntegrateReportsFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "s3redirect")
	if err := os.WriteFile(program, []byte(readFile(t, built(t))), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.yaml"), []byte(mainFile), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	// The script runs on a tmpfs in a private mount namespace, too small for the new file.
	const integrate = `cp main.yaml disk/config.yaml || exit 99
mkdir disk/integrations.d && cd disk || exit 99
%s ../s3redirect "$@"; echo "exit $?"; cmp config.yaml ../main.yaml && ls -A . integrations.d`
	run := func(prefix ...string) (string, error) {
		args := append(prefix[1:], largeIntegrationArgs()...)
		cmd := exec.CommandContext(t.Context(), prefix[0], args...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	message := "the disk is full"
	out, err := run("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		"mount -t tmpfs -o size=100k none disk && "+fmt.Sprintf(integrate, ""), "sh")
	if !strings.Contains(out, "exit ") { // mounting is not permitted: limit the file size
		message = "file too large"
		out, err = run("sh", "-c", fmt.Sprintf(integrate, "ulimit -f 100;"), "sh")
	}
	const end = "\nexit 1\n.:\nconfig.yaml\nintegrations.d\n\nintegrations.d:\n"
	if err != nil || !strings.Contains(out, message) || !strings.HasSuffix(out, end) {
		t.Errorf("integrate: error %v, want none; want output with %q that ends in %q, got:\n%s",
			err, message, end, out[max(0, len(out)-2000):])
	}
}

// TestIntegrateForServiceUser creates a configuration with a private umask. Another user, such as
// that of the systemd unit or of the image, can read it.
func TestIntegrateForServiceUser(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s3redirect-service-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	executable := filepath.Join(dir, "s3redirect")
	if err := errors.Join(os.Chmod(dir, 0o755),
		os.WriteFile(executable, []byte(readFile(t, built(t))), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `umask 077 && exec ./s3redirect "$@"`, "sh",
		"integrate", "--yes", "--no-try", "--bucket", "photos", "--region", "eu-central-1",
		"--principal", "123456789012", "--role-arn", "arn:aws:iam::123456789012:role/r")
	cmd.Dir, cmd.Env = dir, []string{"HOME=/"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("integrate: %v\n%s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), executable, "check", "--anonymous", "s3://photos/x")
	cmd.Dir, cmd.Env = dir, []string{"HOME=/"}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: 65532, Gid: 65532},
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "which integration photos serves") {
		t.Errorf("check as another user: %v, want success:\n%s", err, out)
	}
	for name, want := range map[string]fs.FileMode{
		"s3redirect.yaml": 0o644, "integrations.d": 0o755, "integrations.d/photos.yaml": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("Stat(%s) = %v, %v, want mode %o", name, info, err, want)
		}
	}
}

// TestIntegrateReportsReadOnlyDirectory runs integrate where the user may not write. It reports the
// error before the first question.
func TestIntegrateReportsReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s3redirect-read-only-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "s3redirect")
	if err := os.WriteFile(program, []byte(readFile(t, built(t))), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "integrate")
	cmd.Dir, cmd.Env = dir, []string{"HOME=/"}
	if os.Geteuid() == 0 { // root may write everywhere
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
		}
	}
	out, _ := cmd.CombinedOutput() // the test checks the exit code instead
	const message = "run this as a user who may write there"
	code := cmd.ProcessState.ExitCode()
	if code != 2 || !strings.Contains(string(out), message) {
		t.Errorf("integrate: exit code %d, want 2 and %q in the output:\n%s", code, message, out)
	}
}
