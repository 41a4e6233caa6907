package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
	viewers "s3redirect/internal/viewer"
)

// Result is what a run showed.
type Result struct {
	// Trace has a line for each step, answer and call.
	Trace string
	// Violation is the first violation of an invariant, or nil.
	Violation *Violation
	Stats     Stats
}

// Stats counts what a run covered.
type Stats struct {
	Virtual  time.Duration // of the world
	Replicas time.Duration // of all replicas that lived
	Requests int
	Opened   int // URLs that were opened at the store
	Calls    int // of STS
	Checks   [invariants + 1]int
}

// Add adds the counts of another run.
func (s *Stats) Add(o Stats) {
	s.Virtual += o.Virtual
	s.Replicas += o.Replicas
	s.Requests += o.Requests
	s.Opened += o.Opened
	s.Calls += o.Calls
	for n := range s.Checks {
		s.Checks[n] += o.Checks[n]
	}
}

// world is a running simulation. The driver, which plays the steps, owns all fields but those that
// mu guards.
type world struct {
	t        *testing.T
	seed     uint64
	start    time.Time
	cloud    *fakeaws.Cloud
	store    *store // nil if replicas share no sessions
	replicas []*replica
	browsers []*browser
	links    *viewers.Links
	provider *provider
	settings *settings // what the operator wants
	keys     []int     // the generations of access keys that STS knows, by role
	revoked  []int     // the roles whose sessions were revoked
	model    *model
	trace    strings.Builder
	stats    Stats
	base     int // goroutines of the bubble before the replicas started
	inFlight sync.WaitGroup

	mu            sync.Mutex // guards the fields below, and provider
	faults        map[int]stsFault
	s3Fault       bool
	providerFault bool
	events        []event
}

// objectKeys are the keys of the objects in every bucket.
var objectKeys = []string{
	"public/a.jpg", "private/b.jpg", "lab/c d.txt", "users/ann/x", "users/bob/y+z%.bin",
	"ümlaut/ß (1).png", "a//b", "/private/b.jpg",
	"private/deep/c.txt", "users/ann/raw/d",
}

// newWorld makes the world of a schedule. It must be called in a bubble.
func newWorld(t *testing.T, s Schedule, dir string) *world {
	r := source(s.Seed, streamShape)
	w := &world{
		t:      t,
		seed:   s.Seed,
		start:  time.Now(),
		faults: map[int]stsFault{},
		base:   goroutines(),

		provider: newProvider(s.Seed),
		links: viewers.NewLinks(&config.Links{
			Keys:        []config.LinkKey{{ID: "k1", Secret: linkSecret}},
			MaxLifetime: 24 * time.Hour,
		}),
	}
	if r.IntN(4) > 0 {
		w.store = newStore()
	}
	w.settings = newSettings(r, w.store != nil)
	if s.Scopes {
		w.settings.addScopes(source(s.Seed, streamScopes))
	}
	w.newCloud(r)
	w.browsers = newBrowsers(r)
	w.model = newModel(w)
	for n := range 1 + r.IntN(maxReplicas) {
		one := newReplica(w, n, filepath.Join(dir, fmt.Sprintf("config-%d.yaml", n)))
		one.setClock(time.Duration(r.Int64N(int64(4*time.Second)))-2*time.Second, 0)
		w.replicas = append(w.replicas, one)
	}
	for _, one := range w.replicas {
		w.launch(one)
	}
	return w
}

// newCloud makes the AWS account. Its clock may be off by up to a second.
func (w *world) newCloud(r *rand.Rand) {
	ahead := time.Duration(r.Int64N(int64(2*time.Second))) - time.Second
	w.cloud = fakeaws.NewCloud(func() time.Time { return time.Now().Add(ahead).Round(0) })
	var key [32]byte
	for n := range key {
		key[n] = byte(w.seed >> (8 * (n % 8)))
	}
	w.cloud.SetRandom(rand.NewChaCha8(key))
	for n := range w.settings.integrations {
		w.keys = append(w.keys, 0)
		w.addKey(n, 0)
		w.createBucket(bucketOf(n))
	}
	w.createBucket("team-a")
	w.createBucket("team-b")
	if r.IntN(3) == 0 {
		longest := slices.MaxFunc(lifetimes, func(a, b lifetime) int {
			return cmp.Compare(a.lifetime, b.lifetime)
		})
		w.cloud.LimitSignatureAge(longest.lifetime)
	}
	w.cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error {
		number, err := strconv.Atoi(strings.TrimPrefix(c.RoleARN, arnPrefix))
		if f := w.stsFaultOf(number); err == nil && f.kind == faultShort {
			c.Expires = time.Now().Add(ahead + f.by)
		}
		return nil
	})
}

