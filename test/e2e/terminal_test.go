package e2e

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a program that talks to a terminal.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	done chan struct{} // closed at the end of the output

	mu     sync.Mutex // guards output
	output strings.Builder
	seen   int // the length of the output that expect has consumed
}

// startInTerminal runs the binary in a pseudo-terminal.
func startInTerminal(t *testing.T, dir string, env []string, args ...string) *terminal {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t), args...)
	cmd.Dir, cmd.Env = dir, append([]string{"HOME=" + dir, "TERM=xterm", "AWS_EC2_METADATA_DISABLED=true"}, env...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 400})
	if err != nil {
		t.Fatal(err)
	}
	c := &terminal{t: t, cmd: cmd, tty: tty, done: make(chan struct{})}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = tty.Close()
		<-c.done
	})
	go func() {
		defer close(c.done)
		buffer := make([]byte, 4096)
		for {
			n, err := tty.Read(buffer)
			c.mu.Lock()
			c.output.Write(buffer[:n])
			c.mu.Unlock()
			if err != nil { // EIO, once the program is gone
				return
			}
		}
	}()
	return c
}

func (c *terminal) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(c.output.String(), "\r\n", "\n")
}

// expect waits until the output after the previous match contains what.
func (c *terminal) expect(what string) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		text := c.text()
		if i := strings.Index(text[c.seen:], what); i >= 0 {
			c.seen += i + len(what)
			return
		}
	}
	c.t.Fatalf("the output has no %q:\n%s", what, c.text())
}

func (c *terminal) send(keys string) {
	c.t.Helper()
	if _, err := io.WriteString(c.tty, keys); err != nil {
		c.t.Fatal(err)
	}
}

// exit waits for the program to end and returns its exit code.
func (c *terminal) exit() int {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		c.t.Fatalf("the program is still running; its output:\n%s", c.text())
	}
	_ = c.cmd.Wait() // ProcessState has the result
	return c.cmd.ProcessState.ExitCode()
}
