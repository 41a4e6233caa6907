// Package sessionstore stores sessions in Redis or Valkey, for the replicas of the proxy to share.
package sessionstore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"s3redirect/internal/integration"
)

// Redis is a store in Redis or Valkey: a single server, servers behind Sentinels, or a cluster. It
// implements [integration.Shared].
//
// Values are encrypted with AES-256-GCM (NIST SP 800-38D) and bound to their names. A reader of the
// server learns nothing from them, and a value that was altered, moved to another name or made up
// is rejected.
type Redis struct {
	options rueidis.ClientOption
	prefix  string // of all names
	seals   []seal // the first encrypts, all decrypt
	clock   func() time.Time

	// mu guards the fields below. It is held while a connection is made, so that concurrent callers
	// wait for one attempt. It is not held during an operation.
	mu      sync.Mutex
	client  rueidis.Client // nil: not connected yet
	retryAt time.Time      // no attempt to connect before it
	closed  bool
}

var _ integration.Shared = (*Redis)(nil)

var (
	errRetryLater = errors.New("the server was unreachable a moment ago; not retried yet")
	errClosed     = errors.New("the connection is closed")
)

const (
	// Timeout bounds each operation: a session can be assumed without the store.
	Timeout = time.Second
	// maxSealed bounds the bytes read of a value. A session's token has a few kilobytes at most.
	maxSealed = 64 << 10
	// connectPause is the pause after a failed attempt to connect.
	connectPause = 5 * time.Second
)

// NewRedis returns a store. It connects at the first operation.
func NewRedis(o Options) (*Redis, error) {
	options, err := o.client()
	if err != nil {
		return nil, err
	}
	r := &Redis{options: options, prefix: o.KeyPrefix, clock: o.Clock}
	for _, key := range o.Keys {
		s, err := newSeal(key)
		if err != nil {
			return nil, err
		}
		r.seals = append(r.seals, s)
	}
	if len(r.seals) == 0 {
		return nil, errors.New("no encryption key")
	}
	return r, nil
}

// connected returns the client. It connects if there is none.
func (r *Redis) connected() (rueidis.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock()
	switch {
	case r.closed:
		return nil, errClosed
	case r.client != nil:
		return r.client, nil
	case now.Before(r.retryAt) && r.retryAt.Sub(now) <= connectPause:
		return nil, errRetryLater
	}
	client, err := rueidis.NewClient(r.options)
	if err != nil {
		r.retryAt = now.Add(connectPause)
		return nil, replyError(err)
	}
	r.client = client
	return client, nil
}

// Close closes the connections. Later operations fail.
func (r *Redis) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.client != nil {
		r.client.Close()
	}
}

// Get implements [integration.Shared].
func (r *Redis) Get(ctx context.Context, name string) ([]byte, error) {
	client, err := r.connected()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	name = r.prefix + name
	// GETRANGE instead of GET: a foreign value may have 512 MB.
	get := client.B().Getrange().Key(name).Start(0).End(maxSealed).Build()
	sealed, err := client.Do(ctx, get).AsBytes()
	switch answer, ok := rueidis.IsRedisErr(err); {
	case ok && strings.HasPrefix(answer.Error(), "WRONGTYPE"):
		return nil, integration.ErrNotAuthentic
	case err != nil:
		return nil, replyError(err)
	case len(sealed) == 0:
		return nil, integration.ErrNotStored
	}
	return r.open(name, sealed)
}

// Add implements [integration.Shared].
func (r *Redis) Add(
	ctx context.Context, name string, value []byte, ttl time.Duration,
) (stored bool, err error) {
	name = r.prefix + name
	return r.set(ctx, name, rueidis.BinaryString(r.seals[0].seal(name, value)), ttl)
}

// set stores a value unencrypted. The name has the prefix.
func (r *Redis) set(
	ctx context.Context, name, value string, ttl time.Duration,
) (stored bool, err error) {
	client, err := r.connected()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	milliseconds := max(1, ttl.Milliseconds())
	set := client.B().Set().Key(name).Value(value).Nx().PxMilliseconds(milliseconds).Build()
	err = client.Do(ctx, set).Error()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil, replyError(err)
}

// Delete implements [integration.Shared].
func (r *Redis) Delete(ctx context.Context, name string) error {
	client, err := r.connected()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return replyError(client.Do(ctx, client.B().Del().Key(r.prefix+name).Build()).Error())
}

// release deletes a lease if the caller still holds it.
var release = rueidis.NewLuaScript(`
if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0`)

// Lease implements [integration.Shared]. A lease whose holder dies ends by its TTL.
func (r *Redis) Lease(
	ctx context.Context, name string, ttl time.Duration,
) (end func(), ok bool, err error) {
	token := rand.Text()
	name = r.prefix + name
	if ok, err = r.set(ctx, name, token, ttl); !ok {
		return nil, false, err
	}
	return func() {
		client, err := r.connected()
		if err != nil {
			return // the TTL ends it
		}
		ctx, cancel := context.WithTimeout(context.Background(), Timeout)
		defer cancel()
		_ = release.Exec(ctx, client, []string{name}, []string{token}).Error()
	}, true, nil
}

// seal encrypts with a key. The ID, the first bytes of the key's SHA-256, says which key a value
// was encrypted with.
type seal struct {
	aead cipher.AEAD
	id   [4]byte
}

// version is the first byte of every sealed value.
const version = 1

func newSeal(key []byte) (s seal, err error) {
	if len(key) != 32 {
		return s, fmt.Errorf("encryption key of %d bytes, want 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return s, err
	}
	digest := sha256.Sum256(key)
	copy(s.id[:], digest[:])
	s.aead, err = cipher.NewGCM(block)
	return s, err
}

// seal returns the version, the key's ID, a nonce and the encrypted value. The name is
// authenticated with the value.
func (s seal) seal(name string, value []byte) []byte {
	out := append([]byte{version}, s.id[:]...)
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = io.ReadFull(rand.Reader, nonce) // never fails
	out = append(out, nonce...)
	return s.aead.Seal(out, nonce, value, []byte(name))
}

// open returns the value that was sealed under a name.
func (r *Redis) open(name string, sealed []byte) ([]byte, error) {
	for _, s := range r.seals {
		head := 1 + len(s.id)
		body := head + s.aead.NonceSize()
		if len(sealed) < body || sealed[0] != version || [4]byte(sealed[1:head]) != s.id {
			continue
		}
		nonce, box := sealed[head:body], sealed[body:]
		if value, err := s.aead.Open(nil, nonce, box, []byte(name)); err == nil {
			return value, nil
		}
	}
	return nil, integration.ErrNotAuthentic
}
