package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/presign"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
)

// weather is an STS with moods: slow, failing, and mean with its sessions' length.
type weather struct {
	random *rand.Rand
	stormy bool

	mu       sync.Mutex
	expiries map[string]time.Time // by access key: the true ones
	until    time.Time            // the present mood's end
	fails    error
	takes    time.Duration
	cuts     time.Duration // off the session's length
}

type stsStatus int

func (s stsStatus) Error() string       { return strconv.Itoa(int(s)) }
func (s stsStatus) HTTPStatusCode() int { return int(s) }

func (s *weather) AssumeRole(ctx context.Context, in *integration.AssumeRoleInput) (presign.Credentials, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !now.Before(s.until) {
		s.until = now.Add(time.Duration(s.random.Int64N(int64(2 * time.Hour))))
		s.fails, s.takes, s.cuts = nil, time.Duration(s.random.Int64N(int64(time.Second))), 0
		if s.stormy {
			s.fails = []error{nil, nil, stsStatus(403), stsStatus(500), stsStatus(429), context.DeadlineExceeded}[s.random.IntN(6)]
			s.takes *= time.Duration(s.random.IntN(20))
			if s.random.IntN(3) == 0 {
				s.cuts = time.Duration(s.random.Int64N(int64(in.Integration.SessionDuration)))
			}
		}
	}
	takes, fails, cuts := s.takes, s.fails, s.cuts
	s.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		fails = ctx.Err()
	}
	s.mu.Lock()
	if fails != nil {
		return presign.Credentials{}, time.Time{}, fails
	}
	id := fmt.Sprintf("ASIA%d", len(s.expiries))
	s.expiries[id] = time.Now().Add(in.Integration.SessionDuration - cuts).Truncate(time.Second)
	return presign.Credentials{AccessKeyID: id, SecretAccessKey: "s", SessionToken: "t"}, s.expiries[id], nil
}

func (s *weather) expiry(accessKey string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiries[accessKey]
}

// durations picks a session, a lifetime and a remainder that the configuration's checks would let
// through.
func durations(r *rand.Rand) (sessionDuration, lifetime, remaining time.Duration) {
	for {
		sessionDuration = time.Duration(900+r.IntN(12*3600-900)) * time.Second
		lifetime = time.Duration(1+r.Int64N(int64(sessionDuration/time.Second))) * time.Second
		if lifetime < 4*time.Second {
			continue
		}
		remaining = time.Duration(1+r.Int64N(int64(lifetime/time.Second)-1)) * time.Second
		if period := lifetime - remaining; lifetime+min(5*time.Minute, period/4) <= sessionDuration {
			return
		}
	}
}

// For every answer, whatever STS does: a redirect that may be kept leads, until the last second for
// which it may be, to a URL with min_remaining of true life; one that may not be kept leads to a
// URL that lives. While STS is well, every URL has min_remaining left.
func TestNoURLOutlivesItsSession(t *testing.T) {
	for seed := range uint64(120) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { liveThrough(t, seed, seed%2 == 1) })
		})
	}
}

