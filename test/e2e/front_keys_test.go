package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3redirect/internal/locator"
)

// startOddKeys starts a proxy in front of radosgw, which keeps every key exactly.
func startOddKeys(t *testing.T, bucket string) (*gateway, *proxy) {
	t.Helper()
	g := radosgw(t)
	return g, startProxy(t, `
integrations:
  - name: role
    bucket: `+bucket+asTrusted, g.env()...)
}

// TestOddKeysBehindNginx and the tests for HAProxy and Caddy check that the shipped configuration
// passes every odd key on byte for byte.
func TestOddKeysBehindNginx(t *testing.T) {
	t.Parallel()
	g, p := startOddKeys(t, "odd-nginx")
	// Many sites have a location for file extensions. It does not take requests away from /s3/.
	f := behindShippedNginx(t, p, `proxy_cache cache;
		location ~* \.(jpg|png|txt)$ { return 418; }
		location / { return 404; }`)
	checkKeys(t, &g.store, f.asProxy(), "odd-nginx", oddKeys)
	checkBatch(t, f.asProxy(), "odd-nginx")
}

func TestOddKeysBehindHAProxy(t *testing.T) {
	t.Parallel()
	need(t, "haproxy")
	g, p := startOddKeys(t, "odd-haproxy")
	f := behindShippedHAProxy(t, p)
	checkKeys(t, &g.store, f.asProxy(), "odd-haproxy", oddKeys)
	checkBatch(t, f.asProxy(), "odd-haproxy")
}

func TestOddKeysBehindCaddy(t *testing.T) {
	t.Parallel()
	need(t, "caddy")
	g, p := startOddKeys(t, "odd-caddy")
	f := behindShippedCaddy(t, "Caddyfile", p)
	checkKeys(t, &g.store, f.asProxy(), "odd-caddy", oddKeys)
	checkBatch(t, f.asProxy(), "odd-caddy")
}

// checkBatch checks that POST /presign returns the same URLs as redirects, for the objects that
// checkKeys has stored.
func checkBatch(t *testing.T, p *proxy, bucket string) {
	t.Helper()
	for key, a := range presignAll(t, p, bucket, oddKeys) {
		want := p.location(t, http.MethodGet, path(bucket, key))
		if a.URL == "" || a.URL != want {
			t.Errorf("POST /presign for %.80q: URL %q, error %q, want the URL %q",
				key, a.URL, a.Error, want)
		}
	}
}

// presigned is the result of POST /presign for one locator.
type presigned struct{ URL, Error string }

