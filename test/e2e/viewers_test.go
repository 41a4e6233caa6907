package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// behindNginx configures nginx to authenticate viewers and to cache responses that allow it.
const behindNginx = `
    location /s3/ {
      auth_request /auth;
      auth_request_set $email $upstream_http_x_auth_request_email;
      proxy_set_header X-Auth-Request-Email $email;
      proxy_set_header X-Auth-Request-Groups "";
      proxy_pass http://${PROXY};
      proxy_cache cache; proxy_cache_valid 302 1h;
      proxy_cache_convert_head off; proxy_cache_key $request_method$request_uri;
      add_header X-Cache $upstream_cache_status always;
      proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_busy_buffers_size 16k;
    }
    location = /auth {
      internal; proxy_pass http://${AUTH}; proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
`

// A real nginx with a cache never sends one viewer's redirect to another viewer.
func TestViewersBehindNginx(t *testing.T) {
	t.Parallel()
	s := minio(t)
	auth := httptest.NewServer(http.HandlerFunc(cookieAuth))
	t.Cleanup(auth.Close)
	p := startProxy(t, `
integrations:
  - name: keys
    bucket: diaries
`+withKeys+`
viewers:
  forwarded: {user_header: X-Auth-Request-Email, trusted_proxies: [127.0.0.1]}
  rules:
    - {known: true, locators: ["s3://diaries/{user}/*"]}
    - {users: [ann], locators: ["s3://diaries/shared/*"]}
`, s.env()...)
	s.createBucket(t, "diaries")
	s.put(t, "diaries", "ann/today ü+.txt", []byte("dear diary"))
	n := startNginx(t, behindNginx,
		"PROXY", p.host,
		"AUTH", strings.TrimPrefix(auth.URL, "http://"))
	ask := func(method, path string, header ...string) *answer {
		t.Helper()
		return fetch(t, method, "http://"+n.host+path, header...)
	}
	own := path("diaries", "ann/today ü+.txt")
	for range 3 {
		a := ask(http.MethodGet, own, "Cookie: session=secret-of-ann")
		if err := a.checkRedirect(); err != nil {
			t.Fatalf("ann: %v", err)
		}
		got := fetch(t, http.MethodGet, a.header.Get("Location"))
		if string(got.body) != "dear diary" {
			t.Errorf("ann: status %d, body %s, want 200 and dear diary", got.status, got.body)
		}
		if a.header.Get("X-Cache") == "HIT" {
			t.Error("nginx answers a private redirect from its cache")
		}
		a = ask(http.MethodGet, own, "Cookie: session=secret-of-bob")
		if err := a.checkProblem(http.StatusForbidden, "viewer_denied"); err != nil {
			t.Errorf("bob: %v", err)
		}
		a = ask(http.MethodGet, own)
		if a.status != http.StatusUnauthorized || a.header.Get("Location") != "" {
			t.Errorf("anonymous: status %d, Location %q, want 401 without Location",
				a.status, a.header.Get("Location"))
		}
		// nginx overwrites a viewer header that the client sends.
		a = ask(http.MethodGet, own, "Cookie: session=secret-of-bob", "X-Auth-Request-Email: ann")
		if err := a.checkProblem(http.StatusForbidden, "viewer_denied"); err != nil {
			t.Errorf("bob claiming to be ann: %v", err)
		}
		a = ask(http.MethodHead, own, "Cookie: session=secret-of-bob")
		if a.status != http.StatusForbidden {
			t.Errorf("bob, HEAD: status = %d, want 403", a.status)
		}
	}
	a := ask(http.MethodGet, path("diaries", "shared/x"), "Cookie: session=secret-of-ann")
	if err := a.checkRedirect(); err != nil {
		t.Errorf("ann, by the second rule: %v", err)
	}
}

// A signed link gives access to the stored bytes of the objects that it covers, and to no others.
func TestLinksEndToEnd(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const newKey = "{id: k2, secret: another-canary-with-32-bytes-here}"
	const oldKey = "{id: k1, secret: '${LINK_SECRET}'}"
	config := `
integrations:
  - name: keys
    bucket: linked
` + withKeys
	env := append(s.env(), "LINK_SECRET=canary-of-a-link-with-32-bytes!!")
	p := startProxy(t, config+"\nviewers: {links: {keys: ["+newKey+", "+oldKey+"]}}\n", env...)
	s.createBucket(t, "linked")
	s.put(t, "linked", "album/a b+c.jpg", []byte("album"))
	// Sign the link with the old key, as before a key rotation.
	dir := writeConfig(t, config+"\nviewers: {links: {keys: ["+oldKey+"]}}\n")
	code, out := command(t, dir, append(env, "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0"),
		"link", "--config", "config.yaml", "s3://linked/album/*")
	if code != 0 {
		t.Fatalf("s3redirect link: exit code = %d, want 0: %s", code, out)
	}
	link, err := url.Parse(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		target := p.location(t, method, path("linked", "album/a b+c.jpg")+"?"+link.RawQuery)
		if a := fetch(t, method, target); a.status != http.StatusOK || a.length != 5 {
			t.Errorf("%s: status %d, length %d, want 200 and 5: %s",
				method, a.status, a.length, a.body)
		}
	}
	for _, path := range []string{
		path("linked", "album"),
		path("linked", "albums/x"),
		path("linked", "x"),
		path("linked", "album/a b+c.jpg"),
	} {
		query := "?" + link.RawQuery
		if strings.HasPrefix(path, "/s3/linked/album/") { // change the signed expiry
			query = strings.Replace(query, "exp=", "exp=9", 1)
		}
		p.wantProblem(t, path+query, http.StatusUnauthorized, "viewer_unknown")
	}
}

