package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fleetConfig has windows of six seconds, so that some of them can be waited for. Sessions are of a quarter of an hour.
const fleetConfig = `
url_lifetime: 8s
min_remaining: 2s
cache: {redis: {url: "redis://:` + sharedPassword + `@${COMMON}/0", encryption_key: "${FLEET_KEY}"}}
integrations:
  - name: fleet
    bucket: fleet
    endpoint: ${STORE}
    sts_endpoint: ${STS}
    role_arn: arn:minio:iam:::role/reader
    session_duration: 15m
    path_style: true
    region: us-east-1
    access_key_id: ${ACCESS_KEY}
    secret_access_key: ${SECRET_KEY}
`

const fleetKey = "FLEET_KEY=Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI="

// fleet is replicas behind the shipped nginx, before one store and one STS that counts.
type fleet struct {
	*front
	t        *testing.T
	replicas []*proxy
	dirs     []string // of the replicas' configurations
	sts      *sts
	store    *counted
	common   *sharedStore
	env      []string

	mu   sync.Mutex
	seen map[string]map[string]*sighting // by signing instant, which is a window's own, and key
}

// sighting is where an object led first, and which replicas said so.
type sighting struct {
	location string
	replicas map[string]bool
}

// fleetObjects are asked for in turn.
const fleetObjects = 1000

func startFleet(t *testing.T, program string, n int, config string) *fleet {
	t.Helper()
	return startFleetVia(t, program, n, config, func(address string) string { return address })
}

// startFleetVia is startFleet, with something between the replicas and the common store.
func startFleetVia(t *testing.T, program string, n int, config string, via func(address string) string) *fleet {
	t.Helper()
	s := minio(t)
	s.createBucket(t, "fleet")
	f := &fleet{t: t, sts: s.sts(t), store: s.counted(t), common: startSharedStore(t, program), seen: map[string]map[string]*sighting{}}
	f.env = append(s.env(), "STS="+f.sts.url, "STORE="+f.store.url, "COMMON="+via(f.common.address), fleetKey)
	var upstream []string
	for range n {
		p, dir := startProxyIn(t, config, f.env...)
		f.replicas, f.dirs = append(f.replicas, p), append(f.dirs, dir)
		upstream = append(upstream, "server "+p.host+" max_fails=0;")
	}
	host, dir := freeAddress(t), shipped(t, "nginx", "server 127.0.0.1:8080;", strings.Join(upstream, " "))
	f.front = nginxWith(t, host, fmt.Sprintf("include %[1]s/upstream.conf; server { listen %[2]s; root %[3]s; add_header X-Replica $upstream_addr; include %[1]s/location.conf; }", dir, host, t.TempDir()))
	return f
}

// ask asks for an object at a replica of nginx's choice, and notes where it leads. Within a window everybody must be led to the same.
func (f *fleet) ask(key string) error {
	a, err := try(f.t, http.MethodGet, "http://"+f.host+path("fleet", key))
	if err != nil {
		return err
	}
	if err := a.checkRedirect(); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	location, signed := a.header.Get("Location"), a.query().Get("X-Amz-Date")
	by := a.header.Get("X-Replica")
	by = by[strings.LastIndexByte(by, ' ')+1:] // the one before was not there, and nginx went on
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[signed] == nil {
		f.seen[signed] = map[string]*sighting{}
	}
	first := f.seen[signed][key]
	if first == nil {
		first = &sighting{location, map[string]bool{}}
		f.seen[signed][key] = first
	}
	first.replicas[by] = true
	if first.location != location {
		return fmt.Errorf("%s of %s has two URLs:\n%s\n%s", key, signed, first.location, location)
	}
	return nil
}

