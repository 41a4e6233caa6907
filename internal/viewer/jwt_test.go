package viewer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

const issuer = "https://id.example.com"

// provider is an identity provider, all in memory.
type provider struct {
	fetches atomic.Int32
	takes   time.Duration

	mu     sync.Mutex
	keys   map[string]crypto.Signer
	down   bool
	issuer string // that it says it is
	extra  string // more keys, as JSON
}

var (
	testRSA, _   = rsa.GenerateKey(rand.Reader, 2048)
	otherRSA, _  = rsa.GenerateKey(rand.Reader, 2048)
	testECDSA, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
)

func newProvider() *provider {
	return &provider{keys: map[string]crypto.Signer{"rsa": testRSA, "ec": testECDSA}, issuer: issuer}
}

func (p *provider) set(change func(p *provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	takes := p.takes
	p.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var body []byte
	switch {
	case p.down:
		p.fetches.Add(1)
		return nil, errors.New("connection refused")
	case r.URL.Path == "/.well-known/openid-configuration":
		body = fmt.Appendf(nil, `{"issuer": %q, "jwks_uri": "%s/keys"}`, p.issuer, issuer)
	case r.URL.Path == "/keys":
		p.fetches.Add(1)
		var set jose.JSONWebKeySet
		for id, key := range p.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{KeyID: id, Key: key.Public(), Use: "sig"})
		}
		body, _ = json.Marshal(set)
		if p.extra != "" {
			body = append(body[:len(body)-2], ","+p.extra+"]}"...)
		}
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, nil
}

func jwtViewers() *config.Viewers {
	return &config.Viewers{JWT: &config.JWT{Issuer: issuer, Audience: "media", Algorithms: []string{"RS256", "ES256"}, Cookie: "session",
		UserClaim: "email", GroupsClaim: "groups", Leeway: 30 * time.Second}}
}

