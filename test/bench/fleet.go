package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"s3redirect/cache"
)

// The simulated fleet. One replica is simulated, with the program's URL cache and its share of the
// requests. The other replicas are assumed to be like it.
const (
	fleetReplicas     = 200
	fleetIntegrations = 10_000
	fleetObjects      = 10_000  // per integration: 100 million objects in all
	fleetRate         = 200_000 // requests per second
	fleetWindow       = 1800    // seconds
	// fleetSkew is the exponent of the Zipf distributions of integrations, and of the objects of
	// each.
	fleetSkew = 0.9

	// Measured CPU seconds per signature, of the proxy and of the SDK's presigner.
	ownSignature = 1.7e-6
	sdkSignature = 33.6e-6
	// sharedBytes is the memory of a session in Redis 7 or Valkey 8: its name, and a sealed JSON
	// document that contains a token of 1,000 bytes.
	sharedBytes = 1520
	// Bytes of memory in a replica for an integration with its metrics, for each of its two
	// sessions with a token of 1,000 bytes, and for an entry of the URL cache.
	integrationBytes, sessionBytes, entryBytes = 6_100, 3_800, 70
	// stsLimit is the number of STS calls per second that AWS allows an account in a region.
	stsLimit = 600
)

// zipf returns a Zipf-distributed number from 1 to n. It samples the continuous form of the
// distribution, which allows exponents below 1.
func zipf(r *rand.Rand, n float64) uint64 {
	const e = 1 - fleetSkew
	return uint64(math.Pow((math.Pow(n+1, e)-1)*r.Float64()+1, 1/e))
}

// fleetID returns the cache ID of an object. Unlike the proxy's hash it has no random seed, so that
// the simulation can be repeated.
func fleetID(object uint64) cache.ID {
	return cache.ID{splitMix(object), splitMix(^object)}
}

// splitMix is the output function of SplitMix64.
func splitMix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// windowNumber is the value of a cache entry: the window whose session signed it. As in the proxy,
// an entry of an earlier window is a miss and is overwritten.
type windowNumber int

// Deadline implements [cache.Perishable]. The simulated entries never expire.
func (windowNumber) Deadline() time.Time { return time.Unix(1<<40, 0) }

// replicaStats holds the results of a simulated window.
type replicaStats struct {
	hitRatio     float64
	integrations int // integrations that were requested
}

// simulate simulates two windows of a replica with a URL cache of the given size, and returns the
// results of the second.
func simulate(entries, requests int) (replicaStats, error) {
	urls, err := cache.NewTable[windowNumber](entries)
	if err != nil {
		return replicaStats{}, err
	}
	r := rand.New(rand.NewPCG(2026, 11))
	now := time.Unix(0, 0)
	var hits int
	var seen map[uint64]bool
	for window := range windowNumber(2) {
		hits, seen = 0, map[uint64]bool{}
		for range requests {
			integration := zipf(r, fleetIntegrations)
			id := fleetID(integration*(fleetObjects+1) + zipf(r, fleetObjects))
			seen[integration] = true
			if signedIn, ok := urls.Get(id, now); ok && signedIn == window {
				hits++
				continue
			}
			urls.Add(id, window)
		}
	}
	return replicaStats{float64(hits) / float64(requests), len(seen)}, nil
}

// fleet runs the simulation and writes the table of docs/deployment/replicas.md.
func fleet(w io.Writer) error {
	const requests = fleetRate / fleetReplicas * fleetWindow
	small, err := simulate(65_536, requests)
	if err != nil {
		return err
	}
	large, err := simulate(1_000_000, requests)
	if err != nil {
		return err
	}
	integrations := float64(small.integrations)

	// AssumeRole calls per second. A presigner holds a session for an hour in each replica.
	shared := float64(fleetIntegrations) / fleetWindow
	separate := integrations * fleetReplicas / fleetWindow
	presigner := float64(fleetIntegrations) * fleetReplicas / 3600
	// Each replica reads each session. The one that finds none takes the lease, reads again, writes
	// the session, and releases the lease.
	operations := (integrations*fleetReplicas + 4*fleetIntegrations) / fleetWindow
	storeBytes := 2.0 * fleetIntegrations * sharedBytes
	replicaBytes := 65_536*entryBytes + integrations*(integrationBytes+2*sessionBytes)
	signingCores := fleetRate * (1 - small.hitRatio) * ownSignature
	const visits = 4 // requests of a browser for one object in a window

	megabytes := func(bytes float64) string { return fmt.Sprintf("%.0f MB", bytes/1e6) }
	row := func(name, shared, separate, presigner string) {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", name, shared, separate, presigner)
	}
	fmt.Fprintln(w, "| | shared sessions | separate sessions | a presigner per request |")
	fmt.Fprintln(w, "|---|---|---|---|")
	row("AssumeRole calls per second",
		fmt.Sprintf("%.1f", shared), fmt.Sprintf("%.0f", separate), fmt.Sprintf("%.0f", presigner))
	row(fmt.Sprintf("share of STS's limit of %d", stsLimit),
		percent(shared/stsLimit), percent(separate/stsLimit), percent(presigner/stsLimit))
	row("URLs of one object in a window",
		"1", fmt.Sprintf("up to %d", fleetReplicas), "one per second")
	row(fmt.Sprintf("downloads by a browser that requests an object %d times in a window", visits),
		"1", fmt.Sprintf("%.1f", distinctReplicas(visits)), fmt.Sprint(visits))
	hits := percent(small.hitRatio)
	row("URL cache hits, 65,536 entries", hits, hits, "none")
	hits = percent(large.hitRatio)
	row("URL cache hits, 1,000,000 entries", hits, hits, "none")
	row("cores that sign, in the whole fleet", fmt.Sprintf("%.2f", signingCores),
		fmt.Sprintf("%.2f", signingCores), fmt.Sprintf("%.1f", fleetRate*sdkSignature))
	row("Redis operations per second", fmt.Sprintf("%.0f", operations), "none", "none")
	row("Redis memory", megabytes(storeBytes), "none", "none")
	row("memory of a replica's caches, 65,536 entries",
		megabytes(replicaBytes), megabytes(replicaBytes), "its sessions")
	return nil
}

// distinctReplicas returns the expected number of different replicas that answer a client's
// requests if each goes to a random replica.
func distinctReplicas(requests float64) float64 {
	return fleetReplicas * (1 - math.Pow(1-1.0/fleetReplicas, requests))
}

func percent(ratio float64) string { return fmt.Sprintf("%.0f %%", 100*ratio) }
