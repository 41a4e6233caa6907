package viewer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

const issuer = "https://id.example.com"

// provider is an identity provider, as an [http.RoundTripper].
type provider struct {
	fetches atomic.Int32
	takes   time.Duration // per request

	mu     sync.Mutex
	keys   map[string]crypto.Signer
	down   bool
	issuer string // in the discovery document
	extra  string // additional keys, as JSON
}

var (
	testRSA, _   = rsa.GenerateKey(rand.Reader, 2048)
	otherRSA, _  = rsa.GenerateKey(rand.Reader, 2048)
	testECDSA, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
)

func newProvider() *provider {
	return &provider{
		keys:   map[string]crypto.Signer{"rsa": testRSA, "ec": testECDSA},
		issuer: issuer,
	}
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
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{},
		Body:       io.NopCloser(bytes.NewReader(body)),
		Request:    r,
	}, nil
}

// jwtViewers returns a configuration that accepts the provider's tokens.
func jwtViewers() *config.Viewers {
	return &config.Viewers{JWT: []config.JWT{{
		Issuer:         issuer,
		Audience:       []string{"media"},
		AudienceClaims: []string{"aud"},
		Algorithms:     []string{"RS256", "ES256"},
		Cookie:         "session",
		UserClaim:      "email",
		LowercaseUser:  true,
		GroupsClaim:    "groups",
		Leeway:         30 * time.Second,
	}}}
}

// claims returns the claims of a valid token with changes. A nil value removes a claim.
func claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss":            issuer,
		"aud":            "media",
		"sub":            "1234",
		"email":          "ann@example.com",
		"email_verified": true,
		"groups":         []string{"lab"},
		"exp":            time.Now().Add(time.Hour).Unix(),
		"iat":            time.Now().Unix(),
	}
	for name, value := range changes {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

// segment returns a segment of a token: the base64url of a string, or of a value's JSON.
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

// sign returns a token. Unlike a library, it also makes invalid tokens.
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
		signature, err = r.FillBytes(make([]byte, 32)), e
		signature = append(signature, s.FillBytes(make([]byte, 32))...)
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

// rs256 returns the header of a valid token with changes.
func rs256(changes map[string]any) map[string]any {
	h := map[string]any{"alg": "RS256", "kid": "rsa", "typ": "JWT"}
	for name, value := range changes {
		h[name] = value
	}
	return h
}

// changeLetter returns text with a different letter at index n.
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

// good returns a valid token.
func good(t testing.TB) string { return sign(t, rs256(nil), claims(nil), testRSA) }
