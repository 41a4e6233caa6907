package cache

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ID is the key of a [Table]: a 128-bit hash with secret seeds, so that clients cannot construct
// collisions.
type ID [2]uint64

// Table is a cache like [LRU] for many small values without pointers. It is safe for concurrent
// use.
//
// Entries are cells of one array. The garbage collector has no pointers to follow, adding an entry
// does not allocate, and a lookup touches two cache lines of the processor. In return the order of
// use is approximate: the victim is the least recently used of a sample, not of all entries.
type Table[V Perishable] struct {
	shards []tableShard[V] // a power of two of them

	capacity, expired, purged atomic.Uint64
}

// evictionSample is the number of cells compared when choosing a victim. A shard of at most that
// many entries evicts in strict order.
const evictionSample = 5

type tableShard[V Perishable] struct {
	mu sync.Mutex // guards hashTable
	hashTable[V]
}

// hashTable is a hash table with chaining. It is not safe for concurrent use. Cells are referred to
// by their index; 0 means none.
type hashTable[V Perishable] struct {
	clock  uint32    // the number of accesses
	heads  []uint32  // the first cell of each chain; a power of two of them
	cells  []cell[V] // cells[0] is unused
	filled int       // the number of cells that have ever been used
	free   uint32    // the first cell of the chain of free cells among them
	hand   int       // where the next sample begins
	count  int       // the number of entries
}

type cell[V Perishable] struct {
	id    ID
	value V
	next  uint32 // the next cell of the chain
	used  uint32 // the shard's clock at the last access
}

// NewTable returns a table of at most entries values. entries must be at least 1. Its memory
// becomes resident as it fills.
func NewTable[V Perishable](entries int) (*Table[V], error) {
	if entries < 1 || entries > math.MaxInt32 {
		return nil, fmt.Errorf("cache: %d entries, want 1 to %d", entries, math.MaxInt32)
	}
	t := &Table[V]{shards: make([]tableShard[V], shardsFor(entries))}
	for i := range t.shards {
		t.shards[i].reset(shardEntries(entries, len(t.shards), i))
	}
	return t, nil
}

// Resize changes the number of entries, which must be at least 1. If there are too many, the least
// recently used are evicted. The number of shards does not change; each keeps room for at least one
// entry.
func (t *Table[V]) Resize(entries int) {
	for i := range t.shards {
		t.capacity.Add(t.shards[i].resize(max(1, shardEntries(entries, len(t.shards), i))))
	}
}

func (t *Table[V]) shard(id ID) *tableShard[V] {
	return &t.shards[id[0]&uint64(len(t.shards)-1)]
}

// Get returns the value of an ID and makes it the most recently used. A value that has expired at
// the instant now is evicted instead.
func (t *Table[V]) Get(id ID, now time.Time) (value V, ok bool) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.find(id)
	if n == 0 {
		return value, false
	}
	if c := &s.cells[n]; now.Before(c.value.Deadline()) {
		c.used = s.tick()
		return c.value, true
	}
	s.remove(n)
	t.expired.Add(1)
	return value, false
}

// Peek returns the value of an ID like Get, but neither changes the order nor evicts anything.
func (t *Table[V]) Peek(id ID, now time.Time) (value V, ok bool) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(id); n != 0 && now.Before(s.cells[n].value.Deadline()) {
		return s.cells[n].value, true
	}
	return value, false
}

// Add stores a value, and replaces the ID's old one. If there is no room, it evicts a value that
// has not been used for long.
func (t *Table[V]) Add(id ID, value V) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(id); n != 0 {
		s.cells[n].value, s.cells[n].used = value, s.tick()
		return
	}
	if s.count == s.entries() {
		s.remove(s.victim())
		t.capacity.Add(1)
	}
	s.insert(id, value)
}

// Purge removes the entries for which pick returns true, and returns how many it removed.
func (t *Table[V]) Purge(pick func(ID, V) bool) (dropped int) {
	for i := range t.shards {
		dropped += t.shards[i].purge(pick)
	}
	t.purged.Add(uint64(dropped))
	return dropped
}

