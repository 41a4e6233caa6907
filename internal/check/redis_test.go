package check

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"s3redirect/internal/config"
)

const redisPassword = "canary/p@ss"

// newRedis returns a fake server that requires a user and a password.
func newRedis(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	s := miniredis.RunT(t)
	s.RequireUserAuth("proxy", redisPassword)
	return s
}

// redisConfig returns a configuration of cache.redis.
func redisConfig(address string, more ...string) string {
	scheme := "redis"
	if strings.HasPrefix(address, "rediss://") {
		scheme, address = "rediss", strings.TrimPrefix(address, "rediss://")
	}
	return "cache: {redis: {url: '" + scheme + "://" + address + "', username: proxy, password: " +
		redisPassword + ", encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=, " +
		strings.Join(append(more, ""), ", ") + "}}\n"
}

// useRedis is an inject function of a [faultTest] with a server that start starts.
func useRedis(start func(t *testing.T) (address string, more []string)) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		address, more := start(t)
		w.Services = true
		w.moreConfig = redisConfig(address, more...)
	}
}

// command reads a command of the Redis protocol.
func command(r *bufio.Reader) (args []string, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.Trim(line, "*\r\n"))
	for ; n > 0 && err == nil; n-- {
		if line, err = r.ReadString('\n'); err != nil {
			break
		}
		var size int
		if size, err = strconv.Atoi(strings.Trim(line, "$\r\n")); err != nil {
			break
		}
		arg := make([]byte, size+2)
		_, err = io.ReadFull(r, arg)
		args = append(args, string(arg[:size]))
	}
	return args, err
}

