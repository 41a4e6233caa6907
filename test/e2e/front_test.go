package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// echo starts a server in place of s3redirect. The body of its responses is the request's header as
// JSON.
func echo(t *testing.T) *proxy {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			w.WriteHeader(http.StatusNotFound)
		}
		if err := json.NewEncoder(w).Encode(r.Header); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return &proxy{host: strings.TrimPrefix(s.URL, "http://"), admin: s.URL}
}

// forgeries are headers by which a client may try to forge its address or identity: it sends a
// header that the front sets, or makes the front remove it as a hop-by-hop header (RFC 9110,
// section 7.6.1).
var forgeries = map[string][]string{
	"nothing":    nil,
	"an address": {"X-Forwarded-For: 203.0.113.7"},
	"several addresses": {
		"X-Forwarded-For: 203.0.113.7, 203.0.113.8",
		"X-Forwarded-For: 203.0.113.9",
	},
	"address named hop-by-hop": {"Connection: close, X-Forwarded-For", "X-Forwarded-For: 203.0.113.7"},
	"groups named hop-by-hop":  {"Connection: X-Auth-Request-Groups"},
	"user named hop-by-hop":    {"Connection: keep-alive, x-auth-request-email, x-auth-request-groups"},
	"all named, on two lines": {
		"Connection: X-Forwarded-For",
		"Connection: X-Auth-Request-Groups, X-Auth-Request-Email",
	},
	"the proxy's view of the client": {"X-Real-Ip: 203.0.113.7", "Connection: X-Real-Ip"},
	"an identity":                    {"X-Auth-Request-Email: ann", "X-Auth-Request-Groups: admins"},
	"a user, twice":                  {"X-Auth-Request-Email: ann", "X-Auth-Request-Email: bob"},
	"groups, twice":                  {"X-Auth-Request-Groups: admins", "X-Auth-Request-Groups: lab"},
	"no groups":                      {"X-Auth-Request-Groups: -"},
	"empty headers":                  {"X-Auth-Request-Email: ", "X-Auth-Request-Groups: ", "X-Forwarded-For: "},
}

// TestFrontsOwnTheirHeaders checks that each shipped front, whatever the client sends, passes on
// only the client's real address and the viewer that the front has authenticated. A front that
// authenticates no viewers passes on none.
func TestFrontsOwnTheirHeaders(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "caddy", "haproxy", "varnishd", "apache2")
	const from = "127.0.0.2"              // the fronts connect from 127.0.0.1
	var asked atomic.Pointer[http.Header] // of the last request to the sign-in proxy
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Clone()
		asked.Store(&header)
		cookieAuth(w, r)
	}))
	t.Cleanup(auth.Close)
	p, signIn := echo(t), strings.TrimPrefix(auth.URL, "http://")
	for _, c := range []struct {
		name   string
		f      *front
		signIn string // what authenticates the viewer
	}{
		{"nginx", behindShippedNginx(t, p, ""), ""},
		{"nginx, compose", behindComposedNginx(t, p), ""},
		{"nginx, follow", behindFollower(t, p, "follow.conf").front, ""},
		{"nginx, follow-all", behindFollower(t, p, "follow-all.conf").front, ""},
		{"nginx, auth_request", behindAuthRequest(t, p, signIn), "proxy"},
		{"caddy", behindShippedCaddy(t, "Caddyfile", p), ""},
		{
			"caddy, forward_auth",
			behindShippedCaddy(t, "forward_auth.Caddyfile", p, "127.0.0.1:4180", signIn),
			"proxy",
		},
		{"varnish", behindShippedVarnish(t, p), ""},
		{"haproxy", behindShippedHAProxy(t, p), ""},
		{"apache", behindShippedApache(t, p, ""), ""},
		{"haproxy, client certificates", behindClientCertificates(t, p), "certificate"},
	} {
		for viewer, groups := range map[string]string{
			"ann":   "-",
			"eve":   "suspended",
			unnamed: "-",
		} {
			for forgery, header := range forgeries {
				name := c.name + ", " + viewer + ", " + forgery
				asked.Store(nil)
				a := c.f.ask(t, from, viewer, "/s3/b/k", header...)
				if c.name == "varnish" && a.status == http.StatusBadRequest &&
					strings.Contains(strings.Join(header, "\n"), "X-Forwarded-For") &&
					strings.Contains(forgery, "named") {
					continue // Varnish rejects requests that name it in Connection
				}
				var got http.Header
				if err := json.Unmarshal(a.body, &got); err != nil {
					t.Errorf("%s: got %d %s, error %v, want the request's header",
						name, a.status, a.body, err)
					continue
				}
				want := http.Header{"X-Forwarded-For": {from}}
				if c.signIn != "" {
					want["X-Auth-Request-Groups"] = []string{groups}
				}
				if c.signIn != "" && viewer != unnamed {
					want["X-Auth-Request-Email"] = []string{viewer}
				}
				if slices.Equal(got["X-Auth-Request-Email"], []string{""}) {
					got.Del("X-Auth-Request-Email") // s3redirect ignores an empty user header
				}
				for _, h := range []string{
					"X-Forwarded-For", "X-Auth-Request-Email", "X-Auth-Request-Groups",
				} {
					if !slices.Equal(got[h], want[h]) {
						t.Errorf("%s: %s = %q, want %q", name, h, got[h], want[h])
					}
				}
				if c.signIn != "proxy" {
					continue
				}
				for _, h := range []string{"X-Forwarded-For", "X-Real-Ip"} {
					if got := (*asked.Load())[h]; !slices.Equal(got, []string{from}) {
						t.Errorf("%s: %s at the sign-in proxy = %q, want %q", name, h, got, from)
					}
				}
			}
		}
	}
}

