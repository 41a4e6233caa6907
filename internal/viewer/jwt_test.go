package viewer

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1000 * time.Hour) // so that times in the past are valid
		p := newProvider()
		symmetric := segment(t, "a-symmetric-key-that-is-in-public")
		modulus := base64.RawURLEncoding.EncodeToString(testRSA.N.Bytes())
		p.extra = strings.Join([]string{
			`{"kty":"oct","kid":"oct","k":"` + symmetric + `"}`,
			`{"kty":"new-kind","kid":"x"}`,
			`{"kty":"RSA","kid":"enc","use":"enc","n":"` + modulus + `","e":"AQAB"}`,
			`{"kty":"RSA","kid":"pss","alg":"PS256","n":"` + modulus + `","e":"AQAB"}`,
		}, ",")
		g := newGate(t, jwtViewers(), p)
		der, err := x509.MarshalPKIXPublicKey(testRSA.Public())
		if err != nil {
			t.Fatal(err)
		}
		publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		own := jose.JSONWebKey{Key: otherRSA.Public(), KeyID: "rsa"}
		at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		withHeader := func(name string, value any) string {
			return sign(t, rs256(map[string]any{name: value}), claims(nil), testRSA)
		}
		withClaim := func(name string, value any) string {
			return sign(t, rs256(nil), claims(map[string]any{name: value}), testRSA)
		}
		hmacWith := func(key []byte) string {
			return sign(t, rs256(map[string]any{"alg": "HS256"}), claims(nil), key)
		}
		const prefix = `{"iss":"https://id.example.com","aud":"media",`
		token := good(t)
		forged := sign(t, rs256(nil), claims(nil), otherRSA)
		for _, c := range []struct{ name, token, want string }{
			{"valid", token, "ann@example.com"},
			{
				"signed with ECDSA",
				sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, claims(nil), testECDSA),
				"ann@example.com",
			},
			{
				"without a key ID",
				sign(t, map[string]any{"alg": "RS256"}, claims(nil), testRSA),
				"ann@example.com",
			},
			{
				"for several audiences",
				withClaim("aud", []string{"other", "media"}),
				"ann@example.com",
			},
			{"an access token", withHeader("typ", "at+jwt"), "ann@example.com"},
			{"a group that is a string", withClaim("groups", "lab"), "ann@example.com"},
			{"within the leeway", withClaim("exp", at(-29*time.Second)), "ann@example.com"},

			{"without a signature", sign(t, map[string]any{"alg": "none"}, claims(nil), nil), ""},
			{
				"without a signature, in capitals",
				sign(t, map[string]any{"alg": "NONE", "kid": "rsa"}, claims(nil), nil),
				"",
			},
			{"without a signature, with alg RS256", sign(t, rs256(nil), claims(nil), nil), ""},
			{"HMAC with the public key as PEM", hmacWith(publicPEM), ""},
			{"HMAC with the public key as DER", hmacWith(der), ""},
			{"HMAC with the modulus", hmacWith(testRSA.N.Bytes()), ""},
			{
				"HMAC with a published symmetric key",
				sign(t, map[string]any{"alg": "HS256", "kid": "oct"}, claims(nil),
					[]byte("a-symmetric-key-that-is-in-public")),
				"",
			},
			{"an algorithm that is off", withHeader("alg", "RS512"), ""},
			{
				"an algorithm for another type of key",
				sign(t, map[string]any{"alg": "ES256", "kid": "rsa"}, claims(nil), testECDSA),
				"",
			},
			{"a key for encryption", withHeader("kid", "enc"), ""},
			{"a key for another algorithm", withHeader("kid", "pss"), ""},
			{"another key under the same ID", sign(t, rs256(nil), claims(nil), otherRSA), ""},
			{
				"its own key in the header",
				sign(t, rs256(map[string]any{"jwk": own}), claims(nil), otherRSA),
				"",
			},
			{
				"the URL of its own key in the header",
				sign(t, rs256(map[string]any{
					"jku": "https://evil.example/keys",
					"x5u": "https://evil.example/c",
				}), claims(nil), otherRSA),
				"",
			},
			{"a key ID that is a path", withHeader("kid", "../../rsa"), ""},
			{
				"an unknown critical header",
				sign(t, rs256(map[string]any{"crit": []string{"exp2"}, "exp2": 1}),
					claims(nil), testRSA),
				"",
			},

			{"another issuer", withClaim("iss", "https://id.example.com.evil.example"), ""},
			{"the issuer with a slash", withClaim("iss", issuer+"/"), ""},
			{"no issuer", withClaim("iss", nil), ""},
			{"another audience", withClaim("aud", "mediax"), ""},
			{"no audience", withClaim("aud", nil), ""},
			{"expired", withClaim("exp", at(-31*time.Second)), ""},
			{"no expiry", withClaim("exp", nil), ""},
			{"an expiry that is a string", withClaim("exp", "never"), ""},
			{"not yet valid", withClaim("nbf", at(time.Minute)), ""},
			{"issued tomorrow", withClaim("iat", at(24*time.Hour)), ""},
			{"no user", withClaim("email", nil), ""},
			{"a user that is a list", withClaim("email", []string{"ann@example.com"}), ""},
			{"an empty user", withClaim("email", ""), ""},
			{"a user with a line break", withClaim("email", "ann\n"), ""},
			{
				"a claim twice",
				sign(t, rs256(nil), prefix+`"exp":99999999999,`+
					`"email":"bob@example.com","email":"ann@example.com"}`, testRSA),
				"",
			},

			{
				"a claim in capitals",
				sign(t, rs256(nil), prefix+`"EXP":99999999999,"email":"ann@example.com"}`, testRSA),
				"",
			},
			{
				"an expiry that overflows",
				sign(t, rs256(nil), prefix+`"exp":1e300,"email":"ann@example.com"}`, testRSA),
				"",
			},
			{"a negative expiry", withClaim("exp", -1), ""},
			{
				"an unpaired surrogate",
				sign(t, rs256(nil), prefix+`"exp":99999999999,"email":"ann\ud800"}`, testRSA),
				"",
			},
			{"a logout token", withHeader("typ", "logout+jwt"), ""},
			{"a type that is a number", withHeader("typ", 1), ""},
			{
				"an unencoded payload",
				sign(t, rs256(map[string]any{"b64": false, "crit": []string{"b64"}}),
					claims(nil), testRSA),
				"",
			},
			{
				"an algorithm twice",
				sign(t, `{"alg":"none","alg":"RS256","kid":"rsa"}`, claims(nil), testRSA),
				"",
			},
			{"an audience that is an object", withClaim("aud", map[string]bool{"media": true}), ""},
			{"claims that are a list", sign(t, rs256(nil), `[]`, testRSA), ""},
			{
				"two objects",
				sign(t, rs256(nil), prefix+`"exp":99999999999,"email":"a@b"}{}`, testRSA),
				"",
			},
			{"a line break", strings.Replace(token, ".", ".\n", 1), ""},
			{
				"one letter of the claims changed",
				changeLetter(token, strings.IndexByte(token, '.')+20),
				"",
			},
			{"one letter of the signature changed", changeLetter(token, len(token)-20), ""},
			{"no signature segment", token[:strings.LastIndex(token, ".")], ""},
			{"an empty signature", token[:strings.LastIndex(token, ".")+1], ""},
			{"the first half", token[:len(token)/2], ""},
			{"five segments", token + ".a.b", ""},
			{"as JSON without a signature", `{"payload":"e30","signatures":[]}`, ""},
			{"as JSON", inJSON(token), ""},
			{"as JSON with a list of one signature", inJSON(token, token), ""},
			{"as JSON with a forged signature second", inJSON(token, token, forged), ""},
			{"as JSON with a forged signature first", inJSON(token, forged, token), ""},
			{"empty", "", ""},
			{"only dots", "..", ""},
			{"too long", withClaim("x", strings.Repeat("x", 20_000)), ""},
		} {
			for from, r := range map[string]*http.Request{
				"header": withToken(c.token),
				"cookie": request("192.0.2.1:1", "Cookie", "a=b; session="+c.token),
			} {
				for range 2 { // the second time, a valid token comes from the cache
					v, err := g.Identify(NewRequest(r), time.Now())
					if v.ID != c.want || (c.want == "") != errors.Is(err, ErrUnknown) ||
						c.want != "" && err != nil {
						t.Errorf("%s in the %s: Identify = %q, %v, want %q",
							c.name, from, v.ID, err, c.want)
					}
				}
			}
		}
		v, err := g.Identify(NewRequest(withToken(token)), time.Now())
		if err != nil || !v.in(setOf([]string{"lab"})) || v.in(setOf([]string{"admin"})) {
			t.Errorf("Identify = %+v, %v, want the group lab", v, err)
		}
		r := withToken(token)
		r.Header.Add("Authorization", "Bearer "+token)
		if _, err := g.Identify(NewRequest(r), time.Now()); err == nil {
			t.Error("two Authorization headers: Identify = nil, want an error")
		}
	})
}

