package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// Peek describes the response to a request without calling STS or filling the cache.
func TestPeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		object := locator.Locator{Bucket: "team-a", Key: "a b/ü.png"}
		want := Peeked{Integration: "shared", Region: "us-east-1"}
		if got, ok := w.Peek(object, ""); !ok || got != want {
			t.Errorf("before the first request: Peek() = %+v, %v, want %+v, true", got, ok, want)
		}
		if _, ok := w.Peek(locator.Locator{Bucket: "elsewhere", Key: "k"}, ""); ok {
			t.Error("an unserved bucket: got true, want false")
		}
		if n := w.cloud.Calls().AssumeRole; n != 0 {
			t.Fatalf("Peek called STS %d times, want 0", n)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, object.Path(), nil))
		p, ok := w.Peek(object, "")
		if !ok || !p.Session || !p.Hit || p.Bytes != len(rec.Header().Get("Location")) ||
			p.MaxAge <= 0 || time.Until(p.Expires) < 15*time.Minute {
			t.Errorf("after the first request: got %+v, %v, want a hit", p, ok)
		}
		other := locator.Locator{Bucket: "team-a", Key: "other"}
		if p, _ := w.Peek(other, ""); !p.Session || p.Hit {
			t.Errorf("another object: got %+v, want a session and no hit", p)
		}
		time.Sleep(time.Until(p.WindowEnds))
		if p, _ := w.Peek(object, ""); p.Hit {
			t.Errorf("in the next window: got %+v, want no hit", p)
		}
	})
}

// With attribution each viewer has another URL.
func TestPeekWithAttribution(t *testing.T) {
	w := newWorld(t, func(c *config.Config, o *Options) {
		o.Attribution = true
		c.Viewers.Anonymous = true
		c.Viewers.Forwarded = &config.Forwarded{
			GroupsSeparator: ",",
			UserHeader:      "X-User",
			Proxies:         []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		}
	})
	object := locator.Locator{Bucket: "bucket", Key: "k"}
	r := httptest.NewRequest(http.MethodGet, object.Path(), nil)
	r.Header.Set("X-User", "ann")
	w.ServeHTTP(httptest.NewRecorder(), r)
	if p, _ := w.Peek(object, "ann"); !p.Hit {
		t.Errorf("ann: got %+v, want a hit", p)
	}
	if p, _ := w.Peek(object, "bob"); p.Hit {
		t.Errorf("bob: got %+v, want no hit", p)
	}
}
