//go:build race

package presign

// Under the race detector sync.Pool drops some of what it is given, on purpose.
const raceEnabled = true
