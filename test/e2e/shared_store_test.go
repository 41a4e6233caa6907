package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/rueidis"
)

// sharedStore is a real Redis or Valkey server that requires a password.
type sharedStore struct {
	*server
	t       *testing.T
	program string
	address string
}

const sharedPassword = "canary-of-the-shared-store"

func startSharedStore(t *testing.T, program string) *sharedStore {
	t.Helper()
	need(t, program)
	c := &sharedStore{t: t, program: program, address: freeAddress(t)}
	c.start()
	return c
}

// start starts the store, or restarts it, empty, at the same address.
func (c *sharedStore) start() {
	c.t.Helper()
	c.server = startRedis(c.t, c.program, c.address, "--requirepass", sharedPassword)
}

// startRedis starts a server that stores nothing on disk, and waits until it listens. If the first
// argument is --tls, it listens with TLS only.
func startRedis(t *testing.T, program, address string, args ...string) *server {
	t.Helper()
	dir, ports := t.TempDir(), []string{"--port", portOf(address)}
	if len(args) > 0 && args[0] == "--tls" {
		args, ports = args[1:], []string{"--port", "0", "--tls-port", portOf(address)}
	}
	args = slices.Concat([]string{program}, args, ports,
		[]string{"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"})
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

// portOf returns the port of a host:port address.
func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// do sends the store a command and returns the reply. Errors fail the test, except WRONGTYPE.
func (c *sharedStore) do(args ...string) rueidis.RedisResult {
	c.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:  []string{c.address},
		Password:     sharedPassword,
		DisableCache: true,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	result := client.Do(context.Background(), client.B().Arbitrary(args...).Build())
	err = result.Error()
	if err != nil && !rueidis.IsRedisNil(err) && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		c.t.Errorf("%v: %v", args, err)
	}
	return result
}

// contents returns every string that the store holds, by key.
func (c *sharedStore) contents() map[string]string {
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

// sessions returns the keys of the sessions that replicas share, one for each integration and
// window.
func (c *sharedStore) sessions() (names []string) {
	c.t.Helper()
	for name := range c.contents() {
		if !strings.HasSuffix(name, ":lease") {
			names = append(names, name)
		}
	}
	return names
}

func (c *sharedStore) sendSignal(s syscall.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// longWindows makes fleetConfig's windows so long that none ends during a test.
var longWindows = strings.NewReplacer(
	"url_lifetime: 8s", "url_lifetime: 160h",
	"min_remaining: 2s", "min_remaining: 1h",
	"session_duration: 15m", "session_duration: 400h",
)

// atURL makes fleetConfig use the shared store at ${URL}.
var atURL = strings.NewReplacer("redis://:"+sharedPassword+"@${COMMON}/0", "${URL}")

// TestKindsOfSharedStores checks that replicas share sessions through every kind of shared store:
// one with TLS and an ACL user, one behind a Sentinel, and a cluster.
func TestKindsOfSharedStores(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "redis-cli")
	authority := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate for 127.0.0.1
	t.Cleanup(authority.Close)
	certificate, key := writePair(t, authority.TLS.Certificates[0])
	kinds := map[string]func(t *testing.T) (url string, check func(t *testing.T)){
		"TLS and an ACL": func(t *testing.T) (string, func(t *testing.T)) {
			address := freeAddress(t)
			users := writeACL(t, "user default off",
				"user fleet on >canary-password "+documentedACL(t))
			startRedis(t, "redis-server", address, "--tls",
				"--tls-cert-file", certificate, "--tls-key-file", key,
				"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no", "--aclfile", users)
			return "rediss://fleet:canary-password@" + address + "/0", func(t *testing.T) {
				checkACL(t, output(t, "redis-cli", "--tls", "--cacert", certificate,
					"-p", portOf(address), "--user", "fleet", "--pass", "canary-password",
					"info", "all"))
			}
		},
		"a Sentinel with a password": func(t *testing.T) (string, func(t *testing.T)) {
			master := freeAddress(t)
			users := writeACL(t, "user default on nopass ~* &* +@all",
				"user fleet on >canary-password "+documentedACL(t))
			startRedis(t, "redis-server", master, "--aclfile", users)
			sentinel := startSentinel(t, master, "requirepass canary-sentinel\n")
			url := "redis://fleet:canary-password@" + sentinel +
				"/0?master_set=main&sentinel_password=canary-sentinel"
			return url, func(t *testing.T) {
				checkACL(t, output(t, "redis-cli", "-p", portOf(master), "info", "all"))
			}
		},
		"a cluster": func(t *testing.T) (string, func(t *testing.T)) {
			var nodes []string
			for range 3 {
				nodes = append(nodes, freeAddress(t))
				startRedis(t, "redis-server", nodes[len(nodes)-1], "--cluster-enabled", "yes",
					"--cluster-port", portOf(freeAddress(t)))
			}
			create := slices.Concat(
				[]string{"redis-cli", "--cluster", "create"}, nodes, []string{"--cluster-yes"})
			if out := output(t, create...); !strings.Contains(out, "All 16384 slots covered") {
				t.Fatalf("redis-cli did not create the cluster:\n%s", out)
			}
			// redis-cli returns before every node knows the others; until then nodes answer
			// CLUSTERDOWN.
			for _, node := range nodes {
				awaitThat(t, "the node's cluster is up", func() bool {
					info := output(t, "redis-cli", "-p", portOf(node), "cluster", "info")
					return strings.Contains(info, "cluster_state:ok") &&
						strings.Contains(info, "cluster_slots_ok:16384") &&
						strings.Contains(info, "cluster_known_nodes:3")
				})
			}
			url := "redis://" + nodes[0] + "/0?addr=" + nodes[1] + "&addr=" + nodes[2]
			return url, func(*testing.T) {}
		},
	}
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := minio(t)
			url, check := start(t)
			env := append(s.env(), "STORE="+s.endpoint, "STS="+s.sts(t).url, "URL="+url,
				"SSL_CERT_FILE="+certificate, fleetKey)
			config := longWindows.Replace(atURL.Replace(fleetConfig))
			startReplica := func(results ...string) (*proxy, string) {
				return startSharing(t, config, env, results...)
			}
			// A replica that timed out may have stored its session all the same.
			one, first := startReplica("stored", "hit")
			two, second := startReplica("hit")
			if first != second { // another session would give another URL
				t.Errorf("the second replica redirects to %s, want the first one's %s", second, first)
			}
			check(t)
			for _, p := range []*proxy{one, two} {
				if strings.Contains(p.output(), "canary") {
					t.Errorf("a password is in the log:\n%s", p.output())
				}
			}
		})
	}
}

