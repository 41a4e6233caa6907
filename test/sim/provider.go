package sim

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	issuer = "http://id.localhost"
	// leeway is viewers.jwt.leeway.
	leeway = 30 * time.Second
	// keysPause is how long a replica may know an old set of the issuer's keys: it asks for new ones
	// once a minute at most.
	keysPause = 2 * time.Minute
)

// provider is the identity provider. It issues tokens, and tells its key to everybody who asks.
type provider struct {
	random     *rand.Rand
	generation int
	key        ed25519.PrivateKey
}

// token is a token of a viewer.
type token struct {
	text    string
	expires time.Time
	key     int // the generation of the key
}

func newProvider(seed uint64) *provider {
	p := &provider{random: source(seed, streamProvider)}
	p.rotate()
	return p
}

// rotate replaces the key.
func (p *provider) rotate() {
	p.generation++
	seed := make([]byte, ed25519.SeedSize)
	for n := range seed {
		seed[n] = byte(p.random.Uint32())
	}
	p.key = ed25519.NewKeyFromSeed(seed)
}

func (p *provider) keyID() string { return fmt.Sprintf("key-%d", p.generation) }

// issue returns a token for a user with groups.
func (p *provider) issue(user string, groups []string, expires time.Time) *token {
	key := jose.JSONWebKey{Key: p.key, KeyID: p.keyID()}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, nil)
	if err != nil {
		panic("sim: " + err.Error())
	}
	if groups == nil {
		groups = []string{}
	}
	claims, err := json.Marshal(map[string]any{
		"iss": issuer, "aud": "media", "sub": user, "groups": groups, "exp": expires.Unix(),
	})
	if err != nil {
		panic("sim: " + err.Error())
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		panic("sim: " + err.Error())
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		panic("sim: " + err.Error())
	}
	return &token{text: text, expires: expires, key: p.generation}
}

// keys returns the key set (RFC 7517).
func (p *provider) keys() string {
	key := jose.JSONWebKey{Key: p.key.Public(), KeyID: p.keyID(), Use: "sig"}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
	if err != nil {
		panic("sim: " + err.Error())
	}
	return string(text)
}

// fetchKeys answers a replica that asks for the keys.
func (n network) fetchKeys(r *http.Request) (*http.Response, error) {
	if err := n.sleep(r, n.delay("keys", 5*time.Millisecond, 80*time.Millisecond)); err != nil {
		return nil, err
	}
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if n.world.providerFault {
		return nil, errRefused
	}
	return answer(r, http.StatusOK, "application/json", n.world.provider.keys()), nil
}

// renewToken gives a viewer a new token if the last one has expired, was signed with an old key, or
// has other groups. At times the viewer continues with an expired one.
func (w *world) renewToken(b *browser, rnd *rand.Rand) {
	now := time.Now()
	if t := b.token; t != nil && t.key == w.provider.generation && !b.stale &&
		(now.Before(t.expires) || rnd.IntN(4) == 0) {
		return
	}
	until := now.Add(time.Minute + time.Duration(rnd.Int64N(int64(2*time.Hour)))).Truncate(time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	b.token, b.stale = w.provider.issue(b.user, b.groups, until), false
	w.model.secrets[b.token.text] = true
}
