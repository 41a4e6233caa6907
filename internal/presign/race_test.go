//go:build race

package presign

// Under the race detector, sync.Pool drops some values on purpose, so that signing allocates.
const raceEnabled = true
