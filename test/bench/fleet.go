package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"s3redirect/cache"
)

// The fleet that is simulated: one replica's cache is the program's own, with one replica's share of the requests; the others are like it.
const (
	fleetReplicas     = 200
	fleetIntegrations = 10_000
	fleetObjects      = 10_000 // of each integration: 100 million in all
	fleetRate         = 200_000
	fleetWindow       = 1800 // seconds
	// fleetSkew is the exponent of Zipf's law, of integrations and of the objects of each.
	fleetSkew = 0.9

	// What the benchmarks measured (docs/performance.md): a signature of ours, and one of the SDK's presigner.
	ownSignature = 1.7e-6
	sdkSignature = 33.6e-6
	// What Redis 7 and Valkey 8 take for a session: name, seal, JSON, and a token of 1,000 bytes.
	sharedBytes = 1520
	// What a replica takes for an integration, with its series, for each of its two sessions of such a length, and for a signature.
	integrationBytes, sessionBytes, entryBytes = 10_700, 3_800, 70
	// stsLimit is how many calls a second STS takes, from an account in a region.
	stsLimit = 600
)

// zipf draws from 1 to n, by the continuous form of Zipf's law, which allows exponents below 1.
func zipf(r *rand.Rand, n float64) uint64 {
	const e = 1 - fleetSkew
	return uint64(math.Pow((math.Pow(n+1, e)-1)*r.Float64()+1, 1/e))
}

// signedIn is the window in which an entry was signed.
type signedIn int

// Deadline implements [cache.Perishable].
func (signedIn) Deadline() time.Time { return time.Unix(1<<40, 0) }

// replicaOf is what one replica saw in a window: how many of its requests had their signature, and how many integrations they were for.
type replicaOf struct {
	hitRatio     float64
	integrations int
}

// simulate has a replica of so many cache entries serve two windows, and tells of the second.
func simulate(entries int, requests int) (replicaOf, error) {
	urls, err := cache.New[uint64, signedIn](entries, nil)
	if err != nil {
		return replicaOf{}, err
	}
	r := rand.New(rand.NewPCG(2026, 11))
	now := time.Unix(0, 0)
	var hits int
	var seen map[uint64]bool
	for window := range signedIn(2) {
		hits, seen = 0, map[uint64]bool{}
		for range requests {
			integration := zipf(r, fleetIntegrations)
			object := integration*(fleetObjects+1) + zipf(r, fleetObjects)
			seen[integration] = true
			if by, ok := urls.Get(object, now); ok && by == window {
				hits++
				continue
			}
			urls.Add(object, window)
		}
	}
	return replicaOf{float64(hits) / float64(requests), len(seen)}, nil
}

// fleet prints the simulation as a table.
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
	alone := float64(small.integrations) * fleetReplicas / fleetWindow
	shared := float64(fleetIntegrations) / fleetWindow
	// A presigner keeps its hour's session in each replica, too.
	presigner := float64(fleetIntegrations) * fleetReplicas / 3600
	// Each replica looks; who finds nothing takes the lease, looks again, stores, and gives the lease back.
	operations := (float64(small.integrations)*fleetReplicas + 4*fleetIntegrations) / fleetWindow
	replica := 65_536*entryBytes + float64(small.integrations)*(integrationBytes+2*sessionBytes)
	fmt.Fprintf(w, "| | shared sessions | each replica its own | a presigner per request |\n|---|---|---|---|\n")
	row := func(what, a, b, c string) { fmt.Fprintf(w, "| %s | %s | %s | %s |\n", what, a, b, c) }
	row("AssumeRole calls a second", fmt.Sprintf("%.1f", shared), fmt.Sprintf("%.0f", alone), fmt.Sprintf("%.0f", presigner))
	row(fmt.Sprintf("of the %d that STS takes", stsLimit), percent(shared/stsLimit), percent(alone/stsLimit), percent(presigner/stsLimit))
	row("URLs of one object in a window", "1", fmt.Sprintf("up to %d", fleetReplicas), "one each second")
	row("downloads by a browser that asks four times in a window", "1", fmt.Sprintf("%.1f", expectedReplicas(4)), "4")
	row("URL cache hits, 65,536 entries", percent(small.hitRatio), percent(small.hitRatio), "none")
	row("URL cache hits, 1,000,000 entries", percent(large.hitRatio), percent(large.hitRatio), "none")
	row("cores that sign, of the whole fleet", fmt.Sprintf("%.2f", fleetRate*(1-small.hitRatio)*ownSignature), fmt.Sprintf("%.2f", fleetRate*(1-small.hitRatio)*ownSignature), fmt.Sprintf("%.1f", fleetRate*sdkSignature))
	row("operations of the common store a second", fmt.Sprintf("%.0f", operations), "none", "none")
	row("memory of the common store", fmt.Sprintf("%.0f MB", 2*fleetIntegrations*float64(sharedBytes)/1e6), "none", "none")
	row("memory of a replica's caches, 65,536 entries", fmt.Sprintf("%.0f MB", replica/1e6), fmt.Sprintf("%.0f MB", replica/1e6), "its sessions")
	return nil
}

// expectedReplicas is how many different replicas somebody meets who comes so many times.
func expectedReplicas(visits float64) float64 {
	return fleetReplicas * (1 - math.Pow(1-1.0/fleetReplicas, visits))
}

func percent(ratio float64) string { return fmt.Sprintf("%.0f %%", 100*ratio) }
