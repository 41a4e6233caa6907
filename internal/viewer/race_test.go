//go:build race

package viewer

// raceEnabled reports whether the race detector is on. It makes sync.Pool drop items at random, so
// allocations cannot be counted.
const raceEnabled = true