// If the claim email_verified is present, it must be true. Some providers send it as a string.
func TestUnverifiedAddressesAreRejected(t *testing.T) {
	byEmail := newGate(t, jwtViewers(), newProvider())
	c := jwtViewers()
	c.JWT[0].UserClaim = "sub"
	bySubject := newGate(t, c, newProvider())
	for claim, verified := range map[string]bool{
		`true`:           true,
		`"true"`:         true,
		`false`:          false,
		`"false"`:        false,
		`"False"`:        false,
		`"FALSE"`:        false,
		`0`:              false,
		`"0"`:            false,
		`null`:           false,
		`""`:             false,
		`"no"`:           false,
		`1`:              false,
		`"1"`:            false,
		`"True"`:         false,
		`"TRUE"`:         false,
		`" true"`:        false,
		`"yes"`:          false,
		`[]`:             false,
		`[true]`:         false,
		`{}`:             false,
		`{"value":true}`: false,
	} {
		payload := claims(map[string]any{"email_verified": json.RawMessage(claim)})
		r := withToken(sign(t, rs256(nil), payload, testRSA))
		want := ""
		if verified {
			want = "ann@example.com"
		}
		v, err := byEmail.Identify(NewRequest(r), time.Now())
		if v.ID != want || verified == errors.Is(err, ErrUnknown) || verified && err != nil {
			t.Errorf("email_verified %s: Identify = %q, %v, want %q", claim, v.ID, err, want)
		}
		if v, err := bySubject.Identify(NewRequest(r), time.Now()); v.ID != "1234" || err != nil {
			t.Errorf("email_verified %s, user_claim sub: Identify = %q, %v, want 1234",
				claim, v.ID, err)
		}
	}
	absent := sign(t, rs256(nil), claims(map[string]any{"email_verified": nil}), testRSA)
	v, err := byEmail.Identify(NewRequest(withToken(absent)), time.Now())
	if v.ID != "ann@example.com" || err != nil {
		t.Errorf("without email_verified: Identify = %q, %v, want ann@example.com", v.ID, err)
	}
}