// claims are those of a good token, changed.
func claims(changes map[string]any) map[string]any {
	c := map[string]any{"iss": issuer, "aud": "media", "sub": "1234", "email": "ann@example.com", "email_verified": true, "groups": []string{"lab"},
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for name, value := range changes {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

func segment(t testing.TB, v any) string {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// sign makes a token by hand: what libraries would not make is what has to be tried.
func sign(t testing.TB, header, payload any, key any) string {
	t.Helper()
	text := segment(t, header) + "." + segment(t, payload)
	digest := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	switch key := key.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, key, digest[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), e
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		signature = mac.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func rs256(changes map[string]any) map[string]any {
	h := map[string]any{"alg": "RS256", "kid": "rsa", "typ": "JWT"}
	for name, value := range changes {
		h[name] = value
	}
	return h
}

// changeLetter returns text with another letter at n.
func changeLetter(text string, n int) string {
	other := "A"
	if text[n:n+1] == other {
		other = "B"
	}
	return text[:n] + other + text[n+1:]
}

// inJSON returns a token in the JSON serialization (RFC 7515, section 7.2), with the signatures
// of others, or with its own in the flattened form.
func inJSON(token string, others ...string) string {
	part := func(token string, n int) string { return strings.Split(token, ".")[n] }
	one := func(token string) string {
		return fmt.Sprintf(`"protected":%q,"signature":%q`, part(token, 0), part(token, 2))
	}
	if len(others) == 0 {
		return fmt.Sprintf(`{"payload":%q,%s}`, part(token, 1), one(token))
	}
	var list []string
	for _, other := range others {
		list = append(list, "{"+one(other)+"}")
	}
	return fmt.Sprintf(`{"payload":%q,"signatures":[%s]}`, part(token, 1), strings.Join(list, ","))
}

func good(t testing.TB) string { return sign(t, rs256(nil), claims(nil), testRSA) }

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1000 * time.Hour) // so that there is a past
		p := newProvider()
		symmetric := segment(t, "a-symmetric-key-that-is-in-public")
		p.extra = `{"kty": "oct", "kid": "oct", "k": "` + symmetric + `"}, {"kty": "new-kind", "kid": "x"}, {"kty":"RSA","kid":"enc","use":"enc","n":"` +
			base64.RawURLEncoding.EncodeToString(testRSA.N.Bytes()) + `","e":"AQAB"}, {"kty":"RSA","kid":"pss","alg":"PS256","n":"` +
			base64.RawURLEncoding.EncodeToString(testRSA.N.Bytes()) + `","e":"AQAB"}`
		g := newGate(t, jwtViewers(), p)
		der, err := x509.MarshalPKIXPublicKey(testRSA.Public())
		if err != nil {
			t.Fatal(err)
		}
		publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		own := jose.JSONWebKey{Key: otherRSA.Public(), KeyID: "rsa"}
		at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		token := good(t)
		forged := sign(t, rs256(nil), claims(nil), otherRSA)
		for _, c := range []struct{ what, token, want string }{
			{"a good one", token, "ann@example.com"},
			{"a good one of another kind", sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, claims(nil), testECDSA), "ann@example.com"},
			{"without a key's ID", sign(t, map[string]any{"alg": "RS256"}, claims(nil), testRSA), "ann@example.com"},
			{"for several audiences", sign(t, rs256(nil), claims(map[string]any{"aud": []string{"other", "media"}}), testRSA), "ann@example.com"},
			{"an access token", sign(t, rs256(map[string]any{"typ": "at+jwt"}), claims(nil), testRSA), "ann@example.com"},
			{"a group that is a text", sign(t, rs256(nil), claims(map[string]any{"groups": "lab"}), testRSA), "ann@example.com"},
			{"within the leeway", sign(t, rs256(nil), claims(map[string]any{"exp": at(-29 * time.Second)}), testRSA), "ann@example.com"},

			{"without a signature", sign(t, map[string]any{"alg": "none"}, claims(nil), nil), ""},
			{"without a signature, in capitals", sign(t, map[string]any{"alg": "NONE", "kid": "rsa"}, claims(nil), nil), ""},
			{"without a signature, said to be RS256", sign(t, rs256(nil), claims(nil), nil), ""},
			{"HMAC with the public key as PEM", sign(t, rs256(map[string]any{"alg": "HS256"}), claims(nil), publicPEM), ""},
			{"HMAC with the public key as DER", sign(t, rs256(map[string]any{"alg": "HS256"}), claims(nil), der), ""},
			{"HMAC with the modulus", sign(t, rs256(map[string]any{"alg": "HS256"}), claims(nil), testRSA.N.Bytes()), ""},
			{"HMAC with a key in public", sign(t, map[string]any{"alg": "HS256", "kid": "oct"}, claims(nil), []byte("a-symmetric-key-that-is-in-public")), ""},
			{"an algorithm that is off", sign(t, rs256(map[string]any{"alg": "RS512"}), claims(nil), testRSA), ""},
			{"another kind than the key", sign(t, map[string]any{"alg": "ES256", "kid": "rsa"}, claims(nil), testECDSA), ""},
			{"a key for encryption", sign(t, rs256(map[string]any{"kid": "enc"}), claims(nil), testRSA), ""},
			{"a key for another algorithm", sign(t, rs256(map[string]any{"kid": "pss"}), claims(nil), testRSA), ""},
			{"another key under the same ID", sign(t, rs256(nil), claims(nil), otherRSA), ""},
			{"its own key in the header", sign(t, rs256(map[string]any{"jwk": own}), claims(nil), otherRSA), ""},
			{"where its key is in the header", sign(t, rs256(map[string]any{"jku": "https://evil.example/keys", "x5u": "https://evil.example/c"}), claims(nil), otherRSA), ""},
			{"an ID that is a path", sign(t, rs256(map[string]any{"kid": "../../rsa"}), claims(nil), testRSA), ""},
			{"something critical that is not understood", sign(t, rs256(map[string]any{"crit": []string{"exp2"}, "exp2": 1}), claims(nil), testRSA), ""},

			{"another issuer", sign(t, rs256(nil), claims(map[string]any{"iss": "https://id.example.com.evil.example"}), testRSA), ""},
			{"the issuer with a slash", sign(t, rs256(nil), claims(map[string]any{"iss": issuer + "/"}), testRSA), ""},
			{"no issuer", sign(t, rs256(nil), claims(map[string]any{"iss": nil}), testRSA), ""},
			{"another audience", sign(t, rs256(nil), claims(map[string]any{"aud": "mediax"}), testRSA), ""},
			{"no audience", sign(t, rs256(nil), claims(map[string]any{"aud": nil}), testRSA), ""},
			{"one that has ended", sign(t, rs256(nil), claims(map[string]any{"exp": at(-31 * time.Second)}), testRSA), ""},
			{"one that never ends", sign(t, rs256(nil), claims(map[string]any{"exp": nil}), testRSA), ""},
			{"an end that is a text", sign(t, rs256(nil), claims(map[string]any{"exp": "never"}), testRSA), ""},
			{"not yet good", sign(t, rs256(nil), claims(map[string]any{"nbf": at(time.Minute)}), testRSA), ""},
			{"issued tomorrow", sign(t, rs256(nil), claims(map[string]any{"iat": at(24 * time.Hour)}), testRSA), ""},
			{"no user", sign(t, rs256(nil), claims(map[string]any{"email": nil}), testRSA), ""},
			{"a user that is a list", sign(t, rs256(nil), claims(map[string]any{"email": []string{"ann@example.com"}}), testRSA), ""},
			{"an empty user", sign(t, rs256(nil), claims(map[string]any{"email": ""}), testRSA), ""},
			{"a user with a line break", sign(t, rs256(nil), claims(map[string]any{"email": "ann\n"}), testRSA), ""},
			{"a claim twice", sign(t, rs256(nil), `{"iss":"https://id.example.com","aud":"media","exp":99999999999,"email":"bob@example.com","email":"ann@example.com"}`, testRSA), ""},

			{"claims in capitals", sign(t, rs256(nil), `{"iss":"https://id.example.com","aud":"media","EXP":99999999999,"email":"ann@example.com"}`, testRSA), ""},
			{"an end beyond all time", sign(t, rs256(nil), `{"iss":"https://id.example.com","aud":"media","exp":1e300,"email":"ann@example.com"}`, testRSA), ""},
			{"an end before all time", sign(t, rs256(nil), claims(map[string]any{"exp": -1}), testRSA), ""},
			{"half a character", sign(t, rs256(nil), `{"iss":"https://id.example.com","aud":"media","exp":99999999999,"email":"ann\ud800"}`, testRSA), ""},
			{"a logout token", sign(t, rs256(map[string]any{"typ": "logout+jwt"}), claims(nil), testRSA), ""},
			{"a type that is no text", sign(t, rs256(map[string]any{"typ": 1}), claims(nil), testRSA), ""},
			{"an unencoded payload", sign(t, rs256(map[string]any{"b64": false, "crit": []string{"b64"}}), claims(nil), testRSA), ""},
			{"an algorithm twice", sign(t, `{"alg":"none","alg":"RS256","kid":"rsa"}`, claims(nil), testRSA), ""},
			{"an audience that is an object", sign(t, rs256(nil), claims(map[string]any{"aud": map[string]bool{"media": true}}), testRSA), ""},
			{"claims that are a list", sign(t, rs256(nil), `[]`, testRSA), ""},
			{"two objects", sign(t, rs256(nil), `{"iss":"https://id.example.com","aud":"media","exp":99999999999,"email":"a@b"}{}`, testRSA), ""},
			{"a line break", strings.Replace(token, ".", ".\n", 1), ""},
			{"one letter of the claims changed", changeLetter(token, strings.IndexByte(token, '.')+20), ""},
			{"one letter of the signature changed", changeLetter(token, len(token)-20), ""},
			{"no signature part", token[:strings.LastIndex(token, ".")], ""},
			{"an empty signature", token[:strings.LastIndex(token, ".")+1], ""},
			{"half of it", token[:len(token)/2], ""},
			{"five parts", token + ".a.b", ""},
			{"as JSON without a signature", `{"payload":"e30","signatures":[]}`, ""},
			{"as JSON", inJSON(token), ""},
			{"as JSON with a list of one signature", inJSON(token, token), ""},
			{"as JSON with a second signature", inJSON(token, token, forged), ""},
			{"as JSON with a second signature before", inJSON(token, forged, token), ""},
			{"nothing", "", ""},
			{"dots", "..", ""},
			{"a huge one", sign(t, rs256(nil), claims(map[string]any{"x": strings.Repeat("x", 20_000)}), testRSA), ""},
		} {
			for from, r := range map[string]*http.Request{
				"header": request("192.0.2.1:1", "Authorization", "Bearer "+c.token), "cookie": request("192.0.2.1:1", "Cookie", "a=b; session="+c.token),
			} {
				for range 2 { // the second time, a good one is remembered
					v, err := g.Identify(r, time.Now())
					if v.ID != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrUnknown) {
						t.Errorf("%s in the %s: %q, %v, want %q", c.what, from, v.ID, err, c.want)
					}
				}
			}
		}
		if v, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+token), time.Now()); err != nil || !v.in(setOf([]string{"lab"})) || v.in(setOf([]string{"admin"})) {
			t.Errorf("groups: %+v, %v", v, err)
		}
		r := request("192.0.2.1:1", "Authorization", "Bearer "+token, "Authorization", "Bearer "+token)
		if _, err := g.Identify(r, time.Now()); err == nil {
			t.Error("two Authorization headers")
		}
	})
}

