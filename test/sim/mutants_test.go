package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mutant is the program with a bug.
type mutant struct {
	name    string
	breaks  []Invariant // one of them must catch it; the first is the one it is meant for
	changes []change
}

// change replaces a text, which a file has exactly once.
type change struct{ file, text, by string }

const (
	fetchFile   = "internal/integration/fetch.go"
	keeperFile  = "internal/integration/keeper.go"
	fleetFile   = "internal/integration/fleet.go"
	windowFile  = "internal/integration/window.go"
	setFile     = "internal/integration/integration.go"
	regionFile  = "internal/integration/region.go"
	signFile    = "proxy/sign.go"
	rulesFile   = "internal/viewer/rules.go"
	reloadFile  = "internal/app/reload.go"
	gateFile    = "internal/viewer/identify.go"
	linksFile   = "internal/viewer/links.go"
	programFile = "internal/app/app.go"
)

// mutants break each invariant.
var mutants = []mutant{
	{"hands out expired URLs", []Invariant{Opens}, []change{
		{windowFile, "w.last = w.Expires.Add(-p.floor)", "w.last = w.Expires.Add(5 * time.Minute)"}}},
	{"forgets that a session expires", []Invariant{Opens}, []change{
		{windowFile, "w.Expires = earlier(w.Start.Add(p.lifetime), s.expires)",
			"w.Expires = w.Start.Add(p.lifetime)"}}},
	{"max-age lasts until the window's end, whatever its session", []Invariant{Opens}, []change{
		{windowFile, "w.fresh = earlier(w.End, w.Expires.Add(-p.minRemaining))", "w.fresh = w.End"}}},
	{"believes the expiry that STS states", []Invariant{Opens}, []change{
		{fetchFile, "s.expires = earlier(expires, s.issued.Add(k.config.SessionDuration)).Truncate(time.Second)",
			"s.expires = expires.Truncate(time.Second)"}}},
	{"redirects of videos are cached", []Invariant{Opens}, []change{
		{"proxy/metadata.go", `"track", "video":`, `"track":`}}},
	{"a purge overlooks evicted sessions", []Invariant{Opens}, []change{
		{fetchFile, "k.added = remember(k.added, s.credentials.AccessKeyID)", ""}}},
	{"a purged session is accepted from the store", []Invariant{Opens}, []change{
		{keeperFile, "!slices.Contains(k.purged, s.credentials.AccessKeyID) &&", ""}}},
	{"an old failure keeps requests from waiting", []Invariant{Opens}, []change{
		{keeperFile, "(k.failures == 0 || f.started.Sub(k.answeredAt) > failureMemory)", "k.failures == 0"}}},
	{"the URL cache ignores the bucket", []Invariant{Opens}, []change{
		{signFile, "b = append(append(b, bucket...), '/')", "b = append(b, '/')"}}},
	{"a cached signature outlives its window", []Invariant{Opens}, []change{
		{signFile, "x.hit = ok && cached.signer == signer.Number", "x.hit = ok"}}},

	{"replicas read another signing instant", []Invariant{OneLocation}, []change{
		{fleetFile, "issued:  time.Unix(got.Issued, 0).UTC()", "issued:  time.Unix(got.Issued+1, 0).UTC()"}}},
	{"replicas do not share", []Invariant{OneLocation, Budget}, []change{
		{fetchFile, "return k.fleet().obtain(ctx, k.sharedName(index), index)",
			"return k.assumeRole(ctx, index)"}}},
	{"the grid of windows starts with the process", []Invariant{OneLocation, Budget}, []change{
		{"internal/integration/plan.go",
			"p.phase = time.Duration(binary.BigEndian.Uint64(id[:8])%seconds) * time.Second",
			"p.phase = time.Duration((binary.BigEndian.Uint64(id[:8])+uint64(time.Now().Unix()))%seconds)" +
				" * time.Second"}}},

	{"an idle integration fetches ahead", []Invariant{Budget}, []change{
		{fetchFile, "\tdefault:\n\t\tk.addLocked(s)\n", `	default:
		k.addLocked(s)
		time.AfterFunc(k.plan.period, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.fetching == nil && k.pool.life.Err() == nil {
				k.startFetchLocked(s.window+1, k.clock())
			}
		})
`}}},
	{"replicas without the lease assume the role, too", []Invariant{Budget, OneLocation}, []change{
		{fleetFile, "case leased:\n\t\t\tdefer release()",
			"case true:\n\t\t\tif leased {\n\t\t\t\tdefer release()\n\t\t\t}"}}},
	{"short pauses after failures", []Invariant{Budget}, []change{
		{fetchFile, "\tk.failures++\n\tk.pauseLocked(now, pause)",
			"\tk.failures++\n\tk.pauseLocked(now, pause/100)"}}},
	{"no single flight", []Invariant{Budget}, []change{
		{keeperFile, "if k.fetching == nil && (k.mayFetchLocked(now)", "if (k.mayFetchLocked(now)"}}},

	{"deny rules compare keys byte by byte", []Invariant{Access, Budget}, []change{
		{rulesFile, "rule.denies(v, l.Bucket, normalized)", "rule.denies(v, l.Bucket, l.Key)"},
		{rulesFile, "\tnormalized := locator.NormalizeKey(l.Key)\n", ""}}},
	{"headers are believed from every address", []Invariant{Access, Budget}, []change{
		{gateFile, "return g.forwarded != nil && contains(g.forwarded.Proxies, a)",
			"_ = a; return g.forwarded != nil"}}},
	{"a reload keeps the rules", []Invariant{Access, Available, Budget}, []change{
		{programFile, "return reflect.DeepEqual(a.Viewers, b.Viewers) && slices.Equal(a.Proxies, b.Proxies)",
			"return reflect.DeepEqual(a.Proxies, b.Proxies) && slices.Equal(a.Proxies, b.Proxies)"}}},
	{"expired links open objects", []Invariant{Access, Budget}, []change{
		{linksFile, "lifetime <= 0 || lifetime", "lifetime"}}},
	{"the shortest prefix wins", []Invariant{Access, Budget}, []change{
		{"internal/locator/prefix.go", "int { return b - a }", "int { return a - b }"}}},
	{"spellings of other prefixes are not checked", []Invariant{Access, Budget}, []change{
		{"internal/integration/scope.go", "found != b {\n\t\t\treturn nil, false",
			"found != b {\n\t\t\treturn b, true"}}},
	{"blocked prefixes are not checked", []Invariant{Access, Budget}, []change{
		{signFile, "if h.integrations.Blocked(x.locator) {", "if false {"}}},
	{"batches are not judged", []Invariant{Access, Budget}, []change{
		{"proxy/batch.go", "\tif err := h.allowed(&x.viewer, x.locator); err != nil {\n" +
			"\t\treturn expires, err\n\t}\n", ""}}},
	{"redirects outlive the viewer's link", []Invariant{Access}, []change{
		{"proxy/admit.go", "return min(maxAge, v.Until.Sub(now))", "return maxAge"}}},

	{"a call of STS holds up all others", []Invariant{Available, Recovery, Budget}, []change{
		{setFile, "\tfetches  sync.WaitGroup\n", "\tfetches  sync.WaitGroup\n\tgate     chan struct{}\n"},
		{setFile, "\tp.life, p.end = context", "\tp.gate = make(chan struct{}, 1)\n\tp.life, p.end = context"},
		{fetchFile, "\tcalled := k.clock()\n",
			"\tk.pool.gate <- struct{}{}\n\tdefer func() { <-k.pool.gate }()\n\tcalled := k.clock()\n"}}},
	{"a missing region is remembered for hours", []Invariant{Available, Recovery}, []change{
		{regionFile, "const RegionPause = 5 * time.Second", "const RegionPause = 5 * time.Hour"}}},

	{"pauses grow to hours", []Invariant{Recovery, Available}, []change{
		{fetchFile, "longestPause  = time.Minute", "longestPause  = 10 * time.Hour"},
		{fetchFile, "firstPause    = time.Second", "firstPause    = 30 * time.Minute"}}},
	{"an unreachable shared store fails requests", []Invariant{Available}, []change{
		{fleetFile, "\t\treturn nil, errStoreUnreachable\n\t}\n\treturn f.assume(ctx, index)\n",
			"\t\treturn nil, errStoreUnreachable\n\t}\n\treturn nil, err\n"}}},
	{"a failed reload is reported for ever", []Invariant{Recovery}, []change{
		{reloadFile, "\ta.metrics.ConfigRead(true, a.clock())\n", ""}}},
	{"a denial is final", []Invariant{Recovery, Available}, []change{
		{fetchFile, "denialPause = 5 * time.Second", "denialPause = 100 * time.Hour"}}},

	{"series of removed integrations stay", []Invariant{Resources}, []change{
		{reloadFile, "a.metrics.Forget(name)", "_ = name"}}},
	{"each call leaks a goroutine", []Invariant{Resources}, []change{
		{fetchFile, "\tk.fetching = f\n", "\tk.fetching = f\n\tgo time.Sleep(1000 * time.Hour)\n"}}},
	{"the credentials cache has no bound", []Invariant{Resources}, []change{
		{setFile, "cache.New(c.Cache.Credentials, dropSnapshot)",
			"cache.New(c.Cache.Credentials+100, dropSnapshot)"},
		{"internal/integration/next.go", "Resize(c.Cache.Credentials)", "Resize(c.Cache.Credentials + 100)"}}},

	{"URLs are logged", []Invariant{Secrets}, []change{
		{signFile, "\th.metrics.URLBytes",
			"\th.log.Info(\"signed\", \"url\", string(x.buf))\n\th.metrics.URLBytes"}}},
	{"sessions are logged", []Invariant{Secrets}, []change{
		{fetchFile, "\t\t\"expires\", s.expires,\n",
			"\t\t\"expires\", s.expires,\n\t\t\"token\", s.credentials.SessionToken,\n"}}},
	{"secret keys are logged", []Invariant{Secrets}, []change{
		{programFile, "\tg := &generation{", `	for n := range c.Integrations {
		a.log.Info("integration", "key", string(c.Integrations[n].SecretAccessKey))
	}
	g := &generation{`}}},
}