// tricks returns request targets that try to redirect elsewhere or to bypass the rules.
func tricks() (targets []string) {
	// Ways to write a host, a parent folder, a separator or nothing.
	hosts := []string{
		"evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example",
		"https://evil.example", "http:evil.example", "evil.example@", "@evil.example",
		"%2F%2Fevil.example",
		"%5C%5Cevil.example", "%252F%252Fevil.example", "https%3A%2F%2Fevil.example",
		"javascript:alert(1)", "data:text/html,x", ".evil.example", "evil%E3%80%82example",
		"127.0.0.1", "[::1]", "0x7f000001", "evil.example:80", "evil.example%23", "evil.example%3F",
		"%0d%0aLocation:%20//evil.example", "%09//evil.example", "%00evil.example",
	}
	for _, h := range hosts {
		for _, form := range []string{
			"/s3/%s",
			"/s3/%s/x",
			"/s3/%s/public/x",
			"/s3/open%s/public/x",
			"/s3/open/%s",
			"/s3/open/public/%s",
			"/s3/open/public/%s/../../../x",
			"/s3//%s/x",
			"//%s/s3/open/public/x",
			"/%s/s3/open/public/x",
			"/s3/open/public/x?redirect=%s",
			"/s3/open/public/x?response-content-disposition=%s",
			"/s3/%s@open/public/x",
			"http://%s/s3/open/public/x",
		} {
			targets = append(targets, fmt.Sprintf(form, h))
		}
	}
	steps := []string{
		"..", ".", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%2e", "..%2f", "..%5c", "..\\",
		"%252e%252e", "..;", "..;/", "%c0%ae%c0%ae", "%e0%80%ae", "．．", "%ef%bc%8e%ef%bc%8e", "…",
		"..%00", "..%09", "..%20", " ..", "....//", "..././",
	}
	for _, s := range steps {
		for _, form := range []string{
			"/s3/open/public/%s/secret/x",
			"/s3/open/%s/public/x",
			"/s3/open/public/%s",
			"/s3/%s/open/public/x",
			"/%s/s3/open/public/x",
			"/s3/open/secret/%s/public/x",
			"/s3/open/public%%2F%s%%2Fsecret%%2Fx",
			"/s3/open/secret/x/%s/%[1]s/public/x",
		} {
			targets = append(targets, fmt.Sprintf(form, s))
		}
	}
	return append(targets,
		"/s3/open/secret/x", "/s3/open/SECRET/x", "/s3/open//secret/x",
		"/s3/open/public", "/s3/open/Public/x", "/s3/open/publi%63/x", "/s3/open/public%2Fx",
		"/s3/shut/public/x", "/s3/open/%70ublic/x", "/s3/open/public//x", "/s3/open/%2Fpublic/x",
		"/s3/open/secret%2F..%2Fpublic/x", "/S3/open/public/x", "/s3/OPEN/public/x",
		"/s3/open./public/x", "/s3/open%2e/public/x")
}

// Whatever the request target is, a redirect leads to the configured store and to an object that
// the rules allow, also after a browser has normalized its URL.
func TestRedirectsNeverLeadElsewhere(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: keys
    permitted_buckets: ["open*", shut]
`+withKeys+`
viewers:
  anonymous: true
  rules: [{anonymous: true, locators: ["s3://open/public/*"]}]
`, s.env()...)
	store, err := url.Parse(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	all := tricks()
	if len(all) < 500 {
		t.Fatalf("tricks() has %d targets, want at least 500", len(all))
	}
	redirected := 0
	for _, target := range all {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := p.raw(t, method, target)
			location := a.header.Get("Location")
			redirect := a.status == http.StatusFound
			if !redirect && (a.status < 400 || a.status >= 500) {
				t.Errorf("%s %q: status = %d, want 302 or 4xx", method, target, a.status)
			}
			if redirect != (location != "") || len(a.header["Location"]) > 1 {
				t.Errorf("%s %q: status %d, Location %q, want one with 302 and none otherwise",
					method, target, a.status, a.header["Location"])
			}
			if location == "" {
				continue
			}
			redirected++
			u, err := url.Parse(location)
			if err != nil || u.Scheme != store.Scheme || u.Host != store.Host || u.User != nil {
				t.Errorf("%q redirects to %q, want the store", target, location)
				continue
			}
			// Browsers treat a backslash as a slash and resolve dot segments, encoded or not.
			seen := strings.NewReplacer("%2e", ".", "%2E", ".", "\\", "/").Replace(u.EscapedPath())
			resolved, err := store.Parse(seen)
			dots := strings.Contains(seen, "/../") || strings.HasSuffix(seen, "/..")
			if err != nil || dots || !strings.HasPrefix(resolved.Path, "/open/public/") {
				t.Errorf("%q redirects to %q, which browsers resolve to %v, want /open/public/*",
					target, location, resolved)
			}
		}
	}
	if redirected < 100 {
		t.Errorf("%d redirects, want at least 100, as otherwise the test shows little", redirected)
	}
}
