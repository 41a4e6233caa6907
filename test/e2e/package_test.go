package e2e

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// debianPackage returns the path of the released package.
func debianPackage(t *testing.T) string {
	t.Helper()
	need(t, "dpkg", "dpkg-deb")
	return filepath.Join(released(t), releaseFiles["package"])
}

// The package has only the program, its unit, its documents and an empty folder for the
// configuration. All of it belongs to root, only the program may be executed, and all times are
// that of the commit.
func TestDebianPackageContents(t *testing.T) {
	t.Parallel()
	deb := debianPackage(t)
	fields := map[string]string{
		"Package": "s3redirect", "Version": "0.0.0~test", "Architecture": runtime.GOARCH,
		"Recommends": "ca-certificates", "Depends": "",
	}
	for name, want := range fields {
		if got := output(t, "dpkg-deb", "--field", deb, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	seconds := output(t, "git", "-C", "../..", "log", "-1", "--format=%ct")
	commit, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	files := packageFiles(t, deb, commit)
	executable := []string{"./usr/bin/s3redirect"}
	const docs = "./usr/share/doc/s3redirect/"
	for name, h := range files {
		known := strings.HasPrefix(name, docs) || slices.Contains(executable, name) ||
			name == "./usr/lib/systemd/system/s3redirect.service"
		want := int64(0o644)
		switch {
		case h.Typeflag == tar.TypeDir:
			want, known = 0o755, true
		case slices.Contains(executable, name):
			want = 0o755
		}
		if !known || h.Mode != want {
			t.Errorf("%s has mode %o; want a known file, mode %o", name, h.Mode, want)
		}
	}
	for _, name := range []string{
		"./etc/s3redirect/", executable[0], "./usr/lib/systemd/system/s3redirect.service",
		docs + "copyright", docs + "README.md", docs + "CHANGELOG.md", docs + "config.yaml",
		docs + "docs/http.md", docs + "docs/stores/minio.md", docs + "deploy/nginx/site.conf",
		docs + "docs/deployment/README.md", docs + "deploy/apache/s3redirect.conf",
	} {
		if files[name] == nil {
			t.Errorf("the package lacks %s", name)
		}
	}
	control := t.TempDir()
	if out, err := program(t, "dpkg-deb", "--control", deb, control); err != nil {
		t.Fatalf("dpkg-deb --control: %v\n%s", err, out)
	}
	entries, err := os.ReadDir(control)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{"control", "md5sums", "postinst", "postrm", "prerm"} // and no conffiles
	if !slices.Equal(names, want) {
		t.Errorf("control files = %q, want %q", names, want)
	}
}

// packageFiles returns the headers of a package's files, and checks their owners and times.
func packageFiles(t *testing.T, deb string, commit int64) map[string]*tar.Header {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.tar")
	out, err := program(t, "sh", "-c", `dpkg-deb --fsys-tarfile "$0" >"$1"`, deb, path)
	if err != nil {
		t.Fatalf("dpkg-deb --fsys-tarfile: %v\n%s", err, out)
	}
	data, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	files := map[string]*tar.Header{}
	r := tar.NewReader(data)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		owner := strconv.Itoa(h.Uid) + ":" + strconv.Itoa(h.Gid) + " " + h.Uname + ":" + h.Gname
		if owner != "0:0 root:root" || h.ModTime.Unix() != commit {
			t.Errorf("%s: owner %s, time %d, want 0:0 root:root, %d",
				h.Name, owner, h.ModTime.Unix(), commit)
		}
		files[h.Name] = h
	}
}

// packageRoot is an empty root that dpkg installs packages into. It has a shell, and a systemctl
// that only writes down how it is called.
type packageRoot struct {
	t   *testing.T
	dir string
}

func newPackageRoot(t *testing.T) *packageRoot {
	t.Helper()
	need(t, "busybox", "chroot")
	needRoot(t, "dpkg --root")
	r := &packageRoot{t, t.TempDir()}
	for _, dir := range []string{
		"bin", "tmp", "etc", "run/systemd/system", "var/lib/dpkg/info", "var/lib/dpkg/updates",
	} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.write("var/lib/dpkg/status", "", 0o644)
	r.write("bin/systemctl", "#!/bin/sh\necho \"$@\" >>/systemctl.log\n", 0o755)
	busybox, err := find("busybox")
	if err != nil {
		t.Fatal(err)
	}
	r.write("bin/sh", readFile(t, busybox), 0o755)
	return r
}

// write writes a file of the root.
func (r *packageRoot) write(name, text string, mode os.FileMode) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
}

