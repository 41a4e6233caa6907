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

// mark is a value without pointers. It expires some seconds after start.
type mark struct{ what, expires uint32 }

func (m mark) Deadline() time.Time { return start.Add(time.Duration(m.expires) * time.Second) }

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
	table.Add(id(1), mark{expires: 60})
	for s := range 60 {
		if _, ok := table.Get(id(1), start.Add(time.Duration(s)*time.Second)); !ok {
			t.Fatalf("Get after %d s of 60 = false, want true", s)
		}
	}
	if _, ok := table.Get(id(1), start.Add(time.Minute)); ok {
		t.Error("Get at the deadline = true, want false")
	}
	if got, want := table.Evictions(), (Evictions{Expired: 1}); got != want || table.Len() != 0 {
		t.Errorf("Evictions = %+v, Len = %d, want %+v and 0", got, table.Len(), want)
	}
}

func TestTablePeekChangesNothing(t *testing.T) {
	table := newTable(t, 2)
	table.Add(id(1), mark{what: 7, expires: 60})
	table.Add(id(2), mark{expires: anHour})
	if m, ok := table.Peek(id(1), start); !ok || m.what != 7 {
		t.Errorf("Peek = %+v, %v, want 7 and true", m, ok)
	}
	if _, ok := table.Peek(id(1), start.Add(time.Minute)); ok || table.Len() != 2 {
		t.Errorf("Peek at the deadline = %v, Len = %d, want false and 2", ok, table.Len())
	}
	table.Add(id(3), mark{expires: anHour})
	if _, ok := table.Peek(id(1), start); ok {
		t.Error("Peek made the value the most recently used")
	}
}

func TestTableEntriesAreBounded(t *testing.T) {
	for _, entries := range []int{1, 2, 511, 1023, 1024, 1025, 5000, 65536} {
		table := newTable(t, entries)
		for i := range 3 * entries {
			table.Add(id(i), mark{expires: anHour})
		}
		if n := table.Len(); n > entries || n < entries*9/10 {
			t.Errorf("Len = %d, want at most %d and little less", n, entries)
		}
		if got := int(table.Evictions().Capacity) + table.Len(); got != 3*entries {
			t.Errorf("%d entries evicted or kept, want %d", got, 3*entries)
		}
	}
	for _, entries := range []int{-1, 0, 1 << 31} {
		if _, err := NewTable[mark](entries); err == nil {
			t.Errorf("NewTable(%d) = nil error", entries)
		}
	}
}

// No key is evicted while there is room.
func TestTableKeepsWhatFits(t *testing.T) {
	table := newTable(t, 80_000)
	for round := range 2 {
		for i := range 64_000 {
			v, ok := table.Get(id(i), start)
			if ok != (round == 1) || ok && v.what != uint32(i) {
				t.Fatalf("round %d: Get(%d) = %+v, %v, want %v", round, i, v, ok, round == 1)
			}
			if !ok {
				table.Add(id(i), mark{what: uint32(i), expires: anHour})
			}
		}
	}
	if table.Len() != 64_000 || table.Evictions() != (Evictions{}) {
		t.Errorf("Len = %d, Evictions = %+v, want 64000 and none", table.Len(), table.Evictions())
	}
}

func TestTablePurgeAndReuse(t *testing.T) {
	table := newTable(t, 5000)
	add := func(from int) {
		for i := from; i < from+2000; i++ {
			table.Add(id(i), mark{what: uint32(i % 2), expires: anHour})
		}
	}
	add(0)
	n := table.Purge(func(_ ID, m mark) bool { return m.what == 1 })
	if n != 1000 || table.Len() != 1000 {
		t.Errorf("Purge = %d, Len = %d, want 1000 and 1000", n, table.Len())
	}
	for i := range 2000 {
		if m, ok := table.Get(id(i), start); ok != (i%2 == 0) || m.what != 0 {
			t.Fatalf("Get(%d) = %+v, %v, want 0, %v", i, m, ok, i%2 == 0)
		}
	}
	add(2000) // into the freed cells, and others
	if n := table.Len(); n != 3000 || table.Evictions() != (Evictions{Purged: 1000}) {
		t.Errorf("Len = %d, Evictions = %+v, want 3000 and 1000 purged", n, table.Evictions())
	}
	if n := table.Purge(func(ID, mark) bool { return true }); n != 3000 || table.Len() != 0 {
		t.Errorf("Purge = %d, Len = %d, want 3000 and 0", n, table.Len())
	}
}

