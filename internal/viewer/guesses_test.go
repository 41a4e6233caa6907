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

// htpasswdOf writes an htpasswd file in which each user's password is the user's name.
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

func oneASecond(burst int) *config.RateLimit {
	return &config.RateLimit{PerSecond: 1, Burst: burst}
}

// outcomes counts results of Identify.
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
		t.Errorf("unexpected error: %v", err)
	}
}

func (o *outcomes) want(t *testing.T, name string, good, unknown, limited, unavailable int32) {
	t.Helper()
	got := fmt.Sprint(o.good.Load(), o.unknown.Load(), o.limited.Load(), o.unavailable.Load())
	if want := fmt.Sprint(good, unknown, limited, unavailable); got != want {
		t.Errorf("%s: good, unknown, limited and unavailable: %s, want %s", name, got, want)
	}
}

// Guesses in flight count too: bcrypt runs at most as often as the address has tokens, however many
// guesses arrive at once.
func TestConcurrentGuessesAreLimited(t *testing.T) {
	file := htpasswdOf(t, "ann", "bob")
	synctest.Test(t, func(t *testing.T) {
		c := basicViewers(file)
		c.RateLimit = oneASecond(5)
		g := newGate(t, c, nil)
		var compared atomic.Int32
		g.basic.compare = func(hash, password []byte) error {
			compared.Add(1)
			return bcrypt.CompareHashAndPassword(hash, password)
		}
		identify := func(remote, user, password string) error {
			_, err := g.Identify(NewRequest(withPassword(remote, user, password)), time.Now())
			return err
		}
		if err := identify("192.0.2.1:1", "bob", "bob"); err != nil {
			t.Fatal(err)
		}
		compared.Store(0)
		var got outcomes
		var wg sync.WaitGroup
		for n := range 40 {
			wg.Go(func() {
				got.count(t, identify("192.0.2.1:1", "ann", fmt.Sprint("guess-", n)))
			})
		}
		wg.Wait()
		got.want(t, "40 guesses", 0, 5, 35, 0)
		if n := compared.Load(); n != 5 {
			t.Errorf("bcrypt ran %d times, want 5", n)
		}
		var after outcomes
		after.count(t, identify("192.0.2.1:1", "ann", "ann"))
		after.want(t, "the correct password after the guesses", 0, 0, 1, 0)
		if n := compared.Load(); n != 5 {
			t.Errorf("bcrypt ran %d times, want 5: the correct password must not be compared", n)
		}
		var others outcomes
		others.count(t, identify("192.0.2.1:1", "bob", "bob")) // cached
		others.count(t, identify("192.0.2.2:1", "ann", "ann")) // from another address
		time.Sleep(time.Second)
		others.count(t, identify("192.0.2.1:1", "ann", "ann")) // a second later
		others.want(t, "viewers who are not limited", 3, 0, 0, 0)
	})
}

// Valid credentials take no tokens from the address's bucket, so users behind one address do not
// use up each other's limit.
func TestValidCredentialsTakeNoTokens(t *testing.T) {
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
				_, err := g.Identify(NewRequest(withPassword("192.0.2.1:1", user, user)), time.Now())
				got.count(t, err)
			})
		}
		wg.Wait()
		for _, user := range users {
			token := sign(t, rs256(nil), claims(map[string]any{"email": user}), testRSA)
			_, err := g.Identify(NewRequest(withToken(token)), time.Now())
			got.count(t, err)
		}
		got.want(t, "20 passwords and 20 tokens", 40, 0, 0, 0)
	})
}

func TestBadTokensAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		c := jwtViewers()
		c.RateLimit = oneASecond(5)
		forged := sign(t, rs256(nil), claims(nil), otherRSA)
		anHourAgo := time.Now().Add(-time.Hour).Unix()
		expired := sign(t, rs256(nil), claims(map[string]any{"exp": anHourAgo}), testRSA)
		unknownKey := sign(t, rs256(map[string]any{"kid": "x"}), claims(nil), testRSA)
		cached := good(t)
		fresh := sign(t, rs256(nil), claims(map[string]any{"email": "eve@example.com"}), testRSA)
		for _, anonymous := range []bool{false, true} {
			for _, bad := range []string{forged, expired, unknownKey, "junk"} {
				for _, header := range []string{"Authorization", "Cookie"} {
					c.Anonymous = anonymous
					g := newGate(t, c, p)
					// identify does what the proxy does: it also limits anonymous requests.
					identify := func(remote, token string) error {
						value := "Bearer " + token
						if header == "Cookie" {
							value = "session=" + token
						}
						r := request(remote, header, value)
						v, err := g.Identify(NewRequest(r), time.Now())
						if err == nil {
							err = g.Limit(&v, NewRequest(r), 1, time.Now())
						}
						return err
					}
					name := fmt.Sprintf("%.20s in %s, anonymous %v", bad, header, anonymous)
					if err := identify("192.0.2.1:1", cached); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					var got outcomes
					for range 20 {
						got.count(t, identify("192.0.2.1:1", bad))
					}
					if anonymous && header == "Cookie" {
						got.want(t, name, 5, 0, 15, 0) // ignored, and counted once
					} else {
						got.want(t, name, 0, 5, 15, 0)
					}
					var after outcomes
					after.count(t, identify("192.0.2.1:1", fresh))
					after.want(t, name+", then a valid one", 0, 0, 1, 0)
					after.count(t, identify("192.0.2.1:1", cached))
					after.count(t, identify("192.0.2.2:1", fresh))
					after.want(t, name+", then viewers who are not limited", 2, 0, 1, 0)
				}
			}
		}
	})
}