// presignAll sends POST /presign for the keys, with the header lines, and returns the results by
// key.
func presignAll(
	t *testing.T, p *proxy, bucket string, keys []string, header ...string,
) map[string]presigned {
	t.Helper()
	var request struct {
		Locators []string `json:"locators"`
	}
	for _, key := range keys {
		l := locator.Locator{Bucket: bucket, Key: key}
		request.Locators = append(request.Locators, l.String())
	}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(
		t.Context(), http.MethodPost, p.url("/presign"), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range append(header, "Content-Type: application/json") {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	a, err := readAnswer(client.Do(req))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ URLs []presigned }
	if err := json.Unmarshal(a.body, &answer); err != nil || len(answer.URLs) != len(keys) {
		t.Fatalf("POST /presign: status %d, error %v, %d URLs, want %d: %.300s",
			a.status, err, len(answer.URLs), len(keys), a.body)
	}
	all := map[string]presigned{}
	for n, key := range keys {
		all[key] = answer.URLs[n]
	}
	return all
}

// TestURIPartChangesKeys checks what deploy/README.md says about a proxy_pass with a URI part: it
// changes some keys, or makes them unreachable.
func TestURIPartChangesKeys(t *testing.T) {
	t.Parallel()
	_, p := startOddKeys(t, "odd-uri-part")
	host := freeAddress(t)
	f := nginxWith(t, host, fmt.Sprintf(`
server {
    listen %s;
    location /s3/ {
        proxy_pass http://%s/s3/;
        proxy_buffer_size 16k;
        proxy_buffers 4 16k;
        proxy_busy_buffers_size 16k;
    }
}`, host, p.host))
	changed := 0
	for _, key := range oddKeys {
		direct := p.raw(t, http.MethodGet, path("odd-uri-part", key))
		through := f.asProxy().raw(t, http.MethodGet, path("odd-uri-part", key))
		if direct.header.Get("Location") != through.header.Get("Location") {
			changed++
		}
	}
	for encoded, want := range map[string]string{"a%2Fb": "a/b", "a//b": "a/b"} {
		direct := p.raw(t, http.MethodGet, "/s3/odd-uri-part/"+want)
		through := f.asProxy().raw(t, http.MethodGet, "/s3/odd-uri-part/"+encoded)
		got := through.header.Get("Location")
		if want := direct.header.Get("Location"); got != want {
			t.Errorf("%s is redirected to %s, want nginx to change it so that it gets %s",
				encoded, got, want)
		}
	}
	if changed < 5 {
		t.Errorf("%d of %d keys were changed, want at least 5", changed, len(oddKeys))
	}
	t.Logf("%d of %d keys were changed", changed, len(oddKeys))
}

// TestLongLocations checks that a Location of 8 kB passes the shipped configurations, but not
// nginx's default buffers.
func TestLongLocations(t *testing.T) {
	t.Parallel()
	need(t, "haproxy", "caddy", "varnishd", "apache2")
	_, p := startOddKeys(t, "long-location")
	// nginx accepts request lines of at most 8 kB. The URL encodes each ! as %21, so the Location
	// is longer than the request.
	target := "/s3/long-location/" + strings.Repeat("k", 450) + strings.Repeat("!", 450) +
		"?response-content-language=" + strings.Repeat("%C3%BC", 500) +
		"&response-expires=" + strings.Repeat("%C3%BC", 500)
	for name, f := range map[string]*front{
		"nginx":   behindShippedNginx(t, p, ""),
		"haproxy": behindShippedHAProxy(t, p),
		"caddy":   behindShippedCaddy(t, "Caddyfile", p),
		"varnish": behindShippedVarnish(t, p),
		"apache":  behindShippedApache(t, p, ""),
	} {
		a := fetch(t, http.MethodGet, "http://"+f.host+target)
		if err := a.checkRedirect(); err != nil || len(a.header.Get("Location")) < 8000 {
			t.Errorf("%s: error %v, a Location of %d bytes, want at least 8000",
				name, err, len(a.header.Get("Location")))
		}
	}
	host := freeAddress(t)
	plain := nginxWith(t, host, fmt.Sprintf(
		"server { listen %s; location /s3/ { proxy_pass http://%s; } }", host, p.host))
	a := fetch(t, http.MethodGet, "http://"+plain.host+target)
	if a.status != http.StatusBadGateway {
		t.Errorf("with nginx's default buffers: status %d, want 502", a.status)
	}
}

// TestHeadBehindNginxCache checks that the shipped location passes HEAD on as HEAD even if the site
// has a cache. With a cache in front of the proxy, nginx would send GET instead.
func TestHeadBehindNginxCache(t *testing.T) {
	t.Parallel()
	g, p := startOddKeys(t, "head-cached")
	g.createBucket(t, "head-cached")
	g.put(t, "head-cached", "k", []byte("12345"))
	head := func(f *front) int {
		t.Helper()
		a := fetch(t, http.MethodHead, "http://"+f.host+"/s3/head-cached/k")
		if err := a.checkRedirect(); err != nil {
			t.Fatal(err)
		}
		return fetch(t, http.MethodHead, a.header.Get("Location")).status
	}
	shipped := behindShippedNginx(t, p, "proxy_cache cache; proxy_cache_valid 302 1h;")
	if got := head(shipped); got != http.StatusOK {
		t.Errorf("as shipped: status %d, want 200", got)
	}
	host := freeAddress(t)
	const block = "server { listen %s; location /s3/ { proxy_pass http://%s; proxy_cache cache; %s } }"
	converting := nginxWith(t, host, fmt.Sprintf(block, host, p.host, ""))
	if got := head(converting); got != http.StatusForbidden {
		t.Errorf("with a cache that converts HEAD: status %d, want 403 as proxy.conf says", got)
	}
	host = freeAddress(t)
	const options = "proxy_cache_convert_head off; proxy_cache_key $request_method$request_uri;"
	keeping := nginxWith(t, host, fmt.Sprintf(block, host, p.host, options))
	if got := head(keeping); got != http.StatusOK {
		t.Errorf("with a cache that keeps HEAD: status %d, want 200", got)
	}
}

// TestShippedSite checks the complete site as shipped: pages and objects on one origin, with TLS
// and HTTP/2.
func TestShippedSite(t *testing.T) {
	t.Parallel()
	g, p := startOddKeys(t, "site-as-shipped")
	g.createBucket(t, "site-as-shipped")
	g.put(t, "site-as-shipped", "a.png", []byte("image"))
	pages := t.TempDir()
	index := filepath.Join(pages, "index.html")
	if err := os.WriteFile(index, []byte("<title>The site</title>"), 0o600); err != nil {
		t.Fatal(err)
	}
	authority := newAuthority(t)
	host := freeAddress(t)
	dir := shipped(t, "nginx",
		"127.0.0.1:8080", p.host,
		"listen 443 ssl http2", "listen "+host+" ssl http2",
		"/etc/ssl/app.example.com.crt", authority.certificate,
		"/etc/ssl/app.example.com.key", authority.key,
		"/var/log/nginx/access.log", filepath.Join(t.TempDir(), "access.log"),
		"/var/www/app", pages)
	nginxWith(t, host, "include "+dir+"/site.conf;")
	for path, status := range map[string]int{
		"/":                         http.StatusOK,
		"/s3/site-as-shipped/a.png": http.StatusFound,
	} {
		resp, err := authority.client.Get("https://" + host + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status || resp.ProtoMajor != 2 {
			t.Errorf("%s: got %d with %s, want %d with HTTP/2", path, resp.StatusCode, resp.Proto, status)
		}
		location := resp.Header.Get("Location")
		if location != "" && string(fetch(t, http.MethodGet, location).body) != "image" {
			t.Errorf("%s redirects to %s, want the URL of the stored object", path, location)
		}
	}
}