// An email_verified claim that is present must be true; some providers send it as a string.
func TestUnverifiedAddressesAreRejected(t *testing.T) {
	byEmail := newGate(t, jwtViewers(), newProvider())
	c := jwtViewers()
	c.JWT.UserClaim = "sub"
	bySubject := newGate(t, c, newProvider())
	for claim, verified := range map[string]bool{
		`true`: true, `"true"`: true,
		`false`: false, `"false"`: false, `"False"`: false, `"FALSE"`: false, `0`: false, `"0"`: false, `null`: false, `""`: false, `"no"`: false,
		`1`: false, `"1"`: false, `"True"`: false, `"TRUE"`: false, `" true"`: false, `"yes"`: false, `[]`: false, `[true]`: false, `{}`: false,
		`{"value":true}`: false,
	} {
		payload := claims(map[string]any{"email_verified": json.RawMessage(claim)})
		r := request("192.0.2.1:1", "Authorization", "Bearer "+sign(t, rs256(nil), payload, testRSA))
		want := ""
		if verified {
			want = "ann@example.com"
		}
		if v, err := byEmail.Identify(r, time.Now()); v.ID != want || (err == nil) != verified || err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("email_verified %s: %q, %v, want %q", claim, v.ID, err, want)
		}
		if v, err := bySubject.Identify(r, time.Now()); v.ID != "1234" || err != nil {
			t.Errorf("email_verified %s where user_claim is sub: %q, %v, want 1234", claim, v.ID, err)
		}
	}
	absent := sign(t, rs256(nil), claims(map[string]any{"email_verified": nil}), testRSA)
	if v, err := byEmail.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+absent), time.Now()); v.ID != "ann@example.com" || err != nil {
		t.Errorf("without email_verified: %q, %v, want ann@example.com", v.ID, err)
	}
}

