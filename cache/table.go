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

// ID names what a [Table] keeps: a hash of 128 bits whose seeds nobody outside knows, so that nobody can make two alike.
type ID [2]uint64

// Table is an [LRU] for many small values without pointers. An entry is a cell of an array that is made once: the garbage
// collector has nothing to follow, however many there are, nothing is allocated for a new one, and a look-up costs two lines of
// the processor's cache. For that, the order of use is kept less strictly: the entry that makes room for a new one is the least
// recently used of a few, not of all. It is safe for concurrent use.
type Table[V Perishable] struct {
	shards []tableShard[V] // a power of two

	capacity, expired, purged atomic.Uint64
}

// fewCells is how many cells are compared to find one to give up: as many entries as that leave in their strict order.
const fewCells = 5

// tableShard is a chained hash table. Cells have numbers; 0 is none.
type tableShard[V Perishable] struct {
	mu     sync.Mutex
	clock  uint32    // counts the uses
	heads  []uint32  // the first cell of each chain; a power of two
	cells  []cell[V] // the first is not used
	filled int       // cells up to here have been in use
	free   uint32    // the first of those that are no more, chained
	hand   int       // turns round the cells, one for each that is given up
	count  int
}

type cell[V Perishable] struct {
	id    ID
	value V
	next  uint32 // of its chain
	used  uint32 // when it was used last, by the shard's clock
}

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
		c.used = s.tick()
		return c.value, true
	}
	s.remove(n)
	t.expired.Add(1)
	return value, false
}

// Peek is Get for those who only look: it leaves the order as it is, and drops nothing.
func (t *Table[V]) Peek(id ID, now time.Time) (value V, ok bool) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(id); n != 0 && now.Before(s.cells[n].value.Deadline()) {
		return s.cells[n].value, true
	}
	return value, false
}

// Add keeps a value in place of the ID's old one, and drops one that was not used for long where there is no room.
func (t *Table[V]) Add(id ID, value V) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(id); n != 0 {
		s.cells[n].value, s.cells[n].used = value, s.tick()
		return
	}
	if s.count == s.room() {
		s.remove(s.oldest())
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
func (s *tableShard[V]) make(room int) {
	chains := 1
	for chains < room {
		chains *= 2
	}
	s.heads, s.cells = make([]uint32, chains), make([]cell[V], room+1)
	s.filled, s.free, s.hand, s.count = 0, 0, 0, 0
}

// room is for how many entries there is room.
func (s *tableShard[V]) room() int { return len(s.cells) - 1 }

func (s *tableShard[V]) tick() uint32 {
	s.clock++
	return s.clock
}

// age is for how many uses of the shard a cell was not used. It goes on when the clock turns over.
func (s *tableShard[V]) age(c *cell[V]) uint32 { return s.clock - c.used }

func (s *tableShard[V]) resize(room int) (dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if room == s.room() {
		return 0
	}
	var kept []cell[V]
	for _, n := range s.heads {
		for ; n != 0; n = s.cells[n].next {
			kept = append(kept, s.cells[n])
		}
	}
	slices.SortFunc(kept, func(a, b cell[V]) int { return cmp.Compare(s.age(&b), s.age(&a)) })
	if over := len(kept) - room; over > 0 {
		kept, dropped = kept[over:], uint64(over)
	}
	s.make(room)
	for i := range kept {
		s.insert(kept[i].id, kept[i].value)
	}
	return dropped
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

// oldest is the cell that was not used for longest, of a few that are far apart: neighbours tend to be of one age. There is an entry in
// each of the shard's cells.
func (s *tableShard[V]) oldest() (n uint32) {
	room := s.room()
	few := min(fewCells, room)
	for i := range few {
		at := uint32((s.hand+i*(room/few))%room) + 1
		if n == 0 || s.age(&s.cells[at]) > s.age(&s.cells[n]) {
			n = at
		}
	}
	s.hand = (s.hand + 1) % room
	return n
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
		s.filled++
		n = uint32(s.filled)
	}
	head := s.head(id)
	s.cells[n] = cell[V]{id: id, value: value, next: *head, used: s.tick()}
	*head = n
	s.count++
}

// remove gives a cell back.
func (s *tableShard[V]) remove(n uint32) {
	at := s.head(s.cells[n].id)
	for *at != n {
		at = &s.cells[*at].next
	}
	*at = s.cells[n].next
	s.cells[n] = cell[V]{next: s.free} // a signature that is of no more use is not kept
	s.free = n
	s.count--
}
