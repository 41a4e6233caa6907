package viewer

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	neturl "net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

const (
	// keysRefresh is how old the keys may become before they are fetched again, so that withdrawn
	// keys are dropped.
	keysRefresh = 15 * time.Minute
	// keysPause is the minimum time between two fetches. It bounds the fetches caused by tokens
	// that name unknown keys.
	keysPause = time.Minute
	// RetryAfter is the minimum time between two fetches while no keys are known.
	RetryAfter = 5 * time.Second
	// keysTimeout bounds a fetch, including discovery.
	keysTimeout = 5 * time.Second
	// maxKeysBytes bounds the size of a provider's response, and maxKeys the number of keys that
	// are read from it.
	maxKeysBytes = 1 << 20
	maxKeys      = 100
	// minRSABits is the minimum size of an RSA key (RFC 7518, section 3.3).
	minRSABits = 2048
)

// keySet holds an identity provider's public keys (RFC 7517). A request waits for a fetch only if
// no keys are known yet or its token names an unknown key.
type keySet struct {
	issuer, url string
	client      *http.Client
	clock       func() time.Time
	log         *slog.Logger
	observe     func(issuer string, err error) // called after each fetch; may be nil
	current     atomic.Pointer[keys]           // nil until the first fetch succeeds
	ctx         context.Context                // of the fetches; canceled by close
	cancel      context.CancelFunc
	background  sync.WaitGroup

	mu        sync.Mutex    // guards the fields below; it is not held during a fetch
	fetching  chan struct{} // closed when the fetch in flight ends; nil if there is none
	attempted time.Time     // when the last fetch started
}

// keys is a version of the key set.
type keys struct {
	all        []jose.JSONWebKey
	fetched    time.Time
	generation int // incremented when a new version lacks a key
}

func newKeySet(c *config.JWT, o Options) *keySet {
	ctx, cancel := context.WithCancel(context.Background())
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &keySet{
		issuer: c.Issuer,
		url:    c.JWKSURL,
		client: &http.Client{Transport: o.Transport, CheckRedirect: noRedirects},
		clock:  o.Clock,
		log:    o.Log,

		observe: o.KeysFetched,
		ctx:     ctx,
		cancel:  cancel,
	}
}

// close cancels the fetch in flight and waits for it to end. It cancels while it holds k.mu, so that
// no fetch starts during the Wait:
//
//	fetch: k.ctx is not canceled
//	close: cancels, Wait: the counter is zero
//	fetch: background.Go, which must not happen during Wait
func (k *keySet) close() {
	k.mu.Lock()
	k.cancel()
	k.mu.Unlock()
	k.background.Wait()
}

// generation returns a number that changes when a key is withdrawn.
func (k *keySet) generation() int {
	if c := k.current.Load(); c != nil {
		return c.generation
	}
	return 0
}

// refresh starts to fetch the keys in the background if they are too old. The known keys remain
// valid meanwhile.
func (k *keySet) refresh(now time.Time) {
	if c := k.current.Load(); c != nil && now.Sub(c.fetched) >= keysRefresh {
		k.fetch(now)
	}
}

// errKeyUnknown means that no key has an ID.
var errKeyUnknown = errors.New("viewer: unknown key")