// Len returns the number of entries. Expired entries count until Get finds them.
func (t *Table[V]) Len() (n int) {
	for i := range t.shards {
		t.shards[i].mu.Lock()
		n += t.shards[i].count
		t.shards[i].mu.Unlock()
	}
	return n
}

// Evictions returns the number of evicted entries by reason.
func (t *Table[V]) Evictions() Evictions {
	return Evictions{
		Capacity: t.capacity.Load(),
		Expired:  t.expired.Load(),
		Purged:   t.purged.Load(),
	}
}

// reset empties the table and gives it room for a number of entries.
func (h *hashTable[V]) reset(entries int) {
	chains := 1
	for chains < entries {
		chains *= 2
	}
	h.heads, h.cells = make([]uint32, chains), make([]cell[V], entries+1)
	h.filled, h.free, h.hand, h.count = 0, 0, 0, 0
}

// entries returns the number of entries that the table has room for.
func (h *hashTable[V]) entries() int { return len(h.cells) - 1 }

// tick counts an access.
func (h *hashTable[V]) tick() uint32 {
	h.clock++
	return h.clock
}

// age returns the number of accesses since c was last used. It is correct across wraparound.
func (h *hashTable[V]) age(c *cell[V]) uint32 { return h.clock - c.used }

func (s *tableShard[V]) resize(entries int) (evicted uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if entries == s.entries() {
		return 0
	}
	var kept []cell[V]
	for _, n := range s.heads {
		for ; n != 0; n = s.cells[n].next {
			kept = append(kept, s.cells[n])
		}
	}
	slices.SortFunc(kept, func(a, b cell[V]) int { return cmp.Compare(s.age(&b), s.age(&a)) })
	if over := len(kept) - entries; over > 0 {
		kept, evicted = kept[over:], uint64(over)
	}
	s.reset(entries)
	for i := range kept {
		s.insert(kept[i].id, kept[i].value)
	}
	return evicted
}

func (s *tableShard[V]) purge(pick func(ID, V) bool) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.heads {
		for n != 0 {
			c, next := &s.cells[n], s.cells[n].next
			if pick(c.id, c.value) {
				s.remove(n)
				dropped++
			}
			n = next
		}
	}
	return dropped
}

// victim returns the least recently used cell of a sample. The cells of the sample are far apart,
// because neighbours tend to have the same age. The table must be full.
func (h *hashTable[V]) victim() (n uint32) {
	entries := h.entries()
	sample := min(evictionSample, entries)
	for i := range sample {
		at := uint32((h.hand+i*(entries/sample))%entries) + 1
		if n == 0 || h.age(&h.cells[at]) > h.age(&h.cells[n]) {
			n = at
		}
	}
	h.hand = (h.hand + 1) % entries
	return n
}

// head returns the head of an ID's chain. The other half of the ID chose the shard.
func (h *hashTable[V]) head(id ID) *uint32 {
	return &h.heads[id[1]&uint64(len(h.heads)-1)]
}

// find returns the cell of an ID, or 0.
func (h *hashTable[V]) find(id ID) uint32 {
	n := *h.head(id)
	for n != 0 && h.cells[n].id != id {
		n = h.cells[n].next
	}
	return n
}

// insert adds an entry for a new ID. The table must not be full.
func (h *hashTable[V]) insert(id ID, value V) {
	n := h.free
	if n != 0 {
		h.free = h.cells[n].next
	} else {
		h.filled++
		n = uint32(h.filled)
	}
	head := h.head(id)
	h.cells[n] = cell[V]{id: id, value: value, next: *head, used: h.tick()}
	*head = n
	h.count++
}

// remove frees a cell.
func (h *hashTable[V]) remove(n uint32) {
	at := h.head(h.cells[n].id)
	for *at != n {
		at = &h.cells[*at].next
	}
	*at = h.cells[n].next
	h.cells[n] = cell[V]{next: h.free} // the value is cleared: it may be a secret
	h.free = n
	h.count--
}
