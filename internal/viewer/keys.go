package viewer

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

const (
	// keysRefresh is how often the keys are fetched again, for those that were withdrawn.
	keysRefresh = 15 * time.Minute
	// keysPause is the least between two fetches, whatever tokens ask for: a key that nobody knows must not become a flood.
	keysPause = time.Minute
	// RetryAfter is the least between two fetches while there are no keys at all.
	RetryAfter = 5 * time.Second
	// keysTimeout bounds a fetch, discovery included.
	keysTimeout = 5 * time.Second
	// maxKeysBytes and maxKeys bound what a provider may answer.
	maxKeysBytes = 1 << 20
	maxKeys      = 100
	// minRSABits is RFC 7518's, section 3.3.
	minRSABits = 2048
)

// keySet is an identity provider's public keys (RFC 7517). Requests wait for it only until it has been had once, and when a
// token names a key that is not in it.
type keySet struct {
	issuer, url string
	client      *http.Client
	clock       func() time.Time
	log         *slog.Logger
	current     atomic.Pointer[keys]
	life        context.Context
	end         context.CancelFunc
	background  sync.WaitGroup

	mu        sync.Mutex // guards what follows; it is never held over a call
	fetching  chan struct{}
	attempted time.Time
}

// keys is one version of the set.
type keys struct {
	all        []jose.JSONWebKey
	fetched    time.Time
	generation int // counts the versions that lost a key
}

func newKeySet(c *config.JWT, o Options) *keySet {
	life, end := context.WithCancel(context.Background())
	k := &keySet{issuer: c.Issuer, url: c.JWKSURL, clock: o.Clock, log: o.Log, life: life, end: end,
		client: &http.Client{Transport: o.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	return k
}

func (k *keySet) close() {
	k.end()
	k.background.Wait()
}

// generation tells apart the sets before and after a key was withdrawn.
func (k *keySet) generation() int {
	if c := k.current.Load(); c != nil {
		return c.generation
	}
	return 0
}

// find are the keys of an ID, or all of them where a token names none. Its error is [ErrUnknown] where there is no such key,
// [ErrUnavailable] where there are no keys at all, or the context's.
func (k *keySet) find(ctx context.Context, id string, now time.Time) ([]jose.JSONWebKey, error) {
	current := k.current.Load()
	if current != nil {
		if now.Sub(current.fetched) >= keysRefresh {
			k.fetch(now) // in the background: what is known goes on to be good
		}
		if found := current.named(id); len(found) > 0 {
			return found, nil
		}
	}
	if fetching := k.fetch(now); fetching != nil {
		select {
		case <-fetching:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if current = k.current.Load(); current == nil {
		return nil, ErrUnavailable
	}
	if found := current.named(id); len(found) > 0 {
		return found, nil
	}
	return nil, ErrUnknown
}

func (c *keys) named(id string) (found []jose.JSONWebKey) {
	if id == "" {
		return c.all
	}
	for _, key := range c.all {
		if key.KeyID == id {
			found = append(found, key)
		}
	}
	return found
}

// fetch starts fetching the keys, unless that was done a moment ago. It returns what to wait for, or nil.
func (k *keySet) fetch(now time.Time) chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	pause := keysPause
	if k.current.Load() == nil {
		pause = RetryAfter
	}
	switch since := now.Sub(k.attempted); {
	case k.fetching != nil:
		return k.fetching
	case since >= 0 && since < pause, k.life.Err() != nil:
		return nil
	}
	done := make(chan struct{})
	k.fetching, k.attempted = done, now
	k.background.Go(func() {
		ctx, cancel := context.WithTimeout(k.life, keysTimeout)
		defer cancel()
		all, err := k.get(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil {
			k.replace(all)
		} else if k.life.Err() == nil {
			k.log.Error("the identity provider's keys cannot be had; those known go on to be good", "issuer", k.issuer, "error", err.Error())
		}
		k.fetching = nil
		close(done)
	})
	return done
}

// replace makes the keys the current ones. What a key that is gone had signed is not remembered any longer.
func (k *keySet) replace(all []jose.JSONWebKey) {
	next := &keys{all: all, fetched: k.clock()}
	if old := k.current.Load(); old != nil {
		next.generation = old.generation
		for _, key := range old.all {
			if !next.has(&key) {
				next.generation++
				break
			}
		}
	}
	k.current.Store(next)
	k.log.Info("identity provider's keys fetched", "issuer", k.issuer, "keys", len(all))
}

func (c *keys) has(key *jose.JSONWebKey) bool {
	text, err := key.MarshalJSON()
	for _, other := range c.all {
		if otherText, otherErr := other.MarshalJSON(); err == nil && otherErr == nil && string(text) == string(otherText) {
			return true
		}
	}
	return false
}

// get asks the provider. OpenID Connect Discovery 1.0, section 4.
func (k *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	from := k.url
	if from == "" {
		var provider struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		if err := k.getJSON(ctx, strings.TrimSuffix(k.issuer, "/")+"/.well-known/openid-configuration", &provider); err != nil {
			return nil, err
		}
		if provider.Issuer != k.issuer {
			return nil, fmt.Errorf("the provider calls itself %q", provider.Issuer)
		}
		if from = provider.JWKSURI; !strings.HasPrefix(from, "https://") && !strings.HasPrefix(k.issuer, "http://") {
			return nil, errors.New("the provider's jwks_uri is not https")
		}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := k.getJSON(ctx, from, &set); err != nil {
		return nil, err
	}
	var all []jose.JSONWebKey
	for _, text := range set.Keys[:min(len(set.Keys), maxKeys)] {
		var key jose.JSONWebKey
		// A kind of key that is not known here may be in the set (RFC 7517, section 5).
		if key.UnmarshalJSON(text) == nil && usable(&key) {
			all = append(all, key)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the provider has no key that could be used")
	}
	return all, nil
}

func (k *keySet) getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxKeysBytes)).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// usable reports whether a key can verify signatures and is public. A private or symmetric key that is published is
// everybody's.
func usable(key *jose.JSONWebKey) bool {
	if !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
		return false
	}
	if k, ok := key.Key.(*rsa.PublicKey); ok {
		return k.N.BitLen() >= minRSABits
	}
	return true
}
