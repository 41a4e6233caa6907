package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// from sends a GET request from an address, with an Authorization header if authorization is not
// empty.
func (w *world) from(remote, target, authorization string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest("GET", "http://proxy.localhost/", nil)
	r.RequestURI, r.RemoteAddr = target, remote
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result()
}

// Once guesses have used up an address's rate limit, responses do not depend on the credentials:
// even the right password gets 429.
func TestRateLimitHidesRightGuesses(t *testing.T) {
	file := writeHtpasswd(t)
	const (
		object        = "/s3/photos/k"
		right, wrong  = "Basic YW5uOnNlY3JldA==", "Basic YW5uOndyb25n"
		here, another = "192.0.2.1:1234", "192.0.2.2:1234"
	)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Config, _ *Options) {
			c.Viewers = config.Viewers{
				Basic:     &config.Basic{HtpasswdFile: file},
				RateLimit: &config.RateLimit{PerSecond: 1, Burst: 5},
				Links: &config.Links{
					Keys:        []config.LinkKey{{ID: "k1", Secret: linkSecret}},
					MaxLifetime: 24 * time.Hour,
				},
			}
		})
		defer w.set.Close()
		target, err := viewer.ParseTarget("s3://photos/k")
		if err != nil {
			t.Fatal(err)
		}
		link, err := w.gate.Links().Query(target, time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 30 {
			resp := w.from(here, object, wrong)
			if n < 5 {
				wantCode(t, "a guess", resp, 401, "viewer_unknown")
				continue
			}
			wantCode(t, "a guess over the limit", resp, 429, "rate_limited")
			if got := resp.Header.Get("Retry-After"); got != "1" {
				t.Errorf("Retry-After: %q, want 1", got)
			}
		}
		wantCode(t, "the right password after too many guesses", w.from(here, object, right), 429,
			"rate_limited")
		wantCode(t, "a link after too many guesses", w.from(here, object+"?"+link, ""), 429,
			"rate_limited")
		if resp := w.from(another, object, right); resp.StatusCode != 302 {
			t.Errorf("the right password from another address: %d, want 302", resp.StatusCode)
		}
		if resp := w.from(here, object, right); resp.StatusCode != 302 {
			t.Errorf("the right password once it is cached: %d, want 302", resp.StatusCode)
		}
		time.Sleep(5 * time.Second)
		for range 5 {
			changed := strings.Replace(link, "exp=", "exp=1", 1)
			resp := w.from(here, object+"?"+changed, "")
			wantCode(t, "a bad link", resp, 401, "viewer_unknown")
		}
		wantCode(t, "a good link after too many bad ones", w.from(here, object+"?"+link, ""), 429,
			"rate_limited")
		if resp := w.from(another, object+"?"+link, ""); resp.StatusCode != 302 {
			t.Errorf("a good link from another address: %d, want 302", resp.StatusCode)
		}
	})
}

// Links have no user, so requests with links count against the client's address.
func TestLinksCountAgainstAddressRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withRateLimit)
		defer w.set.Close()
		target, err := viewer.ParseTarget("s3://photos/*")
		if err != nil {
			t.Fatal(err)
		}
		link, err := w.gate.Links().Query(target, time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			if resp := w.from("192.0.2.1:1234", "/s3/photos/k?"+link, ""); resp.StatusCode != 302 {
				t.Fatalf("request %d: %d, want 302", n, resp.StatusCode)
			}
		}
		wantCode(t, "the sixth request", w.from("192.0.2.1:1234", "/s3/photos/k?"+link, ""), 429,
			"rate_limited")
		if resp := w.from("192.0.2.2:1234", "/s3/photos/k?"+link, ""); resp.StatusCode != 302 {
			t.Errorf("from another address: %d, want 302", resp.StatusCode)
		}
	})
}

// Anonymous clients cannot create links, whatever the rules let them read.
func TestAnonymousCannotCreateLinks(t *testing.T) {
	file := writeHtpasswd(t)
	rules := []config.Rule{{Anonymous: true, Locators: []string{"s3://photos/*"}}}
	for _, c := range []struct {
		what   string
		basic  *config.Basic
		rules  []config.Rule
		status int
		code   string
	}{
		{"without rules", nil, nil, 403, "viewer_denied"},
		{"with a rule", nil, rules, 403, "viewer_denied"},
		{"with passwords enabled", &config.Basic{HtpasswdFile: file}, nil, 401, "viewer_unknown"},
	} {
		w := newWorld(t, withViewers, func(v *config.Config, _ *Options) {
			v.Viewers.Anonymous, v.Viewers.Basic, v.Viewers.Rules = true, c.basic, c.rules
		})
		if resp := w.as("", "GET", "/s3/photos/k"); resp.StatusCode != 302 {
			t.Errorf("%s, GET: %d, want 302", c.what, resp.StatusCode)
		}
		for _, locator := range []string{"s3://photos/k", "s3://photos/*"} {
			body := fmt.Sprintf(`{"locator": %q}`, locator)
			resp := w.send("", "POST", "/link", body, "Content-Type", "application/json")
			wantCode(t, c.what+", "+locator, resp, c.status, c.code)
		}
	}
}
