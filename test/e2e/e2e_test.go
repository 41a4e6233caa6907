// Package e2e runs the built binary against real servers, MinIO and Ceph's radosgw, behind a real nginx, and compares what comes through its
// redirects with what was stored. `make tools` gets the servers; each is started once, when a test first needs it, on
// loopback and with its files in a folder that goes away with it.
package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// workDir holds the binary, the servers' data and their logs.
var workDir string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	var err error
	if workDir, err = os.MkdirTemp("", "s3redirect-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(workDir) }()
	defer stopServers()
	code := m.Run()
	if code != 0 {
		dumpServerLogs()
	}
	return code
}

// binary builds the program and returns its path.
var binary = sync.OnceValues(func() (string, error) {
	// go test takes a result from its cache unless a file changed that the test looked at: look at all that is built.
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != "../.." && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if err == nil && !entry.IsDir() {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(workDir, "s3redirect")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/s3redirect")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	return path, nil
})

// need skips the test where one of the tools is missing; on CI that is a failure.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := find(tool); err == nil {
			continue
		}
		const reason = "%s is missing: `make tools` gets it"
		if os.Getenv("CI") == "true" {
			t.Fatalf(reason, tool)
		}
		t.Skipf(reason, tool)
	}
}

// find looks for a tool in .tools/bin, where `make tools` puts what it builds, and then in PATH.
func find(tool string) (string, error) {
	if path, err := exec.LookPath(filepath.Join("..", "..", ".tools", "bin", tool)); err == nil {
		return filepath.Abs(path)
	}
	return exec.LookPath(tool)
}
