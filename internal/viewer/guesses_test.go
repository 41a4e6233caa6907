package viewer

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"s3redirect/internal/config"
)

// htpasswdOf writes a file of users, each with their own name as password.
func htpasswdOf(t testing.TB, users ...string) string {
	t.Helper()
	var text strings.Builder
	for _, user := range users {
		fmt.Fprintf(&text, "%s:%s\n", user, bcryptOf(t, user))
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func oneASecond(burst int) *config.RateLimit { return &config.RateLimit{PerSecond: 1, Burst: burst} }

// outcomes counts what Identify said.
type outcomes struct{ good, unknown, limited, unavailable atomic.Int32 }

func (o *outcomes) count(t *testing.T, err error) {
	t.Helper()
	var exceeded *LimitError
	switch {
	case err == nil:
		o.good.Add(1)
	case errors.Is(err, ErrUnknown):
		o.unknown.Add(1)
	case errors.Is(err, ErrUnavailable):
		o.unavailable.Add(1)
	case errors.As(err, &exceeded) && exceeded.RetryAfter > 0:
		o.limited.Add(1)
	default:
		t.Errorf("unexpected error %v", err)
	}
}

func (o *outcomes) want(t *testing.T, what string, good, unknown, limited, unavailable int32) {
	t.Helper()
	got := fmt.Sprint(o.good.Load(), o.unknown.Load(), o.limited.Load(), o.unavailable.Load())
	if want := fmt.Sprint(good, unknown, limited, unavailable); got != want {
		t.Errorf("%s: %s good, unknown, limited and unavailable, want %s", what, got, want)
	}
}

// Guesses in flight count too: however many come at once, bcrypt runs no more often than the address has tokens.
func TestConcurrentGuesses(t *testing.T) {
	file := htpasswdOf(t, "ann", "bob")
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, &config.Viewers{Basic: &config.Basic{HtpasswdFile: file}, RateLimit: oneASecond(5)}, nil)
		var compared atomic.Int32
		g.basic.compare = func(hash, password []byte) error {
			compared.Add(1)
			return bcrypt.CompareHashAndPassword(hash, password)
		}
		identify := func(remote, user, password string) error {
			_, err := g.Identify(request(remote, "Authorization", basic(user, password)), time.Now())
			return err
		}
		if err := identify("192.0.2.1:1", "bob", "bob"); err != nil {
			t.Fatal(err)
		}
		compared.Store(0)
		var got outcomes
		var wg sync.WaitGroup
		for n := range 40 {
			wg.Go(func() { got.count(t, identify("192.0.2.1:1", "ann", fmt.Sprint("guess-", n))) })
		}
		wg.Wait()
		got.want(t, "40 guesses", 0, 5, 35, 0)
		if n := compared.Load(); n != 5 {
			t.Errorf("bcrypt ran %d times, want 5", n)
		}
		var after outcomes
		after.count(t, identify("192.0.2.1:1", "ann", "ann"))
		after.want(t, "the right password after them", 0, 0, 1, 0)
		if n := compared.Load(); n != 5 {
			t.Errorf("the right password was compared")
		}
		var others outcomes
		others.count(t, identify("192.0.2.1:1", "bob", "bob")) // remembered
		others.count(t, identify("192.0.2.2:1", "ann", "ann")) // from another address
		time.Sleep(time.Second)
		others.count(t, identify("192.0.2.1:1", "ann", "ann")) // a second later
		others.want(t, "those who must not suffer", 3, 0, 0, 0)
	})
}

// Good credentials cost their address nothing: users behind one address do not use up each other's limit.
func TestGoodCredentialsCostTheAddressNothing(t *testing.T) {
	var users []string
	for n := range 20 {
		users = append(users, fmt.Sprint("user-", n))
	}
	file := htpasswdOf(t, users...)
	synctest.Test(t, func(t *testing.T) {
		c := jwtViewers()
		c.Basic, c.RateLimit = &config.Basic{HtpasswdFile: file}, oneASecond(2)
		g := newGate(t, c, newProvider())
		var got outcomes
		var wg sync.WaitGroup
		for _, user := range users {
			wg.Go(func() {
				_, err := g.Identify(request("192.0.2.1:1", "Authorization", basic(user, user)), time.Now())
				got.count(t, err)
			})
		}
		wg.Wait()
		for _, user := range users {
			token := sign(t, rs256(nil), claims(map[string]any{"email": user}), testRSA)
			_, err := g.Identify(request("192.0.2.1:1", "Authorization", "Bearer "+token), time.Now())
			got.count(t, err)
		}
		got.want(t, "20 passwords and 20 tokens", 40, 0, 0, 0)
	})
}

func TestBadTokensCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		c := jwtViewers()
		c.RateLimit = oneASecond(5)
		forged := sign(t, rs256(nil), claims(nil), otherRSA)
		expired := sign(t, rs256(nil), claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), testRSA)
		unknownKey := sign(t, rs256(map[string]any{"kid": "x"}), claims(nil), testRSA)
		known, fresh := good(t), sign(t, rs256(nil), claims(map[string]any{"email": "eve@example.com"}), testRSA)
		for _, anonymous := range []bool{false, true} {
			for _, bad := range []string{forged, expired, unknownKey, "junk"} {
				for _, header := range []string{"Authorization", "Cookie"} {
					c.Anonymous = anonymous
					g := newGate(t, c, p)
					// identify does what the proxy does: an anonymous request counts as well.
					identify := func(remote, token string) error {
						value := "Bearer " + token
						if header == "Cookie" {
							value = "session=" + token
						}
						r := request(remote, header, value)
						v, err := g.Identify(r, time.Now())
						if err == nil {
							err = g.Limit(&v, r, 1, time.Now())
						}
						return err
					}
					what := fmt.Sprintf("%.20s in %s, anonymous %v", bad, header, anonymous)
					if err := identify("192.0.2.1:1", known); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					var got outcomes
					for range 20 {
						got.count(t, identify("192.0.2.1:1", bad))
					}
					if anonymous && header == "Cookie" {
						got.want(t, what, 5, 0, 15, 0) // ignored, and counted once
					} else {
						got.want(t, what, 0, 5, 15, 0)
					}
					var after outcomes
					after.count(t, identify("192.0.2.1:1", fresh))
					after.want(t, what+", then a good one", 0, 0, 1, 0)
					after.count(t, identify("192.0.2.1:1", known))
					after.count(t, identify("192.0.2.2:1", fresh))
					after.want(t, what+", then those who must not suffer", 2, 0, 1, 0)
				}
			}
		}
	})
}

// Verifications in flight reserve tokens, and give them back if the credential was good.
func TestGuessReservesTokens(t *testing.T) {
	l, err := newLimiters(oneASecond(3), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	from := netip.MustParseAddr("192.0.2.1")
	finish := make(chan error)
	var got outcomes
	var wg sync.WaitGroup
	start := func() {
		started := make(chan struct{})
		wg.Go(func() {
			v, err := l.verify(from, func() (Viewer, error) { close(started); return Viewer{}, <-finish })
			if v.charged != errors.Is(err, ErrUnknown) {
				t.Errorf("charged %v after %v", v.charged, err)
			}
			got.count(t, err)
		})
		<-started
	}
	refused := func() bool {
		_, err := l.verify(from, func() (Viewer, error) { t.Error("verified"); return Viewer{}, nil })
		var exceeded *LimitError
		return errors.As(err, &exceeded) && exceeded.RetryAfter == time.Second
	}
	for range 3 {
		start()
	}
	if !refused() {
		t.Error("a fourth verification runs beside three, of three tokens")
	}
	for _, err := range []error{nil, ErrUnavailable, ErrUnknown} {
		finish <- err
	}
	wg.Wait()
	got.want(t, "three in flight", 1, 1, 0, 1)
	start()
	start()
	if !refused() {
		t.Error("a third verification runs beside two, of the two tokens that are left")
	}
	// Other requests may take tokens that are reserved. The guesses in flight cost theirs nevertheless.
	if err := l.take(limiterKey{addr: from}, 2, now); err != nil {
		t.Fatal(err)
	}
	finish <- ErrUnknown
	finish <- ErrUnknown
	wg.Wait()
	if tokens := l.get(limiterKey{addr: from}, now).TokensAt(now); tokens != -2 {
		t.Errorf("%v tokens, want -2", tokens)
	}
	// A panic is a guess too, and leaves nothing reserved.
	other := netip.MustParseAddr("192.0.2.2")
	func() {
		defer func() { _ = recover() }()
		_, _ = l.verify(other, func() (Viewer, error) { panic("x") })
	}()
	if b := l.get(limiterKey{addr: other}, now); b.reserved != 0 || b.TokensAt(now) != 2 {
		t.Errorf("%d reserved and %v tokens after a panic, want 0 and 2", b.reserved, b.TokensAt(now))
	}
}

// Requests that come at once share one bucket, also if they are the first.
func TestFirstRequestsShareABucket(t *testing.T) {
	for range 100 {
		l, err := newLimiters(oneASecond(5), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		var allowed atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 20 {
			wg.Go(func() {
				<-start
				if l.take(limiterKey{user: "ann"}, 1, now) == nil {
					allowed.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		if n := allowed.Load(); n != 5 {
			t.Fatalf("%d of the first requests are allowed, want 5", n)
		}
	}
}

// A request without a credential counts for its address as well.
func TestRejectedRequestsCount(t *testing.T) {
	c := forwarded()
	c.Forwarded.GroupsHeader, c.RateLimit = "", oneASecond(5)
	g := newGate(t, c, nil)
	identify := func(r *http.Request) error { _, err := g.Identify(r, now); return err }
	var got, other outcomes
	for range 10 {
		got.count(t, identify(request("192.0.2.1:1")))
	}
	got.want(t, "without a credential", 0, 5, 5, 0)
	other.count(t, identify(request("192.0.2.2:1")))
	other.count(t, identify(request("10.0.0.1:1", "X-Auth-Request-Email", "ann")))
	other.want(t, "others", 1, 1, 0, 0)

	// So does one whose groups are unknown.
	c.Forwarded.GroupsHeader = "X-Auth-Request-Groups"
	g = newGate(t, c, nil)
	var groupless outcomes
	for range 10 {
		groupless.count(t, identify(request("10.0.0.1:1", "X-Auth-Request-Email", "ann", "X-Forwarded-For", "192.0.2.1")))
	}
	groupless.count(t, identify(request("10.0.0.1:1", "X-Auth-Request-Email", "ann", "X-Forwarded-For", "192.0.2.2")))
	groupless.want(t, "without groups", 0, 6, 5, 0)
}
