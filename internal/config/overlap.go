package config

import (
	"cmp"
	"slices"
	"strings"

	"s3redirect/internal/locator"
)

// maxOverlaps bounds the errors about overlapping patterns. Each of n patterns can overlap each
// other.
const maxOverlaps = 100

// checkPatterns requires that a pattern overlaps neither a pattern nor a name of another
// integration. Its time is about proportional to the number of patterns and names.
func (k *checker) checkPatterns(patterns, plain []claim) {
	overlaps := overlappingPatterns(patterns)
	var index locator.Patterns[int]
	for n, p := range patterns {
		index.Add(p.bucket, n)
	}
	for m, c := range plain {
		for _, n := range index.Matches(c.bucket) {
			if patterns[n].integration != c.integration {
				overlaps = append(overlaps, overlap{pattern: n, other: len(patterns) + m})
			}
		}
	}
	slices.SortFunc(overlaps, func(a, b overlap) int {
		return cmp.Or(cmp.Compare(a.pattern, b.pattern), cmp.Compare(a.other, b.other))
	})
	all := slices.Concat(patterns, plain)
	for _, o := range overlaps[:min(len(overlaps), maxOverlaps)] {
		k.overlap(patterns[o.pattern], all[o.other])
	}
}

// overlap is a pattern that overlaps an earlier one, or a name. other is the index of that pattern
// or, from the number of patterns on, of that name.
type overlap struct{ pattern, other int }

// overlappingPatterns returns the pairs of patterns of different integrations that overlap, but
// stops when there are more than maxOverlaps.
//
// Two patterns overlap if the one with the shorter text before its first star has a beginning of the
// other's text there, and likewise for the ends of what follows the last star: a name can always be
// made that has both longer texts, and between them what the two patterns have between their stars.
func overlappingPatterns(patterns []claim) (found []overlap) {
	type entry struct {
		after   string // what follows the last star, reversed
		pattern int
	}
	byBefore := map[string][]entry{} // each sorted by after
	for n, p := range patterns {
		before, after := locator.SplitPattern(p.bucket)
		byBefore[before] = append(byBefore[before], entry{reversed(after), n})
	}
	byAfter := func(e entry, after string) int { return strings.Compare(e.after, after) }
	for _, entries := range byBefore {
		slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.after, b.after) })
	}
	for n, p := range patterns {
		before, after := locator.SplitPattern(p.bucket)
		after = reversed(after)
		// report returns whether to go on.
		report := func(e entry, sameBefore bool) bool {
			if other := patterns[e.pattern]; other.integration != p.integration &&
				(!sameBefore || e.pattern < n) { // else it is found from the other side
				found = append(found, overlap{pattern: max(n, e.pattern), other: min(n, e.pattern)})
			}
			return len(found) <= maxOverlaps
		}
		for length := range len(before) + 1 {
			entries, same := byBefore[before[:length]], length == len(before)
			// Those whose after is a proper beginning of this one's, then those with this beginning.
			for end := range after {
				at, _ := slices.BinarySearchFunc(entries, after[:end], byAfter)
				for ; at < len(entries) && entries[at].after == after[:end]; at++ {
					if !report(entries[at], same) {
						return found
					}
				}
			}
			at, _ := slices.BinarySearchFunc(entries, after, byAfter)
			for ; at < len(entries) && strings.HasPrefix(entries[at].after, after); at++ {
				if !report(entries[at], same) {
					return found
				}
			}
		}
	}
	return found
}

// reversed returns s, which must be ASCII, in reverse order.
func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}
