package check

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"s3redirect/internal/config"
)

var (
	issuerKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	otherKey, _  = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
)

const tokenConfig = `
listen: 127.0.0.1:8080
viewers:
  jwt:
    - issuer: https://id.example.com
      audience: [media, photos]
      jwks_url: https://id.example.com/keys
      required_claims: {hd: example.com}
    - issuer: https://down.example.com
      audience: media
  rules:
    - {groups: [suspended], locators: ["s3://*/*"], deny: true}
    - {known: true, locators: ["s3://*/*"]}
integrations:
  - {name: a, bucket: aaa, role_arn: "arn:aws:iam::123456789012:role/a", region: us-east-1}
`

// issuerTransport is the issuer of the tokens. All other hosts are down.
type issuerTransport struct{}

func (issuerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "id.example.com" {
		return nil, errors.New("connection refused")
	}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{KeyID: "k1", Key: issuerKey.Public(), Use: "sig"},
	}})
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(string(text))),
		Request:    r,
	}, err
}

// tokenCase is a token, how a valid one was changed for it, and the step that fails.
type tokenCase struct {
	name   string
	claims map[string]any // nil removes a claim
	kid    string
	typ    string
	key    crypto.Signer
	hmac   bool
	change func(token string) string
	failed string
	reason string // a part of the cause
}

func (c *tokenCase) token(t *testing.T, now time.Time) string {
	t.Helper()
	claims := map[string]any{
		"iss":    "https://id.example.com",
		"aud":    "media",
		"exp":    now.Add(time.Hour).Unix(),
		"iat":    now.Unix(),
		"email":  "Ann@Example.com",
		"groups": []string{"lab", "staff"},
		"hd":     "example.com",
	}
	maps.Copy(claims, c.claims)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: issuerKey, KeyID: "k1"}}
	if c.key != nil {
		key.Key = jose.JSONWebKey{Key: c.key, KeyID: "k1"}
	}
	if c.kid != "" {
		key.Key = jose.JSONWebKey{Key: issuerKey, KeyID: c.kid}
	}
	if c.hmac {
		key = jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}
	}
	options := &jose.SignerOptions{}
	if c.typ != "" {
		options.WithType(jose.ContentType(c.typ))
	}
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	if c.change != nil {
		token = c.change(token)
	}
	return token
}

