package main

import (
	"fmt"
	"time"
)

const (
	// fillSeconds bounds the loads of one second that fill a cache. A million entries need it on a
	// machine that answers 1,000 requests per second.
	fillSeconds = 1200
	// fillKeys is the number of keys of a load that never requests a key twice.
	fillKeys = 2_000_000_000
)

// keyAt returns the number of the key at a position of the sequence of a load of keys different
// keys. A load that starts with it continues at the next position.
func keyAt(position, keys int) int { return position % keys * keyStep % keys }

// stopped reports whether a cache has stopped growing: fewer than one in a hundred requests for new
// keys added an entry, and the others evicted one.
func stopped(before, after float64, requests int) bool {
	return after-before < float64(requests)/100
}

// filler fills a URL cache. Its functions are those of a server, or of a test.
type filler struct {
	load    func(first int) (sample, error) // for a second
	entries func() (float64, error)
}

func (b *bench) newFiller(p *process, keys int) filler {
	return filler{
		load:    func(first int) (sample, error) { return b.load(p, keys, first, time.Second, "") },
		entries: func() (float64, error) { return p.metric(`cache_entries{cache="urls"}`) },
	}
}

// fillCache requests keys until the URL cache holds all of them.
func (b *bench) fillCache(p *process, keys int) error {
	if err := b.newFiller(p, keys).addAll(keys); err != nil {
		return fmt.Errorf("fill the URL cache of %s: %w", p.address, err)
	}
	return nil
}

// addAll adds all of the keys that load requests.
func (f filler) addAll(keys int) error {
	entries, err := f.entries()
	for range fillSeconds {
		if err != nil || int(entries) >= keys {
			return err
		}
		// Continue before the last key. At the end of a load, the requests in flight got no
		// response, and may have added no entries. Other requests than the load's added some.
		if _, err = f.load(keyAt(max(0, int(entries)-2*connections), keys)); err != nil {
			return err
		}
		before := entries
		if entries, err = f.entries(); err == nil && entries <= before {
			return fmt.Errorf("it stopped growing at %.0f of %d entries", entries, keys)
		}
	}
	return fmt.Errorf("it has %.0f of %d entries after %d seconds", entries, keys, fillSeconds)
}

// addNew requests new keys until the cache has stopped growing. It calls measured after each load.
func (f filler) addNew(measured func(entries float64, s sample, last bool) error) error {
	entries, err := f.entries()
	if err != nil {
		return err
	}
	position := 0
	for second := 1; second <= fillSeconds; second++ {
		s, err := f.load(keyAt(position, fillKeys))
		if err != nil {
			return err
		}
		// The requests in flight are not among those that were counted.
		position += s.requests + connections
		before := entries
		if entries, err = f.entries(); err != nil {
			return err
		}
		last := stopped(before, entries, s.requests) || second == fillSeconds
		if err := measured(entries, s, last); err != nil || last {
			return err
		}
	}
	return nil
}

// fill measures while the URL cache grows to a million entries, and after that, when each new entry
// evicts an old one.
func (b *bench) fill() error {
	fmt.Print("## Filling the cache\n\nalways another key, room for a million entries, " +
		"measured every second\n\n")
	p, err := b.startProxy("fill", "cache: {urls: 1000000}\n", "")
	if err != nil {
		return err
	}
	fmt.Println("| entries after | requests/s | p99 | resident |\n|---|---|---|---|")
	const step = 200_000 // entries between two rows
	next := 0.0
	err = b.newFiller(p, fillKeys).addNew(func(entries float64, s sample, last bool) error {
		resident, err := p.residentBytes()
		if err != nil || entries < next && !last {
			return err
		}
		next += step
		fmt.Printf("| %.0f | %.0f | %v | %d MB |\n", entries, s.rate, s.p99, resident>>20)
		return nil
	})
	fmt.Println()
	return err
}
