package e2e

import (
	"fmt"
	"image/color"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// signedIn configures a site that identifies viewers by a cookie and clears the browser's cache
// when a viewer signs out.
const signedIn = `
    root ${PAGES};
    location = /sign-out {
      default_type text/html;
      add_header Clear-Site-Data '"cache"';
      return 200 "<!DOCTYPE html>Signed out";
    }
    location /s3/ {
      auth_request /auth;
      auth_request_set $email $upstream_http_x_auth_request_email;
      proxy_set_header X-Auth-Request-Email $email;
      proxy_set_header X-Auth-Request-Groups -;
      proxy_pass http://${PROXY};
      proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_busy_buffers_size 16k;
    }
    location = /auth {
      internal; proxy_pass http://${AUTH}; proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
`

// sharedBrowser is a site configured by signedIn, with an image that only ann may see.
type sharedBrowser struct {
	*counted // the site's requests
	store    *counted
	page     string
}

// startSharedBrowser starts the site. change, which may be nil, edits the header of each response.
func startSharedBrowser(t *testing.T, bucket string, change func(http.Header)) *sharedBrowser {
	t.Helper()
	need(t, "chromium", "nginx")
	s := minio(t)
	auth := httptest.NewServer(http.HandlerFunc(cookieAuth))
	t.Cleanup(auth.Close)
	store := s.counted(t)
	p := startProxy(t, longWindow+inStore(bucket)+`    response_cache_control: private, max-age=3600
viewers:
  forwarded:
    user_header: X-Auth-Request-Email
    groups_header: X-Auth-Request-Groups
    trusted_proxies: [127.0.0.1]
  rules: [{known: true, locators: ["s3://`+bucket+`/{user}/*"]}]
`, append(s.env(), "STORE="+store.url)...)
	s.createBucket(t, bucket)
	s.put(t, bucket, "ann/own.png", coloured(t, 33, 21, color.White))
	g := &gallerySite{pages: t.TempDir()}
	g.page(t, "page.html", fmt.Sprintf(`<img src="%s">`, path(bucket, "ann/own.png")))
	n := startNginx(t, signedIn,
		"PAGES", g.pages,
		"PROXY", p.host,
		"AUTH", strings.TrimPrefix(auth.URL, "http://"))
	site := countedBefore(t, "http://"+n.host, "app.localhost", change)
	return &sharedBrowser{counted: site, store: store, page: site.url + "/page.html"}
}

// redirects returns the number of requests that the site got for the image.
func (s *sharedBrowser) redirects() int {
	return len(s.visits(func(v visit) bool { return strings.HasPrefix(v.path, "/s3/") }))
}

// signIn sets a tab's cookie to the session of a user.
func (s *sharedBrowser) signIn(b *tab, user string) {
	b.t.Helper()
	b.open(s.url + "/sign-in")
	b.js(`document.cookie = "session=secret-of-` + user + `; path=/"; Promise.resolve("")`)
}

// look opens the page and returns the width of the image, or 0 if the image does not load.
func (s *sharedBrowser) look(b *tab) int {
	b.t.Helper()
	b.open("about:blank")
	b.open(s.page)
	return b.widths()[0]
}

// Two users share a browser and sign in one after the other, each in a new tab. The browser does
// not use the first user's cached redirect for the second. A Vary that lists the sign-in proxy's
// headers alone does not prevent that, since browsers never send them.
func TestSharedBrowserInChromium(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		vary          func(http.Header)
		bob, requests int
	}{
		"shipped": {nil, 0, 2},
		"headers of the proxy alone": {func(h http.Header) {
			h.Set("Vary", "Origin, Sec-Fetch-Mode, X-Auth-Request-Email, X-Auth-Request-Groups")
		}, 33, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSharedBrowser(t, "shared-browser", c.vary)
			browser := openTab(t)
			for _, visit := range []struct {
				user            string
				width, requests int
			}{{"ann", 33, 1}, {"ann", 33, 1}, {"bob", c.bob, c.requests}} {
				b, closeTab := browser.another()
				s.signIn(b, visit.user)
				if got := s.look(b); got != visit.width || s.redirects() != visit.requests {
					t.Errorf("%s: width of the image = %d after %d requests, want %d after %d",
						visit.user, got, s.redirects(), visit.width, visit.requests)
				}
				closeTab()
			}
		})
	}
}

// As docs/browsers.md says, Clear-Site-Data removes redirects from the browser's cache, so that the
// browser requests them again. The object stays in the cache because it belongs to the store's
// origin. A tab that visits another site drops its in-memory cache.
func TestSignOutInChromium(t *testing.T) {
	t.Parallel()
	s := startSharedBrowser(t, "sign-out", nil)
	b := openTab(t)
	signOut := func() { b.open(s.url + "/sign-out") }
	s.signIn(b, "ann")
	for _, c := range []struct {
		name            string
		before          func()
		width, requests int
	}{
		{"ann", func() {}, 33, 1},
		{"ann again", func() {}, 33, 1},
		{"ann after signing out, with her cookie", signOut, 33, 2},
		{"bob after a visit of another site", func() {
			signOut()
			b.open(s.store.url + "/sign-in")
			s.signIn(b, "bob")
		}, 0, 3},
	} {
		c.before()
		if got := s.look(b); got != c.width || s.redirects() != c.requests {
			t.Errorf("%s: width of the image = %d after %d requests, want %d after %d",
				c.name, got, s.redirects(), c.width, c.requests)
		}
		loads := s.store.visits(func(v visit) bool { return strings.HasSuffix(v.path, "/own.png") })
		if len(loads) != 1 {
			t.Errorf("%s: %d requests to the store for the image, want 1", c.name, len(loads))
		}
	}
}