// A cookie that has ended is as good as none; a header that was sent on purpose is not.
func TestBadProofBesideAnonymous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := jwtViewers()
		c.Anonymous = true
		g := newGate(t, c, newProvider())
		if v, err := g.Identify(request("192.0.2.1:1", "Cookie", "session=old"), time.Now()); err != nil || v.ID != "" {
			t.Errorf("%+v, %v", v, err)
		}
		if _, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer old"), time.Now()); !errors.Is(err, ErrUnknown) {
			t.Errorf("%v", err)
		}
	})
}

// A token with more groups than are kept is rejected if rules name groups: one may deny a group
// that would be left out.
func TestTooManyGroups(t *testing.T) {
	c := jwtViewers()
	withoutRules := newGate(t, c, newProvider())
	c.Rules = []config.Rule{{Groups: []string{"suspended"}, Locators: []string{"s3://*/*"}, Deny: true}}
	withRules := newGate(t, c, newProvider())
	for n, want := range map[int]bool{maxGroups: true, maxGroups + 1: false} {
		token := sign(t, rs256(nil), claims(map[string]any{"groups": make([]string, n)}), testRSA)
		r := request("192.0.2.1:1", "Authorization", "Bearer "+token)
		v, err := withRules.Identify(r, time.Now())
		if (err == nil) != want || len(v.groups) > maxGroups || err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("%d groups: %d, %v, want accepted: %v", n, len(v.groups), err, want)
		}
		if v, err := withoutRules.Identify(r, time.Now()); err != nil || len(v.groups) > maxGroups {
			t.Errorf("%d groups without rules about groups: %d, %v, want at most %d", n, len(v.groups), err, maxGroups)
		}
	}
}

func BenchmarkCookie(b *testing.B) {
	g := newGate(b, jwtViewers(), newProvider())
	r := request("192.0.2.1:1", "Cookie", "a=b; session="+good(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Identify(r, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

// Of all tokens, in the cookie or in Authorization, those alone are good that the provider
// signed; and they say what it signed.
func FuzzToken(f *testing.F) {
	g := newGate(f, jwtViewers(), newProvider())
	token := good(f)
	for _, seed := range []string{token, token + "x", token[:len(token)-2], "a.b.c", "..", "", strings.Replace(token, ".", "..", 1), sign(f, `{"alg":"none"}`, claims(nil), nil),
		sign(f, rs256(map[string]any{"alg": "HS256"}), claims(nil), []byte("key")), sign(f, rs256(nil), claims(map[string]any{"exp": 1}), testRSA),
		segment(f, rs256(nil)) + "." + segment(f, claims(map[string]any{"email": "eve@example.com"})) + token[strings.LastIndexByte(token, '.'):]} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, token string, inCookie bool) {
		r := request("192.0.2.1:1")
		if inCookie {
			r.Header.Set("Cookie", "session="+token)
		} else {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		v, err := g.Identify(r, time.Now())
		// Base64 has several spellings of a last letter, so that a good token has more than one
		// form; its claims do not change.
		if err == nil && v.ID != "ann@example.com" {
			t.Fatalf("%q is proof of %q", token, v.ID)
		}
	})
}
