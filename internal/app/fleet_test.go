package app

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// fleet is an App with one file for each of many integrations.
type fleet struct {
	*testApp
	dir string
}

func newFleet(t testing.TB, size int) *fleet {
	t.Helper()
	f := &fleet{
		testApp: &testApp{t: t, path: filepath.Join(t.TempDir(), "s3redirect.yaml"), log: &logBuffer{}},
	}
	f.dir = filepath.Join(filepath.Dir(f.path), "integrations.d")
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f.write(`listen: "127.0.0.1:0"
admin_listen: "127.0.0.1:0"
viewers: {anonymous: true}
cache: {urls: 100, credentials: 20000}
log: {level: warn}
include: [integrations.d/*.yaml]
`)
	for n := range size {
		f.tenant(n, "")
	}
	source, c, err := Load(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if f.App, err = New(Options{Path: f.path, Source: source, Config: c, Stderr: f.log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// tenant writes the file of the nth integration, with further keys. A hundred share each bucket.
func (f *fleet) tenant(n int, more string) {
	f.t.Helper()
	path := filepath.Join(f.dir, fmt.Sprintf("tenant-%05d.yaml", n))
	text := fmt.Sprintf("name: tenant-%05d\nbucket: shared-%d\nprefix: tenant-%05d/\nregion: eu-central-1\n"+
		"role_arn: arn:aws:iam::123456789012:role/tenant-%05d\n%s", n, n/100, n, n, more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		f.t.Fatal(err)
	}
}

// liveHeap returns the bytes of live objects.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one finalized
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An unused integration takes little memory, among many no more than among few, and reloads leave
// nothing behind.
func TestMemoryOfIntegrations(t *testing.T) {
	perIntegration := func(size int) int64 {
		before := liveHeap()
		f := newFleet(t, size)
		loaded := liveHeap()
		for n := range 3 {
			f.tenant(n, "external_id: changed\n")
			if err := f.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		reloaded := liveHeap()
		if reloaded-before > (loaded-before)*12/10 {
			t.Errorf("%d integrations: %d bytes after the load and %d after three reloads, want at most "+
				"1.2 times as many", size, loaded-before, reloaded-before)
		}
		runtime.KeepAlive(f)
		return (loaded - before) / int64(size)
	}
	few, many := perIntegration(1000), perIntegration(5000)
	if many > 3000 || many > few*3/2 {
		t.Errorf("an integration takes %d bytes among 1,000 and %d among 5,000, "+
			"want at most 3,000 and 1.5 times as many", few, many)
	}
}

// A reload that changes one integration builds one: it shares all others, and allocates a few times
// for each, for reading its directory entry.
func TestReloadOfOneIntegration(t *testing.T) {
	const size, changed = 2000, 7
	f := newFleet(t, size)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	before := f.current.Load()
	f.tenant(changed, "external_id: changed\n")
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&end)
	after := f.current.Load()
	for n := range size {
		shared := before.config.Integrations[n] == after.config.Integrations[n]
		if shared == (n == changed) {
			t.Errorf("integration %d is shared: %v, want %v", n, shared, !shared)
		}
	}
	if got := float64(end.Mallocs-start.Mallocs) / size; got > 20 {
		t.Errorf("the reload makes %.1f allocations for each integration, want at most 20", got)
	}
}

// With 10,000 integrations of which 100 were used, the metrics have less than 1 MB.
func TestMetricsOfManyIntegrations(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 10,000 files")
	}
	f := newFleet(t, 10_000)
	for n := range 100 {
		f.wantStatus("a version", fmt.Sprintf("/s3/shared-%d/tenant-%05d/x?versionId=1", n, n*100),
			http.StatusBadRequest)
	}
	f.wantMetric(`s3redirect_requests_total{code="400",integration="tenant-00100",method="GET"} 1`)
	if size := len(f.scrape()); size > 1<<20 {
		t.Errorf("the metrics have %d bytes, want at most 1 MB", size)
	}
}

// BenchmarkIntegrations measures what docs/measurements/integrations.md shows. The files are in the
// page cache.
func BenchmarkIntegrations(b *testing.B) {
	for _, size := range []int{10, 1000, 10_000} {
		f := newFleet(b, size)
		run := func(name string, op func() error) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := op(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("load", func() error {
			source, c, err := Load(f.path)
			if err != nil {
				return err
			}
			a, err := New(Options{Path: f.path, Source: source, Config: c, Stderr: f.log})
			if err == nil {
				a.Close()
			}
			return err
		})
		run("reload of one", func() error {
			f.tenant(3, fmt.Sprintf("external_id: id-%d\n", time.Now().UnixNano()))
			return f.Reload()
		})
		run("scrape", func() error {
			f.scrape()
			return nil
		})
	}
}
