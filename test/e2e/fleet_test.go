package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fleetConfig has windows of six seconds, so that tests can wait for several. Sessions last 15
// minutes.
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

// fleet is a set of replicas behind the shipped nginx, with one store and one STS. Both count
// requests.
type fleet struct {
	*front
	t        *testing.T
	replicas []*proxy
	dirs     []string // of the replicas' configurations
	sts      *sts
	store    *counted
	common   *sharedStore
	env      []string

	mu sync.Mutex // guards seen
	// seen are the redirects, by signing time, which identifies the window, and by key.
	seen map[string]map[string]*sighting
}

// sighting is the first redirect of an object in a window, and the replicas that were asked for it.
type sighting struct {
	location string
	replicas map[string]bool
}

// fleetObjects is the number of objects that tests request in turn.
const fleetObjects = 1000

func startFleet(t *testing.T, program string, n int, config string) *fleet {
	t.Helper()
	direct := func(address string) string { return address }
	return startFleetVia(t, program, n, config, direct)
}

// startFleetVia starts a fleet whose replicas reach the shared store at the address that via
// returns for the store's address.
func startFleetVia(
	t *testing.T, program string, n int, config string, via func(address string) string,
) *fleet {
	t.Helper()
	s := minio(t)
	s.createBucket(t, "fleet")
	f := &fleet{
		t:      t,
		sts:    s.sts(t),
		store:  s.counted(t),
		common: startSharedStore(t, program),
		seen:   map[string]map[string]*sighting{},
	}
	f.env = append(s.env(), "STS="+f.sts.url, "STORE="+f.store.url,
		"COMMON="+via(f.common.address), fleetKey)
	var upstream []string
	for range n {
		p, dir := startProxyIn(t, config, f.env...)
		f.replicas, f.dirs = append(f.replicas, p), append(f.dirs, dir)
		upstream = append(upstream, "server "+p.host+" max_fails=0;")
	}
	host := freeAddress(t)
	dir := shipped(t, "nginx", "server 127.0.0.1:8080;", strings.Join(upstream, " "))
	f.front = nginxWith(t, host, fmt.Sprintf(`
include %[1]s/upstream.conf;
server {
    listen %[2]s;
    root %[3]s;
    add_header X-Replica $upstream_addr;
    include %[1]s/location.conf;
}`, dir, host, t.TempDir()))
	return f
}

// replicaOf returns the address of the replica that sent a response through nginx. X-Replica lists
// all replicas that nginx tried.
func replicaOf(a *answer) string {
	tried := a.header.Get("X-Replica")
	return tried[strings.LastIndexByte(tried, ' ')+1:]
}

// ask requests an object through nginx, which picks a replica, and records the redirect. It returns
// an error if an earlier request in the same window got another URL.
func (f *fleet) ask(key string) error {
	a, err := try(f.t, http.MethodGet, "http://"+f.host+path("fleet", key))
	if err != nil {
		return err
	}
	if err := a.checkRedirect(); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	location, signed := a.header.Get("Location"), a.query().Get("X-Amz-Date")
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
	first.replicas[replicaOf(a)] = true
	if first.location != location {
		return fmt.Errorf("%s has two URLs in the window of %s:\n%s\n%s",
			key, signed, first.location, location)
	}
	return nil
}

// load requests all objects in turn from several goroutines, with a pause before each request,
// until stop is called. If ask returns an error, the test fails.
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

// whole returns the number of windows in which all replicas were asked, and more than one for each
// object.
func (f *fleet) whole() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, objects := range f.seen {
		asked, twice := map[string]bool{}, 0
		for _, s := range objects {
			maps.Copy(asked, s.replicas)
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

// awaitWhole waits until n more whole windows have been seen.
func (f *fleet) awaitWhole(n int) {
	f.t.Helper()
	for before := f.whole(); f.whole() < before+n && !f.t.Failed(); {
		next := f.whole() + 1
		awaitThat(f.t, fmt.Sprintf("%d whole windows were seen", next), func() bool {
			return f.whole() >= next || f.t.Failed()
		})
	}
}

// restart stops a replica and starts it again at the same address.
func (f *fleet) restart(n int) {
	f.t.Helper()
	old := f.replicas[n]
	old.signal(f.t, syscall.SIGTERM)
	old.wait(f.t, 20*time.Second)
	admin := strings.TrimPrefix(old.admin, "http://")
	f.replicas[n] = startProxyAt(f.t, f.dirs[n], old.host, admin, f.env...)
}

// TestFleet runs four replicas behind nginx, with Redis and with Valkey. In each window, each
// object has the same URL at every replica, and there is one AssumeRole call, even while a replica
// restarts. The shared store holds no secret in plaintext.
func TestFleet(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"redis-server", "valkey-server"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			config := strings.Replace(fleetConfig, "${STORE}", "${ENDPOINT}", 1)
			f := startFleet(t, program, 4, config)
			minio(t).put(t, "fleet", "object-7", []byte("seven"))
			stop := load(t, 0, f.ask)
			f.awaitWhole(1)
			f.restart(0)
			f.awaitWhole(2)
			stop()
			f.checkCalls(t)
			f.checkContents(t)
			location := f.asProxy().location(t, http.MethodGet, "/s3/fleet/object-7")
			if a := fetch(t, http.MethodGet, location); string(a.body) != "seven" {
				t.Errorf("object-7: got %d %.100q, want %q", a.status, a.body, "seven")
			}
		})
	}
}