// serveRedis accepts connections, and replies to each command with the line that reply returns.
func serveRedis(t *testing.T, reply func(args []string) string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					args, err := command(r)
					if err != nil {
						return
					}
					if _, err = io.WriteString(conn, reply(args)+"\r\n"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// redisReplies replies to all commands with an error.
func redisReplies(text string) func(*testing.T, *world) {
	return useRedis(func(t *testing.T) (string, []string) {
		return serveRedis(t, func([]string) string { return "-" + text }), nil
	})
}

// quotesCommands is a server that knows no command, and quotes them as Redis does.
func quotesCommands(args []string) string {
	return fmt.Sprintf("-ERR unknown command '%s', with args beginning with: '%s'",
		args[0], strings.Join(args[1:], "' '"))
}

// tlsRedis starts a server with TLS that trusts the clients of no authority, and writes its
// certificate to a file.
func tlsRedis(t *testing.T, clients tls.ClientAuthType) (s *miniredis.Miniredis, caFile string) {
	t.Helper()
	issuer := httptest.NewTLSServer(http.NotFoundHandler())
	defer issuer.Close()
	s = miniredis.NewMiniRedis()
	s.RequireUserAuth("proxy", redisPassword)
	if err := s.StartTLS(&tls.Config{Certificates: issuer.TLS.Certificates, ClientAuth: clients,
		ClientCAs: x509.NewCertPool()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw})
	if err := os.WriteFile(caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, caFile
}

var redisFaults = []faultTest{
	{"Redis is stopped", useRedis(func(t *testing.T) (string, []string) { return closedPort(t), nil }),
		stepRedis, Failed, "Redis: connection to 127.0.0.1:", "cache.redis.url"},
	{"Redis without TLS", useRedis(func(t *testing.T) (string, []string) {
		return "rediss://" + serveRedis(t, quotesCommands), nil
	}), stepRedis, Failed, "closed the connection", "server's log"},
	{"another server without TLS", useRedis(func(t *testing.T) (string, []string) {
		return "rediss://" + newServer(t, http.NotFound).Listener.Addr().String(), nil
	}), stepRedis, Failed, "does not use TLS", "redis://"},
	{"Redis with TLS only", useRedis(func(t *testing.T) (string, []string) {
		s, _ := tlsRedis(t, tls.NoClientCert)
		return s.Addr(), nil
	}), stepRedis, Failed, "Redis: ", "rediss://"},
	{"an unknown authority", useRedis(func(t *testing.T) (string, []string) {
		s, _ := tlsRedis(t, tls.NoClientCert)
		return "rediss://" + s.Addr(), nil
	}), stepRedis, Failed, "signed by an unknown authority", "ca_file"},
	{"another name", useRedis(func(t *testing.T) (string, []string) {
		s, ca := tlsRedis(t, tls.NoClientCert)
		return "rediss://localhost:" + s.Port(), []string{"tls: {ca_file: " + ca + "}"}
	}), stepRedis, Failed, "is for another name", "example.com"},
	{"no client certificate", useRedis(func(t *testing.T) (string, []string) {
		s, ca := tlsRedis(t, tls.RequireAndVerifyClientCert)
		return "rediss://" + s.Addr(), []string{"tls: {ca_file: " + ca + "}"}
	}), stepRedis, Failed, "Redis", "cert_file"},
	{"no file of authorities", func(t *testing.T, w *world) {
		s, ca := tlsRedis(t, tls.NoClientCert)
		w.Services = true
		w.moreConfig = redisConfig("rediss://"+s.Addr(), "tls: {ca_file: "+ca+"}")
		w.prepare = func(c *config.Config) { c.Cache.Redis.TLS.CAFile = "/canary/missing" }
	}, stepRedis, Failed, "cache.redis.tls: ca_file: no such file", "readable"},
	{"another password", useRedis(func(t *testing.T) (string, []string) {
		s := miniredis.RunT(t)
		s.RequireUserAuth("proxy", "canary")
		return s.Addr(), nil
	}), stepRedis, Failed, "the user or the password was rejected", "username"},
	{"no password at the server", redisReplies("ERR AUTH <password> called without any password configured " +
		"for the default user. Are you sure your configuration is correct?"),
		stepRedis, Failed, "the server has no password", "Remove"},
	{"no password", redisReplies("NOAUTH HELLO must be called with the client already authenticated"),
		stepRedis, Failed, "requires a password", "password"},
	{"a denied command", redisReplies("NOPERM User canary has no permissions to run the 'set' command"),
		stepRedis, Failed, "may not use the command set", "~s3redirect:* +getrange"},
	{"a denied key", redisReplies("NOPERM No permissions to access a key"),
		stepRedis, Failed, "may not use the keys s3redirect:*", "~s3redirect:*"},
	{"a replica", redisReplies("READONLY You can't write against a read only replica."),
		stepRedis, Failed, "read-only replica", "primary"},
	{"full memory", redisReplies("OOM command not allowed when used memory > 'maxmemory'."),
		stepRedis, Failed, "no writes (OOM)", "maxmemory"},
	{"no snapshots", redisReplies("MISCONF Redis is configured to save RDB snapshots"),
		stepRedis, Failed, "no writes (MISCONF)", "log"},
	{"a server that loads", redisReplies("LOADING Redis is loading the dataset in memory"),
		stepRedis, Failed, "not ready (LOADING)", "minute"},
	{"protected mode", redisReplies("DENIED Redis is running in protected mode"),
		stepRedis, Failed, "protected mode", "password"},
	{"no such database", redisReplies("ERR DB index is out of range"),
		stepRedis, Failed, "does not have the database", "database 0"},
	{"unknown commands", useRedis(func(t *testing.T) (string, []string) {
		return serveRedis(t, quotesCommands), nil
	}), stepRedis, Failed, "replied with an error", "+getrange"},
	{"a server that answers nothing", useRedis(func(t *testing.T) (string, []string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String(), nil
	}), stepRedis, Failed, "did not answer within 1s", "firewall"},
	{"IAM without credentials", func(t *testing.T, w *world) {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN",
			"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
			t.Setenv(name, "")
		}
		t.Setenv("HOME", t.TempDir())
		s, ca := tlsRedis(t, tls.NoClientCert)
		w.Services = true
		w.moreConfig = redisConfig("rediss://"+s.Addr(), "tls: {ca_file: "+ca+"}")
		w.moreConfig = strings.Replace(w.moreConfig, "username: proxy, password: "+redisPassword,
			"elasticache_iam: {cache: media, user: proxy, region: us-east-1}", 1)
	}, stepRedis, Failed, "no AWS credentials of its own", "elasticache:Connect"},
}

// The commands that the remedies list are those of the user in the documentation.
func TestDocumentedCommands(t *testing.T) {
	page, err := os.ReadFile("../../docs/deployment/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := " ~s3redirect:* " + documentedCommands + "\n"; !strings.Contains(string(page), want) {
		t.Errorf("docs/deployment/replicas.md has no ACL user with %q", want)
	}
}

// The explanations of errors that need a name server or AWS, or that depend on timing.
func TestExplainRedis(t *testing.T) {
	notFound := &net.DNSError{Name: "valkey.internal", IsNotFound: true}
	e := explainRedis(&config.Redis{}, "valkey.internal:6379", fmt.Errorf("wrapped: %w", notFound))
	if !strings.Contains(e.reason, "cannot resolve valkey.internal: unknown host") ||
		!strings.Contains(e.remedy, "cache.redis.url") {
		t.Errorf("explainRedis of an unknown host = %+v, want the host and cache.redis.url", e)
	}
	// A server that rejects a client certificate ends the connection after the handshake, so the
	// alert may be lost.
	for _, err := range []error{syscall.ECONNRESET, syscall.EPIPE, io.EOF} {
		for url, want := range map[config.Secret]string{
			"rediss://valkey.internal:6379": "cert_file", "valkeys://valkey.internal:6379": "redis://",
			"redis://valkey.internal:6379": "rediss://", "valkey://valkey.internal:6379": "rediss://",
		} {
			e := explainRedis(&config.Redis{URL: url}, "valkey.internal:6379", fmt.Errorf("write: %w", err))
			isTLS := strings.HasPrefix(string(url), "rediss") || strings.HasPrefix(string(url), "valkeys")
			if !strings.Contains(e.reason, "closed the connection") || !strings.Contains(e.remedy, want) ||
				strings.Contains(e.remedy, "rediss://") == isTLS {
				t.Errorf("explainRedis of %v with %s = %+v, want %s", err, url, e, want)
			}
		}
	}
	servers := redisServers(&config.Redis{URL: "redis://u:canary@a:1/0?addr=b:2&sentinel_password=canary"})
	if servers != "a:1, b:2" {
		t.Errorf("redisServers = %q, want a:1, b:2", servers)
	}
}
