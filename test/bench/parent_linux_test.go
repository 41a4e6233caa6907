package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchDir is the environment variable with the temporary directory of the benchmark that
// TestEndedBench ends.
const benchDir = "BENCH_TEST_DIR"

// TestMain runs as a server, or as a benchmark that has started one, for TestEndedBench.
func TestMain(m *testing.M) {
	dir := os.Getenv(benchDir)
	switch {
	case dir == "":
		os.Exit(m.Run())
	case len(os.Args) == 4 && os.Args[1] == "serve":
		exit(serve(os.Args[2], os.Args[3]))
	}
	b := &bench{dir: dir, self: os.Args[0], location: "https://example.com/"}
	b.stopOnSignal()
	p, err := b.startSelf("raw")
	if err != nil {
		exit(err)
	}
	fmt.Println(p.address)
	err = p.cmd.Wait()
	b.stopAll() // as run does: blocks while stopOnSignal ends the program
	exit(err)
}

// A benchmark that ends leaves no servers running, and removes its files if it can.
func TestEndedBench(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip(err)
	}
	for _, tt := range []struct {
		signal  syscall.Signal
		removes bool
	}{
		{syscall.SIGKILL, false},
		{syscall.SIGTERM, true},
		{syscall.SIGINT, true},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			server := endBench(t, dir, tt.signal)
			// The kernel closes the connection when the server ends. The limit is for a server
			// that keeps running.
			if err := server.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			_, err := server.Read(make([]byte, 1))
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("reading from the server: %v, want the end of the connection", err)
			}
			_, err = os.Stat(dir)
			if removed := errors.Is(err, fs.ErrNotExist); removed != tt.removes {
				t.Errorf("temporary directory removed: %v, want %v", removed, tt.removes)
			}
		})
	}
}

// endBench starts a benchmark that has a server, and ends it with a signal. It returns a connection
// to the server from before.
func endBench(t *testing.T, dir string, signal syscall.Signal) net.Conn {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), benchDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("the benchmark started no server: %v: %s", err, stderr.String())
	}
	server, err := net.Dial("tcp", strings.TrimSpace(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, or exits with 1
	return server
}