// checkCalls checks that there was one AssumeRole call per window. Sessions outlive the test, so
// the store holds one session per window, and a second one would replace it.
func (f *fleet) checkCalls(t *testing.T) {
	t.Helper()
	awaitThat(t, "there is one AssumeRole call per session in the shared store", func() bool {
		return int(f.sts.arrived.Load()) == len(f.common.sessions())
	})
	instants := map[string]map[string]bool{} // signing times, by session token
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
			t.Errorf("a session signs URLs of %d windows, want 1", len(signed))
		}
	}
	for n, p := range f.replicas {
		failed, refused := p.sharedSessions(t, "error"), p.sharedSessions(t, "refused")
		if failed+refused != 0 {
			t.Errorf("replica %d counted %v errors and %v refused, want 0 and 0", n, failed, refused)
		}
	}
	t.Logf("%d windows seen, %d AssumeRole calls, %d sessions in use",
		len(f.seen), f.sts.arrived.Load(), len(instants))
	if len(instants) != len(f.seen) {
		t.Errorf("got %d sessions for %d windows, want one each", len(instants), len(f.seen))
	}
}

// checkContents checks that the shared store holds nothing in plaintext, and that each entry
// expires with its session.
func (f *fleet) checkContents(t *testing.T) {
	t.Helper()
	held := fmt.Sprint(f.common.contents())
	f.sts.mu.Lock()
	sessions := f.sts.sessions
	f.sts.mu.Unlock()
	for _, s := range sessions {
		for _, secret := range []string{
			s.AccessKeyID, s.SecretAccessKey, s.SessionToken[:30],
			"canary", "fleet", "reader", "access_key",
		} {
			if strings.Contains(held, secret) {
				t.Errorf("the shared store holds %.10s… in plaintext", secret)
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
				// An entry's expiry is rounded down to a second, and may be computed from the
				// time before the call.
				early := s.Expires.Sub(time.UnixMilli(ms))
				if early > -time.Second && early < 3*time.Second {
					return true
				}
			}
			return false
		}
		if !lives() {
			t.Errorf("%s expires at %v, want the expiry of a session", name, time.UnixMilli(ms))
		}
	}
}

// TestFleetInChromium checks that the browser downloads an image once, though each redirect comes
// from another replica.
func TestFleetInChromium(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "redis-server", 4,
		longWindows.Replace(fleetConfig)+"    response_cache_control: private, max-age=3600\n")
	minio(t).put(t, "fleet", "a.png", picture(t, 40))
	b := openTab(t)
	site := "http://app.localhost:" + portOf(f.host)
	b.open(site + "/s3/fleet/none")
	const visits = 8
	// The proxy ignores the parameter visit, but the browser does not: it requests a new redirect,
	// from the next replica, which leads to the same URL.
	for n := range visits {
		image := fmt.Sprintf("%s/s3/fleet/a.png?visit=%d", site, n)
		if got := b.js(imageScript(image, "")); got != "40" {
			t.Errorf("visit %d: image width = %s, want 40", n, got)
		}
	}
	asked := 0
	for _, p := range f.replicas {
		if p.awaitRedirects(t, 1) > 0 {
			asked++
		}
	}
	downloads := f.store.visits(func(v visit) bool { return strings.HasSuffix(v.path, "/a.png") })
	if len(downloads) != 1 || asked != len(f.replicas) {
		t.Errorf("got %d downloads through %d replicas, want 1 through %d",
			len(downloads), asked, len(f.replicas))
	}
}
