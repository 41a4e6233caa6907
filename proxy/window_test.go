package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
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

// randomSTS is an STS that changes its behavior at random. If unreliable, it is slow, fails, or
// returns sessions that are shorter than requested.
type randomSTS struct {
	random     *rand.Rand
	unreliable bool

	mu       sync.Mutex           // guards the fields below
	expiries map[string]time.Time // the sessions' expiries by access key
	until    time.Time            // when the behavior changes
	err      error
	delay    time.Duration
	cut      time.Duration // how much shorter sessions are
}

type stsStatus int

func (s stsStatus) Error() string       { return strconv.Itoa(int(s)) }
func (s stsStatus) HTTPStatusCode() int { return int(s) }

func (s *randomSTS) AssumeRole(
	ctx context.Context, in *integration.AssumeRoleInput,
) (presign.Credentials, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !now.Before(s.until) {
		s.until = now.Add(time.Duration(s.random.Int64N(int64(2 * time.Hour))))
		s.err, s.delay, s.cut = nil, time.Duration(s.random.Int64N(int64(time.Second))), 0
		if s.unreliable {
			s.err = []error{
				nil, nil, stsStatus(403), stsStatus(500), stsStatus(429), context.DeadlineExceeded,
			}[s.random.IntN(6)]
			s.delay *= time.Duration(s.random.IntN(20))
			if s.random.IntN(3) == 0 {
				s.cut = time.Duration(s.random.Int64N(int64(in.Integration.SessionDuration)))
			}
		}
	}
	delay, err, cut := s.delay, s.err, s.cut
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	if err != nil {
		return presign.Credentials{}, time.Time{}, err
	}
	id := fmt.Sprintf("ASIA%d", len(s.expiries))
	s.expiries[id] = time.Now().Add(in.Integration.SessionDuration - cut).Truncate(time.Second)
	c := presign.Credentials{AccessKeyID: id, SecretAccessKey: "s", SessionToken: "t"}
	return c, s.expiries[id], nil
}

func (s *randomSTS) expiry(accessKey string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiries[accessKey]
}

// durations returns random durations that the configuration's validation accepts.
func durations(r *rand.Rand) (sessionDuration, lifetime, remaining time.Duration) {
	for {
		sessionDuration = time.Duration(900+r.IntN(12*3600-900)) * time.Second
		lifetime = time.Duration(1+r.Int64N(int64(sessionDuration/time.Second))) * time.Second
		if lifetime < 4*time.Second {
			continue
		}
		remaining = time.Duration(1+r.Int64N(int64(lifetime/time.Second)-1)) * time.Second
		lead := min(5*time.Minute, (lifetime-remaining)/4)
		if lifetime+lead <= sessionDuration {
			return
		}
	}
}

// Whatever STS does, a cacheable redirect leads to a URL that is valid for min_remaining until the
// last second of its max-age, and a redirect with no-store leads to a valid URL. While STS works,
// every URL is valid for min_remaining.
func TestNoURLOutlivesItsSession(t *testing.T) {
	seeds := uint64(120)
	if testing.Short() {
		seeds = 12
	}
	for seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkURLs(t, seed, seed%2 == 1) })
		})
	}
}

