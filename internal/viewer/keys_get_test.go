package viewer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

// transport answers requests by URL with JSON, or with a redirect for the text "302 URL". It
// records the URLs.
type transport struct {
	answers map[string]string
	asked   []string
}

func (a *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	url := r.URL.String()
	a.asked = append(a.asked, url)
	text, ok := a.answers[url]
	resp := &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(text)),
		Request:    r,
	}
	location, redirect := strings.CutPrefix(text, "302 ")
	switch {
	case !ok:
		return nil, errors.New("connection refused")
	case redirect:
		resp.StatusCode = http.StatusFound
		resp.Header.Set("Location", location)
	}
	return resp, nil
}

// fetchKeys returns the keys of c's issuer that are usable.
func fetchKeys(t *testing.T, c *config.JWT, a *transport) ([]jose.JSONWebKey, error) {
	t.Helper()
	k := newKeySet(c, Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler), Transport: a})
	defer k.close()
	return k.get(t.Context())
}

// jwks returns the JSON of a key set.
func jwks(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Only public keys that are long enough are used.
func TestUsableKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The key size is that of the modulus in bits, which may be less than that of its bytes.
	modulus := func(bits int) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
	}
	const url = "https://id.example.com/keys"
	for name, c := range map[string]struct {
		key  jose.JSONWebKey
		want bool
	}{
		"RSA of 2048 bits":         {jose.JSONWebKey{Key: testRSA.Public()}, true},
		"RSA modulus of 2048 bits": {jose.JSONWebKey{Key: modulus(2048)}, true},
		"RSA modulus of 2047 bits": {jose.JSONWebKey{Key: modulus(2047)}, false},
		"RSA modulus of 2041 bits": {jose.JSONWebKey{Key: modulus(2041)}, false},
		"RSA modulus of 1024 bits": {jose.JSONWebKey{Key: modulus(1024)}, false},
		"RSA modulus of 512 bits":  {jose.JSONWebKey{Key: modulus(512)}, false},
		"RSA's private key":        {jose.JSONWebKey{Key: testRSA}, false},
		"ECDSA on P-256":           {jose.JSONWebKey{Key: testECDSA.Public()}, true},
		"ECDSA on P-384":           {jose.JSONWebKey{Key: p384.Public()}, true},
		"ECDSA's private key":      {jose.JSONWebKey{Key: testECDSA}, false},
		"Ed25519":                  {jose.JSONWebKey{Key: public}, true},
		"Ed25519's private key":    {jose.JSONWebKey{Key: private}, false},
		"a symmetric key":          {jose.JSONWebKey{Key: []byte("a symmetric key")}, false},
		"for signatures":           {jose.JSONWebKey{Key: testRSA.Public(), Use: "sig"}, true},
		"for encryption":           {jose.JSONWebKey{Key: testRSA.Public(), Use: "enc"}, false},
		"for an unknown use":       {jose.JSONWebKey{Key: testRSA.Public(), Use: "x"}, false},
	} {
		c.key.KeyID = "tested"
		fetch := func(set ...jose.JSONWebKey) ([]jose.JSONWebKey, error) {
			return fetchKeys(t, &config.JWT{Issuer: issuer, JWKSURL: url},
				&transport{answers: map[string]string{url: jwks(t, set...)}})
		}
		keys, err := fetch(c.key)
		if got := len(keys) == 1; got != c.want || got == (err != nil) {
			t.Errorf("%s alone: used %v, error %v, want used %v", name, got, err, c.want)
		}
		keys, err = fetch(c.key, jose.JSONWebKey{Key: testECDSA.Public(), KeyID: "other"})
		has := func(id string) bool {
			return slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return k.KeyID == id })
		}
		if err != nil || has("tested") != c.want || !has("other") {
			t.Errorf("%s with another key: used %v, other used %v, error %v, want %v, true, nil",
				name, has("tested"), has("other"), err, c.want)
		}
	}
}

