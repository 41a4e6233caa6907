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
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"s3redirect/internal/integration"
)

// Redis is what replicas share, in Redis or Valkey: a single one, behind Sentinels, or a cluster. Values are sealed with
// AES-256-GCM (NIST SP 800-38D), bound to their names: whoever reads the server learns nothing, and what was changed, swapped or
// made up there is refused.
type Redis struct {
	options rueidis.ClientOption
	seals   []seal // the first seals, all open

	mu      sync.Mutex
	client  rueidis.Client // nil: not connected yet
	retryAt time.Time
	closed  bool
	clock   func() time.Time
}

// The reasons why there is no value.
var (
	errRetryLater = errors.New("the server was not reached a moment ago, and is not tried again yet")
	errClosed     = errors.New("the connection is closed")
)

// Options say where the server is and what it may know.
type Options struct {
	// URL is redis://, rediss:// (TLS), valkey:// or valkeys://, with user and password of an ACL, and addr=host:port for each
	// further node of a cluster, or each further Sentinel of the one that master_set names, with sentinel_username and
	// sentinel_password where Sentinels want them.
	URL string
	// Keys are of 32 bytes each. The first seals; the others open what was sealed before the first was there.
	Keys [][]byte
	// Clock is for not trying again at once what has just failed.
	Clock func() time.Time
}

const (
	// timeout bounds each question: a session can be had without any of them.
	timeout = time.Second
	// maxSealed bounds what is read. A session's token has some kilobytes at most.
	maxSealed = 64 << 10
	// connectPause is how long a server that was not reached is left alone.
	connectPause = 5 * time.Second
)

// NewRedis makes a store. It connects when it is first asked for something.
func NewRedis(o Options) (*Redis, error) {
	options, err := rueidis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("the URL is none of Redis's or Valkey's") // its own text may hold the password
	}
	options.DisableCache, options.DisableRetry = true, true
	options.Dialer = net.Dialer{Timeout: timeout}
	if u, err := url.Parse(o.URL); err == nil { // Sentinels have users of their own
		options.Sentinel.Username, options.Sentinel.Password = u.Query().Get("sentinel_username"), u.Query().Get("sentinel_password")
	}
	options.Sentinel.Dialer, options.Sentinel.TLSConfig = options.Dialer, options.TLSConfig
	options.Sentinel.TopologyRefreshInterval = connectPause // or one event that is missed would have it keep to the old master for ever
	options.ConnWriteTimeout = timeout
	options.PipelineMultiplex = -1 // one connection is plenty
	v := &Redis{options: options, clock: o.Clock}
	for _, key := range o.Keys {
		s, err := newSeal(key)
		if err != nil {
			return nil, err
		}
		v.seals = append(v.seals, s)
	}
	if len(v.seals) == 0 {
		return nil, errors.New("a key is needed")
	}
	return v, nil
}

// connected is the client, which is made where there is none.
func (v *Redis) connected() (rueidis.Client, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock()
	switch {
	case v.closed:
		return nil, errClosed
	case v.client != nil:
		return v.client, nil
	case now.Before(v.retryAt) && v.retryAt.Sub(now) <= connectPause:
		return nil, errRetryLater
	}
	client, err := rueidis.NewClient(v.options)
	if err != nil {
		v.retryAt = now.Add(connectPause)
		return nil, err
	}
	v.client = client
	return client, nil
}

// Close ends the connections.
func (v *Redis) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.client != nil {
		v.client.Close()
	}
}

// Get is the value under a name. Its error is [integration.ErrNotStored], [integration.ErrNotAuthentic], or says that the server could not be asked.
func (v *Redis) Get(ctx context.Context, name string) ([]byte, error) {
	client, err := v.connected()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// Not GET: somebody else's garbage may be of 512 MB.
	sealed, err := client.Do(ctx, client.B().Getrange().Key(name).Start(0).End(maxSealed).Build()).AsBytes()
	switch answer, ok := rueidis.IsRedisErr(err); {
	case ok && strings.HasPrefix(answer.Error(), "WRONGTYPE"):
		return nil, integration.ErrNotAuthentic
	case err != nil:
		return nil, err
	case len(sealed) == 0:
		return nil, integration.ErrNotStored
	}
	return v.open(name, sealed)
}

// Add stores a value under a name for some time, unless there is something already. It tells whether it was stored.
func (v *Redis) Add(ctx context.Context, name string, value []byte, lives time.Duration) (stored bool, err error) {
	return v.set(ctx, name, rueidis.BinaryString(v.seals[0].seal(name, value)), lives)
}

func (v *Redis) set(ctx context.Context, name, value string, lives time.Duration) (stored bool, err error) {
	client, err := v.connected()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = client.Do(ctx, client.B().Set().Key(name).Value(value).Nx().PxMilliseconds(max(1, lives.Milliseconds())).Build()).Error()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil, err
}

// Delete removes the value under a name.
func (v *Redis) Delete(ctx context.Context, name string) error {
	client, err := v.connected()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return client.Do(ctx, client.B().Del().Key(name).Build()).Error()
}

// release removes a lease that is still the caller's own.
var release = rueidis.NewLuaScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// Lease takes a name for some time, if nobody has it. Whoever holds it gives it back with the function; whoever dies, loses it.
func (v *Redis) Lease(ctx context.Context, name string, lives time.Duration) (giveBack func(), ok bool, err error) {
	mine := rand.Text()
	if ok, err = v.set(ctx, name, mine, lives); !ok {
		return nil, false, err
	}
	return func() {
		client, err := v.connected()
		if err != nil {
			return // it ends by itself
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = release.Exec(ctx, client, []string{name}, []string{mine}).Error()
	}, true, nil
}

// seal is a key, and the first bytes of its digest by which it is known.
type seal struct {
	aead cipher.AEAD
	id   [4]byte
}

// version begins what is sealed, so that it can be told from what other versions will seal.
const version = 1

func newSeal(key []byte) (s seal, err error) {
	if len(key) != 32 {
		return s, fmt.Errorf("a key of %d bytes: it must have 32", len(key))
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

// seal is a version, the key's ID, a nonce, and the value encrypted; the name is authenticated with it.
func (s seal) seal(name string, value []byte) []byte {
	out := append([]byte{version}, s.id[:]...)
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = io.ReadFull(rand.Reader, nonce) // never fails
	out = append(out, nonce...)
	return s.aead.Seal(out, nonce, value, []byte(name))
}

func (v *Redis) open(name string, sealed []byte) ([]byte, error) {
	for _, s := range v.seals {
		head := 1 + len(s.id)
		if len(sealed) < head+s.aead.NonceSize() || sealed[0] != version || [4]byte(sealed[1:head]) != s.id {
			continue
		}
		nonce, box := sealed[head:head+s.aead.NonceSize()], sealed[head+s.aead.NonceSize():]
		if value, err := s.aead.Open(nil, nonce, box, []byte(name)); err == nil {
			return value, nil
		}
	}
	return nil, integration.ErrNotAuthentic
}