// startSharing starts a replica that uses the shared store, and returns its redirect of /s3/fleet/k.
// The replica must have counted one of the results.
//
// On a busy machine a replica may time out on the shared store and use its own session, which it
// counts as an error. Then another replica is started.
func startSharing(
	t *testing.T, config string, env []string, results ...string,
) (p *proxy, location string) {
	t.Helper()
	const tries = 5
	for n := 1; ; n++ {
		p = startProxy(t, config, env...)
		a := fetch(t, http.MethodGet, p.url("/s3/fleet/k"))
		err := a.checkRedirect() // STS may time out as well
		if location = a.header.Get("Location"); err == nil && p.sharedSessions(t, "error") == 0 {
			break
		}
		if n == tries {
			t.Fatalf("no replica of %d uses the shared store; the last redirect: %v", tries, err)
		}
	}
	shared := 0.0
	for _, result := range results {
		shared += p.sharedSessions(t, result)
	}
	if refused := p.sharedSessions(t, "refused"); shared == 0 || refused != 0 {
		t.Errorf("the replica counted %v %q and %v refused, want at least 1 and 0",
			shared, results, refused)
	}
	return p, location
}

// sharedSessions returns how often a replica counted a result of looking up the shared store.
func (p *proxy) sharedSessions(t *testing.T, result string) float64 {
	t.Helper()
	const series = `s3redirect_shared_sessions_total{integration="fleet",result=%q}`
	n, ok := p.scrape(t)[fmt.Sprintf(series, result)]
	if !ok {
		t.Errorf("the metrics lack "+series, result)
	}
	return n
}

