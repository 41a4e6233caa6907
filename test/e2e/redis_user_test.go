package e2e

import (
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"s3redirect/internal/check"
)

// hostilePassword has the characters that separate the parts of a URL.
const hostilePassword = "canary/of#the@user:50%2F"

// guardedRedis is a server that accepts only TLS with a client certificate, and whose ACL user is
// the one that docs/deployment/replicas.md shows, for keys that begin with media:.
type guardedRedis struct {
	address  string
	files    map[string]string // by their names in guardedConfig
	password string            // of the administrator
}

// guardedConfig is fleetConfig with the user of a [guardedRedis].
var guardedConfig = strings.Replace(longWindows.Replace(fleetConfig),
	`url: "redis://:`+sharedPassword+`@${COMMON}/0",`, `url: "rediss://${COMMON}/0",
    username: s3redirect, password: "${file:PASSWORD}", key_prefix: "media:",
    tls: {ca_file: CA, cert_file: CERT, key_file: KEY},`, 1)

func startGuardedRedis(t *testing.T, program string) *guardedRedis {
	t.Helper()
	need(t, program, "redis-cli")
	authority := newIssuer(t)
	serverCert, serverKey := writePair(t, authority.sign(t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}))
	g := &guardedRedis{address: freeAddress(t), password: "canary-of-the-administrator"}
	g.files = map[string]string{"CA": authority.file, "PASSWORD": filepath.Join(t.TempDir(), "password")}
	g.files["CERT"], g.files["KEY"] = writePair(t, authority.issue(t, "replica"))
	if err := os.WriteFile(g.files["PASSWORD"], []byte(hostilePassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startRedis(t, program, g.address, "--tls", "--tls-cert-file", serverCert, "--tls-key-file", serverKey,
		"--tls-ca-cert-file", authority.file, "--tls-auth-clients", "yes", "--requirepass", g.password)
	user := documentedUser(t)
	for n := range user {
		user[n] = strings.Replace(user[n], ">PASSWORD", ">"+hostilePassword, 1)
		user[n] = strings.Replace(user[n], "~s3redirect:", "~media:s3redirect:", 1)
	}
	if out := g.do(t, user...); out != "OK" {
		t.Fatalf("ACL SETUSER = %q, want OK", out)
	}
	return g
}

// do sends a command as the administrator.
func (g *guardedRedis) do(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, append([]string{"redis-cli", "--tls", "--cacert", g.files["CA"], "--cert", g.files["CERT"],
		"--key", g.files["KEY"], "-p", portOf(g.address), "--pass", g.password, "--no-auth-warning"}, args...)...)
}

// config returns guardedConfig after changes, each an old and a new text.
func (g *guardedRedis) config(changes ...string) string {
	config := strings.NewReplacer(changes...).Replace(guardedConfig)
	for name, file := range g.files {
		config = strings.ReplaceAll(config, ": "+name, ": "+file)
		config = strings.ReplaceAll(config, "file:"+name, "file:"+file)
	}
	return config
}

// TestDocumentedRedisUser checks that replicas share a session with the ACL user of
// docs/deployment/replicas.md, over TLS with client certificates, under a key prefix and with a password
// that has no place in a URL. If the server does not accept them, check says what to do, and
// replicas serve without it.
func TestDocumentedRedisUser(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"redis-server", "valkey-server"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			g, s := startGuardedRedis(t, program), minio(t)
			sts := s.sts(t)
			env := append(s.env(), "STORE="+s.endpoint, "STS="+sts.url, "COMMON="+g.address, fleetKey)

			one, first := startSharing(t, g.config(), env, "stored", "hit")
			calls := sts.arrived.Load()
			two, second := startSharing(t, g.config(), env, "hit")
			if first != second || sts.arrived.Load() != calls {
				t.Errorf("the second replica redirects to %s after %d calls of STS, want %s after none",
					second, sts.arrived.Load()-calls, first)
			}
			keys := strings.Fields(g.do(t, "keys", "*"))
			if len(keys) == 0 || slices.ContainsFunc(keys, func(key string) bool {
				return !strings.HasPrefix(key, "media:s3redirect:session:")
			}) {
				t.Errorf("the server has the keys %q, want only sessions with the prefix media:", keys)
			}
			checkACL(t, g.do(t, "info", "all"))
			step, out := redisStep(t, g.config(), env)
			if step.Verdict != check.OK || !strings.Contains(step.Reason, "media:s3redirect:") {
				t.Errorf("check = %+v, want ok and the prefix", step)
			}
			wantNoCanary(t, out, one.output(), two.output())
			if keys := strings.Fields(g.do(t, "keys", "*:check:*")); len(keys) != 0 {
				t.Errorf("check leaves the keys %q, want none", keys)
			}
			g.testRejected(t, env)
		})
	}
}

