package integration

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"s3redirect/cache"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// lookupSet returns a set in which integrations can be looked up, and nothing else.
func lookupSet(t testing.TB, c *config.Config) *Set {
	t.Helper()
	found, err := cache.New[string, *Bucket](maxFound, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Set{buckets: map[string]*Bucket{}, scopes: map[string]*scope{}, found: found}
	for n := range c.Integrations {
		i := c.Integrations[n]
		i.Region = config.RegionAuto
		s.add(&Integration{Name: i.Name, config: i}, nil)
	}
	return s
}

// lookup returns the name of the integration that serves an object, "blocked" or "". It checks that
// the set and the configuration agree.
func lookup(t testing.TB, c *config.Config, s *Set, l locator.Locator) string {
	t.Helper()
	by, blocked := c.Blocked(l)
	if got := s.Blocked(l); got != blocked {
		t.Errorf("%q: Blocked = %v, want %v as the configuration's", l, got, blocked)
	}
	served, ok := c.ServedBy(l)
	b, found := s.Find(l, time.Time{})
	if found != ok || ok && b.Integration.Name != served.Name {
		t.Errorf("%q: Find = %v, %v, want %v as ServedBy", l, b, found, served)
	}
	switch {
	case blocked && by.Bucket != l.Bucket:
		t.Errorf("%q: blocked by an integration of bucket %s", l, by.Bucket)
	case blocked:
		return "blocked"
	case found && b.Name != l.Bucket:
		t.Errorf("%q: Find returns bucket %s", l, b.Name)
	case found:
		return b.Integration.Name
	}
	return ""
}

func scoped(name, prefix string, blocked ...string) config.Integration {
	return config.Integration{Name: name, Bucket: "films", Prefix: prefix, BlockedPrefixes: blocked}
}

func TestLookup(t *testing.T) {
	long := strings.Repeat("l", locator.MaxKeyBytes-1) + "/"
	tenants := []config.Integration{
		scoped("a", "tenant-a/", "tenant-a/raw/"),
		scoped("a-b", "tenant-a/b/"),
		scoped("b", "tenant-b/"),
		scoped("wild", "*?$/"),
		scoped("long", long),
		scoped("umlaut", "tenant-\u00fc/"),
		scoped("kelvin", "K/"),
		{Name: "other", Bucket: "other"},
	}
	whole := append([]config.Integration{{Name: "whole", Bucket: "films"}}, tenants...)
	pattern := append([]config.Integration{{Name: "pattern", PermittedBuckets: []string{"fi*"}}}, tenants...)
	for _, c := range []struct{ key, want string }{
		{"tenant-a/x", "a"},
		{"tenant-a/", "a"},
		{"tenant-a/b/x", "a-b"},
		{"tenant-a/b", "a"},
		{"tenant-a/bc/x", "a"},
		{"tenant-a//x", "a"},
		{"tenant-b/tenant-a/x", "b"},
		{"*?$/x", "wild"},
		{long, "long"},
		{"tenant-\u00fc/x", "umlaut"},

		// Under no prefix; * is what the whole bucket's integration serves.
		{"x", "*"},
		{"tenant-a", "*"},
		{"tenant-ab/x", "*"},
		{"tenant-/a/x", "*"},
		{"Tenant-A/x", "*"},
		{"tenant-u\u0308/x", "*"},
		{"abc/x", "*"}, // matches *?$/ as a pattern of IAM
		{"tenant-a%2f../x", "*"},

		// A store may serve another integration's object for these.
		{"/tenant-a/x", ""},
		{"//tenant-a/x", ""},
		{`\tenant-a/x`, ""},
		{`tenant-a\x`, ""},
		{"tenant-a//b/x", ""},
		{`tenant-a/b\x`, ""},
		{"tenant-a__XLDIR__", ""},
		{"/tenant-a__XLDIR__", ""},
		{"tenant-a/b__XLDIR__", ""},
		{"\u212a/x", ""}, // R2 turns the Kelvin sign into K

		{"tenant-a/raw/x", "blocked"},
		{"tenant-a/raw/", "blocked"},
		{"tenant-a//raw/x", "blocked"},
		{"/tenant-a/raw/x", "blocked"},
		{`tenant-a\raw\x`, "blocked"},
		{"tenant-a/raw__XLDIR__", "blocked"},
		{"tenant-a/raw", "a"},
		{"tenant-a/raws/x", "a"},
		{"tenant-b/raw/x", "b"},
	} {
		l := locator.Locator{Bucket: "films", Key: c.key}
		for last, all := range map[string][]config.Integration{"": tenants, "whole": whole, "pattern": pattern} {
			configuration := &config.Config{Integrations: pointers(all)}
			want := strings.ReplaceAll(c.want, "*", last)
			if got := lookup(t, configuration, lookupSet(t, configuration), l); got != want {
				t.Errorf("%q with %q for the whole bucket: got %q, want %q", c.key, last, got, want)
			}
		}
	}
}

// Blocked prefixes apply to what all integrations serve of their bucket, and of no other.
func TestBlockedForAll(t *testing.T) {
	c := &config.Config{Integrations: pointers([]config.Integration{
		scoped("whole", "", "old/", "tenant-a/raw/"),
		scoped("a", "tenant-a/"),
		{Name: "other", Bucket: "other"},
	})}
	s := lookupSet(t, c)
	for text, want := range map[string]string{
		"s3://films/old/x": "blocked", "s3://films/x": "whole", "s3://other/old/x": "other",
		"s3://films/tenant-a/raw/x": "blocked", "s3://films/tenant-a/x": "a",
	} {
		l, err := locator.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := lookup(t, c, s, l); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// A request for an object that is blocked or not served is answered at once, so that the response
// does not show whether there is a session.
func TestReadyKnowsPrefixes(t *testing.T) {
	i := role("a", "films")
	i.Prefix, i.BlockedPrefixes = "tenant-a/", []string{"tenant-a/raw/"}
	others := role("others", "")
	others.PermittedBuckets = []string{"fi*"}
	w := newWorld(t, &fakeSTS{}, []config.Integration{i, others})
	for key, want := range map[string]bool{
		"tenant-a/x":      false, // there is no session yet
		"tenant-b/x":      false,
		"tenant-a/raw/x":  true,
		"tenant-a//raw/x": true,
		"/tenant-a/x":     true,
	} {
		if got := w.Ready(locator.Locator{Bucket: "films", Key: key}, w.clock()); got != want {
			t.Errorf("Ready(%q) = %v, want %v", key, got, want)
		}
	}
}

// plainLookup is a linear scan over all integrations for each spelling of a key.
func plainLookup(c *config.Config, bucket, key string) string {
	scan := func(key string) (served string, blocked bool) {
		best := -2
		for n := range c.Integrations {
			i := c.Integrations[n]
			for _, prefix := range i.BlockedPrefixes {
				blocked = blocked || i.Bucket == bucket && strings.HasPrefix(key, prefix)
			}
			if i.Bucket == bucket && strings.HasPrefix(key, i.Prefix) && len(i.Prefix) > best {
				best, served = len(i.Prefix), i.Name
			}
			for _, p := range i.PermittedBuckets {
				matches, rank := p == bucket, 0
				if strings.Contains(p, "*") {
					matches, rank = strings.HasPrefix(bucket, strings.TrimSuffix(p, "*")), -1
				}
				if matches && rank > best {
					best, served = rank, i.Name
				}
			}
		}
		return served, blocked
	}
	served, blocked := scan(key)
	normal := strings.TrimPrefix(slashes.ReplaceAllString(singletons.Replace(key), "/"), "/")
	for _, other := range []string{normal, folder.ReplaceAllString(normal, "/")} {
		alsoServed, alsoBlocked := scan(other)
		blocked = blocked || alsoBlocked
		if alsoServed != served {
			served = ""
		}
	}
	if blocked {
		return "blocked"
	}
	return served
}

var (
	slashes    = regexp.MustCompile(`[/\\]+`)
	folder     = regexp.MustCompile(`__XLDIR__$`)
	singletons = strings.NewReplacer("\u212a", "K", "\u037e", ";", "\u1fef", "`")
)

// The integration that a look-up finds is the one that a linear scan finds.
func FuzzLookup(f *testing.F) {
	f.Add("tenant-a/\ntenant-a/b/\ntenant-b/", "tenant-a/raw/", byte(0), "tenant-a/b/x")
	f.Add("a/\nab/", "", byte(1), "/a/x")
	f.Add("a/\na/b/\nb/", "a/b/", byte(2), `a\\b//x`)
	f.Add("K/\na/", "b/", byte(3), "\u212a/x")
	f.Add("a/", "a/b/\nb/", byte(5), "a/b__XLDIR__")
	f.Fuzz(func(t *testing.T, prefixes, blocked string, whole byte, key string) {
		if locator.CheckKey(key) != nil {
			t.Skip()
		}
		c := &config.Config{}
		add := func(i config.Integration) {
			i.Name = fmt.Sprint(len(c.Integrations))
			c.Integrations = append(c.Integrations, &i)
		}
		switch whole % 4 {
		case 1:
			add(config.Integration{Bucket: "films"})
		case 2:
			add(config.Integration{PermittedBuckets: []string{"other", "fi*"}})
		case 3:
			add(config.Integration{PermittedBuckets: []string{"fi*"}})
			add(config.Integration{PermittedBuckets: []string{"films"}})
		}
		seen := map[string]bool{}
		for prefix := range strings.SplitSeq(prefixes, "\n") {
			if locator.CheckPrefix(prefix) == nil && !seen[prefix] {
				seen[prefix] = true
				add(config.Integration{Bucket: "films", Prefix: prefix})
			}
		}
		var all []string
		for prefix := range strings.SplitSeq(blocked, "\n") {
			if locator.CheckPrefix(prefix) == nil {
				all = append(all, prefix)
			}
		}
		if len(c.Integrations) == 0 || len(c.Integrations) > 50 {
			t.Skip()
		}
		if last := c.Integrations[len(c.Integrations)-1]; last.Bucket != "" {
			last.BlockedPrefixes = all
		}
		bucket := "films"
		if whole&4 != 0 {
			bucket = "filters" // of the pattern
		}
		got := lookup(t, c, lookupSet(t, c), locator.Locator{Bucket: bucket, Key: key})
		if want := plainLookup(c, bucket, key); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The identity has the prefix only if it is set, so that sessions of other integrations are still
// shared with older versions.
func TestIdentityHasPrefix(t *testing.T) {
	plain := role("lab", "films")
	prefixed := plain
	prefixed.Prefix = "tenant-a/"
	other := plain
	other.Prefix = "tenant-b/"
	if a, b := identityOf(&plain, ""), identityOf(&prefixed, ""); a == b {
		t.Error("the identity does not depend on whether there is a prefix")
	}
	if a, b := identityOf(&other, ""), identityOf(&prefixed, ""); a == b {
		t.Error("the identity does not depend on the prefix")
	}
	tagged := plain
	tagged.SourceIdentity, prefixed.SourceIdentity = "proxy", "proxy"
	tagged.SessionTags = map[string]string{"prefix": prefixed.Prefix}
	if a, b := identityOf(&tagged, ""), identityOf(&prefixed, ""); a == b {
		t.Error("the identity of a prefix is that of a session tag with this name")
	}
}

// fleetOf returns integrations for n prefixes of one bucket, and a key under the middle one.
func fleetOf(n int) (all []config.Integration, l locator.Locator) {
	for k := range n {
		i := staticKeys(fmt.Sprintf("tenant-%05d", k))
		i.PermittedBuckets, i.Bucket, i.Prefix = nil, "films", i.Name+"/"
		all = append(all, i)
	}
	return all, locator.Locator{Bucket: "films", Key: all[n/2].Prefix + "2026/07/a film.mp4"}
}

func TestFindDoesNotAllocate(t *testing.T) {
	all, l := fleetOf(100)
	all = append(all, scoped("whole", "", "old/"))
	s := lookupSet(t, &config.Config{Integrations: pointers(all)})
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := s.Find(l, time.Time{}); !ok || s.Blocked(l) {
			t.Error("the object is not served")
		}
	}); n != 0 {
		t.Errorf("Find and Blocked allocate %v times, want 0", n)
	}
}

// BenchmarkResolve finds the integration of an object and what its URL is signed with.
func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("prefixes=%d", n), func(b *testing.B) {
			all, l := fleetOf(n)
			w := newWorld(b, &fakeSTS{}, all)
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				bucket, ok := w.Find(l, now)
				if !ok || w.Blocked(l) {
					b.Fatal("the object is not served")
				}
				if _, err := bucket.Resolve(b.Context(), now, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFind looks up keys of all prefixes in random order, so that the processor's caches miss.
func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("prefixes=%d", n), func(b *testing.B) {
			all, _ := fleetOf(n)
			s := lookupSet(b, &config.Config{Integrations: pointers(all)})
			var keys []locator.Locator
			for range 1 << 12 {
				keys = append(keys, locator.Locator{Bucket: "films",
					Key: all[rand.IntN(n)].Prefix + "2026/07/a film.mp4"})
			}
			b.ReportAllocs()
			for k := 0; b.Loop(); k++ {
				if _, ok := s.Find(keys[k%len(keys)], time.Time{}); !ok {
					b.Fatal("the object is not served")
				}
			}
		})
	}
}
