package cache

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// until is a value that expires at an instant.
type until time.Time

func (u until) Deadline() time.Time { return time.Time(u) }

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func after(d time.Duration) until { return until(start.Add(d)) }

func newLRU(t testing.TB, entries int) *LRU[string, until] {
	t.Helper()
	c, err := New[string, until](entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDeadlineIsAbsolute(t *testing.T) {
	c := newLRU(t, 10)
	c.Add("hot", after(time.Minute))
	for s := range 60 {
		if _, ok := c.Get("hot", start.Add(time.Duration(s)*time.Second)); !ok {
			t.Fatalf("Get after %d s of 60 = false, want true", s)
		}
	}
	// Reading the key every second has not moved its deadline.
	if _, ok := c.Get("hot", start.Add(time.Minute)); ok {
		t.Error("Get at the deadline = true, want false")
	}
	if got, want := c.Evictions(), (Evictions{Expired: 1}); got != want || c.Len() != 0 {
		t.Errorf("Evictions = %+v, Len = %d, want %+v and 0", got, c.Len(), want)
	}
}

func TestLeastRecentlyUsedIsEvictedFirst(t *testing.T) {
	c := newLRU(t, 3)
	for _, k := range []string{"a", "b", "c"} {
		c.Add(k, after(time.Hour))
	}
	c.Get("a", start)
	c.Add("d", after(time.Hour))
	var kept string
	for _, k := range []string{"a", "b", "c", "d"} {
		if _, ok := c.Get(k, start); ok {
			kept += k
		}
	}
	if kept != "acd" {
		t.Errorf("kept %s, want acd", kept)
	}
	if got, want := c.Evictions(), (Evictions{Capacity: 1}); got != want {
		t.Errorf("Evictions = %+v, want %+v", got, want)
	}
}

// blob is a value with a size.
type blob struct {
	bytes int
	until time.Time
}

func (b blob) Deadline() time.Time { return b.until }

// retained returns the total size of the entries.
func retained(c *LRU[string, blob]) (bytes int) {
	for i := range c.shards {
		s := &c.shards[i]
		for _, key := range s.lru.Keys() {
			value, _ := s.lru.Peek(key)
			bytes += len(key) + value.bytes
		}
	}
	return bytes
}

func TestBytesAreBounded(t *testing.T) {
	const entries, most = 16_384, 1 << 20
	c, err := NewSized(entries, most, func(key string, b blob) int { return len(key) + b.bytes })
	if err != nil {
		t.Fatal(err)
	}
	add := func(key string, bytes int, lives time.Duration) {
		t.Helper()
		c.Add(key, blob{bytes: bytes, until: start.Add(lives)})
		if got := retained(c); got > most {
			t.Fatalf("%d bytes after Add of %s with %d, want at most %d", got, key, bytes, most)
		}
	}
	sizes := []int{0, 1, 100, 16_000, 3000, 40_000}
	for n := range 3000 {
		add(fmt.Sprint("key-", n), sizes[n%len(sizes)], time.Hour)
		// Another size for a key that may be stored.
		add(fmt.Sprint("key-", n/2), sizes[n%len(sizes)]/2, time.Minute)
		if n%7 == 0 {
			c.Remove(fmt.Sprint("key-", n/3))
			c.Get(fmt.Sprint("key-", n/4), start.Add(2*time.Minute)) // past the deadline
		}
	}
	if got := retained(c); got < most/2 {
		t.Errorf("%d bytes are kept, want at least half of the %d that may be", got, most)
	}
	counted := 0
	for i := range c.shards {
		counted += c.shards[i].bytes
	}
	if got := retained(c); counted != got {
		t.Errorf("%d bytes are counted, want the %d that are kept", counted, got)
	}
	c.Purge(func(string, blob) bool { return true })
	add("too large", most+1, time.Hour)
	if n := c.Len(); n != 0 {
		t.Errorf("%d entries, want none: one larger than the bound is not kept", n)
	}
	add("small", 10, time.Hour)
	if value, ok := c.Get("small", start); !ok || value.bytes != 10 {
		t.Errorf("Get = %+v, %v, want the small value", value, ok)
	}
}

func TestPeekChangesNothing(t *testing.T) {
	c := newLRU(t, 2)
	c.Add("a", after(time.Minute))
	c.Add("b", after(time.Hour))
	if _, ok := c.Peek("a", start); !ok {
		t.Error("Peek = false, want true")
	}
	if _, ok := c.Peek("a", start.Add(time.Minute)); ok || c.Len() != 2 {
		t.Errorf("Peek at the deadline = %v, Len = %d, want false and 2", ok, c.Len())
	}
	c.Add("c", after(time.Hour))
	if _, ok := c.Peek("a", start); ok {
		t.Error("Peek made the value the most recently used")
	}
}

func TestAddReplaces(t *testing.T) {
	c := newLRU(t, 3)
	c.Add("a", after(time.Minute))
	c.Add("a", after(time.Hour))
	if v, ok := c.Get("a", start.Add(time.Minute)); !ok || v != after(time.Hour) {
		t.Errorf("Get = %v, %v, want the second value", v, ok)
	}
	if c.Len() != 1 || c.Evictions() != (Evictions{}) {
		t.Errorf("Len = %d, Evictions = %+v, want 1 and none", c.Len(), c.Evictions())
	}
}

func TestEntriesAreBounded(t *testing.T) {
	for _, entries := range []int{1, 2, 511, 1023, 1024, 1025, 5000, 65536} {
		c := newLRU(t, entries)
		for i := range 3 * entries {
			c.Add(strconv.Itoa(i), after(time.Hour))
		}
		// Nearly every shard is full by now.
		if n := c.Len(); n > entries || n < entries*9/10 {
			t.Errorf("Len = %d, want at most %d and little less", n, entries)
		}
		if got := int(c.Evictions().Capacity) + c.Len(); got != 3*entries {
			t.Errorf("%d entries evicted or kept, want %d", got, 3*entries)
		}
	}
	if _, err := New[string, until](0, nil); err == nil {
		t.Error("New(0) = nil error")
	}
}

func TestPurge(t *testing.T) {
	c := newLRU(t, 5000)
	for i := range 2000 {
		c.Add(fmt.Sprintf("%d/%d", i%2, i), after(time.Hour))
	}
	n := c.Purge(func(key string, _ until) bool { return strings.HasPrefix(key, "1/") })
	if n != 1000 {
		t.Errorf("Purge = %d, want 1000", n)
	}
	if c.Len() != 1000 || c.Evictions() != (Evictions{Purged: 1000}) {
		t.Errorf("Len = %d, Evictions = %+v, want 1000 and 1000 purged", c.Len(), c.Evictions())
	}
}

func TestOnEvict(t *testing.T) {
	var evicted []string
	c, err := New(2, func(key string, _ until) { evicted = append(evicted, key) })
	if err != nil {
		t.Fatal(err)
	}
	c.Add("replaced", after(time.Minute))
	c.Add("replaced", after(time.Hour))
	c.Add("expired", after(time.Minute))
	c.Get("expired", start.Add(time.Minute))
	c.Add("a", after(time.Hour))
	c.Add("b", after(time.Hour)) // evicts "replaced"
	c.Purge(func(key string, _ until) bool { return key == "b" })
	if got, want := strings.Join(evicted, " "), "expired replaced b"; got != want {
		t.Errorf("evicted %s, want %s", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	c := newLRU(t, 2048)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 5000 {
				k := strconv.Itoa((i * (g + 1)) % 4096)
				if _, ok := c.Get(k, start); !ok {
					c.Add(k, after(time.Hour))
				}
				if i%1000 == 0 {
					c.Purge(func(key string, _ until) bool { return key == k })
				}
			}
		})
	}
	wg.Wait()
	if n := c.Len(); n > 2048 {
		t.Errorf("Len = %d, want at most 2048", n)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	c := newLRU(t, 100)
	key := strings.Repeat("k", 80)
	c.Add(key, after(time.Hour))
	if n := testing.AllocsPerRun(1000, func() { c.Get(key, start) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkGet(b *testing.B) {
	for _, entries := range []int{10_000, 65_536, 1_000_000} {
		b.Run(strconv.Itoa(entries), func(b *testing.B) {
			c := newLRU(b, entries)
			keys := make([]string, entries)
			for i := range keys {
				keys[i] = "some/folder/with/a/key/of/usual/length/photo-" + strconv.Itoa(i)
				c.Add(keys[i], after(time.Hour))
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := 0
				for pb.Next() {
					i = (i*1664525 + 1013904223) & 0x7fffffff
					c.Get(keys[i%entries], start)
				}
			})
		})
	}
}

func TestResize(t *testing.T) {
	c, err := New[int, until](20_000, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for n := range 20_000 {
		c.Add(n, until(now.Add(time.Hour)))
	}
	full := c.Len()
	c.Resize(5_000)
	if n := c.Len(); n > 5_000 || n < 4_000 {
		t.Errorf("Len after Resize(5000) = %d, want 4000 to 5000", n)
	}
	if got := c.Evictions().Capacity; got < uint64(full-5_000) {
		t.Errorf("%d evictions, want at least %d", got, full-5_000)
	}
	c.Resize(40_000)
	for n := range 40_000 {
		c.Add(n, until(now.Add(time.Hour)))
	}
	if n := c.Len(); n < 35_000 {
		t.Errorf("Len after Resize(40000) = %d, want at least 35000", n)
	}
	c.Resize(1)
	if n := c.Len(); n > 8*runtime.GOMAXPROCS(0) {
		t.Errorf("Len after Resize(1) = %d, want at most one per shard", n)
	}
}
