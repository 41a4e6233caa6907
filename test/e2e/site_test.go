package e2e

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// visit is a request to a server and its response.
type visit struct {
	method, path, query, origin, rng string
	credentials                      string    // the request's Authorization and Cookie
	at                               time.Time // time of arrival
	status                           int
	header                           http.Header // of the response
}

// counted is a reverse proxy between browsers and a server that records the requests.
type counted struct {
	url string // for browsers
	mu  sync.Mutex
	all []visit
}

// counted starts a reverse proxy before the store. Its URL has the host s3.localhost, which
// browsers resolve without DNS.
func (s *store) counted(t *testing.T) *counted {
	t.Helper()
	return countedBefore(t, s.endpoint, "s3.localhost", nil)
}

// countedBefore starts a reverse proxy before the server at endpoint. Its URL has name as the host.
// change, which may be nil, edits the header of each response.
func countedBefore(t *testing.T, endpoint, name string, change func(http.Header)) *counted {
	t.Helper()
	c, handler := counting(t, endpoint, change)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c.url = strings.Replace(server.URL, "127.0.0.1", name, 1)
	return c
}

// counting is countedBefore without a listener.
func counting(t *testing.T, endpoint string, change func(http.Header)) (*counted, http.Handler) {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	c := &counted{}
	type arrival struct{}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // without the Host header, which is signed
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
		},
		// Browsers abort requests for videos when they have buffered enough.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {},
		ModifyResponse: func(resp *http.Response) error {
			if change != nil {
				change(resp.Header)
			}
			r := resp.Request
			came, _ := r.Context().Value(arrival{}).(time.Time)
			c.note(r, came, resp.StatusCode, resp.Header.Clone())
			return nil
		},
	}
	return c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), arrival{}, time.Now())
		forward.ServeHTTP(w, r.WithContext(ctx))
	})
}

// note records a request and its response.
func (c *counted) note(r *http.Request, came time.Time, status int, header http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, visit{
		method:      r.Method,
		path:        r.URL.Path,
		query:       r.URL.RawQuery,
		origin:      r.Header.Get("Origin"),
		rng:         r.Header.Get("Range"),
		credentials: r.Header.Get("Authorization") + r.Header.Get("Cookie"),
		at:          came,
		status:      status,
		header:      header,
	})
}

// visits returns the requests so far for which like returns true.
func (c *counted) visits(like func(visit) bool) (found []visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.all {
		if like(v) {
			found = append(found, v)
		}
	}
	return found
}

// gets returns the number of GET requests so far.
func (c *counted) gets() int {
	return len(c.visits(func(v visit) bool { return v.method == http.MethodGet }))
}

// redirects returns the number of redirects that the proxy has counted so far.
func (p *proxy) redirects(t *testing.T) (n int) {
	t.Helper()
	for series, value := range p.scrape(t) {
		if strings.HasPrefix(series, `s3redirect_requests_total{code="302"`) {
			n += int(value)
		}
	}
	return n
}

// awaitRedirects returns redirects once it is at least want, or after 10 seconds. The proxy counts
// a redirect after it has sent it.
func (p *proxy) awaitRedirects(t *testing.T, want int) (n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if n = p.redirects(t); n >= want || time.Now().After(deadline) {
			return n
		}
	}
}

// longWindow has windows so long that URLs do not change while a test runs.
const longWindow = `
url_lifetime: 160h
min_remaining: 1h
`

// coloured returns a PNG of one colour.
func coloured(t *testing.T, width, height int, c color.Color) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		img.Set(i%width, i/width, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// gallerySite is a site behind the shipped nginx, with its pages and the proxy on the same origin.
// Browsers are redirected to store.
type gallerySite struct {
	*proxy
	store  *counted
	origin string
	pages  string
}

// startGallery starts a site without pages for a bucket, which it creates. config and more
// configure the proxy; ${STORE} is the URL of the store.
func startGallery(t *testing.T, s *store, bucket, config string, more ...string) *gallerySite {
	t.Helper()
	s.createBucket(t, bucket)
	g := &gallerySite{store: s.counted(t), pages: t.TempDir()}
	g.proxy = startProxy(t, config, append(append(s.env(), more...), "STORE="+g.store.url)...)
	f := behindShippedNginx(t, g.proxy, "root "+g.pages+`; index index.html;
		location ~ ^/require-corp { add_header Cross-Origin-Embedder-Policy require-corp; }
		location = /credentialless.html {
			add_header Cross-Origin-Embedder-Policy credentialless;
		}`)
	g.origin = "http://app.localhost" + f.host[strings.LastIndexByte(f.host, ':'):]
	return g
}

// elsewhere returns the URL of the proxy without nginx, which is another origin than the pages'.
func (g *gallerySite) elsewhere() string {
	return "http://" + strings.Replace(g.host, "127.0.0.1", "media.localhost", 1)
}

// page writes one of the site's pages.
func (g *gallerySite) page(t *testing.T, name, html string) {
	t.Helper()
	html = "<!DOCTYPE html><meta charset=utf-8><title>" + name + "</title>" + html
	if err := os.WriteFile(filepath.Join(g.pages, name), []byte(html), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inStore returns the configuration of an integration with keys and the store's URL for browsers.
func inStore(bucket string) string {
	return `
integrations:
  - name: keys
    bucket: ` + bucket + strings.ReplaceAll(withKeys, "${ENDPOINT}", "${STORE}")
}
