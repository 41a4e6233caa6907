package sessionstore

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"s3redirect/internal/integration"
)

func key(fill byte) []byte { return bytes.Repeat([]byte{fill}, 32) }

// newRedis returns a store on a fake server. The end-to-end tests use real servers.
func newRedis(t *testing.T, server *miniredis.Miniredis, keys ...[]byte) *Redis {
	t.Helper()
	r, err := NewRedis(Options{URL: "redis://" + server.Addr() + "/0", Keys: keys, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

const canary = "canary-secret-of-a-session"

func TestRedisStoresAndDeletes(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	r := newRedis(t, server, key(1))
	if _, err := r.Get(ctx, "name"); !errors.Is(err, integration.ErrNotStored) {
		t.Errorf("Get of a vacant name = %v, want %v", err, integration.ErrNotStored)
	}
	if stored, err := r.Add(ctx, "name", []byte(canary), time.Minute); !stored || err != nil {
		t.Fatalf("Add = %v, %v, want true", stored, err)
	}
	if value, err := r.Get(ctx, "name"); string(value) != canary || err != nil {
		t.Errorf("Get = %q, %v, want %q", value, err, canary)
	}
	if stored, err := r.Add(ctx, "name", []byte("another"), time.Minute); stored || err != nil {
		t.Errorf("second Add = %v, %v, want false", stored, err)
	}
	if raw, _ := server.Get("name"); strings.Contains(raw, "canary") || raw == "" {
		t.Errorf("the server holds %q, want an encrypted value", raw)
	}
	if left := server.TTL("name"); left <= 0 || left > time.Minute {
		t.Errorf("TTL = %v, want at most a minute", left)
	}
	server.FastForward(time.Minute)
	if _, err := r.Get(ctx, "name"); !errors.Is(err, integration.ErrNotStored) {
		t.Errorf("Get after the TTL = %v, want %v", err, integration.ErrNotStored)
	}
	_, _ = r.Add(ctx, "name", []byte("x"), time.Minute)
	if err := r.Delete(ctx, "name"); err != nil || server.Exists("name") {
		t.Errorf("Delete = %v; the name still exists: %v", err, server.Exists("name"))
	}
}

func TestRedisNeverReusesANonce(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	r := newRedis(t, server, key(1))
	nonces := map[string]bool{}
	for range 100 {
		server.Del("one")
		if _, err := r.Add(ctx, "one", []byte(canary), time.Minute); err != nil {
			t.Fatal(err)
		}
		raw, _ := server.Get("one")
		nonces[raw[5:17]] = true
	}
	if len(nonces) != 100 {
		t.Errorf("%d nonces for 100 values under one name, want 100", len(nonces))
	}
}

func TestRedisRejectsWhatItDidNotStore(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	r := newRedis(t, server, key(1))
	for _, name := range []string{"one", "two"} {
		if _, err := r.Add(ctx, name, []byte(canary), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	another, _ := server.Get("one")
	authentic, _ := server.Get("two")
	rejected := func(what, raw string) {
		t.Helper()
		if err := server.Set("two", raw); err != nil {
			t.Fatal(err)
		}
		if value, err := r.Get(ctx, "two"); !errors.Is(err, integration.ErrNotAuthentic) {
			t.Errorf("Get of a value that is %s = %q, %v, want %v",
				what, value, err, integration.ErrNotAuthentic)
		}
	}
	rejected("moved from another name", another)
	rejected("garbage", "hello")
	rejected("too long", authentic+strings.Repeat("x", maxSealed))
	// The version is not encrypted: only a comparison rejects a value that another version sealed.
	rejected("of another version", string(rune(version+1))+authentic[1:])
	for n := range len(authentic) {
		altered := []byte(authentic)
		altered[n] ^= 1
		rejected("altered", string(altered))
		if n > 0 {
			rejected("truncated", authentic[:n])
		}
	}
	server.Del("two")
	if _, err := server.Lpush("two", "a list"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(ctx, "two"); !errors.Is(err, integration.ErrNotAuthentic) {
		t.Errorf("Get of a list = %v, want %v", err, integration.ErrNotAuthentic)
	}
	if stored, err := r.Add(ctx, "two", []byte("fixed"), time.Minute); stored || err != nil {
		t.Errorf("Add over a list = %v, %v, want false", stored, err)
	}
	if err := r.Delete(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	if stored, err := r.Add(ctx, "two", []byte("fixed"), time.Minute); !stored || err != nil {
		t.Errorf("Add after Delete = %v, %v, want true", stored, err)
	}
	if value, err := r.Get(ctx, "two"); string(value) != "fixed" {
		t.Errorf("Get = %q, %v, want fixed", value, err)
	}
}

// At most maxSealed+1 bytes are read: even an authentic value is rejected if it is longer.
func TestRedisReadsAtMostMaxSealed(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	r := newRedis(t, server, key(1))
	overhead := len(r.seals[0].seal("x", nil))
	for size, want := range map[int]error{
		maxSealed - overhead:     nil,
		maxSealed + 1 - overhead: nil,
		maxSealed + 2 - overhead: integration.ErrNotAuthentic,
		1 << 20:                  integration.ErrNotAuthentic,
	} {
		server.FlushAll()
		if stored, err := r.Add(ctx, "x", make([]byte, size), time.Minute); !stored || err != nil {
			t.Fatal(stored, err)
		}
		value, err := r.Get(ctx, "x")
		if !errors.Is(err, want) || want == nil && len(value) != size {
			t.Errorf("Get of %d bytes = %d bytes, %v, want %v", size, len(value), err, want)
		}
	}
}

func TestRedisKeyRotation(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	r := newRedis(t, server, key(1))
	if _, err := r.Add(ctx, "two", []byte("old"), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err := newRedis(t, server, key(2)).Get(ctx, "two")
	if !errors.Is(err, integration.ErrNotAuthentic) {
		t.Errorf("Get with another key = %v, want %v", err, integration.ErrNotAuthentic)
	}
	rotated := newRedis(t, server, key(2), key(1))
	if value, err := rotated.Get(ctx, "two"); string(value) != "old" {
		t.Errorf("Get with the old key second = %q, %v, want old", value, err)
	}
	_, _ = rotated.Add(ctx, "three", []byte("new"), time.Minute)
	if _, err := r.Get(ctx, "three"); !errors.Is(err, integration.ErrNotAuthentic) {
		t.Errorf("Get with only the old key = %v, want %v", err, integration.ErrNotAuthentic)
	}
}

func TestRedisLeaseHasOneHolder(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	one, two := newRedis(t, server, key(1)), newRedis(t, server, key(1))
	release, ok, err := one.Lease(ctx, "lease", time.Second)
	if !ok || err != nil {
		t.Fatalf("Lease = %v, %v, want true", ok, err)
	}
	if _, ok, err := two.Lease(ctx, "lease", time.Second); ok || err != nil {
		t.Errorf("Lease of a held name = %v, %v, want false", ok, err)
	}
	release()
	again, ok, err := two.Lease(ctx, "lease", time.Second)
	if !ok || err != nil {
		t.Fatalf("Lease of a released name = %v, %v, want true", ok, err)
	}
	release() // the other store holds it now
	if !server.Exists("lease") {
		t.Error("a release ended another holder's lease")
	}
	server.FastForward(time.Second)
	if _, ok, err := one.Lease(ctx, "lease", time.Second); !ok {
		t.Errorf("Lease after the TTL = %v, %v, want true", ok, err)
	}
	again()
	var wg sync.WaitGroup
	holders := make(chan bool, 50)
	for range 50 {
		wg.Go(func() {
			if _, ok, err := two.Lease(ctx, "contended", time.Second); ok || err != nil {
				holders <- ok
			}
		})
	}
	wg.Wait()
	if len(holders) != 1 {
		t.Errorf("%d of 50 callers hold the lease, want 1", len(holders))
	}
}

func TestRedisReconnectsAfterAPause(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	var mu sync.Mutex
	now := time.Now()
	r, err := NewRedis(Options{
		URL:  "redis://user:canary@" + address + "/0",
		Keys: [][]byte{key(1)},
		Clock: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx := context.Background()
	_, err = r.Get(ctx, "name")
	if err == nil || errors.Is(err, errRetryLater) || strings.Contains(err.Error(), "canary") {
		t.Errorf("first Get = %v, want a connection error without the password", err)
	}
	if _, _, err := r.Lease(ctx, "name", time.Second); !errors.Is(err, errRetryLater) {
		t.Errorf("Lease during the pause = %v, want %v", err, errRetryLater)
	}
	server := miniredis.NewMiniRedis()
	server.RequireUserAuth("user", "canary")
	if err := server.StartAddr(address); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	mu.Lock()
	now = now.Add(connectPause)
	mu.Unlock()
	if stored, err := r.Add(ctx, "name", []byte("x"), time.Minute); !stored || err != nil {
		t.Errorf("Add after the pause = %v, %v, want true", stored, err)
	}
	server.SetError("LOADING Redis is loading the dataset in memory")
	_, err = r.Get(ctx, "name")
	if err == nil || errors.Is(err, integration.ErrNotStored) ||
		errors.Is(err, integration.ErrNotAuthentic) {
		t.Errorf("Get from a server that is loading = %v, want the server's error", err)
	}
}

// A frozen server accepts connections and answers nothing.
func TestRedisTriesAFrozenServerOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	now := time.Now()
	r, err := NewRedis(Options{
		URL:   "redis://:canary@" + l.Addr().String() + "/0",
		Keys:  [][]byte{key(1)},
		Clock: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var tried, paused atomic.Int32
	for range 100 {
		wg.Go(func() {
			switch _, err := r.Get(context.Background(), "name"); {
			case errors.Is(err, errRetryLater):
				paused.Add(1)
			case err != nil && !strings.Contains(err.Error(), "canary"):
				tried.Add(1)
			}
		})
	}
	wg.Wait()
	r.Close()
	if tried.Load() != 1 || paused.Load() != 99 {
		t.Errorf("%d of 100 callers tried and %d got %v, want 1 and 99",
			tried.Load(), paused.Load(), errRetryLater)
	}
	if _, err := r.Get(context.Background(), "name"); !errors.Is(err, errClosed) {
		t.Errorf("Get after Close = %v, want %v", err, errClosed)
	}
}

// Sentinels get the servers' timeout and TLS, and their own user.
func TestRedisSentinelOptions(t *testing.T) {
	r, err := NewRedis(Options{
		URL: "rediss://user:password@h/0" +
			"?master_set=main&sentinel_username=su&sentinel_password=sp",
		Keys: [][]byte{key(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := r.options.Sentinel
	if s.Dialer.Timeout != Timeout || s.TLSConfig == nil {
		t.Errorf("dial timeout %v, TLS %v, want %v and a configuration",
			s.Dialer.Timeout, s.TLSConfig, Timeout)
	}
	if s.MasterSet != "main" || s.Username != "su" || s.Password != "sp" {
		t.Errorf("master set %q, user %q, want main and su", s.MasterSet, s.Username)
	}
	if got := r.options.Username; got != "user" {
		t.Errorf("the servers' user is %q, want user", got)
	}
}

func TestNewRedisRejectsInvalidOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"a scheme that is not Redis's": {URL: "http://canary@h", Keys: [][]byte{key(1)}},
		"a short key":                  {URL: "redis://h", Keys: [][]byte{{1}}},
		"no key":                       {URL: "redis://h"},
		"a non-numeric database":       {URL: "redis://canary:canary@h/x", Keys: [][]byte{key(1)}},
		// The errors of net/url quote these.
		"a non-numeric port":      {URL: "redis://user:canary@h:port/0", Keys: [][]byte{key(1)}},
		"an invalid escape":       {URL: "redis://user:canary@h/%zz", Keys: [][]byte{key(1)}},
		"a space in the password": {URL: "rediss://user:canary @h/0", Keys: [][]byte{key(1)}},
		"a control character in one": {
			URL:  "redis://h/0?addr=h:1&sentinel_password=canary\x7f",
			Keys: [][]byte{key(1)},
		},
	} {
		if _, err := NewRedis(o); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: NewRedis = %v, want an error without the URL", name, err)
		}
	}
}
