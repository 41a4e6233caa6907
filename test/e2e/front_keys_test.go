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

// startOddKeys is a proxy before radosgw, which keeps every key exactly.
func startOddKeys(t *testing.T, bucket string) (*gateway, *proxy) {
	t.Helper()
	g := radosgw(t)
	return g, startProxy(t, `
integrations:
  - name: role
    bucket: `+bucket+asTrusted, g.env()...)
}

// Each reverse proxy, configured as shipped, passes on every odd key byte for byte.
func TestOddKeysBehindNginx(t *testing.T) {
	t.Parallel()
	g, p := startOddKeys(t, "odd-nginx")
	// A location by extension, as many sites have, takes nothing away.
	f := behindShippedNginx(t, p, `proxy_cache cache; location ~* \.(jpg|png|txt)$ { return 418; } location / { return 404; }`)
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

// checkBatch asks for many URLs at once, of the objects that checkKeys has stored: they are those of the redirects.
func checkBatch(t *testing.T, p *proxy, bucket string) {
	t.Helper()
	for key, a := range presignAll(t, p, bucket, oddKeys) {
		if a.URL == "" || a.URL != p.location(t, http.MethodGet, path(bucket, key)) {
			t.Errorf("POST /presign, %.80q: %s%s", key, a.URL, a.Error)
		}
	}
}

// presigned is an answer of POST /presign for one locator.
type presigned struct{ URL, Error string }

// presignAll asks POST /presign, with header lines.
func presignAll(t *testing.T, p *proxy, bucket string, keys []string, header ...string) map[string]presigned {
	t.Helper()
	var question struct {
		Locators []string `json:"locators"`
	}
	for _, key := range keys {
		question.Locators = append(question.Locators, locator.Locator{Bucket: bucket, Key: key}.String())
	}
	body, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/presign"), bytes.NewReader(body))
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
		t.Fatalf("POST /presign: %d, %d URLs for %d locators: %v %.300s", a.status, len(answer.URLs), len(keys), err, a.body)
	}
	all := map[string]presigned{}
	for n, key := range keys {
		all[key] = answer.URLs[n]
	}
	return all
}

// What deploy/README.md says of a proxy_pass with a URI part: keys come out as others, or not at all.
func TestURIPartChangesKeys(t *testing.T) {
	t.Parallel()
	_, p := startOddKeys(t, "odd-uri-part")
	host := freeAddress(t)
	f := nginxWith(t, host, fmt.Sprintf("server { listen %s; location /s3/ { proxy_pass http://%s/s3/; proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_busy_buffers_size 16k; } }", host, p.host))
	changed := 0
	for _, key := range oddKeys {
		direct, through := p.raw(t, http.MethodGet, path("odd-uri-part", key)), f.asProxy().raw(t, http.MethodGet, path("odd-uri-part", key))
		if direct.header.Get("Location") != through.header.Get("Location") {
			changed++
		}
	}
	for encoded, want := range map[string]string{"a%2Fb": "a/b", "a//b": "a/b"} {
		direct := p.raw(t, http.MethodGet, "/s3/odd-uri-part/"+want).header.Get("Location")
		if got := f.asProxy().raw(t, http.MethodGet, "/s3/odd-uri-part/"+encoded).header.Get("Location"); got != direct {
			t.Errorf("%s is no longer taken for %s: %s", encoded, want, got)
		}
	}
	if changed < 5 {
		t.Errorf("of %d keys %d came out as others", len(oddKeys), changed)
	}
	t.Logf("of %d keys %d come out as others", len(oddKeys), changed)
}

// A Location of 8 kB passes what is shipped, and not nginx's own buffers.
func TestLongLocations(t *testing.T) {
	t.Parallel()
	need(t, "haproxy", "caddy")
	_, p := startOddKeys(t, "long-location")
	// S3 has each ! as %21, so that the Location is longer than the request, of which nginx reads 8 kB.
	target := "/s3/long-location/" + strings.Repeat("k", 450) + strings.Repeat("!", 450) + "?response-content-language=" + strings.Repeat("%C3%BC", 500) + "&response-expires=" + strings.Repeat("%C3%BC", 500)
	for name, f := range map[string]*front{"nginx": behindShippedNginx(t, p, ""), "haproxy": behindShippedHAProxy(t, p), "caddy": behindShippedCaddy(t, "Caddyfile", p)} {
		a := fetch(t, http.MethodGet, "http://"+f.host+target)
		if err := a.checkRedirect(); err != nil || len(a.header.Get("Location")) < 8000 {
			t.Errorf("%s: %v, a Location of %d bytes", name, err, len(a.header.Get("Location")))
		}
	}
	host := freeAddress(t)
	plain := nginxWith(t, host, fmt.Sprintf("server { listen %s; location /s3/ { proxy_pass http://%s; } }", host, p.host))
	if a := fetch(t, http.MethodGet, "http://"+plain.host+target); a.status != http.StatusBadGateway {
		t.Errorf("with nginx's own buffers: %d", a.status)
	}
}

// HEAD stays HEAD behind the shipped location, though the site has a cache. Where nginx's cache is before the proxy, it asks GET.
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
	if got := head(behindShippedNginx(t, p, "proxy_cache cache; proxy_cache_valid 302 1h;")); got != http.StatusOK {
		t.Errorf("as shipped: %d", got)
	}
	host := freeAddress(t)
	const block = "server { listen %s; location /s3/ { proxy_pass http://%s; proxy_cache cache; %s } }"
	if got := head(nginxWith(t, host, fmt.Sprintf(block, host, p.host, ""))); got != http.StatusForbidden {
		t.Errorf("with a cache that converts HEAD: %d; it is no longer as proxy.conf says", got)
	}
	host = freeAddress(t)
	if got := head(nginxWith(t, host, fmt.Sprintf(block, host, p.host, "proxy_cache_convert_head off; proxy_cache_key $request_method$request_uri;"))); got != http.StatusOK {
		t.Errorf("with a cache that does not: %d", got)
	}
}

// The whole site as shipped: pages and objects on one origin, with TLS and HTTP/2.
func TestShippedSite(t *testing.T) {
	t.Parallel()
	g, p := startOddKeys(t, "site-as-shipped")
	g.createBucket(t, "site-as-shipped")
	g.put(t, "site-as-shipped", "a.png", []byte("image"))
	pages := t.TempDir()
	if err := os.WriteFile(filepath.Join(pages, "index.html"), []byte("<title>The site</title>"), 0o600); err != nil {
		t.Fatal(err)
	}
	authority := newAuthority(t)
	host := freeAddress(t)
	dir := shipped(t, "nginx", "127.0.0.1:8080", p.host, "listen 443 ssl http2", "listen "+host+" ssl http2",
		"/etc/ssl/app.example.com.crt", authority.certificate, "/etc/ssl/app.example.com.key", authority.key, "/var/www/app", pages)
	nginxWith(t, host, "include "+dir+"/site.conf;")
	for path, status := range map[string]int{"/": http.StatusOK, "/s3/site-as-shipped/a.png": http.StatusFound} {
		resp, err := authority.client.Get("https://" + host + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status || resp.ProtoMajor != 2 {
			t.Errorf("%s: %d, %s", path, resp.StatusCode, resp.Proto)
		}
		if location := resp.Header.Get("Location"); location != "" && string(fetch(t, http.MethodGet, location).body) != "image" {
			t.Errorf("%s leads to %s", path, location)
		}
	}
}
