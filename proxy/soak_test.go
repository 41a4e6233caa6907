package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
)

// soak is a handler under load, with an STS that fails until badUntil, in Unix seconds.
type soak struct {
	t       *testing.T
	w       *world
	config  *config.Config
	set     *integration.Set
	began   time.Time
	current atomic.Pointer[Handler]

	badUntil, requests, verified atomic.Int64
}

const (
	soakEntries   = 200
	soakClients   = 4
	soakPerSecond = 50 // requests of each client
)

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, began: time.Now()}
	s.w = newWorld(t, func(c *config.Config, o *Options) {
		for n := range c.Integrations {
			// Windows of a minute, sessions of a quarter of an hour.
			i := c.Integrations[n]
			i.URLLifetime, i.MinRemaining = 2*time.Minute, time.Minute
			i.SessionDuration = 15 * time.Minute
		}
		c.Cache.URLs, o.URLs = soakEntries, soakEntries
		s.config = c
	})
	for n := range 100 {
		s.w.put("bucket", fmt.Sprint(n), "text")
		s.w.put("photos", fmt.Sprint(n), "text")
	}
	s.set = s.w.set
	s.current.Store(s.w.Handler)
	s.w.cloud.Intercept(s.fault)
	return s
}

// fault fails a call of STS in one of four ways.
func (s *soak) fault(c *fakeaws.AssumeRoleCall) error {
	if time.Now().Unix() >= s.badUntil.Load() {
		return nil
	}
	switch rand.IntN(4) {
	case 0:
		return &fakeaws.Fault{Status: http.StatusInternalServerError, Code: "InternalFailure"}
	case 1:
		return &fakeaws.Fault{Status: http.StatusBadRequest, Code: "Throttling"}
	case 2:
		return &fakeaws.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
	}
	select { // hangs
	case <-c.Context.Done():
	case <-time.After(time.Minute):
	}
	return nil
}

// request sends a random request, checks that the response is a redirect, and follows some
// redirects.
func (s *soak) request(r *rand.Rand) {
	bucket := []string{"bucket", "photos"}[r.IntN(2)]
	method := []string{"GET", "HEAD"}[r.IntN(2)]
	req := httptest.NewRequest(method, "http://proxy.localhost/", nil)
	req.RequestURI = fmt.Sprintf("/s3/%s/%d", bucket, r.IntN(100))
	rec := httptest.NewRecorder()
	s.current.Load().ServeHTTP(rec, req)
	s.requests.Add(1)
	if rec.Code != http.StatusFound {
		s.t.Errorf("after %v: %s %s: got %d %s, want 302",
			time.Since(s.began), method, req.RequestURI, rec.Code, rec.Body)
		return
	}
	u, err := url.Parse(rec.Header().Get("Location"))
	if err != nil {
		s.t.Error(err)
		return
	}
	if r.IntN(20) > 0 {
		return
	}
	s.verified.Add(1)
	follow := httptest.NewRequest(method, u.String(), nil)
	resp, err := fakeaws.InMemory{Handler: s.w.cloud.S3()}.RoundTrip(follow)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Errorf("after %v: %s: the store answers %v, %v, want 200",
			time.Since(s.began), req.RequestURI, resp.Status, err)
	}
}

// start starts the clients. The returned function stops them.
func (s *soak) start() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	for n := range soakClients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Second / soakPerSecond):
					s.request(r)
				}
			}
		})
	}
	return func() { close(done); wg.Wait() }
}

// reload replaces the handler by one with two or three integrations, and purges.
func (s *soak) reload(integrations int) {
	c := *s.config
	c.Integrations = slices.Clone(s.config.Integrations)[:integrations]
	previous := s.current.Load()
	next, err := s.set.Next(&c, s.w.integrationOptions(previous.log, previous.metrics))
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := New(Options{
		Integrations:   next,
		Metrics:        previous.metrics,
		Clock:          time.Now,
		Log:            previous.log,
		URLs:           soakEntries,
		ReferrerPolicy: "no-referrer",
		Gate:           previous.gate,
		Previous:       previous,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.current.Store(h)
	s.set.Retire(next)
	s.set = next
	h.Purge()
}

// TestSoak runs ten minutes of short windows with a reload every second and an STS that often
// fails. No request fails, the store accepts every URL, calls of STS are bounded, and memory does
// not grow.
func TestSoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSoak(t)
		// Get sessions before the first fault.
		s.request(rand.New(rand.NewPCG(7, 2026)))
		for _, target := range []string{"/s3/bucket/1", "/s3/photos/1"} {
			s.w.redirect("GET", target)
		}
		stop := s.start()
		var before, after runtime.MemStats
		for second := range 600 {
			time.Sleep(time.Second)
			if second%45 == 5 {
				s.badUntil.Store(time.Now().Add(30 * time.Second).Unix())
			}
			s.reload(2 + second%2) // every other reload removes the third integration
			if second == 120 {
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
		}
		stop()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if n := s.current.Load().urls.Len(); n > soakEntries {
			t.Errorf("the cache has %d entries, want at most %d", n, soakEntries)
		}
		// The log and the fake STS's sessions grow. The proxy does not.
		log := int64(len(s.w.log.String())) * 3
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc) - log; grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes, want at most 8 MiB", grown)
		}
		n, verified := s.requests.Load(), s.verified.Load()
		if n < 600*soakPerSecond*soakClients*9/10 || verified < n/40 {
			t.Errorf("sent %d requests and followed %d, want more", n, verified)
		}
		// Ten windows of two integrations, and retries with growing pauses during a third of the
		// time.
		calls := s.w.cloud.Calls()
		if calls.AssumeRole > 400 {
			t.Errorf("got %d AssumeRole calls, want at most 400", calls.AssumeRole)
		}
		t.Logf("%d requests, %d followed, %d AssumeRole calls of which %d returned sessions",
			n, verified, calls.AssumeRole, calls.Sessions)
		s.set.Close()
	})
}
