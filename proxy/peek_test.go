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

// A look tells what a request would meet, costs no call, and makes no URL.
func TestPeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		object := locator.Locator{Bucket: "team-a", Key: "a b/ü.png"}
		if p, ok := w.Peek(object, ""); !ok || p.Integration != "shared" || p.Region != "us-east-1" || p.Session || p.Hit {
			t.Errorf("before the first request: %+v %v", p, ok)
		}
		if _, ok := w.Peek(locator.Locator{Bucket: "elsewhere", Key: "k"}, ""); ok {
			t.Error("nobody serves the bucket")
		}
		if n := w.cloud.Calls().AssumeRole; n != 0 {
			t.Fatalf("the look asked STS %d times", n)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, object.Path(), nil))
		p, ok := w.Peek(object, "")
		if !ok || !p.Session || !p.Hit || p.Bytes != len(rec.Header().Get("Location")) || p.MaxAge <= 0 || time.Until(p.Expires) < 15*time.Minute {
			t.Errorf("after it: %+v %v", p, ok)
		}
		if p, _ := w.Peek(locator.Locator{Bucket: "team-a", Key: "other"}, ""); !p.Session || p.Hit {
			t.Errorf("another object: %+v", p)
		}
		time.Sleep(time.Until(p.WindowEnds))
		if p, _ := w.Peek(object, ""); p.Hit {
			t.Errorf("in the next window: %+v", p)
		}
	})
}

// Where URLs name their viewers, each has a URL of their own.
func TestPeekWithAttribution(t *testing.T) {
	w := newWorld(t, func(c *config.Config, o *Options) {
		o.Attribution = true
		c.Viewers.Anonymous = true
		c.Viewers.Forwarded = &config.Forwarded{UserHeader: "X-User", Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	})
	object := locator.Locator{Bucket: "bucket", Key: "k"}
	r := httptest.NewRequest(http.MethodGet, object.Path(), nil)
	r.Header.Set("X-User", "ann")
	w.ServeHTTP(httptest.NewRecorder(), r)
	if p, _ := w.Peek(object, "ann"); !p.Hit {
		t.Errorf("ann's: %+v", p)
	}
	if p, _ := w.Peek(object, "bob"); p.Hit {
		t.Errorf("bob's: %+v", p)
	}
}
