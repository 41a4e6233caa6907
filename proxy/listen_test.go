package proxy

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"s3redirect/metrics"
)

// The addresses may come from a variable that holds a secret by mistake, so errors repeat no part
// of them.
func TestListenErrorsDoNotRepeatTheAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ addr, canary, want string }{
		{taken.Addr().String(), port, "address already in use"},
		{"192.0.2.77:0", "192.0.2.77", "cannot assign requested address"},
		{"canary..secret:80", "canary", "no such host"},
		{"127.0.0.1:canary", "canary", "no port from 0 to 65535"},
		{"127.0.0.1:-4711", "4711", "no port from 0 to 65535"},
		{"127.0.0.1:4711471", "4711471", "no port from 0 to 65535"},
		{"canary", "canary", "write host:port"},
		{"canary:1:2", "canary", "write host:port"},
		{"[canary:80", "canary", "write host:port"},
		{"[::1]canary:80", "canary", "write host:port"},
		{"[fe80::1%canary]:0", "canary", "invalid argument"},
		{"unix:/missing-canary/s.sock", "canary", "the socket's directory does not exist; create it"},
		{"unix:/dev/null/canary.sock", "canary", "not a directory"},
	} {
		const free = "127.0.0.1:0"
		for key, o := range map[string]ServerOptions{
			"listen: ":       {Listen: []string{c.addr}, AdminListen: []string{free}},
			"admin_listen: ": {Listen: []string{free}, AdminListen: []string{c.addr}},
		} {
			o.Metrics, o.Log = metrics.New("test"), slog.New(slog.DiscardHandler)
			s, err := Listen(o)
			if err == nil {
				_ = s.viewersListener.Close()
				_ = s.adminListener.Close()
				t.Errorf("%s%s: got no error, want one", key, c.addr)
				continue
			}
			got := err.Error()
			cause, ok := strings.CutPrefix(got, key)
			if !ok || cause == "" || !strings.Contains(cause, c.want) {
				t.Errorf("%s%s: got %q, want %s and %q", key, c.addr, got, key, c.want)
			}
			if strings.Contains(got, c.canary) {
				t.Errorf("%s%s: got %q, want it without %q", key, c.addr, got, c.canary)
			}
			for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), c.canary) {
					t.Errorf("%s%s: wraps %q, want it without %q", key, c.addr, e, c.canary)
				}
			}
			if c.addr == taken.Addr().String() && !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%s%s: got %q, want EADDRINUSE", key, c.addr, got)
			}
		}
	}
}