// load asks for a thousand objects again and again, from several connections with a pause after each request, until it is told to stop. No
// request may fail.
func load(t *testing.T, pause time.Duration, ask func(key string) error) (stop func()) {
	const connections = 4
	var wg sync.WaitGroup
	ended := make(chan struct{})
	for c := range connections {
		wg.Go(func() {
			for n := c; ; n++ {
				select {
				case <-ended:
					return
				case <-time.After(pause):
				}
				if err := ask(fmt.Sprint("object-", n%fleetObjects)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		close(ended)
		wg.Wait()
	}
}

// whole counts the windows in which every object was asked for, each at more than one replica, and every replica was asked.
func (f *fleet) whole() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, objects := range f.seen {
		asked, twice := map[string]bool{}, 0
		for _, s := range objects {
			for by := range s.replicas {
				asked[by] = true
			}
			if len(s.replicas) > 1 {
				twice++
			}
		}
		if len(asked) == len(f.replicas) && twice >= fleetObjects {
			n++
		}
	}
	return n
}

// awaitWhole waits until so many whole windows have been seen.
func (f *fleet) awaitWhole(n int) {
	f.t.Helper()
	for before := f.whole(); f.whole() < before+n && !f.t.Failed(); {
		next := f.whole() + 1
		awaitThat(f.t, fmt.Sprintf("%d whole windows", next), func() bool { return f.whole() >= next || f.t.Failed() })
	}
}

// restart ends a replica, and starts it again where it was.
func (f *fleet) restart(n int) {
	f.t.Helper()
	old := f.replicas[n]
	old.signal(f.t, syscall.SIGTERM)
	old.wait(f.t, 20*time.Second)
	f.replicas[n] = startProxyAt(f.t, f.dirs[n], old.host, strings.TrimPrefix(old.admin, "http://"), f.env...)
}

// Four replicas behind nginx, with a real Redis and a real Valkey: in each window one URL for each object, byte for byte, whichever
// replica is asked, and one AssumeRole call, also while a replica starts anew. The store holds no secret in clear.
func TestFleet(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"redis-server", "valkey-server"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, program, 4, strings.Replace(fleetConfig, "${STORE}", "${ENDPOINT}", 1))
			minio(t).put(t, "fleet", "object-7", []byte("seven"))
			stop := load(t, 0, f.ask)
			f.awaitWhole(1)
			f.restart(0)
			f.awaitWhole(2)
			stop()
			f.checkCalls(t)
			f.checkContents(t)
			if a := fetch(t, http.MethodGet, fetch(t, http.MethodGet, "http://"+f.host+"/s3/fleet/object-7").header.Get("Location")); string(a.body) != "seven" {
				t.Errorf("where it leads there is %d %.100s", a.status, a.body)
			}
		})
	}
}

// checkCalls wants one AssumeRole call for each window. Sessions outlive the test, so the store has one for each window, and would have
// no room for a second one.
func (f *fleet) checkCalls(t *testing.T) {
	t.Helper()
	awaitThat(t, "one AssumeRole call for each window in the store", func() bool { return int(f.sts.arrived.Load()) == len(f.common.sessions()) })
	instants := map[string]map[string]bool{} // by session
	for signed, objects := range f.seen {
		for _, s := range objects {
			u, err := url.Parse(s.location)
			if err != nil {
				t.Fatal(err)
			}
			token := u.Query().Get("X-Amz-Security-Token")
			if instants[token] == nil {
				instants[token] = map[string]bool{}
			}
			instants[token][signed] = true
		}
	}
	for _, signed := range instants {
		if len(signed) != 1 {
			t.Errorf("a session signs for %d windows", len(signed))
		}
	}
	for _, p := range f.replicas {
		if p.sharedSessions(t, "error")+p.sharedSessions(t, "refused") != 0 {
			t.Error("a replica went on alone")
		}
	}
	t.Logf("%d windows seen, %d AssumeRole calls, %d sessions in use", len(f.seen), f.sts.arrived.Load(), len(instants))
	if len(instants) != len(f.seen) {
		t.Errorf("%d sessions for %d windows", len(instants), len(f.seen))
	}
}

