package cache

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
)

func key(fill byte) []byte { return bytes.Repeat([]byte{fill}, 32) }

// newVault connects to a Redis that is no more than its protocol; the end-to-end tests have real ones.
func newVault(t *testing.T, server *miniredis.Miniredis, keys ...[]byte) *Vault {
	t.Helper()
	v, err := NewVault(VaultOptions{URL: "redis://" + server.Addr() + "/0", Keys: keys, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

const canary = "canary-secret-of-a-session"

func TestVault(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	v := newVault(t, server, key(1))
	if _, err := v.Get(ctx, "name"); !errors.Is(err, ErrNotInVault) {
		t.Errorf("nothing: %v", err)
	}
	if stored, err := v.Add(ctx, "name", []byte(canary), time.Minute); !stored || err != nil {
		t.Fatal(stored, err)
	}
	if value, err := v.Get(ctx, "name"); string(value) != canary || err != nil {
		t.Errorf("%s %v", value, err)
	}
	if stored, err := v.Add(ctx, "name", []byte("another"), time.Minute); stored || err != nil {
		t.Errorf("a second one: %v %v", stored, err)
	}
	if raw, _ := server.Get("name"); strings.Contains(raw, "canary") || raw == "" {
		t.Errorf("the server has %q", raw)
	}
	if left := server.TTL("name"); left <= 0 || left > time.Minute {
		t.Errorf("it lives for %v", left)
	}
	server.FastForward(time.Minute)
	if _, err := v.Get(ctx, "name"); !errors.Is(err, ErrNotInVault) {
		t.Errorf("after its time: %v", err)
	}
	_, _ = v.Add(ctx, "name", []byte("x"), time.Minute)
	if err := v.Delete(ctx, "name"); err != nil || server.Exists("name") {
		t.Errorf("deleted: %v", err)
	}
}

// Two values never look alike, and what was changed, cut, moved to another name or sealed with another key is refused; and Add replaces it.
func TestVaultRefuses(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	v := newVault(t, server, key(1))
	for _, name := range []string{"one", "two"} {
		if _, err := v.Add(ctx, name, []byte(canary), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	looks := map[string]bool{}
	for range 100 {
		server.Del("one")
		if _, err := v.Add(ctx, "one", []byte(canary), time.Minute); err != nil {
			t.Fatal(err)
		}
		raw, _ := server.Get("one")
		looks[raw[5:17]] = true
	}
	if len(looks) != 100 {
		t.Errorf("%d nonces for 100 times the same value under the same name", len(looks))
	}
	another, _ := server.Get("one")
	genuine, _ := server.Get("two")
	refused := func(what, raw string) {
		t.Helper()
		if err := server.Set("two", raw); err != nil {
			t.Fatal(err)
		}
		if value, err := v.Get(ctx, "two"); !errors.Is(err, ErrNotGenuine) {
			t.Errorf("%s: got %q, %v, want ErrNotGenuine", what, value, err)
		}
	}
	refused("swapped", another)
	refused("garbage", "hello")
	refused("too long", genuine+strings.Repeat("x", maxSealed))
	// The version is not authenticated: only a comparison keeps a value of another version from being opened.
	refused("another version", string(rune(version+1))+genuine[1:])
	for n := range len(genuine) {
		changed := []byte(genuine)
		changed[n] ^= 1
		refused("changed", string(changed))
		if n > 0 {
			refused("cut", genuine[:n])
		}
	}
	server.Del("two")
	if _, err := server.Lpush("two", "a list"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Get(ctx, "two"); !errors.Is(err, ErrNotGenuine) {
		t.Errorf("a list: %v", err)
	}
	if stored, err := v.Add(ctx, "two", []byte("mended"), time.Minute); stored || err != nil {
		t.Errorf("in place of garbage: %v %v", stored, err)
	}
	if err := v.Delete(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	if stored, err := v.Add(ctx, "two", []byte("mended"), time.Minute); !stored || err != nil {
		t.Errorf("once it is removed: %v %v", stored, err)
	}
	if value, err := v.Get(ctx, "two"); string(value) != "mended" {
		t.Errorf("%s %v", value, err)
	}
	if _, err := newVault(t, server, key(2)).Get(ctx, "two"); !errors.Is(err, ErrNotGenuine) {
		t.Errorf("another key: %v", err)
	}
	rotated := newVault(t, server, key(2), key(1))
	if value, err := rotated.Get(ctx, "two"); string(value) != "mended" {
		t.Errorf("the old key: %s %v", value, err)
	}
	_, _ = rotated.Add(ctx, "three", []byte("new"), time.Minute)
	if _, err := v.Get(ctx, "three"); !errors.Is(err, ErrNotGenuine) {
		t.Errorf("sealed with the new key: %v", err)
	}
}

// Get reads no more than its bound: it refuses even a genuine value if that is longer.
func TestVaultReadsNoMoreThanItsBound(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	v := newVault(t, server, key(1))
	overhead := len(v.seals[0].seal("x", nil))
	for size, want := range map[int]error{
		maxSealed - overhead: nil, maxSealed + 1 - overhead: nil, maxSealed + 2 - overhead: ErrNotGenuine, 1 << 20: ErrNotGenuine,
	} {
		server.FlushAll()
		if stored, err := v.Add(ctx, "x", make([]byte, size), time.Minute); !stored || err != nil {
			t.Fatal(stored, err)
		}
		if value, err := v.Get(ctx, "x"); !errors.Is(err, want) || want == nil && len(value) != size {
			t.Errorf("a value of %d bytes: got %d bytes, %v, want %v", size, len(value), err, want)
		}
	}
}

func TestVaultLease(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	one, two := newVault(t, server, key(1)), newVault(t, server, key(1))
	giveBack, ok, err := one.Lease(ctx, "lease", time.Second)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok, err := two.Lease(ctx, "lease", time.Second); ok || err != nil {
		t.Errorf("two at once: %v", err)
	}
	giveBack()
	again, ok, err := two.Lease(ctx, "lease", time.Second)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	giveBack() // it is another's by now
	if !server.Exists("lease") {
		t.Error("one gave back what is the other's")
	}
	server.FastForward(time.Second)
	if _, ok, _ := one.Lease(ctx, "lease", time.Second); !ok {
		t.Error("the lease outlives its time")
	}
	again()
	var wg sync.WaitGroup
	holders := make(chan bool, 50)
	for range 50 {
		wg.Go(func() {
			if _, ok, err := two.Lease(ctx, "crowd", time.Second); ok || err != nil {
				holders <- ok
			}
		})
	}
	wg.Wait()
	if len(holders) != 1 {
		t.Errorf("%d of 50 have the lease", len(holders))
	}
}

// A server that is away is an error at once, and not tried again for a while; one that comes back is used.
func TestVaultWithoutItsServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	var mu sync.Mutex
	now := time.Now()
	v, err := NewVault(VaultOptions{URL: "redis://user:canary@" + address + "/0", Keys: [][]byte{key(1)}, Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ctx := context.Background()
	if _, err := v.Get(ctx, "name"); err == nil || errors.Is(err, errNotTried) || strings.Contains(err.Error(), "canary") {
		t.Errorf("first: %v", err)
	}
	if _, _, err := v.Lease(ctx, "name", time.Second); !errors.Is(err, errNotTried) {
		t.Errorf("then: %v", err)
	}
	server := miniredis.NewMiniRedis()
	server.RequireUserAuth("user", "canary")
	if err := server.StartAddr(address); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	mu.Lock()
	now = now.Add(vaultPause)
	mu.Unlock()
	if stored, err := v.Add(ctx, "name", []byte("x"), time.Minute); !stored || err != nil {
		t.Errorf("once it is there: %v %v", stored, err)
	}
	server.SetError("LOADING Redis is loading the dataset in memory")
	if _, err := v.Get(ctx, "name"); err == nil || errors.Is(err, ErrNotInVault) || errors.Is(err, ErrNotGenuine) {
		t.Errorf("a server that is not ready: %v", err)
	}
}

// A server that takes connections and answers nothing, as a frozen one does, is given up after a while, and then left alone, by however
// many ask at once.
func TestVaultWithAFrozenServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	now := time.Now()
	v, err := NewVault(VaultOptions{URL: "redis://:canary@" + l.Addr().String() + "/0", Keys: [][]byte{key(1)}, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var tried, left atomic.Int32
	for range 100 {
		wg.Go(func() {
			switch _, err := v.Get(context.Background(), "name"); {
			case errors.Is(err, errNotTried):
				left.Add(1)
			case err != nil && !strings.Contains(err.Error(), "canary"):
				tried.Add(1)
			}
		})
	}
	wg.Wait()
	v.Close()
	if tried.Load() != 1 || left.Load() != 99 {
		t.Errorf("%d tried, %d were told to leave it", tried.Load(), left.Load())
	}
	if _, err := v.Get(context.Background(), "name"); !errors.Is(err, errVaultClosed) {
		t.Errorf("closed: %v", err)
	}
}

// Sentinels are reached as the servers are: in time, with TLS where the servers have it, and as who they know.
func TestVaultBehindSentinels(t *testing.T) {
	v, err := NewVault(VaultOptions{URL: "rediss://user:password@h/0?master_set=main&sentinel_username=su&sentinel_password=sp", Keys: [][]byte{key(1)}})
	if err != nil {
		t.Fatal(err)
	}
	if s := v.options.Sentinel; s.Dialer.Timeout != vaultTimeout || s.TLSConfig == nil || s.MasterSet != "main" || s.Username != "su" || s.Password != "sp" || v.options.Username != "user" {
		t.Errorf("%+v", s)
	}
}

func TestVaultOptions(t *testing.T) {
	for _, o := range []VaultOptions{{URL: "http://canary@h", Keys: [][]byte{key(1)}}, {URL: "redis://h", Keys: [][]byte{{1}}}, {URL: "redis://h"}, {URL: "redis://canary:canary@h/x", Keys: [][]byte{key(1)}},
		// The errors of net/url repeat these.
		{URL: "redis://user:canary@h:port/0", Keys: [][]byte{key(1)}}, {URL: "redis://user:canary@h/%zz", Keys: [][]byte{key(1)}},
		{URL: "rediss://user:canary @h/0", Keys: [][]byte{key(1)}}, {URL: "redis://h/0?addr=h:1&sentinel_password=canary\x7f", Keys: [][]byte{key(1)}}} {
		if _, err := NewVault(o); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("NewVault(%s): got %v, want an error without the URL", o.URL, err)
		}
	}
}