// checkURLs sends requests at random instants to a handler with random durations, and checks every
// response.
func checkURLs(t *testing.T, seed uint64, unreliable bool) {
	random := rand.New(rand.NewPCG(seed, 1))
	i := testIntegrations()[0]
	i.SessionDuration, i.URLLifetime, i.MinRemaining = durations(random)
	sts := &randomSTS{
		random:     rand.New(rand.NewPCG(seed, 2)),
		unreliable: unreliable,
		expiries:   map[string]time.Time{},
	}
	m := metrics.New("test")
	log := slog.New(slog.DiscardHandler)
	set, err := integration.NewSet(&config.Config{
		Integrations: []*config.Integration{i},
		Cache:        config.Cache{Credentials: 10},
	}, integration.Options{
		Clock:   time.Now,
		Log:     log,
		Metrics: m,
		STS:     sts,
		Random:  rand.New(rand.NewPCG(seed, 3)).Float64,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	h, err := New(Options{
		Gate:           openGate(t),
		Integrations:   set,
		Metrics:        m,
		Clock:          time.Now,
		Log:            log,
		URLs:           50,
		ReferrerPolicy: "no-referrer",
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Handler: h, t: t}

	redirects := 0
	pace := time.Duration(1+random.Int64N(int64(i.URLLifetime)/50+1)) + time.Millisecond
	for range 1500 {
		resp := w.ask("GET", "/s3/bucket/k"+strconv.Itoa(random.IntN(100)))
		if resp.StatusCode == 302 {
			redirects++
			checkRedirect(t, resp, sts, i)
		} else {
			p := problemIn(t, resp)
			if !unreliable || p.Code != "assume_role_denied" && p.Code != "sts_unavailable" {
				t.Fatalf("got %d %s, want 302, or a problem of an unreliable STS", p.Status, p.Code)
			}
		}
		switch random.IntN(50) {
		case 0: // a pause of up to three sessions
			time.Sleep(time.Duration(random.Int64N(int64(3 * i.SessionDuration))))
		default:
			time.Sleep(time.Duration(random.Int64N(int64(pace))))
		}
	}
	if redirects == 0 && !unreliable {
		t.Error("got no redirects")
	}
}

// checkRedirect checks how long a redirect's URL is valid.
func checkRedirect(t *testing.T, resp *http.Response, sts *randomSTS, i *config.Integration) {
	t.Helper()
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	maxAge := 0
	cacheControl := resp.Header.Get("Cache-Control")
	n, _ := fmt.Sscanf(cacheControl, "private, max-age=%d", &maxAge)
	if n != 1 && cacheControl != "no-store" || n == 1 && maxAge < 1 {
		t.Fatalf("Cache-Control: got %q, want no-store or a positive max-age", cacheControl)
	}
	left := time.Until(deadline(t, u, sts))
	if floor := min(time.Minute, i.MinRemaining/4); left < floor {
		t.Fatalf(
			"a URL has %v left, want %v: %v, session until %v, min_remaining %v, url_lifetime %v",
			left, floor, u, sts.expiry(accessKey(u)), i.MinRemaining, i.URLLifetime,
		)
	}
	if want := time.Duration(maxAge)*time.Second + i.MinRemaining; maxAge > 0 && left < want {
		t.Fatalf("max-age is %d and %v are left, want at least %v", maxAge, left, want)
	}
	if !sts.unreliable && left < i.MinRemaining {
		t.Fatalf("while STS works, a URL has %v left, want at least %v", left, i.MinRemaining)
	}
}

func accessKey(u *url.URL) string {
	id, _, _ := strings.Cut(u.Query().Get("X-Amz-Credential"), "/")
	return id
}

// deadline returns when a URL becomes invalid: when it expires, or its session does.
func deadline(t *testing.T, u *url.URL, sts *randomSTS) time.Time {
	t.Helper()
	signedAt, err := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.Atoi(u.Query().Get("X-Amz-Expires"))
	if err != nil || seconds < 1 || seconds > 604800 {
		t.Fatalf("X-Amz-Expires: got %d, %v, want 1 to 604800", seconds, err)
	}
	expires := signedAt.Add(time.Duration(seconds) * time.Second)
	session := sts.expiry(accessKey(u))
	if expires.After(session) {
		t.Errorf("the URL expires %v after its session, want not after it", expires.Sub(session))
	}
	if session.Before(expires) {
		return session
	}
	return expires
}

// A key that is requested every second always gets a valid URL, and the same one within a window.
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
				t.Fatalf("at %v: the store answers %d %s, want 200 alive", time.Now(),
					resp.StatusCode, body)
			}
			time.Sleep(time.Second)
		}
		if n := len(urls); n != 6 && n != 7 {
			t.Errorf("got %d URLs in 3 hours of half-hour windows, want 6 or 7", n)
		}
		if n := w.cloud.Calls().AssumeRole; n > 8 {
			t.Errorf("got %d AssumeRole calls in 3 hours, want at most 8", n)
		}
	})
}

// openGate returns a gate that lets anonymous clients read everything.
func openGate(t testing.TB) *viewer.Gate {
	t.Helper()
	g, err := viewer.New(
		&config.Viewers{Anonymous: true},
		viewer.Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)},
	)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
