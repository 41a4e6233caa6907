// Package cache provides bounded caches of values with an absolute deadline.
//
// Reading an entry never moves its deadline: a hot entry expires as punctually as a cold one. When
// a cache is full, the least recently used entry makes room for a new one.
//
// [LRU] holds values of any type. [Table] holds many small values without pointers, which cost the
// garbage collector nothing.
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

// Perishable is a value with a deadline.
type Perishable interface {
	// Deadline returns the instant at which the value expires.
	Deadline() time.Time
}

// LRU is a cache that keeps the most recently used values. It is safe for concurrent use: its keys
// are spread over shards with a lock each, because a single lock would not scale beyond one core.
type LRU[K comparable, V Perishable] struct {
	seed   maphash.Seed
	shards []shard[K, V] // a power of two of them

	size     func(K, V) int // nil: bytes are not bounded
	maxBytes int            // of each shard

	capacity, expired, purged atomic.Uint64
}

type shard[K comparable, V Perishable] struct {
	mu    sync.Mutex // guards lru and bytes
	lru   *simplelru.LRU[K, V]
	bytes int      // the size of all entries, if bytes are bounded
	_     [40]byte // pads the shard, so that two locks do not share a cache line of the processor
}

// Evictions counts evicted entries by reason.
type Evictions struct {
	Capacity uint64 // the cache was full
	Expired  uint64 // Get found the entry past its deadline
	Purged   uint64 // Purge or Remove
}

// minShard is the minimum number of entries per shard. Each shard evicts its own least recently
// used entry; in small shards that would often be one in use.
const minShard = 512

// shardsFor returns the number of shards for a number of entries: a power of two.
func shardsFor(entries int) int {
	n := 1
	for n < 8*runtime.GOMAXPROCS(0) && entries/(2*n) >= minShard {
		n *= 2
	}
	return n
}

// shardEntries returns the number of entries of shard i.
func shardEntries(entries, shards, i int) int {
	if i < entries%shards {
		return entries/shards + 1
	}
	return entries / shards
}

// New returns an LRU of at most entries values. entries must be at least 1.
//
// onEvict, if not nil, is called for each entry that is evicted, purged or removed, but not for a
// value that Add replaces. A shard's lock is held during the call, so onEvict must not call the
// cache.
func New[K comparable, V Perishable](entries int, onEvict func(K, V)) (*LRU[K, V], error) {
	return build(entries, onEvict, 0, nil)
}

// NewSized returns an LRU of at most entries values that together take at most bytes. size returns
// the size of an entry. It must return the same for the same entry each time. An entry larger than
// its shard is not kept.
func NewSized[K comparable, V Perishable](
	entries, bytes int, size func(K, V) int,
) (*LRU[K, V], error) {
	return build(entries, nil, bytes, size)
}

func build[K comparable, V Perishable](
	entries int, onEvict func(K, V), bytes int, size func(K, V) int,
) (*LRU[K, V], error) {
	if entries < 1 {
		return nil, fmt.Errorf("cache: %d entries, want at least 1", entries)
	}
	c := &LRU[K, V]{
		seed:   maphash.MakeSeed(),
		shards: make([]shard[K, V], shardsFor(entries)),
		size:   size,
	}
	c.maxBytes = bytes / len(c.shards)
	for i := range c.shards {
		s := &c.shards[i]
		if size != nil {
			onEvict = func(key K, value V) { s.bytes -= size(key, value) }
		}
		lru, err := simplelru.NewLRU[K, V](shardEntries(entries, len(c.shards), i), onEvict)
		if err != nil {
			return nil, err
		}
		s.lru = lru
	}
	return c, nil
}

// Resize changes the number of entries, which must be at least 1. If there are too many, the least
// recently used are evicted. The number of shards does not change; each keeps room for at least one
// entry.
func (c *LRU[K, V]) Resize(entries int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		c.capacity.Add(uint64(s.lru.Resize(max(1, shardEntries(entries, len(c.shards), i)))))
		s.mu.Unlock()
	}
}

func (c *LRU[K, V]) shard(key K) *shard[K, V] {
	return &c.shards[maphash.Comparable(c.seed, key)&uint64(len(c.shards)-1)]
}

// Get returns the value of a key and makes it the most recently used. A value that has expired at
// the instant now is evicted instead. Get does not retain the key.
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

// Peek returns the value of a key like Get, but neither changes the order nor evicts anything.
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

// Add stores a value, and replaces the key's old one. If there is no room, it evicts the least
// recently used values.
func (c *LRU[K, V]) Add(key K, value V) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.size != nil {
		if old, ok := s.lru.Peek(key); ok { // simplelru replaces it without calling onEvict
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

// Purge removes the entries for which pick returns true, and returns how many it removed.
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

// Remove removes a key's value. It reports whether there was one.
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

// Len returns the number of entries. Expired entries count until Get finds them.
func (c *LRU[K, V]) Len() (n int) {
	for i := range c.shards {
		c.shards[i].mu.Lock()
		n += c.shards[i].lru.Len()
		c.shards[i].mu.Unlock()
	}
	return n
}

// Evictions returns the number of evicted entries by reason.
func (c *LRU[K, V]) Evictions() Evictions {
	return Evictions{
		Capacity: c.capacity.Load(),
		Expired:  c.expired.Load(),
		Purged:   c.purged.Load(),
	}
}