// If anonymous clients are served, a bad cookie is ignored, but a bad Authorization header is not.
func TestBadTokensWithAnonymous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := jwtViewers()
		c.Anonymous = true
		g := newGate(t, c, newProvider())
		v, err := g.Identify(NewRequest(request("192.0.2.1:1", "Cookie", "session=old")), time.Now())
		if err != nil || v.ID != "" {
			t.Errorf("cookie: Identify = %+v, %v, want an anonymous viewer", v, err)
		}
		if _, err := g.Identify(NewRequest(withToken("old")), time.Now()); !errors.Is(err, ErrUnknown) {
			t.Errorf("Authorization: Identify = %v, want %v", err, ErrUnknown)
		}
	})
}

// A token with more groups than are cached is rejected if rules name groups, since a rule may
// deny a group that would be left out.
func TestTooManyGroups(t *testing.T) {
	c := jwtViewers()
	withoutRules := newGate(t, c, newProvider())
	c.Rules = []config.Rule{
		{Groups: []string{"suspended"}, Locators: []string{"s3://*/*"}, Deny: true},
	}
	withRules := newGate(t, c, newProvider())
	for n, want := range map[int]bool{maxGroups: true, maxGroups + 1: false} {
		token := sign(t, rs256(nil), claims(map[string]any{"groups": make([]string, n)}), testRSA)
		r := withToken(token)
		v, err := withRules.Identify(NewRequest(r), time.Now())
		if want == errors.Is(err, ErrUnknown) || want && err != nil || len(v.groups) > maxGroups {
			t.Errorf("%d groups: Identify returned %d groups, %v, want accepted: %v",
				n, len(v.groups), err, want)
		}
		v, err = withoutRules.Identify(NewRequest(r), time.Now())
		if err != nil || len(v.groups) > maxGroups {
			t.Errorf("%d groups without rules: Identify returned %d groups, %v, want at most %d",
				n, len(v.groups), err, maxGroups)
		}
	}
}

func BenchmarkCookie(b *testing.B) {
	g := newGate(b, jwtViewers(), newProvider())
	r := request("192.0.2.1:1", "Cookie", "a=b; session="+good(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Identify(NewRequest(r), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzToken checks that a token identifies only the viewer for whom the provider signed it.
func FuzzToken(f *testing.F) {
	g := newGate(f, jwtViewers(), newProvider())
	token := good(f)
	otherClaims := segment(f, claims(map[string]any{"email": "eve@example.com"}))
	for _, seed := range []string{
		token,
		token + "x",
		token[:len(token)-2],
		"a.b.c",
		"..",
		"",
		strings.Replace(token, ".", "..", 1),
		sign(f, `{"alg":"none"}`, claims(nil), nil),
		sign(f, rs256(map[string]any{"alg": "HS256"}), claims(nil), []byte("key")),
		sign(f, rs256(nil), claims(map[string]any{"exp": 1}), testRSA),
		segment(f, rs256(nil)) + "." + otherClaims + token[strings.LastIndexByte(token, '.'):],
	} {
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
		v, err := g.Identify(NewRequest(r), time.Now())
		// The last letter of base64 has several equivalent spellings, so variants of the token are
		// valid too. Their claims are the same.
		if err == nil && v.ID != "ann@example.com" {
			t.Fatalf("Identify(%q) = %q, want ann@example.com or an error", token, v.ID)
		}
	})
}