// Keys are fetched over TLS from the URL that the provider states, and redirects are not followed.
func TestKeysURL(t *testing.T) {
	good := jwks(t, jose.JSONWebKey{Key: testRSA.Public(), KeyID: "rsa"})
	const (
		discovery      = issuer + "/.well-known/openid-configuration"
		keysURL        = issuer + "/keys"
		local          = "http://127.0.0.1:9000"
		localDiscovery = local + "/.well-known/openid-configuration"
	)
	provider := func(issuer, jwksURI string) string {
		return fmt.Sprintf(`{"issuer": %q, "jwks_uri": %q}`, issuer, jwksURI)
	}
	discover := config.JWT{Issuer: issuer}
	configured := config.JWT{Issuer: issuer, JWKSURL: keysURL}
	for name, c := range map[string]struct {
		jwt     config.JWT
		answers map[string]string
		asked   string // the requested URLs, separated by spaces
		good    bool
	}{
		"https": {
			discover,
			map[string]string{
				discovery:                    provider(issuer, "https://keys.example.com/k"),
				"https://keys.example.com/k": good,
			},
			discovery + " https://keys.example.com/k",
			true,
		},
		"http": {
			discover,
			map[string]string{
				discovery:                    provider(issuer, "http://id.example.com/keys"),
				"http://id.example.com/keys": good,
			},
			discovery,
			false,
		},
		"http in capitals": {
			discover,
			map[string]string{
				discovery:                    provider(issuer, "HTTP://id.example.com/keys"),
				"http://id.example.com/keys": good,
			},
			discovery,
			false,
		},
		"a file": {
			discover,
			map[string]string{discovery: provider(issuer, "file:///etc/keys")},
			discovery,
			false,
		},
		"empty": {
			discover,
			map[string]string{discovery: provider(issuer, "")},
			discovery,
			false,
		},
		"http of an issuer on this machine": {
			config.JWT{Issuer: local},
			map[string]string{
				localDiscovery:  provider(local, local+"/keys"),
				local + "/keys": good,
			},
			localDiscovery + " " + local + "/keys",
			true,
		},
		"a redirect of the discovery document": {
			discover,
			map[string]string{
				discovery:                "302 https://evil.example/d",
				"https://evil.example/d": provider(issuer, "https://evil.example/k"),
				"https://evil.example/k": good,
			},
			discovery,
			false,
		},
		"a redirect of the keys": {
			configured,
			map[string]string{
				keysURL:                  "302 https://evil.example/k",
				"https://evil.example/k": good,
			},
			keysURL,
			false,
		},
		"a redirect to the same provider": {
			configured,
			map[string]string{keysURL: "302 " + issuer + "/k", issuer + "/k": good},
			keysURL,
			false,
		},
		"an issuer with a slash": {
			config.JWT{Issuer: issuer + "/"},
			map[string]string{discovery: provider(issuer+"/", keysURL), keysURL: good},
			discovery + " " + keysURL,
			true,
		},
	} {
		a := &transport{answers: c.answers}
		keys, err := fetchKeys(t, &c.jwt, a)
		if (err == nil) != c.good || (len(keys) == 1) != c.good {
			t.Errorf("%s: %d keys, %v, want accepted: %v", name, len(keys), err, c.good)
		}
		if asked := strings.Join(a.asked, " "); asked != c.asked {
			t.Errorf("%s: requested %s, want %s", name, asked, c.asked)
		}
	}
}

// A provider's response is bounded in bytes and in keys.
func TestKeysAreBounded(t *testing.T) {
	const url = "https://id.example.com/keys"
	fetch := func(text string) (int, error) {
		keys, err := fetchKeys(t, &config.JWT{Issuer: issuer, JWKSURL: url},
			&transport{answers: map[string]string{url: text}})
		return len(keys), err
	}
	var many []jose.JSONWebKey
	for n := range maxKeys + 1 {
		many = append(many, jose.JSONWebKey{Key: testECDSA.Public(), KeyID: fmt.Sprint(n)})
	}
	for _, n := range []int{maxKeys - 1, maxKeys, maxKeys + 1} {
		if got, err := fetch(jwks(t, many[:n]...)); err != nil || got != min(n, maxKeys) {
			t.Errorf("%d keys: %d used, %v, want %d", n, got, err, min(n, maxKeys))
		}
	}
	// Unusable keys count too, since examining them takes time.
	unusable := slices.Repeat([]jose.JSONWebKey{{Key: []byte("symmetric"), KeyID: "x"}}, maxKeys)
	if n, err := fetch(jwks(t, append(unusable, many[0])...)); err == nil {
		t.Errorf("a key after %d unusable ones: %d used, want an error", maxKeys, n)
	}
	one := jwks(t, many[0])
	padded := func(size int) string {
		return `{"x":"` + strings.Repeat("x", size-len(one)-len(`"x":"",`)) + `",` + one[1:]
	}
	for size, good := range map[int]bool{
		maxKeysBytes:      true,
		maxKeysBytes + 1:  false,
		10 * maxKeysBytes: false,
	} {
		text := padded(size)
		if len(text) != size {
			t.Fatalf("padded returned %d bytes, want %d", len(text), size)
		}
		if n, err := fetch(text); (err == nil) != good || (n == 1) != good {
			t.Errorf("a response of %d bytes: %d keys, %v, want accepted: %v", size, n, err, good)
		}
	}
}

// The query of jwks_url may come from a variable that holds a secret.
func TestFetchErrorsHideTheQuery(t *testing.T) {
	c := jwtViewers()
	c.JWT[0].JWKSURL = issuer + "/keys?token=canary"
	body := func(status int, text string) roundTrip {
		return func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status,
				Header:     http.Header{},
				Body:       io.NopCloser(strings.NewReader(text)),
				Request:    r,
			}, nil
		}
	}
	for name, transport := range map[string]roundTrip{
		"down":     func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") },
		"an error": body(http.StatusBadGateway, ""),
		"no JSON":  body(http.StatusOK, "x"),
		"no keys":  body(http.StatusOK, `{"keys": []}`),
	} {
		k := newKeySet(&c.JWT[0], Options{Transport: transport, Clock: time.Now})
		_, err := k.get(t.Context())
		if err == nil || strings.Contains(err.Error(), "canary") ||
			!strings.Contains(err.Error(), issuer+"/keys") {
			t.Errorf("%s: get = %v, want an error with the URL without its query", name, err)
		}
		k.close()
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
