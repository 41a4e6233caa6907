package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// commonStore is a real Redis or Valkey that asks for a password.
type commonStore struct {
	*server
	t       *testing.T
	program string
	address string
}

const commonPassword = "canary-of-the-common-store"

func startCommonStore(t *testing.T, program string) *commonStore {
	t.Helper()
	need(t, program)
	c := &commonStore{t: t, program: program, address: freeAddress(t)}
	c.start()
	return c
}

func (c *commonStore) start() {
	c.t.Helper()
	var err error
	port := c.address[strings.LastIndexByte(c.address, ':')+1:]
	if c.server, err = startServer(c.t.TempDir(), c.program, nil, c.program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass", commonPassword); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.stop)
	if err := c.await(c.program, func() bool {
		client, err := c.client()
		if err != nil {
			return false
		}
		client.Close()
		return true
	}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *commonStore) client() (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{c.address}, Password: commonPassword, DisableCache: true})
}

// contents is everything that the store holds.
func (c *commonStore) contents() map[string]string {
	c.t.Helper()
	client, err := c.client()
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	names, err := client.Do(ctx, client.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil {
		c.t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range names {
		value, err := client.Do(ctx, client.B().Get().Key(name).Build()).ToString()
		if err == nil {
			all[name] = value
		}
	}
	return all
}

// write puts something under a name, or with "" removes everything.
func (c *commonStore) write(name, value string) {
	c.t.Helper()
	client, err := c.client()
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	command := client.B().Flushall().Build()
	if name != "" {
		command = client.B().Set().Key(name).Value(value).Keepttl().Build()
	}
	if err := client.Do(context.Background(), command).Error(); err != nil {
		c.t.Fatal(err)
	}
}

// fleetConfig has windows of four seconds, so that three of them can be waited for. Sessions are of a quarter of an hour.
const fleetConfig = `
url_lifetime: 6s
min_remaining: 2s
cache: {redis: {url: "redis://:` + commonPassword + `@${COMMON}/0", encryption_key: "${FLEET_KEY}"}}
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
	sts      *sts
	store    *counted
	common   *commonStore
	config   string
	env      []string

	mu   sync.Mutex
	seen map[string]map[string]string // by signing instant and object: where it led first
}

func startFleet(t *testing.T, program string, n int, config string) *fleet {
	t.Helper()
	return startFleetVia(t, program, n, config, func(address string) string { return address })
}

// startFleetVia is startFleet, with something between the replicas and the common store.
func startFleetVia(t *testing.T, program string, n int, config string, via func(address string) string) *fleet {
	t.Helper()
	s := minio(t)
	s.createBucket(t, "fleet")
	f := &fleet{t: t, sts: s.sts(t), store: s.counted(t), common: startCommonStore(t, program), config: config, seen: map[string]map[string]string{}}
	f.env = append(s.env(), "STS="+f.sts.url, "STORE="+f.store.url, "COMMON="+via(f.common.address), fleetKey)
	var upstream []string
	for range n {
		f.replicas = append(f.replicas, startProxy(t, config, f.env...))
		upstream = append(upstream, "server "+f.replicas[len(f.replicas)-1].host+" max_fails=0;")
	}
	host, dir := freeAddress(t), shipped(t, "nginx", "server 127.0.0.1:8080;", strings.Join(upstream, " "))
	pages := t.TempDir()
	f.front = nginxWith(t, host, fmt.Sprintf("include %[1]s/upstream.conf; server { listen %[2]s; root %[3]s; include %[1]s/location.conf; }", dir, host, pages))
	return f
}

// ask asks for an object at a replica of nginx's choice, and notes where it leads. Within a window everybody must be led to the same.
func (f *fleet) ask(key string) error {
	a, err := try(f.t, http.MethodGet, "http://"+f.host+path("fleet", key))
	if err != nil {
		return err
	}
	location := a.header.Get("Location")
	u, err := url.Parse(location)
	if err != nil || a.status != http.StatusFound {
		return fmt.Errorf("%s: %d %s", key, a.status, a.body)
	}
	signed := u.Query().Get("X-Amz-Date")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[signed] == nil {
		f.seen[signed] = map[string]string{}
	}
	if first, ok := f.seen[signed][key]; ok && first != location {
		return fmt.Errorf("%s of %s has two URLs:\n%s\n%s", key, signed, first, location)
	}
	f.seen[signed][key] = location
	return nil
}

// load asks for a thousand objects again and again, from several connections, until it is told to stop. No request may fail.
func (f *fleet) load(t *testing.T) (stop func() (asked int)) {
	const objects, connections = 1000, 4
	var wg sync.WaitGroup
	ended, counts := make(chan struct{}), make([]int, connections)
	for c := range connections {
		wg.Go(func() {
			for n := c; ; n++ {
				select {
				case <-ended:
					return
				default:
				}
				if err := f.ask(fmt.Sprint("object-", n%objects)); err != nil {
					t.Error(err)
					return
				}
				counts[c]++
			}
		})
	}
	return func() (asked int) {
		close(ended)
		wg.Wait()
		for _, n := range counts {
			asked += n
		}
		return asked
	}
}

// windows waits until so many windows more have been seen.
func (f *fleet) windows(n int) {
	f.t.Helper()
	count := func() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.seen) }
	before := count()
	awaitThat(f.t, fmt.Sprintf("%d windows more", n), func() bool { return count() >= before+n })
}

// Four replicas behind nginx, with a real Redis and a real Valkey: in each window one URL for each object, byte for byte, whichever
// replica is asked, and one AssumeRole call, also while a replica starts anew. The store holds no secret in clear.
func TestFleet(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"redis-server", "valkey-server"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, program, 4, fleetConfig)
			if err := f.ask("first"); err != nil {
				t.Fatal(err)
			}
			stop := f.load(t)
			f.windows(2)
			old := f.replicas[0]
			old.signal(t, syscall.SIGTERM)
			old.wait(t, 20*time.Second)
			f.windows(2)
			late := startProxy(t, f.config, f.env...) // it joins, and is asked directly
			a := fetch(t, http.MethodGet, late.url("/s3/fleet/object-7"))
			if signed := a.query().Get("X-Amz-Date"); a.status != http.StatusFound || f.seenAt(signed, "object-7") != "" && f.seenAt(signed, "object-7") != a.header.Get("Location") {
				t.Errorf("a replica that starts anew has another URL: %d", a.status)
			}
			f.windows(1)
			asked := stop()

			whole := 0
			for _, objects := range f.seen {
				if len(objects) >= 1000 {
					whole++
				}
			}
			calls := int(f.sts.arrived.Load())
			if asked < 10_000 || whole < 3 || calls > len(f.seen)+1 || calls < len(f.seen)-1 {
				t.Errorf("%d requests; %d windows, %d of them with all objects; AssumeRole was called %d times", asked, len(f.seen), whole, calls)
			}
			t.Logf("%d requests, %d windows, %d AssumeRole calls", asked, len(f.seen), calls)
			held := fmt.Sprint(f.common.contents())
			session := f.sts.session(t)
			for _, secret := range []string{session.AccessKeyID, session.SecretAccessKey, session.SessionToken[:30], "canary", "fleet"} {
				if strings.Contains(held, secret) {
					t.Errorf("%s is in clear: %.10s…", program, secret)
				}
			}
		})
	}
}

func (f *fleet) seenAt(signed, key string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[signed][key]
}

// The common store is flushed, frozen, killed and started again, cut off, and filled with what is not ours, all under load: no request
// fails, and once it is back, windows are shared again.
func TestFleetFaults(t *testing.T) {
	t.Parallel()
	need(t, "toxiproxy-server")
	x, err := startedToxiproxy()
	if err != nil {
		t.Fatal(err)
	}
	f := startFleetVia(t, "redis-server", 2, fleetConfig, func(address string) string {
		return x.call(t, http.MethodPost, "/proxies", map[string]any{"name": "common", "listen": "127.0.0.1:0", "upstream": address, "enabled": true})["listen"].(string)
	})
	for name, fault := range map[string]mishap{
		"flushed": {func() { f.common.write("", "") }, func() {}},
		"frozen":  {func() { f.common.sendSignal(syscall.SIGSTOP) }, func() { f.common.sendSignal(syscall.SIGCONT) }},
		"killed":  {func() { f.common.stop() }, func() { f.common.start() }},
		"partitioned": {func() { // what is sent vanishes
			x.call(t, http.MethodPost, "/proxies/common/toxics", map[string]any{"name": "it", "type": "timeout", "stream": "upstream", "attributes": map[string]any{"timeout": 0}})
		}, func() { x.call(t, http.MethodDelete, "/proxies/common/toxics/it", nil) }},
		"tampered": f.tampered(),
	} {
		f.ends(t, name, fault.cause, fault.mend)
	}
	refused := 0.0
	for _, p := range f.replicas {
		refused += p.scrape(t)[`s3redirect_shared_sessions_total{integration="fleet",result="refused"}`]
	}
	if refused == 0 {
		t.Error("what was tampered with was not counted as refused")
	}
}

// ends puts the fleet through a fault.
func (f *fleet) ends(t *testing.T, name string, cause, mend func()) {
	t.Helper()
	served := func(n int) func() bool {
		var last string
		return func() bool { // so many windows come and go, and nobody fails
			for _, p := range f.replicas {
				a := fetch(t, http.MethodGet, p.url("/s3/fleet/k"))
				if err := a.checkRedirect(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if signed := a.query().Get("X-Amz-Date"); p == f.replicas[0] && signed != last {
					last, n = signed, n-1
				}
			}
			return n < 0
		}
	}
	awaitThat(t, name+": before", served(1))
	cause()
	awaitThat(t, name+": meanwhile", served(2))
	mend()
	awaitThat(t, name+": windows are shared again", func() bool {
		var first string
		for _, p := range f.replicas {
			a := fetch(t, http.MethodGet, p.url("/s3/fleet/k"))
			if err := a.checkRedirect(); err != nil {
				t.Fatalf("%s, mended: %v", name, err)
			}
			if first == "" {
				first = a.header.Get("Location")
			} else if a.header.Get("Location") != first {
				return false
			}
		}
		return true
	})
}

// mishap is a fault of the common store.
type mishap struct{ cause, mend func() }

// tampered has somebody swap the store's sessions and change them, all the time.
func (f *fleet) tampered() mishap {
	stop, done := make(chan struct{}), make(chan struct{})
	return mishap{func() {
		go func() {
			defer close(done)
			last := "of nobody"
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				for name, value := range f.common.contents() {
					if !strings.HasSuffix(name, ":lease") {
						f.common.write(name, last)
						last = value[:len(value)-1] + "x"
					}
				}
			}
		}()
	}, func() {
		close(stop)
		<-done
		f.common.write("", "")
	}}
}

func (c *commonStore) sendSignal(s syscall.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// An image that is asked for at one replica after the other is downloaded once.
func TestFleetInChromium(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "redis-server", 4, strings.NewReplacer("url_lifetime: 6s", "url_lifetime: 160h", "min_remaining: 2s", "min_remaining: 1h", "session_duration: 15m", "session_duration: 400h\n    response_cache_control: private, max-age=3600").Replace(fleetConfig))
	s := minio(t)
	s.put(t, "fleet", "a.png", picture(t, 40))
	b := openTab(t)
	site := "http://app.localhost" + f.host[strings.LastIndexByte(f.host, ':'):]
	b.open(site + "/s3/fleet/none")
	for n := range 8 { // what the proxy ignores makes another redirect, at the next replica, and the same URL
		if got := b.js(imageScript(fmt.Sprintf("%s/s3/fleet/a.png?visit=%d", site, n), "")); got != "40" {
			t.Errorf("visit %d: %s", n, got)
		}
	}
	asked := 0
	for _, p := range f.replicas {
		if n := p.redirects(t); n > 0 {
			asked++
		}
	}
	if n := len(f.store.visits(func(v visit) bool { return strings.HasSuffix(v.path, "/a.png") })); n != 1 || asked < 3 {
		t.Errorf("%d downloads, %d replicas were asked", n, asked)
	}
}

// Replicas share sessions through every kind of common store: with TLS and a user of an access list, behind a Sentinel, in a cluster.
func TestKindsOfCommonStores(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "redis-cli")
	authority := newAuthority(t)
	certificate, key := authority.certificate, authority.key
	start := func(t *testing.T, args ...string) (address string) {
		t.Helper()
		address = freeAddress(t)
		port := address[strings.LastIndexByte(address, ':')+1:]
		args = append([]string{"redis-server"}, args...)
		dir := t.TempDir()
		if !slices.Contains(args, "--tls-port") {
			args = append(args, "--port", port)
		} else {
			args[slices.Index(args, "--tls-port")+1] = port
		}
		s, err := startServer(dir, "redis", nil, append(args, "--bind", "127.0.0.1", "--dir", dir)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.stop)
		if err := s.await("redis-server", func() bool {
			c, err := net.Dial("tcp", address)
			if err != nil {
				return false
			}
			return c.Close() == nil
		}); err != nil {
			t.Fatal(err)
		}
		return address
	}
	kinds := map[string]func(t *testing.T) (url string){
		"TLS and an access list": func(t *testing.T) string {
			users := filepath.Join(t.TempDir(), "users.acl")
			const list = "user default off\nuser fleet on >canary-password ~s3redirect:* +get +set +del +eval +evalsha +hello +client +ping +select +info +cluster\n"
			if err := os.WriteFile(users, []byte(list), 0o600); err != nil {
				t.Fatal(err)
			}
			address := start(t, "--tls-port", "", "--port", "0", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no", "--aclfile", users)
			return "rediss://fleet:canary-password@" + address + "/0"
		},
		"Sentinel": func(t *testing.T) string {
			master := start(t)
			host, port, _ := strings.Cut(master, ":")
			conf := filepath.Join(t.TempDir(), "sentinel.conf")
			if err := os.WriteFile(conf, []byte(fmt.Sprintf("sentinel monitor main %s %s 1\n", host, port)), 0o600); err != nil {
				t.Fatal(err)
			}
			address := freeAddress(t)
			s, err := startServer(filepath.Dir(conf), "sentinel", nil, "redis-server", conf, "--sentinel", "--port", address[strings.LastIndexByte(address, ':')+1:], "--bind", "127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.stop)
			awaitThat(t, "the Sentinel knows its master", func() bool {
				_, port, _ := strings.Cut(address, ":")
				return strings.Contains(output(t, "redis-cli", "-p", port, "sentinel", "get-master-addr-by-name", "main"), "127.0.0.1")
			})
			return "redis://" + address + "/0?master_set=main"
		},
		"a cluster": func(t *testing.T) string {
			var nodes []string
			for range 3 {
				nodes = append(nodes, start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
			}
			if out := output(t, append(append([]string{"redis-cli", "--cluster", "create"}, nodes...), "--cluster-yes")...); !strings.Contains(out, "All 16384 slots covered") {
				t.Fatal(out)
			}
			for _, node := range nodes { // redis-cli does not wait for all of them to know that all is well
				awaitThat(t, "the cluster is up", func() bool {
					return strings.Contains(output(t, "redis-cli", "-p", node[strings.LastIndexByte(node, ':')+1:], "cluster", "info"), "cluster_state:ok")
				})
			}
			return "redis://" + nodes[0] + "/0?addr=" + nodes[1] + "&addr=" + nodes[2]
		},
	}
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := minio(t)
			sts := s.sts(t)
			env := append(s.env(), "STORE="+s.endpoint, "STS="+sts.url, "URL="+start(t), "SSL_CERT_FILE="+certificate, fleetKey)
			config := strings.NewReplacer("redis://:"+commonPassword+"@${COMMON}/0", "${URL}", "url_lifetime: 6s", "url_lifetime: 160h", "min_remaining: 2s", "min_remaining: 1h", "session_duration: 15m", "session_duration: 400h").Replace(fleetConfig)
			one, two := startProxy(t, config, env...), startProxy(t, config, env...)
			first := one.location(t, http.MethodGet, "/s3/fleet/k")
			if got := two.location(t, http.MethodGet, "/s3/fleet/k"); got != first || sts.arrived.Load() != 1 {
				t.Errorf("the same URL: %v, %d AssumeRole calls", got == first, sts.arrived.Load())
			}
			if series := two.scrape(t); series[`s3redirect_shared_sessions_total{integration="fleet",result="hit"}`] != 1 || series[`s3redirect_shared_sessions_total{integration="fleet",result="error"}`] != 0 {
				t.Errorf("the second replica has not found the first one's session")
			}
		})
	}
}
