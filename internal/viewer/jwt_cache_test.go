package viewer

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestVerifiedTokensAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		g := newGate(t, jwtViewers(), p)
		r := request("192.0.2.1:1", "Cookie", "a=b; session="+good(t)+"; c=d")
		identify := func() error { _, err := g.Identify(r, time.Now()); return err }
		if err := identify(); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(500, func() {
			if identify() != nil {
				t.Fatal("refused")
			}
		}); n > 0 && !raceEnabled {
			t.Errorf("%v allocations for each image of a page", n)
		}
		time.Sleep(time.Hour - time.Second)
		if err := identify(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if err := identify(); !errors.Is(err, ErrUnknown) {
			t.Errorf("good after its end: %v", err)
		}
	})
}

// A token that has ended is good within the leeway, but each request is verified: it takes no place in the cache.
func TestTokensWithinTheLeewayAreNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, jwtViewers(), newProvider())
		token := sign(t, rs256(nil), claims(map[string]any{"exp": time.Now().Add(time.Minute).Unix()}), testRSA)
		identify := func() error {
			_, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+token), time.Now())
			return err
		}
		time.Sleep(time.Minute)
		for range 2 {
			if err := identify(); err != nil || g.jwt.verified.Len() != 0 {
				t.Errorf("within the leeway: %v and %d remembered, want none", err, g.jwt.verified.Len())
			}
		}
		time.Sleep(31 * time.Second)
		if err := identify(); !errors.Is(err, ErrUnknown) {
			t.Errorf("after the leeway: %v, want %v", err, ErrUnknown)
		}
	})
}

// A user who gets one large token after another must not fill the memory: the cache of verified tokens is bounded by bytes.
func TestVerifiedTokensAreBoundedByBytes(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	g := newGate(t, jwtViewers(), newProvider())
	short := make([]string, maxGroups)
	for n := range short {
		short[n] = fmt.Sprint(n) // a group's header takes more than its name
	}
	large := map[string]any{"x": strings.Repeat("x", 11_000)}
	many := map[string]any{"groups": short, "x": strings.Repeat("x", 4000)}
	identify := func(changes map[string]any, n int) {
		changes["jti"] = fmt.Sprint(n)
		token := sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, claims(changes), testECDSA)
		if _, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+token), time.Now()); err != nil {
			t.Fatalf("a token of %d bytes: %v", len(token), err)
		}
	}
	const tokens = 600
	before := liveBytes()
	for n := range tokens {
		identify(large, n)
		identify(many, n)
	}
	if got, most := liveBytes()-before, int64(maxTokenBytes); got > most || got < most/2 {
		t.Errorf("%d bytes are live after %d tokens, want from %d to %d", got, 2*tokens, most/2, most)
	}
	runtime.KeepAlive(g)
}

func liveBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools let go
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
