package config

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"s3redirect/internal/locator"
)

// overlapsOf returns the pairs of keys that Validate reports as overlapping.
func overlapsOf(c *Config) (pairs []string) {
	for _, p := range Validate(c) {
		if strings.Contains(p.format, "could be the same bucket") ||
			strings.Contains(p.format, "is a bucket of integration") {
			pairs = append(pairs, p.Key+" "+strings.Join(p.Others(), " "))
		}
	}
	return pairs
}

// checkPatterns finds the overlaps that comparing each pattern with all others finds.
func TestOverlapsLikeAllPairs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const alphabet = "ab*"
	for range 2000 {
		c := &Config{}
		for n := range 1 + random.IntN(4) {
			i := &Integration{Name: fmt.Sprint("i", n)}
			for range 1 + random.IntN(3) {
				b := make([]byte, 1+random.IntN(5))
				for m := range b {
					b[m] = alphabet[random.IntN(len(alphabet))]
				}
				if !slices.Contains(i.PermittedBuckets, string(b)) {
					i.PermittedBuckets = append(i.PermittedBuckets, string(b))
				}
			}
			c.Integrations = append(c.Integrations, i)
		}
		k := &checker{Config: c}
		var patterns, plain []claim
		for _, c := range k.claims() {
			if locator.IsPattern(c.bucket) {
				patterns = append(patterns, c)
			} else {
				plain = append(plain, c)
			}
		}
		var want []string
		for n, p := range patterns {
			for _, other := range slices.Concat(patterns[:n], plain) {
				if other.integration != p.integration && locator.Overlap(p.bucket, other.bucket) {
					want = append(want, p.key+" "+other.key)
				}
			}
		}
		k.checkPatterns(patterns, plain)
		var got []string
		for _, p := range k.problems {
			others := p.Others()
			got = append(got, p.Key+" "+others[len(others)-1])
		}
		if !slices.Equal(got, want) {
			var all []string
			for _, i := range c.Integrations {
				all = append(all, fmt.Sprint(i.PermittedBuckets))
			}
			t.Fatalf("%q: checkPatterns reports %q, want %q", all, got, want)
		}
	}
}

// A configuration in which all patterns overlap has a bounded number of errors about that.
func TestOverlapsAreBounded(t *testing.T) {
	c := &Config{}
	for n := range 1000 {
		c.Integrations = append(c.Integrations,
			&Integration{Name: fmt.Sprint("i", n), PermittedBuckets: []string{fmt.Sprintf("*%d*", n)}})
	}
	if got := len(overlapsOf(c)); got != maxOverlaps {
		t.Errorf("%d errors, want %d", got, maxOverlaps)
	}
}

// Patterns of thousands of integrations are not compared with each other: among 10,000 patterns,
// that would take minutes.
func TestManyPatternsAreNotCompared(t *testing.T) {
	const count = 10_000
	c := &Config{}
	for n := range count {
		c.Integrations = append(c.Integrations, &Integration{Name: fmt.Sprint("i", n), PermittedBuckets: []string{
			fmt.Sprintf("tenant-%05d-*", n), fmt.Sprintf("acme-*-%05d", n), fmt.Sprintf("name-%05d", n),
		}})
	}
	if got := overlapsOf(c); len(got) > 0 {
		t.Errorf("overlaps: %q, want none", got[:min(len(got), 3)])
	}
	last := &Integration{Name: "last", PermittedBuckets: []string{"tenant-0999*7"}}
	c.Integrations = append(c.Integrations, last)
	if got := overlapsOf(c); len(got) != 10 || !strings.Contains(got[9], fmt.Sprintf("integrations[%d]", count-1)) {
		t.Errorf("overlaps: %q, want one with each of the last ten", got)
	}
}
