package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// keyFormat formats the number of an object as a key of 80 bytes.
const keyFormat = "albums/2026/a-folder-with-a-name/another-folder-of-usual-length/photo-%010d.jpg"

func keyPath(n int) string { return "/s3/bucket/" + fmt.Sprintf(keyFormat, n) }

// connections is the number of wrk's connections, each of which has a request in flight.
const connections = 64

// keyStep is the distance between the numbers of consecutive keys. It is a prime, so that all keys
// are requested, and large, so that consecutive requests do not hit neighbouring cache entries.
const keyStep = 611_953

// script makes wrk request one key after the other, in steps of keyStep.
const script = `
local step = %d
local n, keys, header = 0, 1, ""
function init(args)
  keys, n = tonumber(args[1]), tonumber(args[2])
  for i = 3, #args do header = header .. args[i] .. "\r\n" end
end
function request()
  n = (n + step) %% keys
  return "GET /s3/bucket/" .. string.format("%s", n)
    .. " HTTP/1.1\r\nHost: localhost\r\n" .. header .. "\r\n"
end
`

// sample is one measurement.
type sample struct {
	rate     float64 // requests per second
	requests int
	p99      time.Duration // latency; all connections always have a request in flight
	cpu      time.Duration // CPU time of the server per request
}

var (
	wrkRate     = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkP99      = regexp.MustCompile(`99%\s+([0-9.]+(?:us|ms|s))`)
	wrkErrors   = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors:.*`)
)

// load loads a server with wrk. It requests keys different keys, starting with the one after number
// first; if keys is 1, it always requests path. header holds header lines of all requests.
func (b *bench) load(
	p *process, keys, first int, duration time.Duration, path string, header ...string,
) (sample, error) {
	seconds := strconv.Itoa(max(1, int(duration.Seconds())))
	args := []string{"wrk", "-t1", "-c" + strconv.Itoa(connections), "--latency",
		"-d" + seconds + "s"}
	if keys > 1 {
		lua := filepath.Join(b.dir, "keys.lua")
		text := fmt.Appendf(nil, script, keyStep, keyFormat)
		if err := os.WriteFile(lua, text, 0o600); err != nil {
			return sample{}, err
		}
		args = append(args, "-s", lua, "http://"+p.address+"/",
			"--", strconv.Itoa(keys), strconv.Itoa(first))
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
	out, err := pinned(loadCore, args...).CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := p.cpuTime()
	if err != nil {
		return sample{}, err
	}
	if failures := wrkErrors.Find(out); failures != nil {
		return sample{}, fmt.Errorf("wrk: %s: %s", p.address, failures)
	}
	return parseWrk(out, after-before)
}

// parseWrk parses wrk's output. cpu is the CPU time that the server used meanwhile.
func parseWrk(out []byte, cpu time.Duration) (sample, error) {
	rate, requests := wrkRate.FindSubmatch(out), wrkRequests.FindSubmatch(out)
	p99 := wrkP99.FindSubmatch(out)
	if rate == nil || requests == nil || p99 == nil {
		return sample{}, fmt.Errorf("wrk: unexpected output: %s", out)
	}
	var s sample
	var errRate, errRequests, errP99 error
	s.rate, errRate = strconv.ParseFloat(string(rate[1]), 64)
	s.p99, errP99 = time.ParseDuration(string(p99[1]))
	n, errRequests := strconv.Atoi(string(requests[1]))
	s.requests = n
	if n > 0 {
		s.cpu = cpu / time.Duration(n)
	}
	return s, errors.Join(errRate, errRequests, errP99)
}

// cpuTime returns the CPU time that all running threads of a server and its children have used.
func (p *process) cpuTime() (time.Duration, error) {
	return cpuTime(p.cmd.Process.Pid)
}

func cpuTime(pid int) (total time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(filepath.Join(task, "schedstat"))
		if err != nil {
			continue // the thread has ended
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n)
		children, _ := os.ReadFile(filepath.Join(task, "children")) // empty on some kernels
		for _, child := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				return 0, err
			}
			ofChild, err := cpuTime(pid)
			if err != nil {
				return 0, err
			}
			total += ofChild
		}
	}
	return total, nil
}

// residentBytes returns a server's resident memory.
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
	return 0, fmt.Errorf("no VmRSS in /proc/%d/status", p.cmd.Process.Pid)
}

// metric returns the value of a metric, whose name and labels are given without "s3redirect_".
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
	return 0, fmt.Errorf("s3redirect has no metric s3redirect_%s", series)
}
