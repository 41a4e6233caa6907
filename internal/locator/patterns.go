package locator

import (
	"iter"
	"slices"
	"strings"
)

// Patterns maps patterns of bucket names to values. The zero value is empty and ready to use.
//
// It finds patterns by what they have before their first star and after their last one, so that a
// look-up costs little even among thousands of patterns such as team-1-*, team-2-* and so on.
type Patterns[T any] struct {
	byEnds  map[ends][]valueOf[T]
	lengths []lengths // those that ends in byEnds have, each once
}

// ends are what a pattern has before its first star and after its last one.
type ends struct{ before, after string }

type lengths struct{ before, after int }

type valueOf[T any] struct {
	pattern string
	value   T
}

// SplitPattern returns what a pattern has before its first star and after its last one.
func SplitPattern(pattern string) (before, after string) {
	before, after, _ = strings.Cut(pattern, "*")
	return before, after[strings.LastIndexByte(after, '*')+1:]
}

// Add maps a pattern to v, besides the values that it has already.
func (p *Patterns[T]) Add(pattern string, v T) {
	if p.byEnds == nil {
		p.byEnds = map[ends][]valueOf[T]{}
	}
	before, after := SplitPattern(pattern)
	e := ends{before, after}
	if p.byEnds[e] == nil && !slices.Contains(p.lengths, lengths{len(before), len(after)}) {
		p.lengths = append(p.lengths, lengths{len(before), len(after)})
	}
	p.byEnds[e] = append(p.byEnds[e], valueOf[T]{pattern, v})
}

// Empty reports whether there are no patterns.
func (p *Patterns[T]) Empty() bool { return len(p.lengths) == 0 }

// Matches returns the patterns that match name, as [MatchBucket] does, with their values. It looks
// at each pair of lengths that ends of patterns have, and at the patterns with the ends of name.
func (p *Patterns[T]) Matches(name string) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for _, l := range p.lengths {
			if l.before+l.after > len(name) {
				continue
			}
			for _, v := range p.byEnds[ends{name[:l.before], name[len(name)-l.after:]}] {
				if MatchBucket(v.pattern, name) && !yield(v.pattern, v.value) {
					return
				}
			}
		}
	}
}
