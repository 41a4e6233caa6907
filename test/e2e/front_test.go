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

// echo stands where s3redirect would be. Its answers have the header of the request that arrived as their body.
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

// forgeries are headers by which a client may try to choose its address, or who it is: by sending them itself, and by having a
// proxy remove its own as hop-by-hop headers (RFC 9110, section 7.6.1).
var forgeries = map[string][]string{
	"nothing":                        nil,
	"an address":                     {"X-Forwarded-For: 203.0.113.7"},
	"several addresses":              {"X-Forwarded-For: 203.0.113.7, 203.0.113.8", "X-Forwarded-For: 203.0.113.9"},
	"address named hop-by-hop":       {"Connection: close, X-Forwarded-For", "X-Forwarded-For: 203.0.113.7"},
	"groups named hop-by-hop":        {"Connection: X-Auth-Request-Groups"},
	"user named hop-by-hop":          {"Connection: keep-alive, x-auth-request-email, x-auth-request-groups"},
	"all named, on two lines":        {"Connection: X-Forwarded-For", "Connection: X-Auth-Request-Groups, X-Auth-Request-Email"},
	"the proxy's view of the client": {"X-Real-Ip: 203.0.113.7", "Connection: X-Real-Ip"},
	"an identity":                    {"X-Auth-Request-Email: ann", "X-Auth-Request-Groups: admins"},
	"a user, twice":                  {"X-Auth-Request-Email: ann", "X-Auth-Request-Email: bob"},
	"groups, twice":                  {"X-Auth-Request-Groups: admins", "X-Auth-Request-Groups: lab"},
	"no groups":                      {"X-Auth-Request-Groups: -"},
	"empty headers":                  {"X-Auth-Request-Email: ", "X-Auth-Request-Groups: ", "X-Forwarded-For: "},
}

// Whatever a client sends, each shipped front passes on the client's real address and no other, and the viewer that the front
// knows; a front that knows no viewer passes on none.
func TestFrontsOwnTheirHeaders(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "caddy", "haproxy")
	const from = "127.0.0.2"              // the fronts connect from 127.0.0.1
	var asked atomic.Pointer[http.Header] // what the sign-in proxy was last asked with
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
		signIn string // who says who the viewer is
	}{
		{"nginx", behindShippedNginx(t, p, ""), ""},
		{"nginx, compose", behindComposedNginx(t, p), ""},
		{"nginx, auth_request", behindAuthRequest(t, p, signIn), "proxy"},
		{"caddy", behindShippedCaddy(t, "Caddyfile", p), ""},
		{"caddy, forward_auth", behindShippedCaddy(t, "forward_auth.Caddyfile", p, "127.0.0.1:4180", signIn), "proxy"},
		{"haproxy", behindShippedHAProxy(t, p), ""},
		{"haproxy, client certificates", behindClientCertificates(t, p), "certificate"},
	} {
		for viewer, groups := range map[string]string{"ann": "-", "eve": "suspended", unnamed: "-"} {
			for forgery, header := range forgeries {
				asked.Store(nil)
				a := c.f.ask(t, from, viewer, "/s3/b/k", header...)
				var got http.Header
				if err := json.Unmarshal(a.body, &got); err != nil {
					t.Errorf("%s, %s, %s: %d %s: %v", c.name, viewer, forgery, a.status, a.body, err)
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
					got.Del("X-Auth-Request-Email") // s3redirect takes an empty name for none
				}
				for _, name := range []string{"X-Forwarded-For", "X-Auth-Request-Email", "X-Auth-Request-Groups"} {
					if !slices.Equal(got[name], want[name]) {
						t.Errorf("%s, %s, %s: %s arrived as %q, want %q", c.name, viewer, forgery, name, got[name], want[name])
					}
				}
				if c.signIn != "proxy" {
					continue
				}
				for _, name := range []string{"X-Forwarded-For", "X-Real-Ip"} {
					if got := (*asked.Load())[name]; !slices.Equal(got, []string{from}) {
						t.Errorf("%s, %s, %s: the sign-in proxy got %s as %q, want %q", c.name, viewer, forgery, name, got, from)
					}
				}
			}
		}
	}
}

