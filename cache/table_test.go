package cache

import (
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// mark is a value without pointers: what it is, and the second after the start in which it dies.
type mark struct{ what, dies uint32 }

func (m mark) Deadline() time.Time { return start.Add(time.Duration(m.dies) * time.Second) }

const anHour = 3600

var seed = maphash.MakeSeed()

func id(n int) ID {
	return ID{maphash.Comparable(seed, n), maphash.Comparable(seed, -1-n)}
}

func newTable(t testing.TB, entries int) *Table[mark] {
	t.Helper()
	table, err := NewTable[mark](entries)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestTableDeadlineIsAbsolute(t *testing.T) {
	table := newTable(t, 10)
	table.Add(id(1), mark{dies: 60})
	for s := range 60 {
		if _, ok := table.Get(id(1), start.Add(time.Duration(s)*time.Second)); !ok {
			t.Fatalf("gone after %d s of 60", s)
		}
	}
	if _, ok := table.Get(id(1), start.Add(time.Minute)); ok {
		t.Error("alive at its deadline")
	}
	if got := table.Evictions(); got != (Evictions{Expired: 1}) || table.Len() != 0 {
		t.Errorf("%+v, %d entries", got, table.Len())
	}
}

// Who only looks changes neither the order nor what is there.
func TestTablePeek(t *testing.T) {
	table := newTable(t, 2)
	table.Add(id(1), mark{what: 7, dies: 60})
	table.Add(id(2), mark{dies: anHour})
	if m, ok := table.Peek(id(1), start); !ok || m.what != 7 {
		t.Error("it is not seen")
	}
	if _, ok := table.Peek(id(1), start.Add(time.Minute)); ok || table.Len() != 2 {
		t.Errorf("an expired value is seen, or was dropped: %d", table.Len())
	}
	table.Add(id(3), mark{dies: anHour})
	if _, ok := table.Peek(id(1), start); ok {
		t.Error("the look made it the most recently used")
	}
}

func TestTableBoundHoldsForEverySize(t *testing.T) {
	for _, entries := range []int{1, 2, 511, 1023, 1024, 1025, 5000, 65536} {
		table := newTable(t, entries)
		for i := range 3 * entries {
			table.Add(id(i), mark{dies: anHour})
		}
		if n := table.Len(); n > entries || n < entries*9/10 {
			t.Errorf("%d entries where %d may be", n, entries)
		}
		if got := int(table.Evictions().Capacity) + table.Len(); got != 3*entries {
			t.Errorf("evicted and kept: %d of %d", got, 3*entries)
		}
	}
	for _, entries := range []int{-1, 0, 1 << 31} {
		if _, err := NewTable[mark](entries); err == nil {
			t.Errorf("a table for %d entries was made", entries)
		}
	}
}

// A set of keys that fits is kept whole: no two keys drive each other out while there is room.
func TestTableKeepsWhatFits(t *testing.T) {
	table := newTable(t, 80_000)
	for round := range 2 {
		for i := range 64_000 {
			v, ok := table.Get(id(i), start)
			if ok != (round == 1) || ok && v.what != uint32(i) {
				t.Fatalf("round %d: %d is %+v, %v", round, i, v, ok)
			}
			if !ok {
				table.Add(id(i), mark{what: uint32(i), dies: anHour})
			}
		}
	}
	if table.Len() != 64_000 || table.Evictions() != (Evictions{}) {
		t.Errorf("%d entries, %+v", table.Len(), table.Evictions())
	}
}

func TestTablePurgeAndReuse(t *testing.T) {
	table := newTable(t, 5000)
	add := func(from int) {
		for i := from; i < from+2000; i++ {
			table.Add(id(i), mark{what: uint32(i % 2), dies: anHour})
		}
	}
	add(0)
	if n := table.Purge(func(_ ID, m mark) bool { return m.what == 1 }); n != 1000 || table.Len() != 1000 {
		t.Errorf("%d purged, %d left, want 1000 and 1000", n, table.Len())
	}
	for i := range 2000 {
		if m, ok := table.Get(id(i), start); ok != (i%2 == 0) || m.what != 0 {
			t.Fatalf("%d: %+v, %v", i, m, ok)
		}
	}
	add(2000) // into the cells that are free again, and others
	if n := table.Len(); n != 3000 || table.Evictions() != (Evictions{Purged: 1000}) {
		t.Errorf("%d entries, %+v", n, table.Evictions())
	}
	if n := table.Purge(func(ID, mark) bool { return true }); n != 3000 || table.Len() != 0 {
		t.Errorf("%d purged, %d left", n, table.Len())
	}
}

func TestTableResize(t *testing.T) {
	table := newTable(t, 20_000)
	for n := range 20_000 {
		table.Add(id(n), mark{what: uint32(n), dies: anHour})
	}
	full := table.Len()
	table.Resize(5_000)
	kept := table.Len()
	if kept > 5_000 || kept < 4_900 || int(table.Evictions().Capacity) != 20_000-kept || full < kept {
		t.Errorf("%d entries of %d where there is room for 5,000; %+v", kept, full, table.Evictions())
	}
	// The newest stay, in every shard.
	for n := 16_000; n < 20_000; n++ {
		if m, ok := table.Get(id(n), start); !ok || m.what != uint32(n) {
			t.Fatalf("%d is %+v, %v", n, m, ok)
		}
	}
	table.Resize(40_000)
	if table.Len() != kept {
		t.Errorf("%d entries after it grew, %d before", table.Len(), kept)
	}
	for n := range 40_000 {
		table.Add(id(n), mark{dies: anHour})
	}
	if n := table.Len(); n < 38_000 || n > 40_000 {
		t.Errorf("%d entries where there is room for 40,000", n)
	}
	table.Resize(1)
	if n := table.Len(); n > 8*runtime.GOMAXPROCS(0) {
		t.Errorf("%d entries: more than one a shard", n)
	}
}

// model is a table as simple as it can be: the newest entry is the last.
type model struct {
	size    int
	entries []modelEntry
	left    Evictions
}

type modelEntry struct {
	id    ID
	value mark
}

func (m *model) take(id ID) (e modelEntry, ok bool) {
	i := slices.IndexFunc(m.entries, func(e modelEntry) bool { return e.id == id })
	if i < 0 {
		return e, false
	}
	e = m.entries[i]
	m.entries = slices.Delete(m.entries, i, i+1)
	return e, true
}

func (m *model) get(id ID, now time.Time) (mark, bool) {
	e, ok := m.take(id)
	if !ok {
		return mark{}, false
	}
	if !now.Before(e.value.Deadline()) {
		m.left.Expired++
		return mark{}, false
	}
	m.entries = append(m.entries, e)
	return e.value, true
}

func (m *model) add(id ID, value mark) {
	m.take(id)
	m.entries = append(m.entries, modelEntry{id, value})
	m.fit()
}

func (m *model) fit() {
	for len(m.entries) > m.size {
		m.entries = m.entries[1:]
		m.left.Capacity++
	}
}

func (m *model) purge(pick func(ID, mark) bool) int {
	before := len(m.entries)
	m.entries = slices.DeleteFunc(m.entries, func(e modelEntry) bool { return pick(e.id, e.value) })
	m.left.Purged += uint64(before - len(m.entries))
	return before - len(m.entries)
}

// Whatever is done to a table of few entries, it is as if it had been done to the model.
func TestTableIsAsTheModel(t *testing.T) {
	for run := range 40 {
		random := rand.New(rand.NewPCG(uint64(run), 7))
		size := 1 + random.IntN(fewCells)
		table, want, now := newTable(t, size), &model{size: size}, start
		for step := range 3000 {
			n := random.IntN(3 * fewCells)
			switch what := random.IntN(1000); {
			case what < 500:
				got, ok := table.Get(id(n), now)
				if value, there := want.get(id(n), now); got != value || ok != there {
					t.Fatalf("run %d, step %d: %+v, %v, want %+v, %v", run, step, got, ok, value, there)
				}
			case what < 980:
				value := mark{what: uint32(step), dies: uint32(now.Sub(start)/time.Second) + uint32(random.IntN(50))}
				table.Add(id(n), value)
				want.add(id(n), value)
			case what < 990:
				pick := func(_ ID, m mark) bool { return m.what%7 == uint32(n%7) }
				if got, n := table.Purge(pick), want.purge(pick); got != n {
					t.Fatalf("run %d, step %d: %d purged, want %d", run, step, got, n)
				}
			default:
				want.size = 1 + random.IntN(fewCells)
				want.fit()
				table.Resize(want.size)
			}
			if random.IntN(20) == 0 {
				now = now.Add(time.Second)
			}
			if table.Len() != len(want.entries) || table.Evictions() != want.left {
				t.Fatalf("run %d, step %d: %d entries, %+v; want %d, %+v", run, step, table.Len(), table.Evictions(), len(want.entries), want.left)
			}
		}
	}
}

// A large table does not leave in strict order, but what it keeps is right, and all of it is accounted for.
func TestLargeTable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table, added, news := newTable(t, 300), map[int]uint32{}, 0
	for step := range 50_000 {
		n := random.IntN(900)
		got, ok := table.Get(id(n), start)
		if ok && got.what != added[n] {
			t.Fatalf("step %d: %d is %d, want %d", step, n, got.what, added[n])
		}
		if random.IntN(3) == 0 {
			if !ok {
				news++
			}
			added[n] = uint32(step)
			table.Add(id(n), mark{what: uint32(step), dies: anHour})
			if got, ok := table.Get(id(n), start); !ok || got.what != uint32(step) {
				t.Fatalf("step %d: %d is not there though it was just added", step, n)
			}
		}
		if left := table.Evictions(); table.Len() > 300 || table.Len()+int(left.Capacity) != news {
			t.Fatalf("step %d: %d entries and %+v, of %d", step, table.Len(), left, news)
		}
	}
}

// What is asked for again and again stays, whatever comes and goes meanwhile; without such, the first to come is the first to go.
func TestTableKeepsWhatIsInUse(t *testing.T) {
	table := newTable(t, 500)
	const hot = 100
	for n := range hot {
		table.Add(id(n), mark{dies: anHour})
	}
	for n := hot; n < 20_000; n++ {
		table.Add(id(n), mark{dies: anHour})
		if _, ok := table.Get(id(n%hot), start); !ok {
			t.Fatalf("%d is gone, which was asked for %d entries ago", n%hot, hot)
		}
	}
	table = newTable(t, 500)
	for n := range 5_000 {
		table.Add(id(n), mark{dies: anHour})
	}
	for n := range 5_000 {
		if _, ok := table.Get(id(n), start); ok != (n >= 4_500) {
			t.Fatalf("%d: %v", n, ok)
		}
	}
}

// The order of use survives the clock's turning over.
func TestTableClockTurnsOver(t *testing.T) {
	table := newTable(t, 3)
	table.shards[0].clock = 1<<32 - 3
	for n := range 3 {
		table.Add(id(n), mark{dies: anHour}) // the last by a clock of 0
	}
	table.Get(id(0), start)
	table.Add(id(3), mark{dies: anHour})
	for n, want := range []bool{true, false, true, true} {
		if _, ok := table.Get(id(n), start); ok != want {
			t.Errorf("%d: %v", n, ok)
		}
	}
}

func TestTableConcurrentUse(t *testing.T) {
	table := newTable(t, 2048)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 5000 {
				n := (i * (g + 1)) % 4096
				if m, ok := table.Get(id(n), start); ok && m.what != uint32(n) {
					t.Errorf("%d got what %d is", n, m.what)
				} else if !ok {
					table.Add(id(n), mark{what: uint32(n), dies: anHour})
				}
				switch {
				case i%1000 == 999:
					table.Purge(func(_ ID, m mark) bool { return m.what == uint32(n) })
				case i%1500 == 1499:
					table.Resize(1024 + 512*(i%3))
				}
			}
		})
	}
	wg.Wait()
	if n := table.Len(); n > 2048 {
		t.Errorf("%d entries", n)
	}
}

func TestTableDoesNotAllocate(t *testing.T) {
	table := newTable(t, 5000)
	n := 0
	if allocs := testing.AllocsPerRun(10_000, func() {
		table.Add(id(n), mark{dies: anHour})
		table.Get(id(n/2), start)
		n++
	}); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkTable(b *testing.B) {
	for _, entries := range []int{10_000, 65_536, 1_000_000} {
		b.Run(strconv.Itoa(entries), func(b *testing.B) {
			// Not too small for all of the keys, however they are spread over the shards.
			table := newTable(b, entries*5/4)
			ids := make([]ID, entries)
			for i := range ids {
				ids[i] = id(i)
				table.Add(ids[i], mark{dies: anHour})
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := 0
				for pb.Next() {
					i = (i*1664525 + 1013904223) & 0x7fffffff
					table.Get(ids[i%entries], start)
				}
			})
		})
	}
}