// checkContents wants nothing in clear in the common store, and every session to be there for exactly as long as it lives.
func (f *fleet) checkContents(t *testing.T) {
	t.Helper()
	held := fmt.Sprint(f.common.contents())
	f.sts.mu.Lock()
	sessions := f.sts.sessions
	f.sts.mu.Unlock()
	for _, s := range sessions {
		for _, secret := range []string{s.AccessKeyID, s.SecretAccessKey, s.SessionToken[:30], "canary", "fleet", "reader", "access_key"} {
			if strings.Contains(held, secret) {
				t.Errorf("it is in clear: %.10s…", secret)
			}
		}
	}
	for _, name := range f.common.sessions() {
		ms, err := f.common.do("PEXPIRETIME", name).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		lives := func() bool {
			for _, s := range sessions {
				// Rounded down to a second, and counted from before the call, if that is earlier.
				if early := s.Expires.Sub(time.UnixMilli(ms)); early > -time.Second && early < 3*time.Second {
					return true
				}
			}
			return false
		}
		if !lives() {
			t.Errorf("what is stored until %v is no session's", time.UnixMilli(ms))
		}
	}
}

// An image that is asked for at one replica after the other is downloaded once.
func TestFleetInChromium(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "redis-server", 4, longWindows.Replace(fleetConfig)+"    response_cache_control: private, max-age=3600\n")
	minio(t).put(t, "fleet", "a.png", picture(t, 40))
	b := openTab(t)
	site := "http://app.localhost:" + portOf(f.host)
	b.open(site + "/s3/fleet/none")
	const visits = 8
	for n := range visits { // what the proxy ignores makes another redirect, at the next replica, and the same URL
		if got := b.js(imageScript(fmt.Sprintf("%s/s3/fleet/a.png?visit=%d", site, n), "")); got != "40" {
			t.Errorf("visit %d: %s", n, got)
		}
	}
	asked := 0
	for _, p := range f.replicas {
		if p.awaitRedirects(t, 1) > 0 {
			asked++
		}
	}
	if n := len(f.store.visits(func(v visit) bool { return strings.HasSuffix(v.path, "/a.png") })); n != 1 || asked != len(f.replicas) {
		t.Errorf("%d downloads, %d replicas were asked", n, asked)
	}
}

// Without a common store, a hash of the path leads everybody to one replica: one URL for each object, whatever the query. When a replica
// goes, the objects of the others keep theirs.
func TestConsistentHashing(t *testing.T) {
	t.Parallel()
	s := minio(t)
	config := longWindow + `
integrations:
  - name: hashed
    bucket: hashed
    role_arn: arn:minio:iam:::role/reader
    session_duration: 400h
    endpoint: ${ENDPOINT}
    sts_endpoint: ${ENDPOINT}
    path_style: true
    region: us-east-1
    access_key_id: ${ACCESS_KEY}
    secret_access_key: ${SECRET_KEY}
`
	var replicas []*proxy
	upstream := "hash $uri consistent;"
	for range 3 {
		replicas = append(replicas, startProxy(t, config, s.env()...))
		upstream += " server " + replicas[len(replicas)-1].host + ";"
	}
	host, dir := freeAddress(t), shipped(t, "nginx", "server 127.0.0.1:8080;", upstream)
	f := nginxWith(t, host, fmt.Sprintf("include %[1]s/upstream.conf; server { listen %[2]s; add_header X-Replica $upstream_addr; include %[1]s/location.conf; }", dir, host))
	type answer struct{ location, by string }
	ask := func(n int, query string) answer {
		a := fetch(t, http.MethodGet, "http://"+f.host+path("hashed", fmt.Sprintf("a %%2F+object-%d", n))+query)
		if err := a.checkRedirect(); err != nil {
			t.Fatal(err)
		}
		by := a.header.Get("X-Replica")
		return answer{a.header.Get("Location"), by[strings.LastIndexByte(by, ' ')+1:]}
	}
	const objects = 100
	first, share := make([]answer, objects), map[string]int{}
	for n := range objects {
		first[n] = ask(n, "")
		share[first[n].by]++
		for visit := range 3 {
			if again := ask(n, fmt.Sprint("?visit=", visit)); again != first[n] {
				t.Errorf("object %d is asked for at %s, and then at %s", n, first[n].by, again.by)
			}
		}
	}
	if len(share) != len(replicas) {
		t.Errorf("objects are spread like %v", share)
	}
	gone := replicas[0].host
	replicas[0].stop()
	for n := range objects {
		if then := ask(n, ""); then.by == gone || first[n].by != gone && then != first[n] {
			t.Errorf("object %d of %s is asked for at %s", n, first[n].by, then.by)
		}
	}
}
