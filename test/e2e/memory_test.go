package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

const memoryLimit = "go_gc_gomemlimit_bytes"

// The garbage collector's memory limit is GOMEMLIMIT. If that is not set, it is nine tenths of the
// container's limit.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	if got := flooded(t, "", "GOMEMLIMIT=300MiB").scrape(t)[memoryLimit]; got != 300*mega {
		t.Errorf("%s = %v with GOMEMLIMIT=300MiB, want %d", memoryLimit, got, 300*mega)
	}
	p, ok := startLimited(t, 200*mega, floodedConfig)
	if !ok {
		t.Log("cannot create a control group here; tested GOMEMLIMIT only")
		return
	}
	if got := p.scrape(t)[memoryLimit]; got != 180*mega {
		t.Errorf("%s = %v in a container of 200 MiB, want %d", memoryLimit, got, 180*mega)
	}
}

// startLimited starts a proxy in a control group with a memory limit in bytes. ok is false if no
// control group can be created.
func startLimited(
	t *testing.T, bytes int, config string, env ...string,
) (p *proxy, ok bool) {
	t.Helper()
	limited, ok := cgroup(t, bytes)
	if !ok {
		return nil, false
	}
	program := filepath.Join(t.TempDir(), "s3redirect")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs\nexec %s \"$@\"\n",
		limited, built(t))
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p, _ = startBinaryIn(t, program, config, env...)
	return p, true
}

// cgroup creates a control group with a memory limit in bytes, using version 2 or 1 of cgroups.
func cgroup(t *testing.T, bytes int) (dir string, ok bool) {
	t.Helper()
	for _, c := range []struct{ parent, limit string }{
		{"/sys/fs/cgroup", "memory.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
	} {
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