// A client's own X-Forwarded-For does not choose the bucket of the rate limit: behind each shipped front it runs out of requests,
// whatever it sends, and another client does not. The access log has the client's address, and not one that it made up.
func TestRateLimitBehindFronts(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "caddy", "haproxy")
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
	} {
		greedy, other := fmt.Sprintf("127.0.%d.2", n+1), fmt.Sprintf("127.0.%d.3", n+1)
		refused := false
		for i := 0; i < 500 && !refused; i++ {
			forged := fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", i%256)
			a := c.f.ask(t, greedy, "", "/s3/flooded/k", forged, "Connection: X-Forwarded-For")
			if refused = a.status == http.StatusTooManyRequests; !refused && a.status != http.StatusFound {
				t.Fatalf("%s: %d %s", c.name, a.status, a.body)
			}
		}
		if !refused {
			t.Errorf("%s: 500 requests with addresses of the client's choice: none is refused", c.name)
		}
		if a := c.f.ask(t, other, "", "/s3/flooded/k"); a.status != http.StatusFound {
			t.Errorf("%s: another client: %d, want %d", c.name, a.status, http.StatusFound)
		}
		for _, client := range []string{greedy, other} {
			line := fmt.Sprintf(`"msg":"request","remote":%q,`, client)
			if err := p.await("the access log of "+client, func() bool { return strings.Contains(p.output(), line) }); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	if strings.Contains(p.output(), "203.0.113.") {
		t.Error("the access log has addresses that the client made up")
	}
}

// The shipped ways to ask a sign-in proxy tell viewers apart, and let nobody say who they are.
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
  forwarded: {user_header: X-Auth-Request-Email, groups_header: X-Auth-Request-Groups, trusted_proxies: [127.0.0.1]}
  rules:
    - {groups: [suspended], locators: ["s3://*/*"], deny: true}
    - {known: true, locators: ["s3://shipped-auth/{user}/*", "s3://shipped-auth/everyone/*"]}
    - {groups: [admins], locators: ["s3://shipped-auth/*"]}
`, s.env()...)
	signIn := strings.TrimPrefix(auth.URL, "http://")
	t.Run("nginx", func(t *testing.T) { checkViewers(t, p, behindAuthRequest(t, p, signIn)) })
	t.Run("caddy", func(t *testing.T) {
		checkViewers(t, p, behindShippedCaddy(t, "forward_auth.Caddyfile", p, "127.0.0.1:4180", signIn))
	})
	t.Run("haproxy", func(t *testing.T) { checkViewers(t, p, behindClientCertificates(t, p)) })
}

// checkViewers asks as several viewers, and as a client that would be one of them, or an administrator.
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
		{http.StatusUnauthorized, "", "/s3/shipped-auth/ann/x", []string{"X-Auth-Request-Email: ann", "X-Auth-Request-Groups: -"}},
		// A group that is denied stays denied, whatever the client has the front remove.
		{http.StatusForbidden, "eve", "/s3/shipped-auth/eve/x", nil},
		{http.StatusForbidden, "dan", "/s3/shipped-auth/dan/x", nil},
		{http.StatusForbidden, "eve", "/s3/shipped-auth/eve/x", []string{"Connection: X-Auth-Request-Groups"}},
		{http.StatusForbidden, "eve", "/s3/shipped-auth/eve/x", []string{"Connection: X-Auth-Request-Groups", "X-Auth-Request-Groups: -"}},
	} {
		a := f.ask(t, "127.0.0.1", c.viewer, c.path, c.header...)
		if a.status != c.status {
			t.Errorf("%s as %q, %q: %d, want %d", c.path, c.viewer, c.header, a.status, c.status)
		}
		if c.status != http.StatusFound {
			continue
		}
		direct := fetch(t, http.MethodGet, p.url(c.path), "X-Auth-Request-Email: ann", "X-Auth-Request-Groups: -")
		if got, want := a.header.Get("Location"), direct.header.Get("Location"); got != want {
			t.Errorf("%s leads to %s, want %s", c.path, got, want)
		}
	}
	if f.tls != nil {
		return
	}
	for viewer, want := range map[string]string{"ann": "", "bob": "viewer_denied", "eve": "viewer_denied"} {
		got := presignAll(t, f.asProxy(), "shipped-auth", []string{"ann/x"}, "Cookie: session=secret-of-"+viewer)["ann/x"]
		if got.Error != want || (got.URL == "") != (want != "") {
			t.Errorf("POST /presign as %s: %+v, want the error %q", viewer, got, want)
		}
	}
}
