package viewer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A request that may not wait for the provider's keys gets its context's cause. It must not count
// as anonymous: it is answered again by a caller that may wait.
func TestTokensThatMayNotWaitForKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.takes = time.Second
		c := jwtViewers()
		c.Anonymous = true
		g := newGate(t, c, p)
		cause := errors.New("it may not wait")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		r := NewRequest(request("192.0.2.1:1", "Cookie", "session="+good(t)))
		r.Context = ctx
		if v, err := g.Identify(r, time.Now()); !errors.Is(err, cause) {
			t.Errorf("Identify = %+v, %v, want %v", v, err, cause)
		}
	})
}

func TestVerifiedTokensAreCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		g := newGate(t, jwtViewers(), p)
		r := NewRequest(request("192.0.2.1:1", "Cookie", "a=b; session="+good(t)+"; c=d"))
		identify := func() error { _, err := g.Identify(r, time.Now()); return err }
		if err := identify(); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(500, func() {
			if identify() != nil {
				t.Fatal("Identify rejected a cached token")
			}
		}); n > 0 && !raceEnabled {
			t.Errorf("Identify allocates %v times for a cached token, want 0", n)
		}
		time.Sleep(time.Hour - time.Second)
		if err := identify(); err != nil {
			t.Errorf("a second before the expiry: Identify = %v, want nil", err)
		}
		time.Sleep(time.Minute)
		if err := identify(); !errors.Is(err, ErrUnknown) {
			t.Errorf("after the expiry: Identify = %v, want %v", err, ErrUnknown)
		}
	})
}

// An expired token is valid within the leeway. It is verified on every request and not cached.
func TestTokensWithinLeewayAreNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, jwtViewers(), newProvider())
		inAMinute := time.Now().Add(time.Minute).Unix()
		token := sign(t, rs256(nil), claims(map[string]any{"exp": inAMinute}), testRSA)
		identify := func() error {
			_, err := g.Identify(NewRequest(withToken(token)), time.Now())
			return err
		}
		time.Sleep(time.Minute)
		for range 2 {
			if err := identify(); err != nil || g.tokens.verified.Len() != 0 {
				t.Errorf("within the leeway: Identify = %v and %d cached, want nil and 0",
					err, g.tokens.verified.Len())
			}
		}
		time.Sleep(31 * time.Second)
		if err := identify(); !errors.Is(err, ErrUnknown) {
			t.Errorf("after the leeway: Identify = %v, want %v", err, ErrUnknown)
		}
	})
}

// The cache of verified tokens is bounded in bytes, so a user who obtains many large tokens cannot
// exhaust the memory.
func TestVerifiedTokensAreBoundedByBytes(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector uses additional memory")
	}
	g := newGate(t, jwtViewers(), newProvider())
	short := make([]string, maxGroups)
	for n := range short {
		short[n] = fmt.Sprint(n) // shorter than a string's header
	}
	large := map[string]any{"x": strings.Repeat("x", 11_000)}
	many := map[string]any{"groups": short, "x": strings.Repeat("x", 4000)}
	identify := func(changes map[string]any, n int) {
		changes["jti"] = fmt.Sprint(n)
		token := sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, claims(changes), testECDSA)
		if _, err := g.Identify(NewRequest(withToken(token)), time.Now()); err != nil {
			t.Fatalf("a token of %d bytes: Identify = %v, want nil", len(token), err)
		}
	}
	const tokens = 600
	before := liveBytes()
	for n := range tokens {
		identify(large, n)
		identify(many, n)
	}
	if got, most := liveBytes()-before, int64(maxTokenBytes); got > most || got < most/2 {
		t.Errorf("%d live bytes after %d tokens, want %d to %d", got, 2*tokens, most/2, most)
	}
	runtime.KeepAlive(g)
}

// liveBytes returns the size of the live heap.
func liveBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // for objects that finalizers and pools released
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
