package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// compareBuilds compares this build of s3redirect with other builds, which take turns in each
// round. It compares the server's CPU time per request, which depends less than the rate on what
// else the machine does.
func (b *bench) compareBuilds() error {
	builds := []string{b.proxy}
	for file := range strings.SplitSeq(b.against, ",") {
		path, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		builds = append(builds, path)
	}
	fmt.Printf("## Builds\n\n%d rounds of %v; server on one core, wrk -t1 -c64 on the other\n\n",
		b.rounds, b.duration)
	fmt.Println("| | least CPU/request | median | ratio | quartiles | requests/s | resident |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, load := range []contender{
		{name: "hit, 1 key", keys: 1},
		{name: "hit, 10 k keys", keys: 10_000},
		{name: "miss", keys: fillKeys},
	} {
		if !b.only.MatchString(load.name) {
			continue
		}
		if err := b.compareBuildsUnder(load, builds); err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
	}
	fmt.Println()
	return nil
}

// compareBuildsUnder compares builds under a load. The ratios are those to the first build, of the
// same round. Each measurement is of a new process, because processes of one build differ, by the
// layout of their memory.
func (b *bench) compareBuildsUnder(load contender, builds []string) error {
	samples, resident := make([][]sample, len(builds)), make([][]int, len(builds))
	for round := range b.rounds {
		for turn := range builds {
			n := (round + turn) % len(builds) // each round begins with another build
			p, err := b.startBuild(builds[n], fmt.Sprintf("build-%d", n), "", "")
			if err != nil {
				return err
			}
			s, err := b.load(p, load.keys, (round+1)*7_654_321, b.duration, keyPath(0))
			if err != nil {
				return err
			}
			bytes, err := p.residentBytes()
			if err != nil {
				return err
			}
			samples[n], resident[n] = append(samples[n], s), append(resident[n], bytes)
			b.stopAll()
		}
	}
	for n, path := range builds {
		var cpu []time.Duration
		var ratios []float64
		for round, s := range samples[n] {
			cpu = append(cpu, s.cpu)
			ratios = append(ratios, float64(s.cpu)/float64(samples[0][round].cpu))
		}
		slices.Sort(ratios)
		fmt.Printf("| %s, %s | %s | %s | %.3f | %.3f to %.3f | %.0f | %d MB |\n",
			load.name, filepath.Base(path), microseconds(slices.Min(cpu)), microseconds(median(cpu)),
			median(ratios), ratios[len(ratios)/4], ratios[len(ratios)*3/4],
			medianRate(samples[n]), median(resident[n])>>20)
	}
	return nil
}
