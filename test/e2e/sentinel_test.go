package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startSentinel starts a Sentinel that monitors a master under the name main, with additional
// configuration, and waits until it does.
func startSentinel(t *testing.T, master, config string) (address string) {
	t.Helper()
	address = freeAddress(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 %s 1\n%s",
		portOf(address), portOf(master), config)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := startServer(filepath.Dir(conf), "sentinel", nil, "redis-server", conf, "--sentinel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	if err := s.await("the Sentinel", func() bool {
		return strings.Contains(s.output(), "+monitor master main")
	}); err != nil {
		t.Fatal(err)
	}
	return address
}

// TestSentinelFailover stops the master and promotes its replica. No request fails, and
// s3redirect's replicas share windows again through the new master.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "redis-cli")
	master, second := freeAddress(t), freeAddress(t)
	old := startRedis(t, "redis-server", master)
	startRedis(t, "redis-server", second, "--replicaof", "127.0.0.1 "+portOf(master),
		"--repl-diskless-sync-delay", "0")
	awaitThat(t, "the replica follows the master", func() bool {
		info := output(t, "redis-cli", "-p", portOf(second), "info", "replication")
		return strings.Contains(info, "master_link_status:up")
	})
	sentinel := startSentinel(t, master, "")
	s := minio(t)
	env := append(s.env(), "STORE="+s.endpoint, "STS="+s.sts(t).url,
		"URL=redis://"+sentinel+"/0?master_set=main", fleetKey)
	f := &fleet{t: t}
	for range 2 {
		f.replicas = append(f.replicas, startProxy(t, atURL.Replace(fleetConfig), env...))
	}
	f.shareANewWindow(t)
	old.stop()
	f.awaitWindows(t, 1)
	// On a busy machine a Sentinel distrusts its clock and suspends failovers (TILT mode), so the
	// test does the failover itself.
	for _, command := range [][]string{
		{second, "replicaof", "no", "one"},
		{sentinel, "sentinel", "remove", "main"},
		{sentinel, "sentinel", "monitor", "main", "127.0.0.1", portOf(second), "1"},
	} {
		args := append([]string{"redis-cli", "-p", portOf(command[0])}, command[1:]...)
		if out := output(t, args...); out != "OK" {
			t.Fatalf("%v: got %q, want OK", args, out)
		}
	}
	f.shareANewWindow(t)
	keys := output(t, "redis-cli", "-p", portOf(second), "keys", "s3redirect:session:*")
	if n := len(strings.Fields(keys)); n < 2 {
		t.Errorf("the new master holds %d sessions, want at least 2", n)
	}
}
