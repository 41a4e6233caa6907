package viewer

import (
	"context"
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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

// transport answers requests by URL with what the texts say: JSON, or "302 URL". It notes what
// was asked for.
type transport struct {
	answers map[string]string
	asked   []string
}

func (a *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	url := r.URL.String()
	a.asked = append(a.asked, url)
	text, ok := a.answers[url]
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}
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

// fetchKeys fetches the keys of an issuer, or those at a URL.
func fetchKeys(t *testing.T, c *config.JWT, a *transport) ([]jose.JSONWebKey, error) {
	t.Helper()
	k := newKeySet(c, Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler), Transport: a})
	defer k.close()
	return k.get(t.Context())
}

func jwks(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Of a provider's keys those are used that are public, and strong enough.
func TestUsableKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// What counts is the modulus's length, and not its bytes.
	modulus := func(bits int) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
	}
	const url = "https://id.example.com/keys"
	for what, c := range map[string]struct {
		key  jose.JSONWebKey
		want bool
	}{
		"RSA of 2048 bits":              {jose.JSONWebKey{Key: testRSA.Public()}, true},
		"RSA of 2048 bits, by length":   {jose.JSONWebKey{Key: modulus(2048)}, true},
		"RSA of 2047 bits":              {jose.JSONWebKey{Key: modulus(2047)}, false},
		"RSA of 2041 bits":              {jose.JSONWebKey{Key: modulus(2041)}, false},
		"RSA of 1024 bits":              {jose.JSONWebKey{Key: modulus(1024)}, false},
		"RSA of 512 bits":               {jose.JSONWebKey{Key: modulus(512)}, false},
		"RSA's private key":             {jose.JSONWebKey{Key: testRSA}, false},
		"ECDSA on P-256":                {jose.JSONWebKey{Key: testECDSA.Public()}, true},
		"ECDSA on P-384":                {jose.JSONWebKey{Key: p384.Public()}, true},
		"ECDSA's private key":           {jose.JSONWebKey{Key: testECDSA}, false},
		"Ed25519":                       {jose.JSONWebKey{Key: public}, true},
		"Ed25519's private key":         {jose.JSONWebKey{Key: private}, false},
		"a symmetric key":               {jose.JSONWebKey{Key: []byte("a-symmetric-key-that-is-in-public")}, false},
		"for signatures":                {jose.JSONWebKey{Key: testRSA.Public(), Use: "sig"}, true},
		"for encryption":                {jose.JSONWebKey{Key: testRSA.Public(), Use: "enc"}, false},
		"for something that is unknown": {jose.JSONWebKey{Key: testRSA.Public(), Use: "x"}, false},
	} {
		c.key.KeyID = "it"
		keys, err := fetchKeys(t, &config.JWT{Issuer: issuer, JWKSURL: url}, &transport{answers: map[string]string{url: jwks(t, c.key)}})
		if got := len(keys) == 1; got != c.want || got == (err != nil) {
			t.Errorf("%s alone: used %v, %v, want %v", what, got, err, c.want)
		}
		other := jose.JSONWebKey{Key: testECDSA.Public(), KeyID: "other"}
		keys, err = fetchKeys(t, &config.JWT{Issuer: issuer, JWKSURL: url}, &transport{answers: map[string]string{url: jwks(t, c.key, other)}})
		used := slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return k.KeyID == "it" })
		if err != nil || used != c.want || !slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return k.KeyID == "other" }) {
			t.Errorf("%s beside another: used %v, %d keys, %v, want %v", what, used, len(keys), err, c.want)
		}
	}
}