// Verifications in flight reserve tokens, and return them if the credential is valid.
func TestVerificationsReserveTokens(t *testing.T) {
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
			v, err := l.verify(from, func() (Viewer, error) {
				close(started)
				return Viewer{}, <-finish
			})
			if got, want := v.charged, errors.Is(err, ErrUnknown); got != want {
				t.Errorf("charged = %v after %v, want %v", got, err, want)
			}
			got.count(t, err)
		})
		<-started
	}
	limited := func() bool {
		_, err := l.verify(from, func() (Viewer, error) {
			t.Error("verified a credential without a token, want a LimitError")
			return Viewer{}, nil
		})
		var exceeded *LimitError
		return errors.As(err, &exceeded) && exceeded.RetryAfter == time.Second
	}
	for range 3 {
		start()
	}
	if !limited() {
		t.Error("a fourth verification is not limited, with three in flight and three tokens")
	}
	for _, err := range []error{nil, ErrUnavailable, ErrUnknown} {
		finish <- err
	}
	wg.Wait()
	got.want(t, "three in flight", 1, 1, 0, 1)
	start()
	start()
	if !limited() {
		t.Error("a third verification is not limited, with two in flight and two tokens")
	}
	// Other requests may take tokens that are reserved. The guesses in flight still take theirs.
	if err := l.take(limiterKey{addr: from}, 2, now); err != nil {
		t.Fatal(err)
	}
	finish <- ErrUnknown
	finish <- ErrUnknown
	wg.Wait()
	if tokens := l.get(limiterKey{addr: from}, now).TokensAt(now); tokens != -2 {
		t.Errorf("TokensAt = %v, want -2", tokens)
	}
	// A verification that panics takes a token and leaves nothing reserved.
	other := netip.MustParseAddr("192.0.2.2")
	func() {
		defer func() { _ = recover() }()
		_, _ = l.verify(other, func() (Viewer, error) { panic("x") })
	}()
	b := l.get(limiterKey{addr: other}, now)
	if tokens := b.TokensAt(now); b.reserved != 0 || tokens != 2 {
		t.Errorf("after a panic: %d reserved and %v tokens, want 0 and 2", b.reserved, tokens)
	}
}

// Concurrent requests share one limiter, even if they are the viewer's first.
func TestFirstRequestsShareALimiter(t *testing.T) {
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
			t.Fatalf("%d of the first requests were allowed, want 5", n)
		}
	}
}

// A request without a credential is no guess. It takes no token from its address's bucket, so a web
// page with many images cannot lock out the visitors' logins.
func TestRequestsWithoutCredentialsAreFree(t *testing.T) {
	file := htpasswdOf(t, "ann")
	for name, header := range map[string][]string{
		"no header":                         nil,
		"another scheme":                    {"Authorization", "Negotiate abc"},
		"another cookie":                    {"Cookie", "theme=dark"},
		"a user header from a client":       {userHeader, "ann", groupsHeader, "-"},
		"an empty token in the cookie":      {"Cookie", "session="},
		"the same cookie with two values":   {"Cookie", "session=a; session=b"},
		"a forged X-Forwarded-For, no user": {"X-Forwarded-For", "10.0.0.1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := jwtViewers()
			c.Forwarded = forwarded().Forwarded
			c.Basic, c.RateLimit = &config.Basic{HtpasswdFile: file}, oneASecond(5)
			g := newGate(t, c, newProvider())
			var got, guesses, login outcomes
			for range 20 {
				v, err := g.Identify(NewRequest(request("192.0.2.1:1", header...)), time.Now())
				if v.charged {
					t.Errorf("%s: charged = true, want false", name)
				}
				got.count(t, err)
			}
			got.want(t, name, 0, 20, 0, 0)
			_, err := g.Identify(NewRequest(withPassword("192.0.2.1:1", "ann", "ann")), time.Now())
			login.count(t, err)
			login.want(t, name+", then a login", 1, 0, 0, 0)
			for _, bad := range []string{"Bearer junk", "Basic junk"} {
				for range 3 {
					_, err := g.Identify(NewRequest(request("192.0.2.1:1", "Authorization", bad)), time.Now())
					guesses.count(t, err)
				}
			}
			guesses.want(t, name+", then 6 guesses", 0, 5, 1, 0)
		})
	}

	// Where anonymous clients are served, these requests count as theirs.
	c := &config.Viewers{Anonymous: true, RateLimit: oneASecond(5)}
	g := newGate(t, c, nil)
	var anonymous outcomes
	for range 10 {
		r := request("192.0.2.1:1")
		v, err := g.Identify(NewRequest(r), now)
		if err == nil {
			err = g.Limit(&v, NewRequest(r), 1, now)
		}
		anonymous.count(t, err)
	}
	anonymous.want(t, "anonymous clients", 5, 0, 5, 0)
}

// A request whose viewer's groups are unknown takes a token from its address's bucket.
func TestRequestsWithoutGroupsAreLimited(t *testing.T) {
	c := forwarded()
	c.RateLimit = oneASecond(5)
	g := newGate(t, c, nil)
	identify := func(r *http.Request) error { _, err := g.Identify(NewRequest(r), now); return err }
	via := func(client string) *http.Request {
		return request("10.0.0.1:1", userHeader, "ann", "X-Forwarded-For", client)
	}
	var groupless outcomes
	for range 10 {
		groupless.count(t, identify(via("192.0.2.1")))
	}
	groupless.count(t, identify(via("192.0.2.2")))
	groupless.want(t, "without groups", 0, 6, 5, 0)
}