// root is the module's directory.
const root = "../.."

// apply returns the mutated files, by their path in the module.
func (m *mutant) apply() (map[string]string, error) {
	files := map[string]string{}
	for _, c := range m.changes {
		text, ok := files[c.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		if n := strings.Count(text, c.text); n != 1 {
			return nil, fmt.Errorf("%s has %q %d times, want once", c.file, c.text, n)
		}
		files[c.file] = strings.Replace(text, c.text, c.by, 1)
	}
	return files, nil
}

// TestMutantsApply checks that the mutants fit the program, and that there is one for each invariant.
func TestMutantsApply(t *testing.T) {
	broken, alone := map[Invariant]bool{}, map[Invariant]bool{}
	for _, m := range mutants {
		if _, err := m.apply(); err != nil {
			t.Errorf("mutant %q: %v", m.name, err)
		}
		broken[m.breaks[0]] = true
		if len(m.breaks) == 1 {
			alone[m.breaks[0]] = true
		}
	}
	for i := Opens; int(i) <= invariants; i++ {
		if !alone[i] {
			t.Errorf("no mutant is expected to violate %v alone", i)
		}
	}
	if len(broken) != invariants || len(mutants) < 20 {
		t.Errorf("%d mutants break %d invariants, want 20 mutants and %d invariants",
			len(mutants), len(broken), invariants)
	}
}

// envMutants makes TestMutants build the mutants whose names match.
const envMutants = "SIM_MUTANTS"

// mutantSeeds is the number of seeds within which a mutant must be caught.
const mutantSeeds = "600"

// caughtBy finds what TestSeeds reports about a mutant.
var caughtBy = regexp.MustCompile(`seed (\d+): violation of ([a-z ]+) at`)

// TestMutants builds the program with each mutant, and checks that a seed catches it. make
// sim-mutants runs it.
func TestMutants(t *testing.T) {
	pattern := os.Getenv(envMutants)
	if pattern == "" {
		t.Log("make sim-mutants builds the mutants")
		return
	}
	names := regexp.MustCompile(pattern)
	for n := range mutants {
		m := &mutants[n]
		if !names.MatchString(m.name) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			out, err := m.run(t)
			found := caughtBy.FindStringSubmatch(out)
			if err == nil || found == nil {
				t.Fatalf("no seed below %s catches it: %v\n%s", mutantSeeds, err, lastLines(out, 30))
			}
			if !slices.ContainsFunc(m.breaks, func(i Invariant) bool { return i.String() == found[2] }) {
				t.Errorf("seed %s catches it as a violation of %q, want %v\n%s", found[1], found[2], m.breaks, out)
			}
			t.Logf("caught by seed %s: %s", found[1], found[2])
		})
	}
}

// run builds the simulator with the mutant, and runs its seeds one after the other.
func (m *mutant) run(t *testing.T) (output string, err error) {
	files, err := m.apply()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := map[string]map[string]string{"Replace": {}}
	for path, text := range files {
		mutated := filepath.Join(dir, strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(mutated, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		original, err := filepath.Abs(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][original] = mutated
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sim.test")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", list, "-o", binary, ".")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, b)
	}
	c := exec.CommandContext(t.Context(), binary, "-test.run", "^TestSeeds$")
	c.Env = append(os.Environ(), envSeeds+"="+mutantSeeds, "SIM_SHRINK=0", "GOMAXPROCS=1")
	b, err := c.CombinedOutput()
	return string(b), err
}