func TestTableResize(t *testing.T) {
	table := newTable(t, 20_000)
	for n := range 20_000 {
		table.Add(id(n), mark{what: uint32(n), expires: anHour})
	}
	full := table.Len()
	table.Resize(5_000)
	kept := table.Len()
	if kept > 5_000 || kept < 4_900 || full < kept {
		t.Errorf("Len after Resize(5000) = %d, %d before, want 4900 to 5000", kept, full)
	}
	if got := int(table.Evictions().Capacity); got != 20_000-kept {
		t.Errorf("%d evictions, want %d", got, 20_000-kept)
	}
	for n := 16_000; n < 20_000; n++ { // the newest
		if m, ok := table.Get(id(n), start); !ok || m.what != uint32(n) {
			t.Fatalf("Get(%d) = %+v, %v, want the value", n, m, ok)
		}
	}
	table.Resize(40_000)
	if table.Len() != kept {
		t.Errorf("Len after Resize(40000) = %d, want %d", table.Len(), kept)
	}
	for n := range 40_000 {
		table.Add(id(n), mark{expires: anHour})
	}
	if n := table.Len(); n < 38_000 || n > 40_000 {
		t.Errorf("Len of a full table = %d, want 38000 to 40000", n)
	}
	table.Resize(1)
	if n := table.Len(); n > 8*runtime.GOMAXPROCS(0) {
		t.Errorf("Len after Resize(1) = %d, want at most one per shard", n)
	}
}

// model is the reference implementation: a list whose last entry is the most recently used.
type model struct {
	size      int
	entries   []modelEntry
	evictions Evictions
}

type modelEntry struct {
	id    ID
	value mark
}

// take removes an entry.
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
		m.evictions.Expired++
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
		m.evictions.Capacity++
	}
}

func (m *model) purge(pick func(ID, mark) bool) int {
	before := len(m.entries)
	m.entries = slices.DeleteFunc(m.entries, func(e modelEntry) bool {
		return pick(e.id, e.value)
	})
	m.evictions.Purged += uint64(before - len(m.entries))
	return before - len(m.entries)
}

// A table with few entries evicts in strict order, like the model.
func TestTableMatchesTheModel(t *testing.T) {
	for run := range 40 {
		random := rand.New(rand.NewPCG(uint64(run), 7))
		size := 1 + random.IntN(evictionSample)
		table, want, now := newTable(t, size), &model{size: size}, start
		for step := range 3000 {
			n := random.IntN(3 * evictionSample)
			switch operation := random.IntN(1000); {
			case operation < 500:
				got, ok := table.Get(id(n), now)
				if value, there := want.get(id(n), now); got != value || ok != there {
					t.Fatalf("run %d, step %d: Get(%d) = %+v, %v, want %+v, %v",
						run, step, n, got, ok, value, there)
				}
			case operation < 980:
				elapsed := uint32(now.Sub(start) / time.Second)
				value := mark{what: uint32(step), expires: elapsed + uint32(random.IntN(50))}
				table.Add(id(n), value)
				want.add(id(n), value)
			case operation < 990:
				pick := func(_ ID, m mark) bool { return m.what%7 == uint32(n%7) }
				if got, n := table.Purge(pick), want.purge(pick); got != n {
					t.Fatalf("run %d, step %d: Purge = %d, want %d", run, step, got, n)
				}
			default:
				want.size = 1 + random.IntN(evictionSample)
				want.fit()
				table.Resize(want.size)
			}
			if random.IntN(20) == 0 {
				now = now.Add(time.Second)
			}
			if table.Len() != len(want.entries) || table.Evictions() != want.evictions {
				t.Fatalf("run %d, step %d: Len = %d, Evictions = %+v, want %d and %+v",
					run, step, table.Len(), table.Evictions(), len(want.entries), want.evictions)
			}
		}
	}
}

