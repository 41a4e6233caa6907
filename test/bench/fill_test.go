package main

import (
	"math"
	"testing"
)

// simulatedCache is a server with a URL cache that answers perLoad requests per load. As with wrk,
// the requests in flight at the end of a load are not counted, and do not reach the cache.
type simulatedCache struct {
	room, perLoad, keys int

	has              []bool // by number, for the first numbers
	entries          int
	requested, twice int
	loads            int
}

func (c *simulatedCache) filler() filler {
	return filler{
		load: func(first int) (sample, error) {
			c.loads++
			n := first
			for range c.perLoad {
				n = (n + keyStep) % c.keys
				c.request(n)
			}
			return sample{requests: c.perLoad}, nil
		},
		entries: func() (float64, error) { return float64(c.entries), nil },
	}
}

func (c *simulatedCache) request(n int) {
	c.requested++
	if n < len(c.has) {
		if c.has[n] {
			c.twice++
			return
		}
		c.has[n] = true
	}
	c.entries = min(c.entries+1, c.room)
}

// A cache gets all keys on a slow machine, in about as many loads as it takes.
func TestAddAll(t *testing.T) {
	for _, tt := range []struct{ keys, perLoad, loads int }{
		{10_000, 5_000, 3},
		{1_000_000, 1_000, 1150},
		{1_000_000, 5_000, 206},
		{1_000_000, 50_000, 21},
	} {
		c := &simulatedCache{room: math.MaxInt, perLoad: tt.perLoad, keys: tt.keys,
			has: make([]bool, tt.keys)}
		c.request(0) // startBuild's
		if err := c.filler().addAll(tt.keys); err != nil {
			t.Errorf("addAll(%d) with %d requests per load: %v", tt.keys, tt.perLoad, err)
		}
		if c.entries != tt.keys || c.loads > tt.loads {
			t.Errorf("addAll(%d) with %d requests per load: got %d entries in %d loads, "+
				"want all in at most %d", tt.keys, tt.perLoad, c.entries, c.loads, tt.loads)
		}
	}
}

// addAll fails if the cache has too little room, instead of loading it until the limit.
func TestAddAllStops(t *testing.T) {
	c := &simulatedCache{room: 8_000, perLoad: 5_000, keys: 10_000, has: make([]bool, 10_000)}
	if err := c.filler().addAll(c.keys); err == nil || c.loads > 3 {
		t.Errorf("addAll with room for 8,000 of 10,000 keys: error %v after %d loads, "+
			"want one after at most 3", err, c.loads)
	}
}

// addNew fills a cache on a slow machine, never requests a key twice, and ends when it is full.
func TestAddNew(t *testing.T) {
	for _, perLoad := range []int{1_000, 5_000, 48_000} {
		c := &simulatedCache{room: 1_000_000, perLoad: perLoad, keys: fillKeys,
			has: make([]bool, fillKeys/200)}
		loads, lasts := 0, 0
		err := c.filler().addNew(func(_ float64, _ sample, last bool) error {
			if loads++; last {
				lasts++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.entries != c.room || c.twice != 0 || lasts != 1 || loads > c.room/perLoad+2 {
			t.Errorf("addNew with %d requests per load: got %d entries, "+
				"%d requests for known keys, %d last loads of %d; want %d, 0, 1 of at most %d",
				perLoad, c.entries, c.twice, lasts, loads, c.room, c.room/perLoad+2)
		}
	}
}

// A load that starts with the key at a position continues with the one at the next, without
// overflow.
func TestKeyAt(t *testing.T) {
	for _, keys := range []int{10_000, 64_000, 1_000_000, fillKeys} {
		for _, position := range []int{0, 1, 999_999, keys - 1, keys, 3*keys + 7} {
			next := (keyAt(position, keys) + keyStep) % keys
			if got := keyAt(position+1, keys); got != next || got < 0 || got >= keys {
				t.Errorf("keyAt(%d, %d) = %d, want %d", position+1, keys, got, next)
			}
		}
	}
}
