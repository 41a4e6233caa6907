package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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

// start starts the store, or starts it again, empty, where it was.
func (c *commonStore) start() {
	c.t.Helper()
	c.server = startRedis(c.t, c.program, c.address, "--requirepass", commonPassword)
}

// startRedis starts a server that keeps nothing on disk, and waits until it listens.
func startRedis(t *testing.T, program, address string, args ...string) *server {
	t.Helper()
	dir, listens := t.TempDir(), []string{"--port", portOf(address)}
	if len(args) > 0 && args[0] == "--tls" {
		args, listens = args[1:], []string{"--port", "0", "--tls-port", portOf(address)}
	}
	args = append(append([]string{program}, args...), append(listens, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no")...)
	s, err := startServer(dir, program, nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	if err := s.await(program, func() bool {
		c, err := net.Dial("tcp", address)
		return err == nil && c.Close() == nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// do has the store do something, and returns its answer.
func (c *commonStore) do(args ...string) rueidis.RedisResult {
	c.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{c.address}, Password: commonPassword, DisableCache: true})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	result := client.Do(context.Background(), client.B().Arbitrary(args...).Build())
	if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		c.t.Errorf("%v: %v", args, err)
	}
	return result
}

// contents is everything that the store holds.
func (c *commonStore) contents() map[string]string {
	c.t.Helper()
	names, _ := c.do("KEYS", "*").AsStrSlice()
	all := map[string]string{}
	for _, name := range names {
		if value, err := c.do("GET", name).ToString(); err == nil {
			all[name] = value
		}
	}
	return all
}

// sessions are the names of what replicas share, one for each integration and window.
func (c *commonStore) sessions() (names []string) {
	c.t.Helper()
	for name := range c.contents() {
		if !strings.HasSuffix(name, ":lease") {
			names = append(names, name)
		}
	}
	return names
}

func (c *commonStore) sendSignal(s syscall.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// longWindows are fleetConfig's windows, so long that none ends while a test runs.
var longWindows = strings.NewReplacer("url_lifetime: 8s", "url_lifetime: 160h", "min_remaining: 2s", "min_remaining: 1h", "session_duration: 15m", "session_duration: 400h")

// atURL is fleetConfig with a common store of any kind.
var atURL = strings.NewReplacer("redis://:"+commonPassword+"@${COMMON}/0", "${URL}")

// Replicas share sessions through every kind of common store: with TLS and a user of an access list, behind a Sentinel, in a cluster.
func TestKindsOfCommonStores(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "redis-cli")
	authority := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate, of 127.0.0.1
	t.Cleanup(authority.Close)
	certificate, key := writePair(t, authority.TLS.Certificates[0])
	kinds := map[string]func(t *testing.T) (url string, check func(t *testing.T)){
		"TLS and an access list": func(t *testing.T) (string, func(t *testing.T)) {
			users, address := accessList(t, "user default off", "user fleet on >canary-password "+aclInDocs(t)), freeAddress(t)
			startRedis(t, "redis-server", address, "--tls", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no", "--aclfile", users)
			return "rediss://fleet:canary-password@" + address + "/0", func(t *testing.T) {
				mayAll(t, output(t, "redis-cli", "--tls", "--cacert", certificate, "-p", portOf(address), "--user", "fleet", "--pass", "canary-password", "info", "all"))
			}
		},
		"a Sentinel with a password": func(t *testing.T) (string, func(t *testing.T)) {
			master := freeAddress(t)
			startRedis(t, "redis-server", master, "--aclfile", accessList(t, "user default on nopass ~* &* +@all", "user fleet on >canary-password "+aclInDocs(t)))
			return "redis://fleet:canary-password@" + startSentinel(t, master, "requirepass canary-sentinel\n") + "/0?master_set=main&sentinel_password=canary-sentinel", func(t *testing.T) {
				mayAll(t, output(t, "redis-cli", "-p", portOf(master), "info", "all"))
			}
		},
		"a cluster": func(t *testing.T) (string, func(t *testing.T)) {
			var nodes []string
			for range 3 {
				nodes = append(nodes, freeAddress(t))
				startRedis(t, "redis-server", nodes[len(nodes)-1], "--cluster-enabled", "yes", "--cluster-port", portOf(freeAddress(t)))
			}
			if out := output(t, append(append([]string{"redis-cli", "--cluster", "create"}, nodes...), "--cluster-yes")...); !strings.Contains(out, "All 16384 slots covered") {
				t.Fatal(out)
			}
			// The one that made the cluster is content before the nodes are: until each has heard of the others it says CLUSTERDOWN.
			for _, node := range nodes {
				awaitThat(t, "the node's cluster is up", func() bool {
					info := output(t, "redis-cli", "-p", portOf(node), "cluster", "info")
					return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") && strings.Contains(info, "cluster_known_nodes:3")
				})
			}
			return "redis://" + nodes[0] + "/0?addr=" + nodes[1] + "&addr=" + nodes[2], func(*testing.T) {}
		},
	}
	for name, begin := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := minio(t)
			url, check := begin(t)
			env := append(s.env(), "STORE="+s.endpoint, "STS="+s.sts(t).url, "URL="+url, "SSL_CERT_FILE="+certificate, fleetKey)
			config := longWindows.Replace(atURL.Replace(fleetConfig))
			// A machine that is too busy may have a replica give the store up, and go on alone, which it counts: another is started then.
			start := func(results ...string) (p *proxy, location string) {
				const tries = 5
				for n := 1; ; n++ {
					p = startProxy(t, config, env...)
					a := fetch(t, http.MethodGet, p.url("/s3/fleet/k"))
					err := a.checkRedirect() // STS may be too busy, too
					if location = a.header.Get("Location"); err == nil && p.sharedSessions(t, "error") == 0 {
						break
					}
					if n == tries {
						t.Fatalf("the store does not answer: %v", err)
					}
				}
				shared := 0.0
				for _, result := range results {
					shared += p.sharedSessions(t, result)
				}
				if shared == 0 || p.sharedSessions(t, "refused") != 0 {
					t.Errorf("a replica shares no session: %v", results)
				}
				return p, location
			}
			one, first := start("stored", "hit") // what was given up may have been stored
			two, second := start("hit")
			if first != second { // two sessions would be two URLs
				t.Error("each replica has a URL of its own")
			}
			check(t)
			for _, p := range []*proxy{one, two} {
				if strings.Contains(p.output(), "canary") {
					t.Error("the log has a password")
				}
			}
		})
	}
}

// sharedSessions is how often a replica counted a result of its looks into the common store.
func (p *proxy) sharedSessions(t *testing.T, result string) float64 {
	t.Helper()
	n, ok := p.scrape(t)[fmt.Sprintf("s3redirect_shared_sessions_total{integration=\"fleet\",result=%q}", result)]
	if !ok {
		t.Errorf("no series for %s", result)
	}
	return n
}

// The key is changed as docs/deployment.md says: at each step old and new replicas have one session. Who has another key has none of it, and
// counts that.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s, c := minio(t), startCommonStore(t, "valkey-server")
	const one, two, three = "b25lLW9uZS1vbmUtb25lLW9uZS1vbmUtb25lLW9uZTE=", "dHdvLXR3by10d28tdHdvLXR3by10d28tdHdvLXR3bzI=", "dGhyZWUtdGhyZWUtdGhyZWUtdGhyZWUtdGhyZWUtMzI="
	replica := func(key string, old ...string) (string, *proxy) {
		config := strings.Replace(longWindows.Replace(fleetConfig), `encryption_key: "${FLEET_KEY}"`, fmt.Sprintf(`encryption_key: %q, old_encryption_keys: [%s]`, key, strings.Join(old, ", ")), 1)
		p := startProxy(t, config, append(s.env(), "STORE="+s.endpoint, "STS="+s.endpoint, "COMMON="+c.address)...)
		return p.location(t, http.MethodGet, "/s3/fleet/k"), p
	}
	first, _ := replica(one)
	for step, keys := range map[string][]string{"the new key may open": {one, two}, "the keys are swapped": {two, one}} {
		if location, p := replica(keys[0], keys[1]); location != first || p.sharedSessions(t, "hit") != 1 {
			t.Errorf("%s: another session", step)
		}
	}
	c.do("FLUSHALL")
	sealedWithNew, _ := replica(two, one)
	for step, keys := range map[string][]string{"one that is a step behind": {one, two}, "the old key is gone": {two, three}} {
		if location, p := replica(keys[0], keys[1]); location != sealedWithNew || p.sharedSessions(t, "hit") != 1 {
			t.Errorf("%s: another session", step)
		}
	}
	if location, p := replica(three); location == sealedWithNew || p.sharedSessions(t, "refused") == 0 || !strings.Contains(p.output(), "shared session rejected") {
		t.Error("a replica with another key reads what is sealed")
	}
}

