package locator

import (
	"fmt"
	"slices"
	"testing"
)

// Matches finds the patterns that a linear scan finds.
func TestPatternsMatchLikeAScan(t *testing.T) {
	patterns := []string{"*", "a*", "*a", "a*a", "a*b*a", "*a*", "ab*", "*ba", "aa*aa", "a**a", "b*", "*b", "ab*ba"}
	var index Patterns[int]
	if !index.Empty() {
		t.Error("Empty() = false without patterns, want true")
	}
	for n, p := range patterns {
		index.Add(p, n)
	}
	if index.Empty() {
		t.Error("Empty() = true, want false")
	}
	names := []string{"a", "b", "", "aa", "ab", "ba", "aba", "abba", "aaaa", "aaa", "abaaba", "bab", "abcba"}
	for _, name := range names {
		var got, want []string
		for p, n := range index.Matches(name) {
			if patterns[n] != p {
				t.Errorf("pattern %s has the value of %s", p, patterns[n])
			}
			got = append(got, p)
		}
		for _, p := range patterns {
			if MatchBucket(p, name) {
				want = append(want, p)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("Matches(%q) yields %q, want %q", name, got, want)
		}
	}
}

// A look-up does not compare a name with each of many patterns.
func TestPatternsLookUpFewPairsOfLengths(t *testing.T) {
	var index Patterns[int]
	for n := range 10_000 {
		index.Add(fmt.Sprintf("tenant-%05d-*", n), n)
		index.Add(fmt.Sprintf("*-tenant-%05d", n), n)
		index.Add(fmt.Sprintf("acme-%05d*media", n), n)
	}
	if got := len(index.lengths); got != 3 {
		t.Errorf("%d pairs of lengths, want 3", got)
	}
	for e, values := range index.byEnds {
		if len(values) != 1 {
			t.Fatalf("%d patterns have the ends %+v, want 1", len(values), e)
		}
	}
	allocations := testing.AllocsPerRun(100, func() {
		for range index.Matches("tenant-01234-media") {
			return
		}
	})
	if allocations > 0 {
		t.Errorf("a look-up makes %v allocations, want none", allocations)
	}
}

func TestSplitPattern(t *testing.T) {
	for pattern, want := range map[string][2]string{
		"*": {"", ""}, "a*": {"a", ""}, "*b": {"", "b"}, "a*b": {"a", "b"}, "a*b*c": {"a", "c"},
		"a**c": {"a", "c"}, "**": {"", ""},
	} {
		if before, after := SplitPattern(pattern); before != want[0] || after != want[1] {
			t.Errorf("SplitPattern(%q) = %q, %q, want %q", pattern, before, after, want)
		}
	}
}