// testRejected checks how check and serve report what the server rejects.
func (g *guardedRedis) testRejected(t *testing.T, env []string) {
	wrong := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(wrong, []byte("canary-of-another"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The server rejects a client certificate after the client's handshake. Its alert may be lost.
	for name, c := range map[string]struct {
		config         string
		reason, remedy string
	}{
		"a wrong password": {
			g.config("file:PASSWORD", "file:"+wrong), "the user or the password was rejected",
			"username and password",
		},
		"no client certificate": {
			g.config(", cert_file: CERT, key_file: KEY", ""), "Redis", "set cert_file",
		},
		"another authority's client": {
			g.config(strangersFiles(t)...), "Redis", "tls-ca-cert-file",
		},
		"another authority": {
			g.config("ca_file: CA", "ca_file: "+newIssuer(t).file), "unknown authority", "ca_file",
		},
		"another prefix": {
			g.config(`key_prefix: "media:"`, `key_prefix: "maps:"`), "may not use the keys maps:s3redirect:*",
			"~maps:s3redirect:* +getrange",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step, out := redisStep(t, c.config, env)
			if step.Verdict != check.Failed || !strings.Contains(step.Reason, c.reason) ||
				!strings.Contains(step.Remedy, c.remedy) {
				t.Errorf("check = %+v, want failed with %q and %q", step, c.reason, c.remedy)
			}
			p := startProxy(t, c.config, env...)
			p.location(t, http.MethodGet, "/s3/fleet/k")
			log := p.output()
			if n := strings.Count(log, "shared store unreachable"); n != 1 || p.sharedSessions(t, "error") == 0 {
				t.Errorf("the error was logged %d times and counted %v times, want 1 and at least 1",
					n, p.sharedSessions(t, "error"))
			}
			wantNoCanary(t, out, log, string(fetch(t, http.MethodGet, p.admin+"/metrics").body))
		})
	}
}

// strangersFiles returns changes of a configuration to a client certificate of an authority that
// the server does not trust.
func strangersFiles(t *testing.T) []string {
	t.Helper()
	certificate, key := writePair(t, newIssuer(t).issue(t, "stranger"))
	return []string{"cert_file: CERT", "cert_file: " + certificate, "key_file: KEY", "key_file: " + key}
}

// redisStep returns the step redis of check, and all that check prints.
func redisStep(t *testing.T, config string, env []string) (check.Step, string) {
	t.Helper()
	env = slices.Concat(env, []string{"LISTEN=127.0.0.1:1", "ADMIN_LISTEN=127.0.0.1:2"})
	_, out := command(t, writeConfig(t, config), env, "check", "--config", "config.yaml", "--json")
	var result struct{ Steps []check.Step }
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("check --json: %v in %s", err, out)
	}
	n := slices.IndexFunc(result.Steps, func(s check.Step) bool { return s.Name == "redis" })
	if n < 0 {
		t.Fatalf("check has no step redis: %s", out)
	}
	return result.Steps[n], out
}

// wantNoCanary checks that no text holds a secret.
func wantNoCanary(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(text, "canary") {
			t.Errorf("a secret is in this text:\n%s", text)
		}
	}
}