// addKey makes an access key valid, and updates the role that trusts it.
func (w *world) addKey(number, generation int) {
	own := w.settings.integrations[number]
	w.cloud.AddUser(fakeaws.User{
		AccessKeyID:     accessKeyID(number, generation),
		SecretAccessKey: secretKey(number, generation),
		Buckets:         []string{bucketOf(number), "team-*"},
	})
	trusts := []string{}
	for n := max(0, generation-3); n <= generation; n++ {
		trusts = append(trusts, accessKeyID(number, n))
	}
	w.cloud.AddRole(fakeaws.Role{
		ARN:         own.arn(),
		ExternalID:  fmt.Sprintf("external-%d", number),
		Trusts:      trusts,
		Buckets:     []string{bucketOf(number), "team-*"},
		MinDuration: time.Second,
		MaxDuration: 12 * time.Hour,
	})
}

func (w *world) createBucket(name string) {
	w.cloud.CreateBucket(name, "us-east-1")
	for _, key := range objectKeys {
		w.cloud.Put(locator.Locator{Bucket: name, Key: key},
			fakeaws.Object{ContentType: "text/plain", Data: []byte(name + "/" + key)})
	}
}

// stsFaultOf returns what is wrong with STS for a role.
func (w *world) stsFaultOf(number int) stsFault {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults[number]
}

// refuse makes STS refuse connections for a role until its fault ends.
func (w *world) refuse(number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[number] = stsFault{kind: faultDown}
}

// s3Down reports whether replicas cannot reach S3.
func (w *world) s3Down() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.s3Fault
}

// launch starts a replica with the wanted configuration.
func (w *world) launch(r *replica) {
	if err := r.run(w.settings); err != nil {
		panic(fmt.Sprintf("sim: seed %d: replica %d does not start: %v", w.seed, r.number, err))
	}
}

// Run plays a schedule until it ends or an invariant is violated.
func Run(t *testing.T, s Schedule) (result Result) {
	dir, err := os.MkdirTemp("", "s3redirect-sim-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	defer func() {
		// A bubble panics if goroutines are left in it. The model has noted that.
		if v := recover(); v != nil && (result.Violation == nil || result.Violation.Invariant != Resources) {
			panic(v)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s, dir)
		if s.Hasty {
			w.model.revocation = 0
		}
		for n := range s.Steps {
			if w.model.violation != nil {
				break
			}
			w.until(w.start.Add(time.Duration(s.Steps[n].At)))
			w.apply(&s.Steps[n])
		}
		if w.model.violation == nil {
			w.recover()
		}
		w.end()
		result = Result{Trace: w.trace.String(), Violation: w.model.violation, Stats: w.stats}
	})
	return result
}

// until lets the time pass until an instant, and then checks what happened in between.
func (w *world) until(at time.Time) {
	if d := time.Until(at); d > 0 {
		time.Sleep(d)
	}
	w.settle()
}

// settle checks what has happened since the last call.
func (w *world) settle() {
	synctest.Wait()
	w.mu.Lock()
	events := w.events
	w.events = nil
	w.mu.Unlock()
	sortEvents(events)
	for _, e := range events {
		w.note(e.at, "%s", e.line)
		w.model.check(e)
	}
}

// note writes a line of the trace.
func (w *world) note(at time.Time, format string, a ...any) {
	fmt.Fprintf(&w.trace, "%v "+format+"\n", append([]any{at.Sub(w.start)}, a...)...)
}

// tick lets a moment pass, so that two requests do not begin at the same instant.
func (w *world) tick(r *rand.Rand) {
	time.Sleep(time.Microsecond + time.Duration(r.IntN(1000)))
	w.settle()
}

// end stops all replicas and checks what they leave behind.
func (w *world) end() {
	for _, r := range w.replicas {
		if r.app != nil {
			w.model.checkMetrics(r)
		}
		r.die()
	}
	w.inFlight.Wait()
	time.Sleep(2 * time.Minute) // timers of reloads
	w.settle()
	w.model.checkEnd()
	w.stats.Virtual = time.Since(w.start)
	w.stats.Replicas = w.stats.Virtual * time.Duration(len(w.replicas))
}