// mayAll wants a server to have refused nothing, a lease's return included.
func mayAll(t *testing.T, info string) {
	t.Helper()
	if strings.Contains(info, "errorstat_NOPERM") || !strings.Contains(info, "cmdstat_evalsha") {
		t.Errorf("the access list of docs/deployment.md lacks something:\n%s", info)
	}
}

// accessList writes a file of users.
func accessList(t *testing.T, users ...string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(file, []byte(strings.Join(users, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// aclInDocs is what docs/deployment.md says that a user of an access list needs.
func aclInDocs(t *testing.T) string {
	t.Helper()
	doc := readFile(t, "../../docs/deployment.md")
	_, rest, ok := strings.Cut(doc, "`~s3redirect:*")
	rules, _, closed := strings.Cut(rest, "`")
	if !ok || !closed {
		t.Fatal("docs/deployment.md has no access list")
	}
	return "~s3redirect:*" + rules
}

// startSentinel starts a Sentinel of one master, which it calls main, and waits until it knows it.
func startSentinel(t *testing.T, master, more string) (address string) {
	t.Helper()
	address = freeAddress(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 %s 1\n%s", portOf(address), portOf(master), more)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := startServer(filepath.Dir(conf), "sentinel", nil, "redis-server", conf, "--sentinel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	if err := s.await("the Sentinel", func() bool { return strings.Contains(s.output(), "+monitor master main") }); err != nil {
		t.Fatal(err)
	}
	return address
}

// The master dies, and the Sentinel has its replica take over: nobody fails, and the replicas share windows again, at the new master.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "redis-cli")
	master, second := freeAddress(t), freeAddress(t)
	old := startRedis(t, "redis-server", master)
	startRedis(t, "redis-server", second, "--replicaof", "127.0.0.1 "+portOf(master), "--repl-diskless-sync-delay", "0")
	awaitThat(t, "there is a replica", func() bool {
		return strings.Contains(output(t, "redis-cli", "-p", portOf(second), "info", "replication"), "master_link_status:up")
	})
	sentinel := startSentinel(t, master, "")
	s := minio(t)
	env := append(s.env(), "STORE="+s.endpoint, "STS="+s.sts(t).url, "URL=redis://"+sentinel+"/0?master_set=main", fleetKey)
	f := &fleet{t: t}
	for range 2 {
		f.replicas = append(f.replicas, startProxy(t, atURL.Replace(fleetConfig), env...))
	}
	f.shareANewWindow(t)
	old.stop()
	f.awaitWindows(t, 1)
	// On a busy machine a Sentinel mistrusts its clock (TILT), and decides nothing: so it is told what it would have decided.
	for _, told := range [][]string{{second, "replicaof", "no", "one"}, {sentinel, "sentinel", "remove", "main"}, {sentinel, "sentinel", "monitor", "main", "127.0.0.1", portOf(second), "1"}} {
		if out := output(t, append([]string{"redis-cli", "-p", portOf(told[0])}, told[1:]...)...); out != "OK" {
			t.Fatalf("%v: %s", told, out)
		}
	}
	f.shareANewWindow(t)
	if n := len(strings.Fields(output(t, "redis-cli", "-p", portOf(second), "keys", "s3redirect:session:*"))); n < 2 {
		t.Errorf("the new master holds %d sessions", n)
	}
}

// Whatever a common store says no with, replicas serve, and say why once; and nothing that is secret is in the log, or among the metrics.
func TestCommonStoreThatSaysNo(t *testing.T) {
	t.Parallel()
	need(t, "redis-server")
	authority := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(authority.Close)
	certificate, key := writePair(t, authority.TLS.Certificates[0])
	for name, start := range map[string]func(t *testing.T, address string) (url string){
		"a wrong password": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address, "--requirepass", "another")
			return "redis://canary-user:canary-password@" + address + "/0"
		},
		"a user without rights": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address, "--aclfile", accessList(t, "user default off", "user canary-user on >canary-password +ping +hello"))
			return "redis://canary-user:canary-password@" + address + "/0"
		},
		"a certificate that nobody knows": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address, "--tls", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
			return "rediss://canary-user:canary-password@" + address + "/0"
		},
		"no TLS": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address)
			return "rediss://canary-user:canary-password@" + address + "/0"
		},
		"nobody there": func(_ *testing.T, address string) string {
			return "redis://canary-user:canary-password@" + address + "/0"
		},
		"a name that is none": func(*testing.T, string) string { return "redis://canary-user:canary-password@redis.invalid/0" },
		"not a Sentinel": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address)
			return "redis://canary-user:canary-password@" + address + "/0?master_set=main&sentinel_password=canary-sentinel"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := minio(t)
			env := append(s.env(), "STORE="+s.endpoint, "STS="+s.sts(t).url, "URL="+start(t, freeAddress(t)), fleetKey)
			p := startProxy(t, longWindows.Replace(atURL.Replace(fleetConfig)), env...)
			p.location(t, http.MethodGet, "/s3/fleet/k")
			log := p.output()
			if n := strings.Count(log, "shared store unreachable"); n != 1 || p.sharedSessions(t, "error") == 0 {
				t.Errorf("said %d times, counted %v", n, p.sharedSessions(t, "error"))
			}
			if said := log + string(fetch(t, http.MethodGet, p.admin+"/metrics").body); strings.Contains(said, "canary") {
				t.Errorf("a secret is said:\n%s", said)
			}
		})
	}
}
