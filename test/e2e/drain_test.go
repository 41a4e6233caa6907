package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// balancer is an nginx that keeps connections to its replicas open and never repeats a request that
// failed, so that each failure reaches the client.
type balancer struct {
	*front
	dir string
}

func startBalancer(t *testing.T, replicas ...*proxy) *balancer {
	t.Helper()
	b := &balancer{dir: t.TempDir()}
	b.write(t, replicas...)
	host := freeAddress(t)
	b.front = nginxWith(t, host, fmt.Sprintf(`
log_format replies '$status $upstream_http_connection';
upstream s3redirect { include %[1]s/servers.conf; keepalive 16; }
server {
    listen %[2]s;
    access_log %[1]s/access.log replies;
    keepalive_timeout 0;
    location / {
        proxy_pass http://s3redirect;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream off;
    }
}`, b.dir, host))
	return b
}

// write writes the list of replicas.
func (b *balancer) write(t *testing.T, replicas ...*proxy) {
	t.Helper()
	var text strings.Builder
	for _, p := range replicas {
		fmt.Fprintf(&text, "server %s max_fails=0;\n", p.host)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "servers.conf"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// use makes the balancer send to these replicas only. It returns when the processes that know
// others have ended.
func (b *balancer) use(t *testing.T, replicas ...*proxy) {
	t.Helper()
	b.write(t, replicas...)
	pid := b.cmd.Process.Pid
	workers := func() []string {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(children))
	}
	before := workers()
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, "nginx has replaced its workers", func() bool {
		now := workers()
		fresh := slices.ContainsFunc(now, func(w string) bool { return !slices.Contains(before, w) })
		old := slices.ContainsFunc(now, func(w string) bool {
			return slices.Contains(before, w) && !watches(w)
		})
		return fresh && !old
	})
}

// watches reports whether a child of nginx is the watcher of [startServer] instead of a worker.
func watches(pid string) bool {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	return err == nil && strings.TrimSpace(string(name)) != "nginx"
}

// Two replicas behind nginx are restarted in turn, 20 times, under load. During drain_delay nginx
// still sends to the replica that stops, which makes it close its connections to it; then nginx
// learns that the replica is gone. No request fails, not even a POST, which nginx never repeats.
func TestRollingRestartsBehindNginx(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	const restarts = 20
	config := `
drain_delay: 1s
integrations:
  - name: keys
    bucket: photos
    endpoint: http://127.0.0.1:9
    path_style: true
    access_key_id: AKIAIOSFODNN7EXAMPLE
    secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
`
	var replicas []*proxy
	var dirs []string
	for range 2 {
		p, dir := startProxyIn(t, config)
		replicas, dirs = append(replicas, p), append(dirs, dir)
	}
	b := startBalancer(t, replicas...)
	var sent atomic.Int64
	stop := constantly(t, func(n int) error {
		sent.Add(1)
		return b.request(n)
	})
	for n := range restarts {
		old, other := replicas[n%2], replicas[1-n%2]
		sentBefore := sent.Load()
		old.signal(t, syscall.SIGTERM)
		awaitThat(t, "nginx has sent 20 requests after the signal", func() bool {
			return sent.Load() > sentBefore+20
		})
		b.use(t, other)
		if code := old.wait(t, 20*time.Second); code != 0 {
			t.Errorf("restart %d: exit code %d, want 0", n, code)
		}
		admin := strings.TrimPrefix(old.admin, "http://")
		replicas[n%2] = startProxyAt(t, dirs[n%2], old.host, admin)
		b.use(t, replicas...)
	}
	stop()
	b.checkReplies(t, int(sent.Load()), restarts)
}

// constantly calls ask from several goroutines until stop is called. If ask returns an error, the
// test fails.
func constantly(t *testing.T, ask func(n int) error) (stop func()) {
	var wg sync.WaitGroup
	var ended atomic.Bool
	for c := range 4 {
		wg.Go(func() {
			for n := c; !ended.Load(); n++ {
				if err := ask(n); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	return func() {
		ended.Store(true)
		wg.Wait()
	}
}

// request sends a GET, which the wire answers, or a POST, which net/http answers, and checks that it
// succeeds.
func (b *balancer) request(n int) error {
	url := "http://" + b.host
	req, err := http.NewRequest(http.MethodGet, url+"/s3/photos/a.jpg", nil)
	want := http.StatusFound
	if n%2 == 1 {
		body := strings.NewReader(`{"locators": ["s3://photos/a.jpg"]}`)
		req, err = http.NewRequest(http.MethodPost, url+"/presign", body)
		want = http.StatusOK
	}
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		return fmt.Errorf("%s: got %d %s, %w, want %d", req.Method, resp.StatusCode, text, err, want)
	}
	return nil
}

// checkReplies checks what nginx logged: each request succeeded, and in each restart a response
// said Connection: close. nginx reported no broken connection.
func (b *balancer) checkReplies(t *testing.T, sent, restarts int) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(b.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	replies := map[string]int{}
	for line := range strings.Lines(string(log)) {
		replies[strings.TrimSpace(line)]++
	}
	t.Logf("%d requests, replies %v", sent, replies)
	closes := 0
	for reply, count := range replies {
		status, connection, _ := strings.Cut(reply, " ")
		if status != "302" && status != "200" {
			t.Errorf("%d requests with status %s, want 302 and 200 only", count, status)
		}
		if connection == "close" {
			closes += count
		}
	}
	if closes < restarts {
		t.Errorf("%d responses with Connection: close, want at least %d", closes, restarts)
	}
	for line := range strings.Lines(b.output()) {
		if strings.Contains(line, "upstream") {
			t.Errorf("nginx: %s", line)
		}
	}
}
