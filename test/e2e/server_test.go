package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a process that runs until it is stopped or the test process ends.
type server struct {
	cmd    *exec.Cmd
	log    string   // the file with its standard output and standard error
	leash  *os.File // the write end of the pipe that its watcher reads
	exited chan struct{}
	once   sync.Once
}

// leash is a shell script that starts a watcher and then executes the program named by its
// arguments under its own process ID. The watcher kills the program when standard input ends, so no
// server outlives a test run, however the run ends.
const leash = `exec 3<&0; (read -r _ <&3; kill -9 $$) & exec "$@" </dev/null 3<&-`

var servers struct {
	sync.Mutex
	running []*server
}

// startServer starts a program in the folder dir, with its output in the file NAME.log there. Its
// environment is PATH, HOME and env.
func startServer(dir, name string, env []string, args ...string) (*server, error) {
	path, err := find(args[0])
	if err != nil {
		return nil, err
	}
	s := &server{log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	end, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	s.leash = ours
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", leash, "sh", path}, args[1:]...)...)
	s.cmd.Dir = dir
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = end, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // ProcessState holds the result
		close(s.exited)
	}()
	servers.Lock()
	defer servers.Unlock()
	servers.running = append(servers.running, s)
	return s, nil
}

// stop kills the process group of the process and its watcher.
func (s *server) stop() {
	s.once.Do(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.exited
		_ = s.leash.Close()
	})
}

// await calls ready until it returns true, for at most 30 seconds. It returns an error if the
// process exits meanwhile.
func (s *server) await(what string, ready func() bool) error {
	deadline := time.Now().Add(30 * time.Second)
	for ; time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("%s: the process exited: %v\n%s",
				what, s.cmd.ProcessState, s.output())
		default:
		}
		if ready() {
			return nil
		}
	}
	return fmt.Errorf("%s: timed out after 30 seconds\n%s", what, s.output())
}

// output returns the output of the process so far.
func (s *server) output() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// stopServers stops all servers.
func stopServers() {
	servers.Lock()
	defer servers.Unlock()
	for _, s := range servers.running {
		s.stop()
	}
}

// dumpServerLogs prints the end of the log of each running server to standard error.
func dumpServerLogs() {
	servers.Lock()
	defer servers.Unlock()
	for _, s := range servers.running {
		select {
		case <-s.exited:
			continue
		default:
		}
		log := s.output()
		fmt.Fprintf(os.Stderr, "--- the end of %s\n%s\n",
			filepath.Base(s.log), log[max(0, len(log)-4000):])
	}
}

// run runs a program in the folder dir and returns its standard output.
func run(dir string, args ...string) (string, error) {
	path, err := find(args[0])
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%v: %w: %s", args, err, exit.Stderr)
	}
	return string(out), err
}

// program runs a program with PATH and an empty home folder as its environment. It returns its
// standard output and standard error.
func program(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := find(args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args[1:]...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// output runs a program like program and returns its output whatever its exit code is.
func output(t *testing.T, args ...string) string {
	t.Helper()
	out, _ := program(t, args...) // callers check the output
	return strings.TrimSpace(out)
}

// givenPorts holds the ports that freePorts has returned.
var givenPorts struct {
	sync.Mutex
	taken map[int]bool
}

// freePorts returns n ports without a listener. It returns each port only once. The ports are
// below Linux's range of ephemeral ports, so no outgoing connection or listener on port 0 takes
// one before the intended server does.
func freePorts(n int) (free []int, err error) {
	const lowest, end = 10_000, 32_768
	givenPorts.Lock()
	defer givenPorts.Unlock()
	if givenPorts.taken == nil {
		givenPorts.taken = map[int]bool{}
	}
	for range end - lowest {
		if len(free) == n {
			return free, nil
		}
		port := lowest + rand.IntN(end-lowest)
		if givenPorts.taken[port] {
			continue
		}
		givenPorts.taken[port] = true
		l, listenErr := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if listenErr != nil {
			err = listenErr
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		free = append(free, port)
	}
	return nil, fmt.Errorf("found %d of %d free ports: %w", len(free), n, err)
}

// answersOK reports whether a GET request of url is answered with status 200.
func answersOK(url string) bool {
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
