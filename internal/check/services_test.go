package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/bcrypt"

	"s3redirect/internal/fakeaws"
)

// publishes answers with a discovery document and the keys at every other path.
func publishes(issuer string, keys ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"https://id.example.com/keys"}`, issuer)
			return
		}
		set := jose.JSONWebKeySet{}
		for _, k := range keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k, Use: "sig"})
		}
		text, err := json.Marshal(set)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		_, _ = w.Write(text)
	}
}

func withIssuer(f http.HandlerFunc) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.Services = true
		w.moreConfig = "viewers: {jwt: {issuer: 'https://id.example.com/', audience: a}}\n"
		w.Transport = fakeaws.InMemory{Handler: http.HandlerFunc(
			func(rw http.ResponseWriter, r *http.Request) {
				if r.Host == "id.example.com" {
					f(rw, r)
				} else {
					w.serve(rw, r)
				}
			})}
	}
}

// failingTransport fails for the issuer.
type failingTransport struct {
	http.RoundTripper
	err error
}

func (f failingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "id.example.com" {
		return nil, f.err
	}
	return f.RoundTripper.RoundTrip(r)
}

func issuerFails(err error) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		withIssuer(nil)(t, w)
		w.Transport = failingTransport{w.Transport, err}
	}
}

func withPasswords(lines string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		path := filepath.Join(t.TempDir(), "canary")
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Services = true
		w.moreConfig = "viewers: {basic: {htpasswd_file: " + path + "}}\n"
	}
}

// hashLine returns a line with a bcrypt hash of a cost. Only its form matters.
func hashLine(user string, cost int) string {
	return fmt.Sprintf("%s:$2y$%02d$%s\n", user, cost, strings.Repeat("a", 53))
}

var (
	p256, _     = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _     = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _   = rsa.GenerateKey(rand.Reader, 2048)
	issuerSlash = "https://id.example.com/"
)

var viewerFaults = []faultTest{
	{"no issuer", issuerFails(syscall.ECONNREFUSED), stepIdentity, Failed,
		"connection to id.example.com refused", "jwks_url"},
	{"a slow issuer", issuerFails(context.DeadlineExceeded), stepIdentity, Failed,
		"id.example.com did not answer within 5s", "firewall"},
	{"an unknown error", issuerFails(errors.New("dial tcp canary")), stepIdentity, Failed,
		"the request to id.example.com failed", "curl"},
	{"no discovery document", withIssuer(http.NotFound), stepIdentity, Failed,
		"https://id.example.com/.well-known/openid-configuration answered 404", "jwks_url"},
	{"a redirect", withIssuer(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/login?canary", http.StatusFound)
	}), stepIdentity, Failed, "answered 302", "follows no redirects"},
	{"a page", withIssuer(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>canary</html>")
	}), stepIdentity, Failed, "is not the JSON of a discovery document", "a page for people"},
	{"another issuer", withIssuer(publishes("https://id.example.com", p256.Public())), stepIdentity,
		Failed, `the issuer is "https://id.example.com", not viewers.jwt.issuer`, "final slash"},
	{"keys without TLS", withIssuer(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://id.example.com/keys"}`, issuerSlash)
	}), stepIdentity, Failed, "jwks_uri must be an https URL", "https://"},
	{"no keys", withIssuer(publishes(issuerSlash)), stepIdentity, Failed, "no usable key", "2048 bits"},
	{"a private key", withIssuer(publishes(issuerSlash, p256)), stepIdentity, Failed, "no usable key",
		"no private"},
	{"keys for other algorithms", withIssuer(publishes(issuerSlash, p384.Public())), stepIdentity, Failed,
		"publishes 1 key: EC P-384; none of them is for the algorithms RS256, ES256", "algorithms"},
	{"a control character in a name", withIssuer(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"issuer":"\u001b[31m"}`)
	}), stepIdentity, Failed,
		`the issuer is "\x1b[31m"`, "exactly"},
	{"fast hashes", withPasswords(hashLine("ann", 5) + hashLine("ben", 12)), stepPasswords, Warning,
		"2 users, bcrypt with costs 5 to 12: an attacker who has the file tries passwords of cost 5 32 times",
		"htpasswd -B -C 10"},
	{"no hashes", withPasswords("# nobody\n"), stepPasswords, Failed, "the file has no users", "-C 10"},
	{"an MD5 hash", withPasswords(hashLine("ann", 10) + "ben:$apr1$canary$canary\n"), stepPasswords, Failed,
		"viewers.basic.htpasswd_file: line 2: the hash is not a bcrypt hash", "-C 10"},
	{"no file", func(_ *testing.T, w *world) {
		w.Services = true
		w.moreConfig = "viewers: {basic: {htpasswd_file: /canary/missing}}\n"
	}, stepPasswords, Failed, "no such file", "readable"},
}

// TestServices checks the steps of a configuration whose services work.
func TestServices(t *testing.T) {
	w := newWorld()
	withPasswords(hashLine("ann", 10))(t, w)
	file := w.moreConfig[strings.Index(w.moreConfig, "{basic"):]
	withIssuer(publishes(issuerSlash, p256.Public(), rsaKey.Public(), rsaKey.Public()))(t, w)
	w.moreConfig = "viewers:\n  jwt: {issuer: 'https://id.example.com/', audience: a}\n  " +
		strings.Trim(file, "{}\n") + "}\n"
	w.moreConfig += redisConfig(newRedis(t).Addr(), "key_prefix: 'media:'")
	steps, ok := w.check(t)
	want := []Step{
		{Name: "configuration", Verdict: OK, Reason: "loaded without warnings"},
		{Name: stepRedis, Verdict: OK, Reason: "with the key prefix media:s3redirect:"},
		{Name: stepIdentity, Verdict: OK,
			Reason: "https://id.example.com/ publishes 3 keys: EC P-256, RSA 2048 bits"},
		{Name: stepPasswords, Verdict: OK, Reason: "1 user, bcrypt with cost 10"},
	}
	for n, s := range want {
		got := steps[n]
		checkText(t, got)
		if got.Name != s.Name || got.Verdict != s.Verdict || got.Integration != "" ||
			!strings.Contains(got.Reason, s.Reason) {
			t.Errorf("step %d is %+v, want %+v", n, got, s)
		}
	}
	if !ok || steps[len(want)].Integration != "lab" {
		t.Errorf("Run = %v with the step %+v next, want true with a step of lab", ok, steps[len(want)])
	}
	w.Services = false
	steps, _ = w.check(t)
	if slices.ContainsFunc(steps, func(s Step) bool {
		return s.Name == stepRedis || s.Name == stepIdentity || s.Name == stepPasswords
	}) {
		t.Errorf("without Services, Run reports %+v, want no steps of the services", steps)
	}
}

// A hash with a valid form has the cost that its third field names.
func TestHashLine(t *testing.T) {
	_, hash, _ := strings.Cut(strings.TrimSpace(hashLine("ann", 12)), ":")
	if cost, err := bcrypt.Cost([]byte(hash)); cost != 12 || err != nil {
		t.Errorf("Cost = %d, %v, want 12", cost, err)
	}
}
