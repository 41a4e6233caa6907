package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

const memoryLimit = "go_gc_gomemlimit_bytes"

// The collector keeps below GOMEMLIMIT, and where that is not set, below nine tenths of what the container may have.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	if got := flooded(t, "", "GOMEMLIMIT=300MiB").scrape(t)[memoryLimit]; got != 300*mega {
		t.Errorf("with GOMEMLIMIT: %v", got)
	}
	p, ok := startLimited(t, 200*mega, floodedConfig)
	if !ok {
		t.Log("no control group can be made here: GOMEMLIMIT alone was tried")
		return
	}
	if got := p.scrape(t)[memoryLimit]; got != 180*mega {
		t.Errorf("in a container of 200 MB: %v", got)
	}
}

// startLimited starts a proxy in a control group that may have so much memory. ok is false where no control group can
// be made.
func startLimited(t *testing.T, bytes int, config string, env ...string) (p *proxy, ok bool) {
	t.Helper()
	limited, ok := cgroup(t, bytes)
	if !ok {
		return nil, false
	}
	program := filepath.Join(t.TempDir(), "s3redirect")
	script := "#!/bin/sh\necho $$ >" + limited + "/cgroup.procs\nexec " + built(t) + ` "$@"` + "\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p, _ = startBinaryIn(t, program, config, env...)
	return p, true
}

// cgroup makes a control group that may have so much memory: of version 2, or 1.
func cgroup(t *testing.T, bytes int) (dir string, ok bool) {
	t.Helper()
	for _, c := range []struct{ parent, limit string }{{"/sys/fs/cgroup", "memory.max"}, {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}} {
		if _, err := os.Stat(filepath.Join(c.parent, "cgroup.procs")); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(c.parent, "s3redirect-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, c.limit), []byte(strconv.Itoa(bytes)), 0o644) == nil {
			return dir, true
		}
	}
	return "", false
}
