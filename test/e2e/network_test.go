package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network is a network namespace that has only a loopback interface.
type network struct {
	*server              // holds the namespace
	client  *http.Client // connects within the namespace, and follows no redirects
}

// newNetwork makes a network, which needs root, and runs more shell commands in it.
func newNetwork(t *testing.T, more string) *network {
	t.Helper()
	need(t, "unshare", "nsenter", "ip")
	needRoot(t, "a network namespace")
	s, err := startServer(t.TempDir(), "network", nil, "unshare", "--net", "--mount", "sh", "-euc",
		"ip link set lo up\n"+more+"\necho ready; exec sleep 3600")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	n := &network{server: s}
	n.client = &http.Client{
		CheckRedirect: client.CheckRedirect,
		Transport:     &http.Transport{DialContext: n.dial, DisableKeepAlives: true},
	}
	if err := s.await("the network", func() bool { return s.output() == "ready\n" }); err != nil {
		t.Fatal(err)
	}
	return n
}

// assign returns the shell command that gives the loopback interface of a network an address, which
// can be used at once.
func assign(address string) string {
	if strings.Contains(address, ":") { // the kernel would first look for duplicates
		return "ip -6 address add " + address + "/128 dev lo nodad"
	}
	return "ip address add " + address + "/32 dev lo"
}

// do calls f on a thread in the namespace. Sockets that f opens belong to the namespace.
func (n *network) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine, since it is never unlocked
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.cmd.Process.Pid))
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			_ = file.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// dial connects to an address, which has no host name, within the namespace.
func (n *network) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = n.do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// listen listens on an address within the namespace.
func (n *network) listen(t *testing.T, address string) (l net.Listener) {
	t.Helper()
	if err := n.do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

// enter returns the arguments of a command that runs in the namespaces.
func (n *network) enter(args ...string) []string {
	target := fmt.Sprint(n.cmd.Process.Pid)
	return append([]string{"nsenter", "--target", target, "--net", "--mount", "--"}, args...)
}

// start starts a program in the namespaces, with startServer.
func (n *network) start(t *testing.T, dir string, env []string, args ...string) *server {
	t.Helper()
	entered := n.enter(append([]string{"sh", "-c", `cd "$0" && exec "$@"`, dir}, args...)...)
	s, err := startServer(dir, "program", env, entered...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// handle serves HTTP at an address within the namespace.
func (n *network) handle(t *testing.T, address string, handler http.Handler) {
	t.Helper()
	l, server := n.listen(t, address), &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
}

// status returns the status of a GET request within the namespace, or 0 if there is no response.
func (n *network) status(url string) int {
	resp, err := n.client.Get(url)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
