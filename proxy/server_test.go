package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"s3redirect/metrics"
)

func newTestServer(t *testing.T, viewers http.Handler, drainDelay time.Duration) *Server {
	t.Helper()
	s, err := Listen(ServerOptions{
		Listen:      []string{"127.0.0.1:0"},
		AdminListen: []string{"127.0.0.1:0"},
		Viewers:     viewers,
		Metrics:     metrics.New("test"),
		Log:         slog.New(slog.DiscardHandler),
		DrainDelay:  drainDelay,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, client *http.Client, addr net.Addr, path string) (int, string) {
	t.Helper()
	resp, err := client.Get("http://" + addr.String() + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// After the signal, /readyz turns to 503 while viewers are still served, requests in flight finish,
// and then the listeners close.
func TestDrain(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	running, release := make(chan struct{}), make(chan struct{})
	s := newTestServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(running)
			<-release
		}
		_, _ = w.Write([]byte("served"))
	}), 50*time.Millisecond)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, signal := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for {
		if code, _ := get(t, client, s.AdminAddr, "/readyz"); code == http.StatusOK {
			break
		}
	}
	slow := make(chan string, 1)
	go func() {
		_, body := get(t, client, s.Addr, "/slow")
		slow <- body
	}()
	<-running
	signal()
	for {
		code, body := get(t, client, s.AdminAddr, "/readyz")
		if code == http.StatusServiceUnavailable && body == "draining\n" {
			break
		}
	}
	if code, _ := get(t, client, s.AdminAddr, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz while draining: status %d, want 200", code)
	}
	select {
	case err := <-ended:
		t.Fatalf("Run returned %v, want it to wait for the request in flight", err)
	default:
	}
	close(release)
	if body := <-slow; body != "served" {
		t.Errorf("the request in flight got %q, want \"served\"", body)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	if code, what := get(t, client, s.Addr, "/"); code != 0 {
		t.Errorf("after Run: got %d %s, want a refused connection", code, what)
	}
}

func TestListenersServeTheirOwnPaths(t *testing.T) {
	s := newTestServer(t, http.NotFoundHandler(), 0)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	code, body := get(t, client, s.AdminAddr, "/metrics")
	if code != 200 || !strings.Contains(body, `s3redirect_build_info{goversion="go1.`) {
		t.Errorf("/metrics: got %d %.100s, want 200 and the build info", code, body)
	}
	if code, _ := get(t, client, s.AdminAddr, "/s3/bucket/key"); code != 404 {
		t.Errorf("an object on the administrators' listener: status %d, want 404", code)
	}
	if code, _ := get(t, client, s.Addr, "/metrics"); code != 404 {
		t.Errorf("/metrics on the viewers' listener: status %d, want 404", code)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
