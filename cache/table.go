package cache

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ID names what a [Table] keeps: a hash of 128 bits whose seeds nobody outside knows, so that nobody can make two alike.
type ID [2]uint64

// Table is an [LRU] for many small values without pointers. An entry is a cell of an array that is made once: the garbage
// collector has nothing to follow, however many there are, nothing is allocated for a new one, and a look-up finds it in two or three
// lines of the processor's cache. It is safe for concurrent use.
type Table[V Perishable] struct {
	shards []tableShard[V] // a power of two

	capacity, expired, purged atomic.Uint64
}

// tableShard is a chained hash table, and a ring of its cells in the order of their use. Cells have numbers; 0 is none.
type tableShard[V Perishable] struct {
	mu    sync.Mutex
	heads []uint32  // the first cell of each chain; a power of two
	cells []cell[V] // the first is not used
	ring  []link    // of each cell; that of 0 stands between the newest and the oldest
	used  uint32    // cells up to here have been in use
	free  uint32    // the first of those that are no more, chained
	count int
	_     [16]byte // neighbouring locks do not share a cache line
}

type cell[V Perishable] struct {
	id    ID
	value V
	next  uint32 // of its chain
}

type link struct{ newer, older uint32 }

// NewTable makes a table of at most entries values, which must be 1 or more. Memory that no entry has needed yet is not resident.
func NewTable[V Perishable](entries int) (*Table[V], error) {
	if entries < 1 || entries > math.MaxInt32 {
		return nil, fmt.Errorf("cache: room for %d entries: it must be 1 to %d", entries, math.MaxInt32)
	}
	t := &Table[V]{shards: make([]tableShard[V], shardsFor(entries))}
	for i := range t.shards {
		t.shards[i].make(portion(entries, len(t.shards), i))
	}
	return t, nil
}

// Resize makes room for another number of entries, 1 or more; the least recently used leave where there are too many. How many
// shards there are does not change, and each holds one entry at least.
func (t *Table[V]) Resize(entries int) {
	for i := range t.shards {
		t.capacity.Add(t.shards[i].resize(max(1, portion(entries, len(t.shards), i))))
	}
}

func (t *Table[V]) shard(id ID) *tableShard[V] { return &t.shards[id[0]&uint64(len(t.shards)-1)] }

// Get finds a value that lives at the instant now, and makes it the most recently used.
func (t *Table[V]) Get(id ID, now time.Time) (value V, ok bool) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.find(id)
	if n == 0 {
		return value, false
	}
	if c := &s.cells[n]; now.Before(c.value.Deadline()) {
		s.unlink(n)
		s.linkNewest(n)
		return c.value, true
	}
	s.remove(n)
	t.expired.Add(1)
	return value, false
}

// Add keeps a value in place of the ID's old one, and drops the least recently used one where there is no room.
func (t *Table[V]) Add(id ID, value V) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(id); n != 0 {
		s.cells[n].value = value
		s.unlink(n)
		s.linkNewest(n)
		return
	}
	if s.count == len(s.cells)-1 {
		s.remove(s.ring[0].newer)
		t.capacity.Add(1)
	}
	s.insert(id, value)
}

// Purge drops what the function picks, and says how many that were.
func (t *Table[V]) Purge(pick func(ID, V) bool) (dropped int) {
	for i := range t.shards {
		dropped += t.shards[i].purge(pick)
	}
	t.purged.Add(uint64(dropped))
	return dropped
}

// Len is the number of entries, those included that are past their deadline and were not looked up since.
func (t *Table[V]) Len() (n int) {
	for i := range t.shards {
		t.shards[i].mu.Lock()
		n += t.shards[i].count
		t.shards[i].mu.Unlock()
	}
	return n
}

// Evictions counts the entries that left so far.
func (t *Table[V]) Evictions() Evictions {
	return Evictions{Capacity: t.capacity.Load(), Expired: t.expired.Load(), Purged: t.purged.Load()}
}

// make makes an empty shard.
func (s *tableShard[V]) make(size int) {
	chains := 1
	for chains < size {
		chains *= 2
	}
	s.heads, s.cells, s.ring = make([]uint32, chains), make([]cell[V], size+1), make([]link, size+1)
	s.used, s.free, s.count = 0, 0, 0
}

func (s *tableShard[V]) resize(size int) (dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size == len(s.cells)-1 {
		return 0
	}
	for ; s.count > size; dropped++ {
		s.remove(s.ring[0].newer)
	}
	cells, ring := s.cells, s.ring
	s.make(size)
	for n := ring[0].newer; n != 0; n = ring[n].newer {
		s.insert(cells[n].id, cells[n].value)
	}
	return dropped
}

func (s *tableShard[V]) purge(pick func(ID, V) bool) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := s.ring[0].newer; n != 0; {
		c, newer := &s.cells[n], s.ring[n].newer
		if pick(c.id, c.value) {
			s.remove(n)
			dropped++
		}
		n = newer
	}
	return dropped
}

// head is where an ID's chain begins. The shard was chosen by the other half of the ID.
func (s *tableShard[V]) head(id ID) *uint32 { return &s.heads[id[1]&uint64(len(s.heads)-1)] }

// find is an ID's cell, or 0.
func (s *tableShard[V]) find(id ID) uint32 {
	n := *s.head(id)
	for n != 0 && s.cells[n].id != id {
		n = s.cells[n].next
	}
	return n
}

// insert keeps a new ID's value, for which there must be room.
func (s *tableShard[V]) insert(id ID, value V) {
	n := s.free
	if n != 0 {
		s.free = s.cells[n].next
	} else {
		s.used++
		n = s.used
	}
	head := s.head(id)
	s.cells[n] = cell[V]{id: id, value: value, next: *head}
	*head = n
	s.linkNewest(n)
	s.count++
}

// remove gives a cell back.
func (s *tableShard[V]) remove(n uint32) {
	at := s.head(s.cells[n].id)
	for *at != n {
		at = &s.cells[*at].next
	}
	*at = s.cells[n].next
	s.unlink(n)
	s.cells[n] = cell[V]{next: s.free} // a signature that is of no more use is not kept
	s.free = n
	s.count--
}

func (s *tableShard[V]) unlink(n uint32) {
	l := s.ring[n]
	s.ring[l.newer].older, s.ring[l.older].newer = l.older, l.newer
}

// linkNewest makes a cell the most recently used. Beyond the newest comes 0, and beyond that the oldest.
func (s *tableShard[V]) linkNewest(n uint32) {
	newest := s.ring[0].older
	s.ring[n] = link{newer: 0, older: newest}
	s.ring[newest].newer, s.ring[0].older = n, n
}
