package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"s3redirect/metrics"
)

const (
	// sampleInterval is how often the counters are sampled, and maxSamples bounds the samples: ten
	// minutes.
	sampleInterval = 5 * time.Second
	maxSamples     = 121
	// maxWarnings bounds the warnings that the page shows. The log has all.
	maxWarnings = 50
)

// samples are the last samples of the counters, oldest first.
type samples struct {
	mu  sync.Mutex
	all []sample
}

// sample holds the counters at an instant, in Unix milliseconds.
type sample struct {
	At int64 `json:"at"`
	metrics.Counts
}

// Sample samples the counters for the charts until ctx ends.
func (c *Console) Sample(ctx context.Context) {
	ticks := time.NewTicker(sampleInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			c.sample()
		}
	}
}

func (c *Console) sample() {
	now := sample{At: c.Clock().UnixMilli(), Counts: c.Metrics.Total()}
	c.samples.mu.Lock()
	defer c.samples.mu.Unlock()
	c.samples.all = append(c.samples.all, now)
	if extra := len(c.samples.all) - maxSamples; extra > 0 {
		c.samples.all = append(c.samples.all[:0], c.samples.all[extra:]...)
	}
}

// overviewAnswer is the upper part of the page. Times are in Unix milliseconds.
type overviewAnswer struct {
	Now     int64   `json:"now"`
	Started int64   `json:"started"`
	File    string  `json:"file,omitempty"`
	Read    int64   `json:"read"`
	Refused int64   `json:"refused,omitempty"`
	Problem string  `json:"problem,omitempty"`
	Every   float64 `json:"every_seconds"`

	Integrations int            `json:"integrations"`
	Warnings     []string       `json:"warnings"`
	Total        metrics.Counts `json:"total"`
	Samples      []sample       `json:"samples"`
}

func (c *Console) overview(*http.Request) (any, error) {
	state := c.Proxy.State()
	a := overviewAnswer{Now: c.Clock().UnixMilli(),
		Started: c.started.UnixMilli(), File: state.File, Read: milliseconds(state.Read),
		Refused: milliseconds(state.Refused), Problem: state.Problem,
		Every: sampleInterval.Seconds(), Integrations: len(state.Config.Integrations),
		Warnings: firstWarnings(state.Config.Warnings), Total: c.Metrics.Total()}
	c.samples.mu.Lock()
	defer c.samples.mu.Unlock()
	a.Samples = slices.Clone(c.samples.all)
	return a, nil
}

// firstWarnings returns at most maxWarnings warnings, and a line about the others.
func firstWarnings(all []string) []string {
	if len(all) <= maxWarnings {
		return all
	}
	more := fmt.Sprintf("and %d more warnings; the log has all", len(all)-maxWarnings)
	return append(slices.Clone(all[:maxWarnings]), more)
}

// milliseconds returns t in Unix milliseconds, 0 for the zero time.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