// dpkg runs dpkg on the root. It returns how the package's scripts called systemctl.
func (r *packageRoot) dpkg(args ...string) string {
	r.t.Helper()
	log := filepath.Join(r.dir, "systemctl.log")
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
	args = append([]string{"dpkg", "--root=" + r.dir, "--log=/dev/null"}, args...)
	if out, err := program(r.t, args...); err != nil {
		r.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return readFile(r.t, log)
}

// chroot runs a program of the root as an unprivileged user and returns its output.
func (r *packageRoot) chroot(args ...string) string {
	r.t.Helper()
	args = append([]string{"chroot", "--userspec=65534:65534", r.dir}, args...)
	out, err := program(r.t, args...)
	if err != nil {
		r.t.Errorf("%q: %v\n%s", args, err, out)
	}
	return out
}

// Installing the package enables and starts nothing. An upgrade restarts a running service, and
// removing the package stops it, but keeps the configuration.
func TestDebianPackageInstalls(t *testing.T) {
	t.Parallel()
	deb, root := debianPackage(t), newPackageRoot(t)
	if got := root.dpkg("--install", deb); got != "--system daemon-reload\n" {
		t.Errorf("the installation calls systemctl:\n%swant only --system daemon-reload", got)
	}
	version := "s3redirect " + releaseVersion + "\n"
	if got := root.chroot("/usr/bin/s3redirect", "version"); got != version {
		t.Errorf("version = %q, want %q", got, version)
	}
	configuration := filepath.Join(root.dir, "etc/s3redirect")
	if entries, err := os.ReadDir(configuration); err != nil || len(entries) > 0 {
		t.Errorf("etc/s3redirect has %v (%v), want nothing", entries, err)
	}
	if _, err := os.Stat(filepath.Join(root.dir, "etc/systemd")); err == nil {
		t.Error("the installation enables the service")
	}

	unit := readFile(t, filepath.Join(root.dir, "usr/lib/systemd/system/s3redirect.service"))
	if !strings.HasPrefix(unit, "[Unit]\n") || strings.Contains(unit, "/usr/local/") ||
		!strings.Contains(unit, "\nDynamicUser=yes\n") { // so that the package creates no user
		t.Errorf("the package's unit is\n%s", unit)
	}
	root.write("etc/s3redirect/config.yaml", `
listen: 127.0.0.1:8080
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: a-bucket, region: eu-central-1, access_key_id: A, secret_access_key: s}
`, 0o644)
	before := regexp.MustCompile(`(?m)^ExecStartPre=(/usr/bin/s3redirect .*)$`)
	check := before.FindStringSubmatch(unit)
	if check == nil {
		t.Fatalf("the unit does not check the configuration:\n%s", unit)
	}
	root.chroot(strings.Fields(check[1])...)
	verifyUnit(t, root.dir, unit)

	want := "--system daemon-reload\n--system try-restart s3redirect.service\n"
	if got := root.dpkg("--install", deb); got != want {
		t.Errorf("an upgrade calls systemctl:\n%swant\n%s", got, want)
	}
	want = "--system disable --now s3redirect.service\n--system daemon-reload\n"
	if got := root.dpkg("--remove", "s3redirect"); got != want {
		t.Errorf("removing calls systemctl:\n%swant\n%s", got, want)
	}
	root.dpkg("--purge", "s3redirect")
	if _, err := os.Stat(filepath.Join(configuration, "config.yaml")); err != nil {
		t.Errorf("the operator's configuration is gone: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root.dir, "usr")); err == nil {
		t.Error("purging the package leaves files in /usr")
	}
}

// verifyUnit checks that systemd accepts the unit of a root, and that the root has its programs.
func verifyUnit(t *testing.T, root, unit string) {
	t.Helper()
	need(t, "systemd-analyze")
	path := filepath.Join(t.TempDir(), "s3redirect.service")
	text := strings.ReplaceAll(unit, "/usr/bin/s3redirect", root+"/usr/bin/s3redirect")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := program(t, "systemd-analyze", "verify", path)
	if err != nil || strings.Contains(out, "s3redirect.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// Where systemd does not run, and in a root that dpkg fills from outside, the scripts do nothing.
func TestDebianPackageWithoutSystemd(t *testing.T) {
	t.Parallel()
	deb, root := debianPackage(t), newPackageRoot(t)
	if got := root.dpkg("--force-script-chrootless", "--install", deb); got != "" {
		t.Errorf("from outside, the installation calls systemctl:\n%s", got)
	}
	if err := os.RemoveAll(filepath.Join(root.dir, "run/systemd")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--install", deb}, {"--purge", "s3redirect"}} {
		if got := root.dpkg(args...); got != "" {
			t.Errorf("dpkg %q calls systemctl without systemd:\n%s", args, got)
		}
	}
}
