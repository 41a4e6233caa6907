package viewer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Tokens that name unknown keys cause at most one fetch a minute, however many there are.
func TestUnknownKeysCauseFewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.takes = time.Second
		g := newGate(t, jwtViewers(), p)
		ask := func(token string) error {
			_, err := g.Identify(NewRequest(withToken(token)), time.Now())
			return err
		}
		if err := ask(good(t)); err != nil {
			t.Fatal(err)
		}
		flood := func() {
			var wg sync.WaitGroup
			for n := range 500 {
				wg.Go(func() {
					header := rs256(map[string]any{"kid": fmt.Sprint(n)})
					err := ask(sign(t, header, claims(nil), testECDSA))
					if !errors.Is(err, ErrUnknown) {
						t.Errorf("Identify = %v, want %v", err, ErrUnknown)
					}
				})
			}
			wg.Wait()
		}
		flood()
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("%d fetches within a minute, want 1", n)
		}
		time.Sleep(keysPause)
		flood()
		flood()
		if n := p.fetches.Load(); n != 2 {
			t.Errorf("%d fetches within two minutes, want 2", n)
		}
		// After a minute, a new key is found.
		p.set(func(p *provider) { p.keys["next"] = otherRSA })
		time.Sleep(keysPause)
		token := sign(t, rs256(map[string]any{"kid": "next"}), claims(nil), otherRSA)
		if err := ask(token); err != nil {
			t.Errorf("a new key: Identify = %v, want nil", err)
		}
	})
}

func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		g := newGate(t, jwtViewers(), p)
		expiry := time.Now().Add(100 * time.Hour).Unix()
		token := sign(t, rs256(nil), claims(map[string]any{"exp": expiry}), testRSA)
		ask := func() error {
			_, err := g.Identify(NewRequest(withToken(token)), time.Now())
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		// While the provider is down for a day, the known keys remain valid, also for new tokens.
		p.set(func(p *provider) { p.down = true })
		for range 24 {
			time.Sleep(time.Hour)
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			fresh := sign(t, rs256(nil), claims(nil), testRSA)
			if _, err := g.Identify(NewRequest(withToken(fresh)), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		// When the provider is up again and has withdrawn the key, tokens signed with it are
		// rejected, even if they were cached.
		p.set(func(p *provider) { p.down = false; delete(p.keys, "rsa") })
		time.Sleep(time.Hour)
		other := sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, claims(nil), testECDSA)
		if _, err := g.Identify(NewRequest(withToken(other)), time.Now()); err != nil {
			t.Fatal(err) // the request also starts a fetch in the background
		}
		synctest.Wait()
		if err := ask(); !errors.Is(err, ErrUnknown) {
			t.Errorf("a token of a withdrawn key: Identify = %v, want %v", err, ErrUnknown)
		}
	})
}

// Requests with cached tokens refresh the keys too. Otherwise a long-lived token would outlive its
// key if no other token is verified.
func TestCachedTokensRefreshKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		g := newGate(t, jwtViewers(), p)
		expiry := time.Now().Add(100 * time.Hour).Unix()
		token := sign(t, rs256(nil), claims(map[string]any{"exp": expiry}), testRSA)
		ask := func() error {
			_, err := g.Identify(NewRequest(withToken(token)), time.Now())
			synctest.Wait() // for a fetch in the background
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		p.set(func(p *provider) { delete(p.keys, "rsa") })
		time.Sleep(keysRefresh - time.Second)
		if err := ask(); err != nil {
			t.Errorf("before the refresh: Identify = %v, want nil", err)
		}
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("before the refresh: %d fetches, want 1", n)
		}
		time.Sleep(time.Second)
		if err := ask(); err != nil { // starts the fetch
			t.Errorf("at the refresh: Identify = %v, want nil", err)
		}
		if err := ask(); !errors.Is(err, ErrUnknown) {
			t.Errorf("after the key was withdrawn: Identify = %v, want %v", err, ErrUnknown)
		}
	})
}

// If a provider replaces a key under the same ID, the new key is fetched.
func TestReplacedKeyWithTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		g := newGate(t, jwtViewers(), p)
		ask := func(key any) error {
			_, err := g.Identify(NewRequest(withToken(sign(t, rs256(nil), claims(nil), key))), time.Now())
			synctest.Wait()
			return err
		}
		if err := ask(testRSA); err != nil {
			t.Fatal(err)
		}
		p.set(func(p *provider) { p.keys["rsa"] = otherRSA })
		time.Sleep(keysPause)
		_ = ask(otherRSA) // is rejected, and starts a fetch
		if err := ask(otherRSA); err != nil {
			t.Errorf("the new key: Identify = %v, want nil", err)
		}
		if err := ask(testRSA); !errors.Is(err, ErrUnknown) {
			t.Errorf("the old key: Identify = %v, want %v", err, ErrUnknown)
		}
	})
}

// The first requests wait for one fetch, at most until its timeout. A client that disconnects
// does not affect the others.
func TestFirstRequestsShareAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.takes = time.Second
		g := newGate(t, jwtViewers(), p)
		token := good(t)
		ctx, hangUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			r := withToken(token).WithContext(ctx)
			if _, err := g.Identify(NewRequest(r), time.Now()); !errors.Is(err, context.Canceled) {
				t.Errorf("a canceled request: Identify = %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				if _, err := g.Identify(NewRequest(withToken(token)), time.Now()); err != nil {
					t.Errorf("Identify = %v, want nil", err)
				}
			})
		}
		synctest.Wait()
		hangUp()
		wg.Wait()
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

// Without any keys, tokens cannot be verified. The keys are fetched again after RetryAfter.
func TestNoKeys(t *testing.T) {
	for name, change := range map[string]func(*provider){
		"down":           func(p *provider) { p.down = true },
		"slow":           func(p *provider) { p.takes = time.Hour },
		"another issuer": func(p *provider) { p.issuer = "https://evil.example" },
		"empty":          func(p *provider) { p.keys = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider()
				change(p)
				g := newGate(t, jwtViewers(), p)
				began := time.Now()
				ask := func() error {
					_, err := g.Identify(NewRequest(withToken(good(t))), time.Now())
					return err
				}
				err := ask()
				took := time.Since(began)
				if !errors.Is(err, ErrUnavailable) || took > keysTimeout {
					t.Errorf("Identify = %v after %v, want %v within %v",
						err, took, ErrUnavailable, keysTimeout)
				}
				before := p.fetches.Load()
				for range 100 {
					if err := ask(); !errors.Is(err, ErrUnavailable) {
						t.Errorf("Identify = %v, want %v", err, ErrUnavailable)
					}
				}
				if n := p.fetches.Load() - before; n > 1 {
					t.Errorf("%d more fetches at once, want at most 1", n)
				}
				p.set(func(p *provider) {
					p.keys, p.issuer, p.down, p.takes = newProvider().keys, issuer, false, 0
				})
				time.Sleep(RetryAfter)
				if err := ask(); err != nil {
					t.Errorf("after the provider is up again: Identify = %v, want nil", err)
				}
			})
		})
	}
}
