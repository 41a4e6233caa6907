package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// compareBuilds compares this build of s3redirect with other builds, which take turns in each
// round. It compares the server's CPU time per request, which depends less on other programs than
// the rate.
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
	fmt.Println("| | CPU/request | ratio | quartiles | requests/s | p99 | resident |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, load := range []contender{
		{name: "hit, 1 key", keys: 1},
		{name: "hit, 10 k keys", keys: 10_000},
		{name: "miss", keys: 2_000_000_000},
	} {
		if b.only.MatchString(load.name) {
			if err := b.compareBuildsUnder(load, builds); err != nil {
				return fmt.Errorf("%s: %w", load.name, err)
			}
			b.stopAll()
		}
	}
	fmt.Println()
	return nil
}

// compareBuildsUnder compares builds under a load. The ratios are those to the first build.
func (b *bench) compareBuildsUnder(load contender, builds []string) error {
	var contenders []*contender
	for n, path := range builds {
		p, err := b.startBuild(path, fmt.Sprintf("build-%d", n), "", "")
		if err != nil {
			return err
		}
		name := load.name + ", " + filepath.Base(path)
		contenders = append(contenders, &contender{name: name, p: p})
	}
	for round := range b.rounds {
		for turn := range contenders {
			c := contenders[(round+turn)%len(contenders)] // each round begins with another build
			s, err := b.load(c.p, load.keys, (round+1)*7_654_321, b.duration, keyPath(0))
			if err != nil {
				return err
			}
			c.samples = append(c.samples, s)
		}
		for _, c := range contenders {
			c.ratios = append(c.ratios,
				float64(c.samples[round].cpu)/float64(contenders[0].samples[round].cpu))
		}
	}
	for _, c := range contenders {
		resident, err := c.p.residentBytes()
		if err != nil {
			return err
		}
		sorted := slices.Sorted(slices.Values(c.ratios))
		fmt.Printf("| %s | %s | %.3f | %.3f to %.3f | %.0f | %v | %d MB |\n", c.name,
			microseconds(medianCPU(c.samples)), median(c.ratios),
			sorted[len(sorted)/4], sorted[len(sorted)*3/4],
			medianRate(c.samples), medianP99(c.samples), resident>>20)
	}
	return nil
}