// find returns the keys with an ID, or all keys if id is empty. The error is [errKeyUnknown] if no
// key has the ID, [ErrUnavailable] if no keys are known, or the context's cause.
func (k *keySet) find(ctx context.Context, id string, now time.Time) ([]jose.JSONWebKey, error) {
	k.refresh(now)
	current := k.current.Load()
	if current != nil {
		if found := current.byID(id); len(found) > 0 {
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
	if found := current.byID(id); len(found) > 0 {
		return found, nil
	}
	return nil, errKeyUnknown
}

// byID returns the keys with an ID, or all keys if id is empty.
func (c *keys) byID(id string) (found []jose.JSONWebKey) {
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

// fetch starts to fetch the keys in the background, unless a fetch is in flight or the pause
// since the last one is not over. It returns a channel that is closed when the fetch in flight
// ends, or nil if there is none.
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
	case since >= 0 && since < pause, k.ctx.Err() != nil:
		return nil
	}
	done := make(chan struct{})
	k.fetching, k.attempted = done, now
	k.background.Go(func() {
		ctx, cancel := context.WithTimeout(k.ctx, keysTimeout)
		defer cancel()
		all, err := k.get(ctx)
		if k.observe != nil && k.ctx.Err() == nil {
			k.observe(k.issuer, err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil {
			k.replaceLocked(all)
		} else if k.ctx.Err() == nil {
			k.log.Error("fetching the identity provider's keys failed; keeping the known keys",
				"issuer", k.issuer, "error", err.Error())
		}
		k.fetching = nil
		close(done)
	})
	return done
}

// replaceLocked makes all the current keys. If a key was withdrawn, it increments the generation,
// which invalidates the cached tokens.
func (k *keySet) replaceLocked(all []jose.JSONWebKey) {
	next := &keys{all: all, fetched: k.clock()}
	if old := k.current.Load(); old != nil {
		next.generation = old.generation
		for _, key := range old.all {
			if !next.contains(&key) {
				next.generation++
				break
			}
		}
	}
	k.current.Store(next)
	k.log.Info("identity provider's keys fetched", "issuer", k.issuer, "keys", len(all))
}

// contains reports whether key is one of c.
func (c *keys) contains(key *jose.JSONWebKey) bool {
	text, err := key.MarshalJSON()
	if err != nil {
		return false
	}
	for _, other := range c.all {
		if otherText, err := other.MarshalJSON(); err == nil && bytes.Equal(text, otherText) {
			return true
		}
	}
	return false
}

// get fetches the keys from the configured URL, or from the one in the provider's discovery
// document (OpenID Connect Discovery 1.0, section 4).
func (k *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	from := k.url
	if from == "" {
		var provider struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		discovery := strings.TrimSuffix(k.issuer, "/") + "/.well-known/openid-configuration"
		if err := k.getJSON(ctx, discovery, &provider); err != nil {
			return nil, err
		}
		if provider.Issuer != k.issuer {
			return nil, &KeysError{discovery, KeysOfAnotherIssuer,
				fmt.Errorf(": the issuer is %q, not viewers.jwt.issuer", provider.Issuer)}
		}
		from = provider.JWKSURI
		if !strings.HasPrefix(from, "https://") && !strings.HasPrefix(k.issuer, "http://") {
			return nil, &KeysError{discovery, KeysInsecure, errors.New(": jwks_uri must be an https URL")}
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
		// Keys of unknown types are ignored (RFC 7517, section 5).
		if key.UnmarshalJSON(text) == nil && usable(&key) {
			all = append(all, key)
		}
	}
	if len(all) == 0 {
		return nil, &KeysError{withoutQuery(from), KeysUnusable, errors.New(": no usable key")}
	}
	return all, nil
}

// getJSON decodes the JSON at a URL into a value.
func (k *keySet) getJSON(ctx context.Context, url string, into any) error {
	shown := withoutQuery(url)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return &KeysError{shown, KeysUnreachable, errors.New(": invalid URL")}
	}
	resp, err := k.client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*neturl.Error](err); ok {
			err = wrapped.Err
		}
		return &KeysError{shown, KeysUnreachable, fmt.Errorf(": %w", err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &KeysError{shown, KeysRefused, fmt.Errorf(" answered %s", resp.Status)}
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxKeysBytes)).Decode(into); err != nil {
		return &KeysError{shown, KeysMalformed, fmt.Errorf(": %w", err)}
	}
	return nil
}

// withoutQuery returns a URL as errors show it: its query may come from a variable that holds a
// secret.
func withoutQuery(url string) string {
	before, _, _ := strings.Cut(url, "?")
	return before
}

// usable reports whether key may verify signatures and is public. Anyone could sign with a
// private or symmetric key that the provider publishes.
func usable(key *jose.JSONWebKey) bool {
	if !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
		return false
	}
	if k, ok := key.Key.(*rsa.PublicKey); ok {
		return k.N.BitLen() >= minRSABits
	}
	return true
}