// Keys come over TLS, from where the provider says, and from nowhere else.
func TestWhereKeysComeFrom(t *testing.T) {
	good := jwks(t, jose.JSONWebKey{Key: testRSA.Public(), KeyID: "rsa"})
	const (
		discovery = issuer + "/.well-known/openid-configuration"
		local     = "http://127.0.0.1:9000"
	)
	provider := func(name, jwksURI string) string { return fmt.Sprintf(`{"issuer": %q, "jwks_uri": %q}`, name, jwksURI) }
	for what, c := range map[string]struct {
		jwt     config.JWT
		answers map[string]string
		asked   string // all of it
		good    bool
	}{
		"as the provider says": {config.JWT{Issuer: issuer},
			map[string]string{discovery: provider(issuer, "https://keys.example.com/k"), "https://keys.example.com/k": good},
			discovery + " https://keys.example.com/k", true},
		"over http": {config.JWT{Issuer: issuer},
			map[string]string{discovery: provider(issuer, "http://id.example.com/keys"), "http://id.example.com/keys": good}, discovery, false},
		"over http, in capitals": {config.JWT{Issuer: issuer},
			map[string]string{discovery: provider(issuer, "HTTP://id.example.com/keys"), "http://id.example.com/keys": good}, discovery, false},
		"of a file":    {config.JWT{Issuer: issuer}, map[string]string{discovery: provider(issuer, "file:///etc/keys")}, discovery, false},
		"from nowhere": {config.JWT{Issuer: issuer}, map[string]string{discovery: provider(issuer, "")}, discovery, false},
		"of an issuer on this machine": {config.JWT{Issuer: local},
			map[string]string{local + "/.well-known/openid-configuration": provider(local, local+"/keys"), local + "/keys": good},
			local + "/.well-known/openid-configuration " + local + "/keys", true},
		"by a redirect of the discovery": {config.JWT{Issuer: issuer},
			map[string]string{discovery: "302 https://evil.example/d", "https://evil.example/d": provider(issuer, "https://evil.example/k"), "https://evil.example/k": good},
			discovery, false},
		"by a redirect of the keys": {config.JWT{Issuer: issuer, JWKSURL: "https://id.example.com/keys"},
			map[string]string{"https://id.example.com/keys": "302 https://evil.example/k", "https://evil.example/k": good}, "https://id.example.com/keys", false},
		"by a redirect within the provider": {config.JWT{Issuer: issuer, JWKSURL: "https://id.example.com/keys"},
			map[string]string{"https://id.example.com/keys": "302 https://id.example.com/k", "https://id.example.com/k": good}, "https://id.example.com/keys", false},
		"of an issuer with a slash": {config.JWT{Issuer: issuer + "/"},
			map[string]string{discovery: provider(issuer+"/", issuer+"/keys"), issuer + "/keys": good}, discovery + " " + issuer + "/keys", true},
	} {
		a := &transport{answers: c.answers}
		keys, err := fetchKeys(t, &c.jwt, a)
		if (err == nil) != c.good || (len(keys) == 1) != c.good {
			t.Errorf("%s: %d keys, %v, want accepted: %v", what, len(keys), err, c.good)
		}
		if asked := strings.Join(a.asked, " "); asked != c.asked {
			t.Errorf("%s: asked for %s, want %s", what, asked, c.asked)
		}
	}
}

// What a provider answers is bounded, in bytes and in keys.
func TestKeysAreBounded(t *testing.T) {
	const url = "https://id.example.com/keys"
	fetch := func(text string) (int, error) {
		keys, err := fetchKeys(t, &config.JWT{Issuer: issuer, JWKSURL: url}, &transport{answers: map[string]string{url: text}})
		return len(keys), err
	}
	var many []jose.JSONWebKey
	for n := range maxKeys + 1 {
		many = append(many, jose.JSONWebKey{Key: testECDSA.Public(), KeyID: fmt.Sprint(n)})
	}
	for _, n := range []int{maxKeys - 1, maxKeys, maxKeys + 1} {
		if got, err := fetch(jwks(t, many[:n]...)); err != nil || got != min(n, maxKeys) {
			t.Errorf("of %d keys %d are used, %v, want %d", n, got, err, min(n, maxKeys))
		}
	}
	// Keys that cannot be used count as well: looking at them is work.
	unusable := slices.Repeat([]jose.JSONWebKey{{Key: []byte("symmetric"), KeyID: "x"}}, maxKeys)
	if n, err := fetch(jwks(t, append(unusable, many[0])...)); err == nil {
		t.Errorf("a key after %d others: %d are used, want an error", maxKeys, n)
	}
	one := jwks(t, many[0])
	padded := func(size int) string {
		return `{"x":"` + strings.Repeat("x", size-len(one)-len(`"x":"",`)) + `",` + one[1:]
	}
	for size, good := range map[int]bool{maxKeysBytes: true, maxKeysBytes + 1: false, 10 * maxKeysBytes: false} {
		text := padded(size)
		if len(text) != size {
			t.Fatalf("%d bytes, want %d", len(text), size)
		}
		if n, err := fetch(text); (err == nil) != good || (n == 1) != good {
			t.Errorf("an answer of %d bytes: %d keys, %v, want accepted: %v", size, n, err, good)
		}
	}
}

