package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// releaseVersion is the version of the releases that tests make.
const releaseVersion = "v0.0.0-test"

// releaseFiles are the files of these releases. They are for this machine's platform only, since
// others take minutes.
var releaseFiles = map[string]string{
	"program": "s3redirect_v0.0.0-test_linux_" + runtime.GOARCH,
	"package": "s3redirect_0.0.0~test_" + runtime.GOARCH + ".deb",
	"image":   "s3redirect_v0.0.0-test_oci.tar",
	"bom":     "s3redirect_v0.0.0-test.cdx.json",
}

// makeRelease clones the repository into tree and makes a release of the newest commit in dist.
// prefix is a command that runs in front of git and make.
func makeRelease(tree, dist string, env []string, prefix ...string) error {
	tools, err := filepath.Abs("../../.tools/bin")
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"git", "clone", "-q", "../..", tree},
		{
			"make", "-C", tree, "release", "TOOLS=" + tools, "VERSION=" + releaseVersion,
			"PLATFORMS=linux/" + runtime.GOARCH, "DIST=" + dist,
		},
	} {
		args = append(prefix, args...)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w\n%s", args, err, out)
		}
	}
	return nil
}

var release = sync.OnceValues(func() (string, error) {
	dist := filepath.Join(workDir, "dist")
	return dist, makeRelease(filepath.Join(workDir, "release"), dist, nil)
})

// released returns the folder of a release of the newest commit, which all tests share.
func released(t *testing.T) string {
	t.Helper()
	need(t, "cyclonedx-gomod", "nfpm", "git", "make", "sha256sum")
	dist, err := release()
	if err != nil {
		t.Fatal(err)
	}
	return dist
}

// A second release has the same bytes, in another folder, with another umask and other settings of
// Go, and in another time zone. The checksums match, and the program names no folder of the machine.
// With SEPARATE_CACHE, the second release compiles all packages again, which takes minutes.
func TestReleaseIsReproducible(t *testing.T) {
	t.Parallel()
	first, second := released(t), filepath.Join(t.TempDir(), "dist")
	env := []string{"GOAMD64=v3", "GOFLAGS=-tags=other", "TZ=Asia/Kolkata"}
	if os.Getenv("SEPARATE_CACHE") != "" {
		env = append(env, "GOCACHE="+t.TempDir())
	}
	err := makeRelease(filepath.Join(t.TempDir(), "a", "longer", "path"), second, env,
		"sh", "-c", `umask 077; exec "$@"`, "sh")
	if err != nil {
		t.Fatal(err)
	}
	program := readFile(t, filepath.Join(first, releaseFiles["program"]))
	for _, dir := range []string{workDir, goEnv(t, "GOMODCACHE"), goEnv(t, "GOCACHE")} {
		if strings.Contains(program, dir) {
			t.Errorf("the program contains the path %s", dir)
		}
	}
	for _, dist := range []string{first, second} {
		check := exec.Command("sha256sum", "-c", "SHA256SUMS")
		check.Dir = dist
		out, err := check.CombinedOutput()
		if err != nil || strings.Count(string(out), ": OK") != len(releaseFiles) {
			t.Errorf("sha256sum -c: %v, output:\n%s\nwant %d files OK", err, out, len(releaseFiles))
		}
	}
	sums := readFile(t, filepath.Join(first, "SHA256SUMS"))
	for _, name := range releaseFiles {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("SHA256SUMS lacks %s:\n%s", name, sums)
		}
	}
	if got := readFile(t, filepath.Join(second, "SHA256SUMS")); got != sums {
		t.Errorf("checksums of the second release =\n%s\nwant those of the first\n%s", got, sums)
	}
}

// The released program has the release's version and its commit. The bill of materials lists the
// program's modules.
func TestRelease(t *testing.T) {
	t.Parallel()
	const platforms = "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 " +
		"windows/amd64 windows/arm64"
	variables := output(t, "make", "-C", "../..", "-pn", "help")
	if !strings.Contains(variables, "PLATFORMS ?= "+platforms) &&
		!strings.Contains(variables, "PLATFORMS = "+platforms) {
		t.Errorf("PLATFORMS in the Makefile is not %q", platforms)
	}
	dist := released(t)
	var build struct {
		Version, Revision string
		Modified          bool
		Arch              string
		Dependencies      []struct{ Module string }
	}
	text := output(t, filepath.Join(dist, releaseFiles["program"]), "version", "--json")
	if err := json.Unmarshal([]byte(text), &build); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	revision := output(t, "git", "-C", "../..", "rev-parse", "HEAD")
	if build.Version != releaseVersion || build.Revision != revision || build.Modified ||
		build.Arch != runtime.GOARCH {
		t.Errorf("version --json = %+v, want %s, %s, not modified, %s",
			build, releaseVersion, revision, runtime.GOARCH)
	}
	var bom struct{ Components []struct{ Name string } }
	text = readFile(t, filepath.Join(dist, releaseFiles["bom"]))
	if err := json.Unmarshal([]byte(text), &bom); err != nil {
		t.Fatal(err)
	}
	for what, names := range map[string]string{
		"bill of materials": fmt.Sprint(bom.Components),
		"version --json":    fmt.Sprint(build.Dependencies),
	} {
		for _, module := range []string{
			"github.com/aws/aws-sdk-go-v2",
			"github.com/redis/rueidis",
			"gopkg.in/yaml.v3",
			"github.com/prometheus/client_golang",
		} {
			if !strings.Contains(names, module) {
				t.Errorf("%s lacks %s", what, module)
			}
		}
		if strings.Contains(names, "chromedp") {
			t.Errorf("%s contains chromedp, which only tests use", what)
		}
	}
}