// TestKeyRotation changes the encryption key as docs/deployment/replicas.md describes: at each step,
// replicas before and after it share one session. A replica with another key cannot read the
// session, and counts that.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s, c := minio(t), startSharedStore(t, "valkey-server")
	const (
		one   = "b25lLW9uZS1vbmUtb25lLW9uZS1vbmUtb25lLW9uZTE="
		two   = "dHdvLXR3by10d28tdHdvLXR3by10d28tdHdvLXR3bzI="
		three = "dGhyZWUtdGhyZWUtdGhyZWUtdGhyZWUtdGhyZWUtMzI="
	)
	replica := func(key string, old ...string) (string, *proxy) {
		keys := fmt.Sprintf(`encryption_key: %q, old_encryption_keys: [%s]`,
			key, strings.Join(old, ", "))
		config := strings.Replace(longWindows.Replace(fleetConfig),
			`encryption_key: "${FLEET_KEY}"`, keys, 1)
		p := startProxy(t, config,
			append(s.env(), "STORE="+s.endpoint, "STS="+s.endpoint, "COMMON="+c.address)...)
		return p.location(t, http.MethodGet, "/s3/fleet/k"), p
	}
	wantShared := func(step, want string, keys ...string) {
		t.Helper()
		location, p := replica(keys[0], keys[1:]...)
		if hits := p.sharedSessions(t, "hit"); location != want || hits != 1 {
			t.Errorf("%s: redirect to %s with %v hits, want %s with 1", step, location, hits, want)
		}
	}
	first, _ := replica(one)
	for step, keys := range map[string][]string{
		"the new key is added":   {one, two},
		"the keys are exchanged": {two, one},
	} {
		wantShared(step, first, keys...)
	}
	c.do("FLUSHALL")
	sealedWithNew, _ := replica(two, one)
	for step, keys := range map[string][]string{
		"a replica that is one step behind": {one, two},
		"the old key is removed":            {two, three},
	} {
		wantShared(step, sealedWithNew, keys...)
	}
	location, p := replica(three)
	if refused := p.sharedSessions(t, "refused"); location == sealedWithNew || refused == 0 {
		t.Errorf("with another key: redirect to %s with %v refused, want another URL and at least 1",
			location, refused)
	}
	if log := p.output(); !strings.Contains(log, "shared session rejected") {
		t.Errorf("with another key: the log lacks %q:\n%s", "shared session rejected", log)
	}
}

// checkACL checks that a server denied no command, and that a lease was returned (EVALSHA).
func checkACL(t *testing.T, info string) {
	t.Helper()
	if strings.Contains(info, "errorstat_NOPERM") || !strings.Contains(info, "cmdstat_evalsha") {
		t.Errorf("the ACL in docs/deployment/replicas.md denies a command, or EVALSHA was not called:\n%s", info)
	}
}

// writeACL writes an ACL file with the users.
func writeACL(t *testing.T, users ...string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(file, []byte(strings.Join(users, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// documentedUser returns the words of the command in docs/deployment/replicas.md that makes the ACL user.
func documentedUser(t *testing.T) []string {
	t.Helper()
	doc := readFile(t, "../../docs/deployment/replicas.md")
	const start = "ACL SETUSER s3redirect reset on >PASSWORD "
	_, rules, ok := strings.Cut(doc, start)
	rules, _, _ = strings.Cut(rules, "\n")
	if !ok || !strings.HasPrefix(rules, "~s3redirect:* ") {
		t.Fatalf("docs/deployment/replicas.md has no line %q with the pattern ~s3redirect:*", start)
	}
	return strings.Fields(start + rules)
}

// documentedACL returns the rules that an ACL user needs according to docs/deployment/replicas.md.
func documentedACL(t *testing.T) string {
	t.Helper()
	return strings.Join(documentedUser(t)[6:], " ")
}

// TestUnusableSharedStore checks that replicas serve without the shared store if they cannot use it
// for any reason, that they log the reason once, and that neither the log nor the metrics contain
// secrets.
func TestUnusableSharedStore(t *testing.T) {
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
			startRedis(t, "redis-server", address, "--aclfile", writeACL(t, "user default off",
				"user canary-user on >canary-password +ping +hello"))
			return "redis://canary-user:canary-password@" + address + "/0"
		},
		"an untrusted certificate": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address, "--tls",
				"--tls-cert-file", certificate, "--tls-key-file", key,
				"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
			return "rediss://canary-user:canary-password@" + address + "/0"
		},
		"no TLS": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address)
			return "rediss://canary-user:canary-password@" + address + "/0"
		},
		"connection refused": func(_ *testing.T, address string) string {
			return "redis://canary-user:canary-password@" + address + "/0"
		},
		"a name that does not resolve": func(*testing.T, string) string {
			return "redis://canary-user:canary-password@redis.invalid/0"
		},
		"not a Sentinel": func(t *testing.T, address string) string {
			startRedis(t, "redis-server", address)
			return "redis://canary-user:canary-password@" + address +
				"/0?master_set=main&sentinel_password=canary-sentinel"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := minio(t)
			env := append(s.env(), "STORE="+s.endpoint, "STS="+s.sts(t).url,
				"URL="+start(t, freeAddress(t)), fleetKey)
			p := startProxy(t, longWindows.Replace(atURL.Replace(fleetConfig)), env...)
			p.location(t, http.MethodGet, "/s3/fleet/k")
			log := p.output()
			logged, counted := strings.Count(log, "shared store unreachable"), p.sharedSessions(t, "error")
			if logged != 1 || counted == 0 {
				t.Errorf("the error was logged %d times and counted %v times, want 1 and at least 1",
					logged, counted)
			}
			public := log + string(fetch(t, http.MethodGet, p.admin+"/metrics").body)
			if strings.Contains(public, "canary") {
				t.Errorf("a secret is in the log or the metrics:\n%s", public)
			}
		})
	}
}