// A key that nobody knows is looked for once a minute, however many tokens name it.
func TestUnknownKeysAreNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.takes = time.Second
		g := newGate(t, jwtViewers(), p)
		ask := func(token string) error {
			_, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+token), time.Now())
			return err
		}
		if err := ask(good(t)); err != nil {
			t.Fatal(err)
		}
		flood := func() {
			var wg sync.WaitGroup
			for n := range 500 {
				wg.Go(func() {
					if err := ask(sign(t, rs256(map[string]any{"kid": fmt.Sprint(n)}), claims(nil), testECDSA)); !errors.Is(err, ErrUnknown) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		flood()
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("%d fetches within a minute of the first", n)
		}
		time.Sleep(keysPause)
		flood()
		flood()
		if n := p.fetches.Load(); n != 2 {
			t.Errorf("%d fetches after a minute", n)
		}
		// A new key is found, if a minute has passed.
		p.set(func(p *provider) { p.keys["next"] = otherRSA })
		time.Sleep(keysPause)
		if err := ask(sign(t, rs256(map[string]any{"kid": "next"}), claims(nil), otherRSA)); err != nil {
			t.Errorf("a new key: %v", err)
		}
	})
}

func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		g := newGate(t, jwtViewers(), p)
		token := sign(t, rs256(nil), claims(map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()}), testRSA)
		ask := func() error {
			_, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+token), time.Now())
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		// The provider is away for a day: known keys go on to be good, for tokens not seen before
		// too.
		p.set(func(p *provider) { p.down = true })
		for range 24 {
			time.Sleep(time.Hour)
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			fresh := sign(t, rs256(nil), claims(nil), testRSA)
			if _, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+fresh), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		// It comes back and has withdrawn the key: what that had signed is not good any longer,
		// remembered or not.
		p.set(func(p *provider) { p.down = false; delete(p.keys, "rsa") })
		time.Sleep(time.Hour)
		other := sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, claims(nil), testECDSA)
		if _, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+other), time.Now()); err != nil {
			t.Fatal(err) // which has the keys fetched in the background
		}
		synctest.Wait()
		if err := ask(); !errors.Is(err, ErrUnknown) {
			t.Errorf("a token of a key that is gone: %v", err)
		}
	})
}

// A provider that puts another key under the same ID is followed, if not at once.
func TestKeyUnderTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		g := newGate(t, jwtViewers(), p)
		ask := func(key any) error {
			_, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+sign(t, rs256(nil), claims(nil), key)), time.Now())
			synctest.Wait()
			return err
		}
		if err := ask(testRSA); err != nil {
			t.Fatal(err)
		}
		p.set(func(p *provider) { p.keys["rsa"] = otherRSA })
		time.Sleep(keysPause)
		_ = ask(otherRSA) // refused, and the keys are fetched again
		if err := ask(otherRSA); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if err := ask(testRSA); !errors.Is(err, ErrUnknown) {
			t.Errorf("the old key: %v", err)
		}
	})
}

// The first requests wait for the keys: for one fetch together, and not for longer than it may
// take. Who hangs up fails nobody else.
func TestFirstKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.takes = time.Second
		g := newGate(t, jwtViewers(), p)
		token := good(t)
		ctx, hangUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			r := request("192.0.2.1:1", "Authorization", "Bearer "+token).WithContext(ctx)
			if _, err := g.Identify(r, time.Now()); !errors.Is(err, context.Canceled) {
				t.Errorf("who hung up: %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				if _, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+token), time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		hangUp()
		wg.Wait()
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestNoKeysAtAll(t *testing.T) {
	for name, break_ := range map[string]func(*provider){
		"down":            func(p *provider) { p.down = true },
		"slow":            func(p *provider) { p.takes = time.Hour },
		"somebody else's": func(p *provider) { p.issuer = "https://evil.example" },
		"empty":           func(p *provider) { p.keys = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider()
				break_(p)
				g := newGate(t, jwtViewers(), p)
				began := time.Now()
				ask := func() error {
					_, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+good(t)), time.Now())
					return err
				}
				if err := ask(); !errors.Is(err, ErrUnavailable) || time.Since(began) > keysTimeout {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				before := p.fetches.Load()
				for range 100 {
					if err := ask(); !errors.Is(err, ErrUnavailable) {
						t.Error(err)
					}
				}
				if n := p.fetches.Load() - before; n > 1 {
					t.Errorf("%d fetches more at once", n)
				}
				p.set(func(p *provider) { p.keys, p.issuer, p.down, p.takes = newProvider().keys, issuer, false, 0 })
				time.Sleep(RetryAfter)
				if err := ask(); err != nil {
					t.Errorf("after it is back: %v", err)
				}
			})
		})
	}
}
