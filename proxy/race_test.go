//go:build race

package proxy

// Under the race detector sync.Pool drops some items at random.
const raceEnabled = true
