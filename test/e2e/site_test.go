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

// visit is a request that a server got, and its answer.
type visit struct {
	method, path, query, origin, rng string
	at                               time.Time // when it came
	status                           int
	header                           http.Header // the answer's
}

// counted stands between browsers and a server, changes nothing unless it is told to, and remembers what was asked.
type counted struct {
	url string // as browsers call it
	mu  sync.Mutex
	all []visit
}

// counted is the store by another name, s3.localhost, which browsers find by themselves.
func (s *store) counted(t *testing.T) *counted {
	t.Helper()
	return countedBefore(t, s.endpoint, "s3.localhost", nil)
}

// countedBefore counts what comes to a server. change may be nil; it is given the header of each answer.
func countedBefore(t *testing.T, endpoint, name string, change func(http.Header)) *counted {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	c := &counted{}
	type arrival struct{}
	// The Host header is signed: it stays as it is.
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}, // of browsers that have seen enough of a video
		ModifyResponse: func(resp *http.Response) error {
			if change != nil {
				change(resp.Header)
			}
			r := resp.Request
			came, _ := r.Context().Value(arrival{}).(time.Time)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.all = append(c.all, visit{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Origin"), r.Header.Get("Range"), came, resp.StatusCode, resp.Header.Clone()})
			return nil
		}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), arrival{}, time.Now())))
	}))
	t.Cleanup(server.Close)
	c.url = strings.Replace(server.URL, "127.0.0.1", name, 1)
	return c
}

// visits are those so far that are like one.
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

func (c *counted) gets() int {
	return len(c.visits(func(v visit) bool { return v.method == http.MethodGet }))
}

// redirects is how many redirects the proxy has given so far.
func (p *proxy) redirects(t *testing.T) (n int) {
	t.Helper()
	for series, value := range p.scrape(t) {
		if strings.HasPrefix(series, `s3redirect_requests_total{code="302"`) {
			n += int(value)
		}
	}
	return n
}

// awaitRedirects is redirects, once there are as many as wanted: the proxy counts a redirect after it has sent it.
func (p *proxy) awaitRedirects(t *testing.T, want int) (n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if n = p.redirects(t); n >= want || time.Now().After(deadline) {
			return n
		}
	}
}

// longWindow has URLs that do not change while a test runs.
const longWindow = `
url_lifetime: 160h
min_remaining: 1h
`

// coloured is a PNG of one colour.
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

// gallerySite is a site behind the shipped nginx, its pages and its proxy on one origin, and the store that browsers are sent to.
type gallerySite struct {
	*proxy
	store  *counted
	origin string
	pages  string
}

func startGallery(t *testing.T, s *store, bucket, config string, more ...string) *gallerySite {
	t.Helper()
	s.createBucket(t, bucket)
	g := &gallerySite{store: s.counted(t), pages: t.TempDir()}
	g.proxy = startProxy(t, config, append(append(s.env(), more...), "STORE="+g.store.url)...)
	f := behindShippedNginx(t, g.proxy, "root "+g.pages+`; index index.html;
		location ~ ^/require-corp { add_header Cross-Origin-Embedder-Policy require-corp; }
		location = /credentialless.html { add_header Cross-Origin-Embedder-Policy credentialless; }`)
	g.origin = "http://app.localhost" + f.host[strings.LastIndexByte(f.host, ':'):]
	return g
}

// elsewhere is the proxy by itself, at another origin than the pages.
func (g *gallerySite) elsewhere() string {
	return "http://" + strings.Replace(g.host, "127.0.0.1", "media.localhost", 1)
}

// page writes one of the site's pages.
func (g *gallerySite) page(t *testing.T, name, html string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.pages, name), []byte("<!DOCTYPE html><meta charset=utf-8><title>"+name+"</title>"+html), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inStore is an integration with keys whose store is found under the name that browsers use.
func inStore(bucket string) string {
	return `
integrations:
  - name: keys
    bucket: ` + bucket + strings.ReplaceAll(withKeys, "${ENDPOINT}", "${STORE}")
}