// A large table does not evict in strict order, but its values and counts are correct.
func TestLargeTable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table, added, news := newTable(t, 300), map[int]uint32{}, 0
	for step := range 50_000 {
		n := random.IntN(900)
		got, ok := table.Get(id(n), start)
		if ok && got.what != added[n] {
			t.Fatalf("step %d: Get(%d) = %d, want %d", step, n, got.what, added[n])
		}
		if random.IntN(3) == 0 {
			if !ok {
				news++
			}
			added[n] = uint32(step)
			table.Add(id(n), mark{what: uint32(step), expires: anHour})
			if got, ok := table.Get(id(n), start); !ok || got.what != uint32(step) {
				t.Fatalf("step %d: Get(%d) after Add = %d, %v, want the step",
					step, n, got.what, ok)
			}
		}
		evicted := int(table.Evictions().Capacity)
		if table.Len() > 300 || table.Len()+evicted != news {
			t.Fatalf("step %d: Len = %d, %d evicted, want %d in total and at most 300 kept",
				step, table.Len(), evicted, news)
		}
	}
}

// Entries in use are not evicted. Without any in use, the oldest are evicted first.
func TestTableKeepsWhatIsInUse(t *testing.T) {
	table := newTable(t, 500)
	const hot = 100
	for n := range hot {
		table.Add(id(n), mark{expires: anHour})
	}
	for n := hot; n < 20_000; n++ {
		table.Add(id(n), mark{expires: anHour})
		if _, ok := table.Get(id(n%hot), start); !ok {
			t.Fatalf("Get(%d) = false, want true: it was used %d entries ago", n%hot, hot)
		}
	}
	table = newTable(t, 500)
	for n := range 5_000 {
		table.Add(id(n), mark{expires: anHour})
	}
	for n := range 5_000 {
		if _, ok := table.Get(id(n), start); ok != (n >= 4_500) {
			t.Fatalf("Get(%d) = %v, want %v", n, ok, n >= 4_500)
		}
	}
}

func TestTableOrderSurvivesClockWraparound(t *testing.T) {
	table := newTable(t, 3)
	table.shards[0].clock = 1<<32 - 3
	for n := range 3 {
		table.Add(id(n), mark{expires: anHour}) // the last at clock 0
	}
	table.Get(id(0), start)
	table.Add(id(3), mark{expires: anHour})
	for n, want := range []bool{true, false, true, true} {
		if _, ok := table.Get(id(n), start); ok != want {
			t.Errorf("Get(%d) = %v, want %v", n, ok, want)
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
					t.Errorf("Get(%d) = %d, want %d", n, m.what, n)
				} else if !ok {
					table.Add(id(n), mark{what: uint32(n), expires: anHour})
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
		t.Errorf("Len = %d, want at most 2048", n)
	}
}

func TestTableDoesNotAllocate(t *testing.T) {
	table := newTable(t, 5000)
	n := 0
	if allocs := testing.AllocsPerRun(10_000, func() {
		table.Add(id(n), mark{expires: anHour})
		table.Get(id(n/2), start)
		n++
	}); allocs > 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func BenchmarkTable(b *testing.B) {
	for _, entries := range []int{10_000, 65_536, 1_000_000} {
		b.Run(strconv.Itoa(entries), func(b *testing.B) {
			// With room to spare, all keys fit however they are spread over the shards.
			table := newTable(b, entries*5/4)
			ids := make([]ID, entries)
			for i := range ids {
				ids[i] = id(i)
				table.Add(ids[i], mark{expires: anHour})
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
