package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var instructionCount = regexp.MustCompile(`I\s+refs:\s+([0-9,]+)`)

// instructions counts the instructions that servers execute per request, outside the kernel. Unlike
// times, they hardly depend on how busy the machine is. valgrind counts them: perf cannot in many
// virtual machines, which have no hardware counter of instructions.
func (b *bench) instructions() error {
	fmt.Printf("## Instructions\n\nper request, outside the kernel, with GOMAXPROCS=1; " +
		"wrk -t1 -c64, 100 keys\n\n")
	if _, err := exec.LookPath("valgrind"); err != nil {
		fmt.Printf("skipped: %v\n\n", err)
		return nil
	}
	if _, err := b.startProxy("location", "", ""); err != nil {
		return err
	}
	b.stopAll()
	upstream, err := b.startSelf("bare") // of nginx; its instructions are not counted
	if err != nil {
		return err
	}
	fmt.Println("| | instructions/request |\n|---|---|")
	for _, c := range []struct {
		name  string
		keys  int
		start func() (*process, error)
	}{
		{"hit", 100, func() (*process, error) { return b.startProxy("wire", "", "") }},
		{"hit, --wire=false", 100, func() (*process, error) {
			return b.startBuild(b.proxy, "wire off", "", "", "--wire=false")
		}},
		{"miss", fillKeys, func() (*process, error) { return b.startProxy("wire", "", "") }},
		{"bare net/http", 100, func() (*process, error) { return b.startSelf("bare") }},
		{"raw socket in Go", 100, func() (*process, error) { return b.startSelf("raw") }},
		{"nginx, return 302", 100, func() (*process, error) { return b.startNginx(nil) }},
		{"nginx, proxy_cache hit", 100, func() (*process, error) { return b.startNginx(upstream) }},
	} {
		if !b.only.MatchString(c.name) {
			continue
		}
		per, err := b.instructionsPerRequest(c.keys, c.start)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Printf("| %s | skipped: %v |\n", c.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("| %s | %.0f |\n", c.name, per)
	}
	fmt.Println()
	return nil
}

// instructionsPerRequest loads a server twice, for different times. The difference does not contain
// its start.
func (b *bench) instructionsPerRequest(
	keys int, start func() (*process, error),
) (float64, error) {
	var instructions, requests [2]float64
	for n, duration := range []time.Duration{2 * time.Second, 10 * time.Second} {
		b.wrapper = []string{"valgrind", "--tool=cachegrind", "--cache-sim=no",
			"--cachegrind-out-file=" + filepath.Join(b.dir, "cachegrind")}
		p, err := start()
		b.wrapper = nil
		if err != nil {
			return 0, err
		}
		s, err := b.load(p, keys, n*7_654_321, duration, "")
		if err != nil {
			return 0, err
		}
		requests[n] = float64(s.requests)
		if instructions[n], err = b.stopCounted(p); err != nil {
			return 0, err
		}
	}
	return (instructions[1] - instructions[0]) / (requests[1] - requests[0]), nil
}

// stopCounted stops a server that runs in valgrind, and returns the number of its instructions.
func (b *bench) stopCounted(p *process) (float64, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	_ = p.cmd.Wait() // a server without a handler of the signal exits with an error
	b.forget(p)
	text, err := os.ReadFile(p.log)
	if err != nil {
		return 0, err
	}
	m := instructionCount.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("valgrind printed no count: %s", text)
	}
	return strconv.ParseFloat(strings.ReplaceAll(string(m[1]), ",", ""), 64)
}
