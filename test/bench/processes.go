package main

import (
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
)

// pinned returns a command that runs args on a core. The process that the command starts is args'
// own, because taskset replaces itself. It ends with this program.
func pinned(core string, args ...string) *exec.Cmd {
	cmd := exec.Command("taskset", append([]string{"-c", core}, args...)...)
	cmd.SysProcAttr = dieWithParent()
	return cmd
}

// startServer starts p and adds it to the running servers. Only the main goroutine may call it: see
// dieWithParent.
func (b *bench) startServer(p *process) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	b.running = append(b.running, p)
	return nil
}

// forget removes a server that has ended from the running servers.
func (b *bench) forget(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = slices.DeleteFunc(b.running, func(q *process) bool { return q == p })
}

// stopAll stops the running servers and waits until they have ended.
func (b *bench) stopAll() {
	b.mu.Lock()
	running := b.running
	b.running = nil
	b.mu.Unlock()
	for _, p := range running {
		_ = p.cmd.Process.Kill()
	}
	for _, p := range running {
		_ = p.cmd.Wait()
	}
}

// stopOnSignal makes SIGINT and SIGTERM stop the servers, remove the temporary directory and end
// the program.
func (b *bench) stopOnSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		// mu stays locked. The main goroutine, whose requests fail when the servers end, cannot
		// exit before the directory is removed: it calls stopAll first, which waits for mu.
		b.mu.Lock()
		for _, p := range b.running {
			// The main goroutine may be waiting for p, so that this goroutine must not.
			_ = p.cmd.Process.Kill()
		}
		_ = os.RemoveAll(b.dir)
		os.Exit(1)
	}()
}