func liveThrough(t *testing.T, seed uint64, stormy bool) {
	random := rand.New(rand.NewPCG(seed, 1))
	i := testIntegrations()[0]
	i.SessionDuration, i.URLLifetime, i.MinRemaining = durations(random)
	floor := min(time.Minute, i.MinRemaining/4)
	sts := &weather{random: rand.New(rand.NewPCG(seed, 2)), stormy: stormy, expiries: map[string]time.Time{}}
	m := metrics.New("test")
	log := slog.New(slog.DiscardHandler)
	set, err := integration.NewSet(&config.Config{Integrations: []config.Integration{i}, Cache: config.Cache{Credentials: 10}},
		integration.Options{Clock: time.Now, Log: log, Metrics: m, STS: sts, Random: rand.New(rand.NewPCG(seed, 3)).Float64})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	h, err := New(Options{Gate: everyone(t), Integrations: set, Metrics: m, Clock: time.Now, Log: log, URLs: 50, ReferrerPolicy: "no-referrer"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Handler: h, t: t}

	redirects := 0
	pace := time.Duration(1+random.Int64N(int64(i.URLLifetime)/50+1)) + time.Millisecond
	for range 1500 {
		resp := w.ask("GET", "/s3/bucket/k"+strconv.Itoa(random.IntN(100)))
		now := time.Now()
		if resp.StatusCode != 302 {
			if p := problemIn(t, resp); !stormy || p.Code != "assume_role_denied" && p.Code != "sts_unavailable" {
				t.Fatalf("%d %s", p.Status, p.Code)
			}
		} else {
			redirects++
			u, err := url.Parse(resp.Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			maxAge := 0
			cacheControl := resp.Header.Get("Cache-Control")
			if n, _ := fmt.Sscanf(cacheControl, "private, max-age=%d", &maxAge); n != 1 && cacheControl != "no-store" || n == 1 && maxAge < 1 {
				t.Fatalf("Cache-Control: %s", cacheControl)
			}
			dies := deadline(t, u, sts)
			left := dies.Sub(now)
			if left < floor {
				t.Fatalf("a URL with %v left: %v, session %v, R %v, L %v", left, u, sts.expiry(accessKey(u)), i.MinRemaining, i.URLLifetime)
			}
			if maxAge > 0 && left < time.Duration(maxAge)*time.Second+i.MinRemaining {
				t.Fatalf("max-age %d and min_remaining %v, but %v left", maxAge, i.MinRemaining, left)
			}
			if !stormy && left < i.MinRemaining {
				t.Fatalf("STS is well, and a URL has %v left of min_remaining %v", left, i.MinRemaining)
			}
		}
		switch random.IntN(50) {
		case 0: // a pause, short or long
			time.Sleep(time.Duration(random.Int64N(int64(3 * i.SessionDuration))))
		default:
			time.Sleep(time.Duration(random.Int64N(int64(pace))))
		}
	}
	if redirects == 0 && !stormy {
		t.Error("not one redirect")
	}
}

func accessKey(u *url.URL) string {
	id, _, _ := strings.Cut(u.Query().Get("X-Amz-Credential"), "/")
	return id
}

// deadline is when a URL is really dead: it expires, or its session does.
func deadline(t *testing.T, u *url.URL, sts *weather) time.Time {
	t.Helper()
	signedAt, err := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.Atoi(u.Query().Get("X-Amz-Expires"))
	if err != nil || seconds < 1 || seconds > 604800 {
		t.Fatalf("X-Amz-Expires: %d, %v", seconds, err)
	}
	expires := signedAt.Add(time.Duration(seconds) * time.Second)
	session := sts.expiry(accessKey(u))
	if expires.After(session) {
		t.Errorf("X-Amz-Expires reaches %v past the session", expires.Sub(session))
	}
	if session.Before(expires) {
		return session
	}
	return expires
}

// A key that is read every second across several windows never gets a dead URL, and never a new one
// within a window.
func TestHotKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		w.put("bucket", "hot", "alive")
		urls := map[string]bool{}
		for range 3 * 3600 {
			u := w.redirect("GET", "/s3/bucket/hot")
			if !urls[u.String()] {
				urls[u.String()] = true
			}
			if resp, body := w.fetch("GET", u); resp.StatusCode != 200 || body != "alive" {
				t.Fatalf("at %v: %d %s", time.Now(), resp.StatusCode, body)
			}
			time.Sleep(time.Second)
		}
		if n := len(urls); n != 6 && n != 7 {
			t.Errorf("%d URLs in 3 hours of half-hour windows", n)
		}
		if n := w.cloud.Calls().AssumeRole; n > 8 {
			t.Errorf("%d AssumeRole calls in 3 hours", n)
		}
	})
}

// everyone is a gate that stands open.
func everyone(t testing.TB) *viewer.Gate {
	t.Helper()
	g, err := viewer.New(&config.Viewers{Anonymous: true}, viewer.Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}
