package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// container is the memory limit of contained proxies, in bytes.
const container = 256 << 20

// contained starts a proxy that is killed once it takes more than that.
func contained(t *testing.T, more string, env ...string) *proxy {
	t.Helper()
	p, ok := startLimited(t, container, more+floodedConfig, env...)
	if !ok {
		t.Skip("no control group can be made here")
	}
	return p
}

// lives reports whether the proxy is still the process that was started.
func (p *proxy) lives() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// startBatch sends a batch and returns its answer, of which only the header was read. from is the
// client's address, for a proxy that trusts the test.
func startBatch(t *testing.T, p *proxy, from string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/presign"), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", from)
	return client.Do(req)
}

// readBatch reads the rest of an answer, and returns how many URLs it has.
func readBatch(resp *http.Response) (urls int, err error) {
	defer resp.Body.Close()
	lines, last := bufio.NewReader(resp.Body), ""
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, `"url":"`) {
			urls++
		}
		if err == io.EOF && strings.TrimSpace(last) == "]}" {
			return urls, nil
		} else if err != nil {
			return urls, fmt.Errorf("after %d URLs: %w, last %.40q", urls, err, last)
		}
		last = line
	}
}

// Eight batches of 1.39 million empty locators do not kill the proxy.
func TestEmptyLocators(t *testing.T) {
	p := contained(t, "")
	body := `{"locators":[` + strings.TrimSuffix(strings.Repeat(`"",`, 1_390_000), ",") + `]}`
	var wg sync.WaitGroup
	for n := range 8 {
		in, want := io.Reader(strings.NewReader(body)), http.StatusRequestEntityTooLarge
		if n%2 == 0 {
			in, want = struct{ io.Reader }{in}, http.StatusBadRequest // of unknown length
		}
		wg.Go(func() {
			resp, err := startBatch(t, p, "192.0.2.1", in)
			if err != nil {
				t.Logf("answered while it was still being sent: %v", err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("got %d, want %d", resp.StatusCode, want)
			}
		})
	}
	wg.Wait()
	if !p.lives() {
		t.Fatalf("the proxy is gone: %v", p.cmd.ProcessState)
	}
	p.wantService(t)
	t.Logf("%d MB", p.resident(t))
}

// In 256 MiB, the proxy answers 64 batches of 1,000 locators with the longest keys at once, of 8 clients. It may turn some away until
// others are done.
func TestFullBatches(t *testing.T) {
	p := contained(t, "trusted_proxies: [127.0.0.1]\n")
	body := `{"locators":[` + strings.TrimSuffix(strings.Repeat(`"s3://flooded/`+strings.Repeat("ü", 512)+`",`, 1000), ",") + `]}`
	const batches = 64
	var wg, begun sync.WaitGroup
	var turnedAway atomic.Int32
	begun.Add(batches)
	for n := range batches {
		from := fmt.Sprintf("192.0.2.%d", n/8) // one client may not hold the entire budget
		wg.Go(func() {
			resp, err := startBatch(t, p, from, strings.NewReader(body))
			begun.Done()
			begun.Wait() // now all are in flight: most of each answer is still to be read
			for err == nil && resp.StatusCode == http.StatusServiceUnavailable {
				turnedAway.Add(1)
				_ = resp.Body.Close()
				if got := resp.Header.Get("Retry-After"); got != "1" {
					t.Errorf("503 with Retry-After: got %q, want 1", got)
				}
				time.Sleep(100 * time.Millisecond)
				resp, err = startBatch(t, p, from, strings.NewReader(body))
			}
			if err != nil {
				t.Errorf("a batch: %v", err)
				return
			}
			if urls, err := readBatch(resp); resp.StatusCode != http.StatusOK || urls != 1000 || err != nil {
				t.Errorf("got %d, %d URLs, %v; want 200 and 1,000", resp.StatusCode, urls, err)
			}
		})
	}
	wg.Wait()
	if !p.lives() {
		t.Fatalf("the proxy is gone: %v", p.cmd.ProcessState)
	}
	p.wantService(t)
	t.Logf("%d MB; turned away %d times", p.resident(t), turnedAway.Load())
}
