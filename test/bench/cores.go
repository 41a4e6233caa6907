package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/wire"
)

const (
	maxCores  = 2
	coresKeys = 10_000
)

// answer appends the response to a request to dst. It returns false if it has none.
type answer func(dst []byte, r *wire.Request) ([]byte, bool)

// scaling is a measurement of one and of two cores.
type scaling struct {
	name   string
	answer [maxCores]answer // by the number of cores, less one
	rates  [maxCores][]float64
}

// cores measures how much more two cores do than one. A load generator would need a third core, so
// this program itself calls the handler, and the sockets are left out. SHA-256 shares no memory
// between cores: its ratio shows what the machine gives.
func (b *bench) cores() error {
	fmt.Printf("## Cores\n\n%d rounds of %v; from the parsed request to the response in memory, "+
		"%d keys\n\n", b.rounds, b.duration, coresKeys)
	if runtime.NumCPU() < maxCores {
		fmt.Printf("skipped: the machine has %d core\n\n", runtime.NumCPU())
		return nil
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	hit := &scaling{name: "hit"}
	limit := &scaling{name: "SHA-256 of 1 kB", answer: [maxCores]answer{hashAnswer, hashAnswer}}
	for n := range maxCores {
		runtime.GOMAXPROCS(n + 1) // the number of shards depends on it
		a, err := b.newApp()
		if err != nil {
			return err
		}
		defer a.Close()
		hit.answer[n] = a.AppendResponse
	}
	requests, err := workersRequests(maxCores, coresKeys)
	if err != nil {
		return err
	}
	measured := []*scaling{hit, limit}
	for round := range b.rounds {
		for turn := range maxCores {
			n := (round + turn) % maxCores // each round begins with another number
			for _, s := range measured {
				rate, err := rateOf(s.answer[n], requests[:n+1], b.duration)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				s.rates[n] = append(s.rates[n], rate)
			}
		}
	}
	fmt.Println("| | requests/s, 1 core | 2 cores | ratio | min | max |\n|---|---|---|---|---|---|")
	for _, s := range measured {
		ratios := make([]float64, b.rounds)
		for round := range ratios {
			ratios[round] = s.rates[1][round] / s.rates[0][round]
		}
		fmt.Printf("| %s | %.0f | %.0f | %.2f | %.2f | %.2f |\n", s.name, median(s.rates[0]),
			median(s.rates[1]), median(ratios), slices.Min(ratios), slices.Max(ratios))
	}
	fmt.Println()
	return nil
}

// newApp returns s3redirect's handler with the keys of workersRequests in its URL cache.
func (b *bench) newApp() (*app.App, error) {
	text := b.configText("127.0.0.1:0", "127.0.0.1:0", "log: {level: warn}\n", "")
	c, err := config.Parse("bench.yaml", []byte(text), os.LookupEnv)
	if err != nil {
		return nil, err
	}
	a, err := app.New(app.Options{Config: c, Stderr: os.Stderr})
	if err != nil {
		return nil, err
	}
	// A session is requested first. AppendResponse does not wait for it.
	for n := range coresKeys {
		resp := httptest.NewRecorder()
		a.ServeHTTP(resp, httptest.NewRequest(http.MethodGet, keyPath(n), nil))
		if resp.Code != http.StatusFound {
			a.Close()
			return nil, fmt.Errorf("GET %s: status %d: %s", keyPath(n), resp.Code, resp.Body)
		}
	}
	return a, nil
}

// workersRequests returns requests for the same keys for each worker. A request remembers what was
// read of it, so that workers cannot share one. Each worker starts with another key.
func workersRequests(workers, keys int) ([][]*wire.Request, error) {
	all := make([][]*wire.Request, workers)
	for w := range all {
		for n := range keys {
			head := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n",
				keyPath((n+w*keys/workers)%keys))
			r, ok := wire.ReadRequest(head, []string{locator.PathPrefix}, "192.0.2.1:1")
			if !ok {
				return nil, fmt.Errorf("the wire does not accept %q", head)
			}
			all[w] = append(all[w], r)
		}
	}
	return all, nil
}

// rateOf returns the responses per second of a worker on each core.
func rateOf(a answer, workers [][]*wire.Request, d time.Duration) (float64, error) {
	runtime.GOMAXPROCS(len(workers))
	runtime.GC() // not during the measurement
	began := time.Now()
	n, err := answerUntil(a, workers, func() { time.Sleep(d) })
	return float64(n) / time.Since(began).Seconds(), err
}

// answerUntil answers the requests of all workers at the same time, again and again, until wait
// returns. It returns the number of responses.
func answerUntil(a answer, workers [][]*wire.Request, wait func()) (int, error) {
	var stop atomic.Bool
	var total, failed atomic.Int64
	var running sync.WaitGroup
	for _, requests := range workers {
		running.Go(func() {
			dst := make([]byte, 0, 8<<10)
			n := 0
			for ; !stop.Load(); n++ {
				if _, ok := a(dst, requests[n%len(requests)]); !ok {
					failed.Add(1)
				}
			}
			total.Add(int64(n)) // once, so that the workers do not share a counter
		})
	}
	wait()
	stop.Store(true)
	running.Wait()
	if failed.Load() > 0 {
		return 0, errors.New("requests got no response")
	}
	return int(total.Load()), nil
}

var hashed = bytes.Repeat([]byte("0123456789abcdef"), 64)

// hashAnswer is an answer that needs only the processor.
func hashAnswer(dst []byte, _ *wire.Request) ([]byte, bool) {
	sum := sha256.Sum256(hashed)
	return append(dst, sum[:]...), true
}