var tokenCases = []tokenCase{
	{name: "good"},
	{name: "good, as an access token", typ: "at+jwt"},
	{name: "expired", claims: map[string]any{"exp": 1}, failed: stepLifetime, reason: "has expired"},
	{
		name: "no expiry", claims: map[string]any{"exp": nil},
		failed: stepLifetime, reason: "no claim exp",
	},
	{
		name: "not yet valid", claims: map[string]any{"nbf": 1 << 40},
		failed: stepLifetime, reason: "in the future",
	},
	{
		name: "issued in the future", claims: map[string]any{"iat": 1 << 40},
		failed: stepLifetime, reason: "in the future",
	},
	{
		name: "another audience", claims: map[string]any{"aud": "mail"},
		failed: stepAudience, reason: "the audience mail",
	},
	{
		name: "no audience", claims: map[string]any{"aud": nil},
		failed: stepAudience, reason: "no audience",
	},
	{
		name: "an issuer with a slash", claims: map[string]any{"iss": "https://id.example.com/"},
		failed: stepIssuer, reason: `"https://id.example.com/"`,
	},
	{name: "no issuer", claims: map[string]any{"iss": nil}, failed: stepIssuer, reason: `""`},
	{
		name: "an issuer that is down", claims: map[string]any{"iss": "https://down.example.com"},
		failed: stepKeys, reason: "connection refused",
	},
	{name: "an unknown key", kid: "k2", failed: stepKeys, reason: `"k2"`},
	{name: "another key", key: otherKey, failed: stepSignature, reason: "none of the issuer's keys"},
	{name: "HMAC", hmac: true, failed: stepFormat, reason: "algorithm"},
	{
		name: "changed", failed: stepSignature, reason: "none of the issuer's keys",
		change: func(token string) string { return token[:len(token)-4] + "AAAA" },
	},
	{name: "a logout token", typ: "logout+jwt", failed: stepFormat, reason: "typ"},
	{
		name: "no user", claims: map[string]any{"email": nil},
		failed: stepClaims, reason: "no claim email",
	},
	{
		name: "a user that is not text", claims: map[string]any{"email": 1},
		failed: stepClaims, reason: "claim email",
	},
	{
		name: "an unverified address", claims: map[string]any{"email_verified": false},
		failed: stepClaims, reason: "not verified",
	},
	{
		name: "a missing required claim", claims: map[string]any{"hd": nil},
		failed: stepClaims, reason: "no claim hd",
	},
	{
		name: "a wrong required claim", claims: map[string]any{"hd": "example.org"},
		failed: stepClaims, reason: "claim hd",
	},
	{
		name: "no groups", claims: map[string]any{"groups": nil},
		failed: stepGroups, reason: "claim groups",
	},
	{
		name: "too many groups", claims: map[string]any{"hasgroups": true},
		failed: stepGroups, reason: "claim groups",
	},
	{
		name: "an encrypted token", failed: stepFormat, reason: "encrypted",
		change: func(token string) string { return token + ".canary.canary" },
	},
	{
		name: "an opaque token", failed: stepFormat, reason: "opaque",
		change: func(string) string { return "ya29.canary" },
	},
	{
		name: "half a token", failed: stepFormat, reason: "not a signed JWT",
		change: func(token string) string { return token[len(token)/2:] + ".." },
	},
	{
		name: "in quotes", failed: stepFormat, reason: "not a signed JWT",
		change: func(token string) string { return `"` + token + `"` },
	},
	{
		name: "with a line break", failed: stepFormat, reason: "not a signed JWT",
		change: func(token string) string { return token[:50] + "\n" + token[50:] },
	},
	{
		name: "too large", failed: stepFormat, reason: "16 kB",
		claims: map[string]any{"x": strings.Repeat("x", 16<<10)},
	},
}

// Each broken token fails in one step, with a cause and a remedy. No step has a part of the token.
func TestToken(t *testing.T) {
	c, err := config.Parse("config.yaml", []byte(tokenConfig), func(string) (string, bool) {
		return "", false
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range tokenCases {
		now := time.Now()
		token := tc.token(t, now)
		steps := map[string]Step{}
		var order []string
		v, ok, err := Token(t.Context(), TokenOptions{
			Config:    c,
			Token:     token,
			Clock:     func() time.Time { return now },
			Transport: issuerTransport{},
			Report: func(s Step) {
				steps[s.Name] = s
				order = append(order, s.Name)
				for part := range strings.SplitSeq(token, ".") {
					if len(part) > 20 && strings.Contains(s.Reason+s.Remedy, part[:20]) {
						t.Errorf("%s: the step %s has a part of the token: %s", tc.name, s.Name, s.Reason)
					}
				}
			},
		})
		if err != nil || ok != (tc.failed == "") || len(order) != len(tokenSteps) {
			t.Errorf("%s: Token = %v, %v with steps %q, want %v, nil and %d steps", tc.name, ok, err,
				order, tc.failed == "", len(tokenSteps))
			continue
		}
		verdict := OK
		for _, name := range tokenSteps {
			want := verdict
			if name == tc.failed {
				want, verdict = Failed, Skipped
			}
			s := steps[name]
			if s.Verdict != want || s.Reason == "" || (s.Remedy != "") != (want == Failed) {
				t.Errorf("%s: step %+v, want %s", tc.name, s, want)
			}
		}
		if got := steps[tc.failed].Reason; !strings.Contains(got, tc.reason) {
			t.Errorf("%s: cause %q, want one with %q", tc.name, got, tc.reason)
		}
		if tc.failed == "" && (v.ID != "ann@example.com" || len(v.Groups()) != 2 ||
			steps[stepGroups].Reason != "lab, staff") {
			t.Errorf("%s: user %q in %q, want ann@example.com in lab and staff", tc.name, v.ID,
				v.Groups())
		}
	}
}
