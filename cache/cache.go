// Package cache is an LRU of things that die at a known instant.
//
// A deadline is absolute: reading an entry never moves it, so the hottest key leaves as punctually as the coldest. The
// bound is on entries, and with [NewSized] on bytes too. It is one bound for all callers together.
package cache

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Perishable is what can be kept: something that knows when it dies.
type Perishable interface {
	// Deadline is the instant from which on the value is of no use.
	Deadline() time.Time
}

// LRU keeps the most recently used values. It is safe for concurrent use: its keys are spread over shards, each a
// simplelru under a lock of its own, since one lock for all gains nothing from a second core.
type LRU[K comparable, V Perishable] struct {
	seed   maphash.Seed
	shards []shard[K, V] // a power of two

	size     func(K, V) int // nil means that bytes are not bounded
	maxBytes int            // of each shard

	capacity, expired, purged atomic.Uint64
}

type shard[K comparable, V Perishable] struct {
	mu    sync.Mutex
	lru   *simplelru.LRU[K, V]
	bytes int      // that the entries take, where they are bounded
	_     [40]byte // neighbouring locks do not share a cache line
}

// Evictions counts the entries that left, by reason.
type Evictions struct {
	Capacity uint64 // the least recently used, for a new one's sake
	Expired  uint64 // found past the deadline
	Purged   uint64 // told to go
}

// minShard is how many entries a shard holds at least: with few, each shard's own order would be felt as unfair.
const minShard = 512

// shardsFor is how many shards there are for a number of entries: a power of two.
func shardsFor(entries int) int {
	n := 1
	for n < 8*runtime.GOMAXPROCS(0) && entries/(2*n) >= minShard {
		n *= 2
	}
	return n
}

// portion is how many of the entries are the i'th shard's.
func portion(entries, shards, i int) int {
	if i < entries%shards {
		return entries/shards + 1
	}
	return entries / shards
}

// New makes an LRU of at most entries values, which must be 1 or more. The function left, if not nil, is told of each entry
// that leaves, though not of a value that another replaced; a lock is held meanwhile, so it must not call back.
func New[K comparable, V Perishable](entries int, left func(K, V)) (*LRU[K, V], error) {
	return build(entries, left, 0, nil)
}

// NewSized makes an LRU of at most entries values that together take at most bytes. The function size returns what an entry
// takes, and must return the same each time. An entry that is too large for its shard is not kept.
func NewSized[K comparable, V Perishable](entries, bytes int, size func(K, V) int) (*LRU[K, V], error) {
	return build(entries, nil, bytes, size)
}

func build[K comparable, V Perishable](entries int, left func(K, V), bytes int, size func(K, V) int) (*LRU[K, V], error) {
	if entries < 1 {
		return nil, fmt.Errorf("cache: room for %d entries: it must be 1 or more", entries)
	}
	c := &LRU[K, V]{seed: maphash.MakeSeed(), shards: make([]shard[K, V], shardsFor(entries)), size: size}
	c.maxBytes = bytes / len(c.shards)
	for i := range c.shards {
		s := &c.shards[i]
		if size != nil {
			left = func(key K, value V) { s.bytes -= size(key, value) }
		}
		lru, err := simplelru.NewLRU[K, V](portion(entries, len(c.shards), i), left)
		if err != nil {
			return nil, err
		}
		s.lru = lru
	}
	return c, nil
}

// Resize makes room for another number of entries, 1 or more; the least recently used leave where there are too many. How many
// shards there are does not change, and each holds one entry at least.
func (c *LRU[K, V]) Resize(entries int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		c.capacity.Add(uint64(s.lru.Resize(max(1, portion(entries, len(c.shards), i)))))
		s.mu.Unlock()
	}
}

func (c *LRU[K, V]) shard(key K) *shard[K, V] {
	return &c.shards[maphash.Comparable(c.seed, key)&uint64(len(c.shards)-1)]
}

// Get finds a value that lives at the instant now, and makes it the most recently used. It does not keep the key.
func (c *LRU[K, V]) Get(key K, now time.Time) (value V, ok bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok = s.lru.Get(key)
	if ok && !now.Before(value.Deadline()) {
		s.lru.Remove(key)
		c.expired.Add(1)
		var none V
		return none, false
	}
	return value, ok
}

// Peek is Get for those who only look: it leaves the order as it is, and drops nothing.
func (c *LRU[K, V]) Peek(key K, now time.Time) (value V, ok bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, ok = s.lru.Peek(key); ok && !now.Before(value.Deadline()) {
		var none V
		return none, false
	}
	return value, ok
}

// Add keeps a value in place of the key's old one, and evicts the least recently used values where there is no room.
func (c *LRU[K, V]) Add(key K, value V) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.size != nil {
		if old, ok := s.lru.Peek(key); ok { // which simplelru replaces without calling back
			s.bytes -= c.size(key, old)
		}
		s.bytes += c.size(key, value)
	}
	if s.lru.Add(key, value) {
		c.capacity.Add(1)
	}
	for c.size != nil && s.bytes > c.maxBytes && s.lru.Len() > 0 {
		s.lru.RemoveOldest()
		c.capacity.Add(1)
	}
}

// Purge drops what the function picks, and says how many that were.
func (c *LRU[K, V]) Purge(pick func(K, V) bool) (dropped int) {
	for i := range c.shards {
		dropped += c.shards[i].purge(pick)
	}
	c.purged.Add(uint64(dropped))
	return dropped
}

func (s *shard[K, V]) purge(pick func(K, V) bool) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range s.lru.Keys() {
		if value, ok := s.lru.Peek(key); ok && pick(key, value) {
			s.lru.Remove(key)
			dropped++
		}
	}
	return dropped
}

// Remove drops a key's value, and says whether there was one.
func (c *LRU[K, V]) Remove(key K) bool {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lru.Remove(key) {
		return false
	}
	c.purged.Add(1)
	return true
}

// Len is the number of entries, those included that are past their deadline and were not looked up since.
func (c *LRU[K, V]) Len() (n int) {
	for i := range c.shards {
		c.shards[i].mu.Lock()
		n += c.shards[i].lru.Len()
		c.shards[i].mu.Unlock()
	}
	return n
}

// Evictions counts the entries that left so far.
func (c *LRU[K, V]) Evictions() Evictions {
	return Evictions{Capacity: c.capacity.Load(), Expired: c.expired.Load(), Purged: c.purged.Load()}
}
