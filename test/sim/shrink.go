package sim

import "slices"

// Shrink returns a schedule that still fails but from which no single step can be removed. fails must
// not depend on anything but the schedule. It first removes large parts, then smaller ones (delta
// debugging).
func Shrink(s Schedule, fails func(Schedule) bool) Schedule {
	for size := max(1, len(s.Steps)/2); ; {
		removed := false
		for from := len(s.Steps); from > 0; from -= size {
			shorter := s
			shorter.Steps = slices.Delete(slices.Clone(s.Steps), max(0, from-size), from)
			if fails(shorter) {
				s, removed = shorter, true
			}
		}
		switch {
		case size > 1:
			size /= 2
		case !removed:
			return s
		}
	}
}
