package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keyFormat makes keys of 80 bytes.
const keyFormat = "albums/2026/a-folder-with-a-name/another-folder-of-usual-length/photo-%010d.jpg"

func keyPath(n int) string { return "/s3/bucket/" + fmt.Sprintf(keyFormat, n) }

// script asks for one key after the other, in an order in which no two neighbours are close in memory.
const script = `
local n, keys, header = 0, 1, ""
function init(args) keys, n = tonumber(args[1]), tonumber(args[2]); if args[3] then header = args[3] .. "\r\n" end end
function request()
  n = (n + 611953) % keys
  return "GET /s3/bucket/" .. string.format("` + keyFormat + `", n) .. " HTTP/1.1\r\nHost: localhost\r\n" .. header .. "\r\n"
end
`

// sample is one measurement.
type sample struct {
	rate float64       // requests per second
	p99  time.Duration // of the latency, with 64 connections that always have a request on its way
	cpu  time.Duration // of the server, per request
}

var (
	wrkRate     = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkP99      = regexp.MustCompile(`99%\s+([0-9.]+(?:us|ms|s))`)
	wrkTrouble  = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors:.*`)
)

// load keeps a server busy with 64 connections. keys is how many different keys are asked for, from the first'th on;
// with one, the path is always the same. A header is a line of each request.
func (b *bench) load(p *process, keys, first int, duration time.Duration, path string, header ...string) (sample, error) {
	args := []string{"-c", loadCore, "wrk", "-t1", "-c64", "--latency", "-d" + strconv.Itoa(max(1, int(duration.Seconds()))) + "s"}
	if keys > 1 {
		lua := filepath.Join(b.dir, "keys.lua")
		if err := os.WriteFile(lua, []byte(script), 0o600); err != nil {
			return sample{}, err
		}
		args = append(args, "-s", lua, "http://"+p.address+"/", "--", strconv.Itoa(keys), strconv.Itoa(first))
		args = append(args, header...)
	} else {
		for _, h := range header {
			args = append(args, "-H", h)
		}
		args = append(args, "http://"+p.address+path)
	}
	before, err := p.cpuTime()
	if err != nil {
		return sample{}, err
	}
	out, err := exec.Command("taskset", args...).CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := p.cpuTime()
	if err != nil {
		return sample{}, err
	}
	if trouble := wrkTrouble.Find(out); trouble != nil {
		return sample{}, fmt.Errorf("%s: %s", p.address, trouble)
	}
	rate, requests, p99 := wrkRate.FindSubmatch(out), wrkRequests.FindSubmatch(out), wrkP99.FindSubmatch(out)
	if rate == nil || requests == nil || p99 == nil {
		return sample{}, fmt.Errorf("wrk said something else: %s", out)
	}
	var s sample
	n, errN := strconv.Atoi(string(requests[1]))
	s.rate, err = strconv.ParseFloat(string(rate[1]), 64)
	latency, errP := time.ParseDuration(string(p99[1]))
	if n > 0 {
		s.cpu = (after - before) / time.Duration(n)
	}
	s.p99 = latency
	return s, errors.Join(err, errN, errP)
}

// cpuTime is what a server has used so far, of all its threads.
func (p *process) cpuTime() (total time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n)
	}
	return total, nil
}

// residentBytes is how much memory a server holds.
func (p *process) residentBytes() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// metric reads one series of s3redirect's.
func (p *process) metric(series string) (float64, error) {
	resp, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "s3redirect_"+series+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no series %s", series)
}

// fillTo asks for keys until all of them are kept.
func (b *bench) fillTo(p *process, keys int) error {
	for range 120 {
		kept, err := p.metric(`cache_entries{cache="urls"}`)
		if err != nil || int(kept) >= keys {
			return err
		}
		if _, err := b.load(p, keys, 0, time.Duration(1+keys/50_000)*time.Second, ""); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s does not keep %d keys", p.address, keys)
}

func median[T int | float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func sortedCopy(values []float64) []float64 { return slices.Sorted(slices.Values(values)) }
