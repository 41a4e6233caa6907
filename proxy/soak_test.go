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

// Ten minutes of windows that turn, of reloads each second, and of an STS that fails more often
// than not: no request fails, every URL that is handed out is taken by the store, STS is asked no
// more than it must be, and nothing grows.
func TestSoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, clients, entries = 50, 4, 200
		var base *config.Config
		var o Options
		w := newWorld(t, func(c *config.Config, options *Options) {
			for n := range c.Integrations {
				// Windows of a minute, sessions of a quarter of an hour.
				c.Integrations[n].URLLifetime, c.Integrations[n].MinRemaining, c.Integrations[n].SessionDuration = 2*time.Minute, time.Minute, 15*time.Minute
			}
			c.Cache.URLs, options.URLs = entries, entries
			base = c
		})
		for n := range 100 {
			w.put("bucket", fmt.Sprint(n), "text")
			w.put("photos", fmt.Sprint(n), "text")
		}
		random := rand.New(rand.NewPCG(7, 2026))
		var badUntil atomic.Int64
		w.cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error {
			if time.Now().Unix() >= badUntil.Load() {
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
		})
		var current atomic.Pointer[Handler]
		current.Store(w.Handler)
		o = Options{Metrics: w.Handler.metrics, Clock: time.Now, Log: w.Handler.log, URLs: entries, ReferrerPolicy: "no-referrer", Gate: w.Handler.gate}

		began, stop := time.Now(), make(chan struct{})
		var asked, verified atomic.Int64
		ask := func(r *rand.Rand) {
			bucket := []string{"bucket", "photos"}[r.IntN(2)]
			req := httptest.NewRequest([]string{"GET", "HEAD"}[r.IntN(2)], "http://proxy.localhost/", nil)
			req.RequestURI = fmt.Sprintf("/s3/%s/%d", bucket, r.IntN(100))
			rec := httptest.NewRecorder()
			current.Load().ServeHTTP(rec, req)
			asked.Add(1)
			if rec.Code != http.StatusFound {
				t.Errorf("after %v: %s %s: %d %s", time.Since(began), req.Method, req.RequestURI, rec.Code, rec.Body)
				return
			}
			u, err := url.Parse(rec.Header().Get("Location"))
			if err != nil {
				t.Error(err)
				return
			}
			if r.IntN(20) == 0 {
				verified.Add(1)
				if resp, err := (fakeaws.InMemory{Handler: w.cloud.S3()}).RoundTrip(httptest.NewRequest(req.Method, u.String(), nil)); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("after %v: %s: the store says %v %v", time.Since(began), req.RequestURI, resp.Status, err)
				}
			}
		}
		ask(random) // so that there is a session before the first fault
		for _, target := range []string{"/s3/bucket/1", "/s3/photos/1"} {
			w.redirect("GET", target)
		}
		var wg sync.WaitGroup
		for n := range clients {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(n), 1))
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Second / perSecond):
						ask(r)
					}
				}
			})
		}
		var before, after runtime.MemStats
		set := w.set
		for second := range 600 {
			time.Sleep(time.Second)
			if second%45 == 5 {
				badUntil.Store(time.Now().Add(30 * time.Second).Unix())
			}
			c := *base
			c.Integrations = slices.Clone(base.Integrations)
			if second%2 == 0 {
				c.Integrations = c.Integrations[:2] // the third comes and goes
			}
			next, err := set.Next(&c, integration.Options{
				Clock: time.Now, Log: o.Log, Metrics: o.Metrics, Transport: fakeaws.InMemory{Handler: w.cloud.S3()},
				STS: &integration.AWSSTS{HTTPClient: &http.Client{Transport: fakeaws.InMemory{Handler: w.cloud.STS()}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			options := o
			options.Integrations, options.Previous = next, current.Load()
			h, err := New(options)
			if err != nil {
				t.Fatal(err)
			}
			current.Store(h)
			set.Retire(next)
			set = next
			h.Purge()
			if second == 120 {
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
		}
		close(stop)
		wg.Wait()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if n := current.Load().urls.Len(); n > entries {
			t.Errorf("%d entries where there is room for %d", n, entries)
		}
		// What was logged, and what the stand-in remembers of sessions, grows; the proxy does not.
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc) - int64(len(w.log.String()))*3; grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		if n := asked.Load(); n < 600*perSecond*clients*9/10 || verified.Load() < n/40 {
			t.Errorf("%d requests, %d of them followed to the store", n, verified.Load())
		}
		// Ten windows, two integrations; and retries while it failed, a third of the time, with
		// pauses that grow.
		if n := w.cloud.Calls().AssumeRole; n > 400 {
			t.Errorf("AssumeRole was called %d times", n)
		}
		t.Logf("%d requests, %d followed, %d AssumeRole calls of which %d made sessions", asked.Load(), verified.Load(), w.cloud.Calls().AssumeRole, w.cloud.Calls().Sessions)
		set.Close()
	})
}
