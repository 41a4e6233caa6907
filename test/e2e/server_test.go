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

// server is a process that runs until it is stopped, or until we are gone.
type server struct {
	cmd    *exec.Cmd
	log    string   // the file of its standard output and standard error
	leash  *os.File // the other end of what its watcher reads
	exited chan struct{}
	once   sync.Once
}

// leash becomes the program that its arguments name, with its own pid, and leaves a watcher behind that kills it when
// standard input ends: however a test run comes to its end, no server outlives it.
const leash = `exec 3<&0; (read -r _ <&3; kill -9 $$) & exec "$@" </dev/null 3<&-`

var servers struct {
	sync.Mutex
	running []*server
}

// startServer starts a program in a folder and logs there into NAME.log. It has no environment but what it is given.
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
	s.cmd.Dir, s.cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = end, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // its state says how it ended
		close(s.exited)
	}()
	servers.Lock()
	defer servers.Unlock()
	servers.running = append(servers.running, s)
	return s, nil
}

// stop ends the process, if it runs, and its watcher, by their process group.
func (s *server) stop() {
	s.once.Do(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.exited
		_ = s.leash.Close()
	})
}

// await asks until the answer is yes.
func (s *server) await(what string, ready func() bool) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("%s: the process ended: %v\n%s", what, s.cmd.ProcessState, s.output())
		default:
		}
		if ready() {
			return nil
		}
	}
	return fmt.Errorf("%s: not within 30 seconds\n%s", what, s.output())
}

// output is what the process has printed so far.
func (s *server) output() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func stopServers() {
	servers.Lock()
	defer servers.Unlock()
	for _, s := range servers.running {
		s.stop()
	}
}

// dumpServerLogs shows the end of the logs of those servers that are still running.
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
		fmt.Fprintf(os.Stderr, "--- the end of %s\n%s\n", filepath.Base(s.log), log[max(0, len(log)-4000):])
	}
}

// run runs a program to its end and returns what it printed.
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

// program runs a program to its end, with no environment but PATH and a home of its own, and returns all that it printed.
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

// output is what a program prints, whatever its exit code.
func output(t *testing.T, args ...string) string {
	t.Helper()
	out, _ := program(t, args...) // what it says tells what became of it
	return strings.TrimSpace(out)
}

// givenPorts are those that freePorts has returned.
var givenPorts struct {
	sync.Mutex
	taken map[int]bool
}

// freePorts returns ports that nothing listens on, and each only once. They are below the range from which Linux takes the ports
// of outgoing connections and of listeners on port 0, so that none of these takes one before the server that is to have it.
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
	return nil, fmt.Errorf("%d of %d ports are free: %w", len(free), n, err)
}

// answersOK tells whether a URL is there and answers 200.
func answersOK(url string) bool {
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
