// Package e2e runs the built binary against real servers: MinIO, radosgw and versitygw as stores,
// and nginx, Caddy and HAProxy as reverse proxies. It compares the objects that its redirects lead
// to with those that were stored. `make tools` installs the servers. Each starts when a test first
// needs it, listens on loopback, and keeps its files in a folder that is removed at the end.
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
	// go test reuses a cached result unless a file changed that the test opened or called Stat on:
	// call Stat on all source files.
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

// need skips the test if one of the tools is missing. In CI, the test fails instead.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := find(tool); err == nil {
			continue
		}
		const reason = "%s is missing: run `make tools` to install it"
		if os.Getenv("CI") == "true" {
			t.Fatalf(reason, tool)
		}
		t.Skipf(reason, tool)
	}
}

// find returns the path of a tool. It searches .tools/bin, where `make tools` installs the tools
// that it builds, and then PATH.
func find(tool string) (string, error) {
	if path, err := exec.LookPath(filepath.Join("..", "..", ".tools", "bin", tool)); err == nil {
		return filepath.Abs(path)
	}
	return exec.LookPath(tool)
}