// TestRateLimitBehindFronts checks that a client cannot choose its rate limiter by sending
// X-Forwarded-For. Behind each shipped front it exceeds its limit whatever it sends, and another
// client does not. The access log has the client's real address.
func TestRateLimitBehindFronts(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "caddy", "haproxy", "apache2")
	p := flooded(t, `
trusted_proxies: [127.0.0.1]
viewers:
  anonymous: true
  rate_limit: {per_second: 1, burst: 20}
`)
	for n, c := range []struct {
		name string
		f    *front
	}{
		{"nginx", behindShippedNginx(t, p, "")},
		{"nginx, compose", behindComposedNginx(t, p)},
		{"caddy", behindShippedCaddy(t, "Caddyfile", p)},
		{"haproxy", behindShippedHAProxy(t, p)},
		{"apache", behindShippedApache(t, p, "")},
	} {
		greedy, other := fmt.Sprintf("127.0.%d.2", n+1), fmt.Sprintf("127.0.%d.3", n+1)
		limited := false
		for i := 0; i < 500 && !limited; i++ {
			forged := fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", i%256)
			a := c.f.ask(t, greedy, "", "/s3/flooded/k", forged, "Connection: X-Forwarded-For")
			limited = a.status == http.StatusTooManyRequests
			if !limited && a.status != http.StatusFound {
				t.Fatalf("%s: got %d %s, want 302 or 429", c.name, a.status, a.body)
			}
		}
		if !limited {
			t.Errorf("%s: no request of 500 with forged addresses got 429", c.name)
		}
		if a := c.f.ask(t, other, "", "/s3/flooded/k"); a.status != http.StatusFound {
			t.Errorf("%s: status for another client = %d, want 302", c.name, a.status)
		}
		for _, client := range []string{greedy, other} {
			line := fmt.Sprintf(`"msg":"request","remote":%q,`, client)
			logged := func() bool { return strings.Contains(p.output(), line) }
			if err := p.await("the access log of "+client, logged); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	if strings.Contains(p.output(), "203.0.113.") {
		t.Error("the access log has forged addresses")
	}
}

// TestShippedSignIn checks that the shipped configurations that authenticate viewers distinguish
// them, and that no client can forge an identity.
func TestShippedSignIn(t *testing.T) {
	t.Parallel()
	need(t, "caddy")
	s := minio(t)
	auth := httptest.NewServer(http.HandlerFunc(cookieAuth))
	t.Cleanup(auth.Close)
	p := startProxy(t, `
integrations:
  - name: keys
    bucket: shipped-auth
`+withKeys+`
viewers:
  forwarded:
    user_header: X-Auth-Request-Email
    groups_header: X-Auth-Request-Groups
    trusted_proxies: [127.0.0.1]
  rules:
    - {groups: [suspended], locators: ["s3://*/*"], deny: true}
    - {known: true, locators: ["s3://shipped-auth/{user}/*", "s3://shipped-auth/everyone/*"]}
    - {groups: [admins], locators: ["s3://shipped-auth/*"]}
`, s.env()...)
	signIn := strings.TrimPrefix(auth.URL, "http://")
	t.Run("nginx", func(t *testing.T) { checkViewers(t, p, behindAuthRequest(t, p, signIn)) })
	t.Run("caddy", func(t *testing.T) {
		f := behindShippedCaddy(t, "forward_auth.Caddyfile", p, "127.0.0.1:4180", signIn)
		checkViewers(t, p, f)
	})
	t.Run("haproxy", func(t *testing.T) { checkViewers(t, p, behindClientCertificates(t, p)) })
}

// checkViewers sends requests as several viewers, and as clients that claim to be one of them or an
// administrator.
func checkViewers(t *testing.T, p *proxy, f *front) {
	t.Helper()
	const odd = "/s3/shipped-auth/ann/a%2Fb//c%2Bd+e%20f"
	for _, c := range []struct {
		status int
		viewer string
		path   string
		header []string
	}{
		{http.StatusFound, "ann", "/s3/shipped-auth/ann/x", nil},
		{http.StatusFound, "ann", odd, nil},
		{http.StatusForbidden, "bob", "/s3/shipped-auth/ann/x", nil},
		{http.StatusUnauthorized, "", "/s3/shipped-auth/ann/x", nil},
		{http.StatusUnauthorized, unnamed, "/s3/shipped-auth/ann/x", nil},
		{http.StatusUnauthorized, unnamed, "/s3/shipped-auth/everyone/x", nil},
		{http.StatusFound, "bob", "/s3/shipped-auth/everyone/x", nil},
		{http.StatusForbidden, "bob", "/s3/shipped-auth/ann/x", []string{"X-Auth-Request-Email: ann"}},
		{http.StatusForbidden, "bob", "/s3/shipped-auth/ann/x", []string{"X-Auth-Request-Groups: admins"}},
		{http.StatusUnauthorized, "", "/s3/shipped-auth/ann/x", []string{
			"X-Auth-Request-Email: ann", "X-Auth-Request-Groups: -",
		}},
		// A denied group stays denied, whatever headers the client names in Connection.
		{http.StatusForbidden, "eve", "/s3/shipped-auth/eve/x", nil},
		{http.StatusForbidden, "dan", "/s3/shipped-auth/dan/x", nil},
		{http.StatusForbidden, "eve", "/s3/shipped-auth/eve/x", []string{
			"Connection: X-Auth-Request-Groups",
		}},
		{http.StatusForbidden, "eve", "/s3/shipped-auth/eve/x", []string{
			"Connection: X-Auth-Request-Groups", "X-Auth-Request-Groups: -",
		}},
	} {
		a := f.ask(t, "127.0.0.1", c.viewer, c.path, c.header...)
		if a.status != c.status {
			t.Errorf("%s as %q with the headers %q: status %d, want %d",
				c.path, c.viewer, c.header, a.status, c.status)
		}
		if c.status != http.StatusFound {
			continue
		}
		direct := fetch(t, http.MethodGet, p.url(c.path),
			"X-Auth-Request-Email: ann", "X-Auth-Request-Groups: -")
		if got, want := a.header.Get("Location"), direct.header.Get("Location"); got != want {
			t.Errorf("%s redirects to %s, want %s", c.path, got, want)
		}
	}
	if f.tls != nil {
		return
	}
	for viewer, want := range map[string]string{
		"ann": "",
		"bob": "viewer_denied",
		"eve": "viewer_denied",
	} {
		all := presignAll(t, f.asProxy(), "shipped-auth", []string{"ann/x"},
			"Cookie: session=secret-of-"+viewer)
		if got := all["ann/x"]; got.Error != want || (got.URL == "") != (want != "") {
			t.Errorf("POST /presign as %s: %+v, want the error %q", viewer, got, want)
		}
	}
}