// testClone clones the repository without its tags, and returns a function that runs a program in
// the clone and returns its output.
func testClone(t *testing.T, env ...string) (dir string, do func(args ...string) string) {
	t.Helper()
	dir = t.TempDir()
	do = func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(),
			"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org",
			"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org")
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	do("git", "clone", "-q", "--no-tags", root, ".")
	return dir, do
}

// The version of a release comes from the tag. The names of the files say how far the commit is
// from it, and whether the tree was changed. dpkg compares the packages' versions as intended.
func TestReleaseVersions(t *testing.T) {
	t.Parallel()
	need(t, "git", "make", "dpkg")
	dir, do := testClone(t)
	commit := func() string {
		do("git", "commit", "-q", "--allow-empty", "-m", "an empty commit")
		return do("git", "describe", "--always")
	}
	hash := func() string { return do("git", "rev-parse", "--short", "HEAD") }
	var packages []string
	expect := func(version, image, deb string) {
		t.Helper()
		out := do("make", "-n", "release", "PLATFORMS=linux/amd64 windows/arm64")
		for _, want := range []string{
			"s3redirect_" + version + "_linux_amd64 ", "s3redirect_" + version + "_windows_arm64.exe ",
			"s3redirect_" + version + ".cdx.json", "s3redirect_" + version + "_oci.tar",
			"main.version=" + version + `"`, "-version " + image + " ",
			"s3redirect_" + deb + "_amd64.deb", "PACKAGE_VERSION=" + deb + " ",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: make release does not have %q:\n%s", version, want, out)
			}
		}
		packages = append(packages, deb)
	}
	expect(hash(), hash(), "0.0.0+"+hash())
	do("git", "tag", "-a", "-m", "a candidate", "v0.7.0-rc.1")
	expect("v0.7.0-rc.1", "0.7.0-rc.1", "0.7.0~rc.1")
	commit()
	do("git", "tag", "-a", "-m", "a release", "v0.7.0")
	do("git", "tag", "nightly") // not a version
	expect("v0.7.0", "0.7.0", "0.7.0")
	commit()
	h := hash()
	expect("v0.7.0-1-g"+h, "0.7.0-1-g"+h, "0.7.0+1.g"+h)
	if err := os.WriteFile(filepath.Join(dir, "README.md"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("v0.7.0-1-g"+h+"-dirty", "0.7.0-1-g"+h+"-dirty", "0.7.0+1.g"+h+"+dirty")
	for n := range len(packages) - 1 {
		do("dpkg", "--compare-versions", packages[n], "lt", packages[n+1])
	}
}

// Go install needs no linker flags for a version: it is the tag, or derived from the tag before.
func TestInstalledVersion(t *testing.T) {
	t.Parallel()
	need(t, "git")
	bin := t.TempDir()
	// -buildvcs=auto is Go's default. -trimpath lets the builds of this package be reused.
	dir, do := testClone(t, "GOBIN="+bin, "GOFLAGS=-buildvcs=auto -trimpath", "CGO_ENABLED=0")
	program := filepath.Join(bin, "s3redirect")
	do("git", "tag", "-a", "-m", "a release", "v0.7.0")
	do("go", "install", "./cmd/s3redirect")
	if got := do(program, "version"); got != "s3redirect v0.7.0" {
		t.Errorf("version of a tag = %q, want s3redirect v0.7.0", got)
	}
	var build struct {
		Revision string
		Modified bool
	}
	if err := json.Unmarshal([]byte(do(program, "version", "--json")), &build); err != nil {
		t.Fatal(err)
	}
	if head := do("git", "rev-parse", "HEAD"); build.Revision != head || build.Modified {
		t.Errorf("version --json = %+v, want revision %s, not modified", build, head)
	}
	if err := os.WriteFile(filepath.Join(dir, "new.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	do("go", "install", "./cmd/s3redirect")
	dirty := regexp.MustCompile(`^s3redirect v0\.7\.\S+\+dirty$`)
	if got := do(program, "version"); !dirty.MatchString(got) {
		t.Errorf("version of a changed tree = %q, want a match of %s", got, dirty)
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
