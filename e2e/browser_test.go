package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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

	"github.com/chromedp/chromedp"
)

// visit is a request that a store got, and the status of its answer.
type visit struct {
	method, path, query, origin, rng string
	status                           int
}

// counted stands between browsers and a store, changes nothing, and remembers what was asked.
type counted struct {
	url string // as browsers call it
	mu  sync.Mutex
	all []visit
}

// counted is the store by another name, s3.localhost, which browsers find by themselves.
func (s *store) counted(t *testing.T) *counted {
	t.Helper()
	target, err := url.Parse(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	c := &counted{}
	// The Host header is signed: it stays as it is.
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}, // of browsers that have seen enough of a video
		ModifyResponse: func(resp *http.Response) error {
			r := resp.Request
			c.mu.Lock()
			defer c.mu.Unlock()
			c.all = append(c.all, visit{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Origin"), r.Header.Get("Range"), resp.StatusCode})
			return nil
		}}
	server := httptest.NewServer(forward)
	t.Cleanup(server.Close)
	c.url = strings.Replace(server.URL, "127.0.0.1", "s3.localhost", 1)
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

// longWindow has URLs that do not change while a test runs.
const longWindow = `
url_lifetime: 160h
min_remaining: 1h
`

// tab is one of a browser's.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func openTab(t *testing.T) *tab {
	t.Helper()
	need(t, "chromium")
	return &tab{t: t, ctx: browser(t)}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// js evaluates a script's promise of a text.
func (p *tab) js(script string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%v: %s", err, script)
	}
	return v
}

// screenshot is what the tab shows.
func (p *tab) screenshot() image.Image {
	p.t.Helper()
	shot, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatal(err)
	}
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(p.t.Name(), "/", "-")+".png"), shot, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	return img
}

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
		location = /require-corp.html { add_header Cross-Origin-Embedder-Policy require-corp; }
		location = /credentialless.html { add_header Cross-Origin-Embedder-Policy credentialless; }`)
	g.origin = "http://app.localhost" + f.host[strings.LastIndexByte(f.host, ':'):]
	return g
}

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

// settled waits for a page's images and says how wide each of them is.
const settled = `Promise.all([...document.images].map(i => i.complete ? i : new Promise(d => i.onload = i.onerror = () => d(i)))).then(all => JSON.stringify(all.map(i => i.naturalWidth)))`

// Sixty images on a page are painted, each in its colour. Visited again, reloaded, or seen on another page, they come from the
// browser's own cache: the store is asked once for each, and so is the proxy.
func TestImagesInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const images = 60
	g := startGallery(t, s, "sixty-images", longWindow+inStore("sixty-images")+"    response_cache_control: private, max-age=3600\n")
	colourOf := func(n int) color.RGBA { return color.RGBA{uint8(n * 4), uint8(255 - n*4), uint8(n * 37), 255} }
	var html strings.Builder
	for n := range images {
		key := fmt.Sprintf("album ü/%d+%d.png", n, n)
		s.put(t, "sixty-images", key, coloured(t, 10+n, 8, colourOf(n)))
		fmt.Fprintf(&html, `<img src="%s" style="width:40px;height:40px">`, path("sixty-images", key))
	}
	g.page(t, "index.html", html.String())
	g.page(t, "other.html", "<h1>Another page</h1>"+html.String())

	b := openTab(t)
	b.open(g.origin + "/")
	var widths []int
	if err := json.Unmarshal([]byte(b.js(settled)), &widths); err != nil || len(widths) != images {
		t.Fatalf("%v %v", widths, err)
	}
	for n, w := range widths {
		if w != 10+n {
			t.Errorf("image %d is %d wide, want %d", n, w, 10+n)
		}
	}
	var centres [][2]int
	if err := json.Unmarshal([]byte(b.js(`Promise.resolve(JSON.stringify([...document.images].map(i => { const r = i.getBoundingClientRect(); return [Math.round(r.x + r.width/2), Math.round(r.y + r.height/2)] })))`)), &centres); err != nil {
		t.Fatal(err)
	}
	shot := b.screenshot()
	for n, at := range centres {
		if got, want := color.RGBAModel.Convert(shot.At(at[0], at[1])).(color.RGBA), colourOf(n); got != want {
			t.Errorf("image %d is painted %v, want %v", n, got, want)
		}
	}
	wantCounts := func(when string) {
		t.Helper()
		if asked, given := g.store.gets(), g.redirects(t); asked != images || given != images {
			t.Errorf("%s: the store was asked %d times, the proxy %d times, want %d each", when, asked, given, images)
		}
	}
	wantCounts("the first visit")
	for _, again := range []struct {
		when string
		how  func()
	}{
		{"a second visit", func() { b.open("about:blank"); b.open(g.origin + "/") }},
		{"a reload", func() { b.do(chromedp.Reload()) }},
		{"another page", func() { b.open(g.origin + "/other.html") }},
	} {
		again.how()
		if got := b.js(settled); strings.Contains(got, "[0") || strings.Contains(got, ",0") {
			t.Errorf("%s: %s", again.when, got)
		}
		wantCounts(again.when)
	}
}

// readScript reads an object with fetch(), in whichever mode, and says what became of it.
func readScript(url string) string {
	return fmt.Sprintf(`fetch(%q).then(async r => r.status + " " + (await r.text()).length, () => "refused")`, url)
}

// imageScript loads an image and says how wide it is.
func imageScript(url, attribute string) string {
	return fmt.Sprintf(`new Promise(d => { const i = new Image(); %s i.onload = () => d("" + i.naturalWidth); i.onerror = () => d("broken"); i.src = %q })`, attribute, url)
}

// An image first, and then fetch() of the same locator, and the other way round: both work, with page and proxy on one origin
// and on two. A canvas can be read back. The page's origin reaches the store from one origin, and null from two.
func TestScriptsInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const bucket = "scripts"
	g := startGallery(t, s, bucket, longWindow+"cors: {allowed_origins: [\"*\"]}\n"+inStore(bucket)+"    response_cache_control: private, max-age=3600\n")
	body := coloured(t, 33, 21, color.RGBA{200, 100, 50, 255})
	for _, key := range []string{"a.png", "b.png", "c.png", "d.png", "e.png"} {
		s.put(t, bucket, key, body)
	}
	g.page(t, "index.html", "")
	b := openTab(t)
	for _, c := range []struct{ name, base, sent string }{
		{"one origin", g.origin, g.origin},
		{"two origins", strings.Replace("http://"+g.host, "127.0.0.1", "media.localhost", 1), "null"},
	} {
		b.open(g.origin + "/?" + url.QueryEscape(c.name))
		at := func(key string) string { return c.base + path(bucket, key) }
		for _, step := range []struct{ what, script, want string }{
			{"an image", imageScript(at("a.png"), ""), "33"},
			{"then fetch", b.lengthOnly(readScript(at("a.png"))), "200"},
			{"the image again", imageScript(at("a.png"), ""), "33"},
			{"fetch first", b.lengthOnly(readScript(at("b.png"))), "200"},
			{"then an image", imageScript(at("b.png"), ""), "33"},
			{"an image with crossorigin", imageScript(at("a.png"), `i.crossOrigin = "anonymous";`), "33"},
			{"a canvas", fmt.Sprintf(`new Promise(d => { const i = new Image(); i.crossOrigin = "anonymous"; i.onerror = () => d("broken"); i.src = %q;
				i.onload = () => { const c = document.createElement("canvas"); const x = c.getContext("2d"); x.drawImage(i, 0, 0); try { d(x.getImageData(5, 5, 1, 1).data.join()) } catch (e) { d(e.name) } } })`, at("c.png")), "200,100,50,255"},
			{"a canvas without crossorigin", fmt.Sprintf(`new Promise(d => { const i = new Image(); i.src = %q;
				i.onload = () => { const c = document.createElement("canvas"); const x = c.getContext("2d"); x.drawImage(i, 0, 0); try { d(x.getImageData(5, 5, 1, 1).data.join()) } catch (e) { d(e.name) } } })`, at("d.png")), "SecurityError"},
			{"a range", fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=0-3"}}).then(async r => [r.status, r.headers.get("Content-Range"), (await r.arrayBuffer()).byteLength].join(" "))`, at("e.png")), fmt.Sprintf("206 bytes 0-3/%d 4", len(body))},
			{"the last bytes", fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=-4"}}).then(async r => r.status + " " + (await r.arrayBuffer()).byteLength)`, at("e.png")), "206 4"},
			{"fetch, kept by the browser", b.lengthOnly(readScript(at("b.png"))), "200"},
			{"HEAD after GET", fmt.Sprintf(`fetch(%q, {method: "HEAD"}).then(r => r.status + " " + r.headers.get("Content-Length"))`, at("e.png")), fmt.Sprintf("200 %d", len(body))},
		} {
			if got := b.js(step.script); got != step.want {
				t.Errorf("%s, %s: %s, want %s", c.name, step.what, got, step.want)
			}
		}
		sent := g.store.visits(func(v visit) bool {
			return strings.Contains(v.query, "x-cors=1") && v.method == http.MethodGet && v.origin == c.sent
		})
		if len(sent) == 0 {
			t.Errorf("%s: no script's request came with Origin: %s", c.name, c.sent)
		}
		if n := len(g.store.visits(func(v visit) bool {
			return strings.HasSuffix(v.path, "/b.png") && strings.Contains(v.query, "x-cors=1") && v.origin == c.sent
		})); n != 1 {
			t.Errorf("%s: two scripts' requests for the same object were %d requests to the store", c.name, n)
		}
	}
	if plain := g.store.visits(func(v visit) bool { return !strings.Contains(v.query, "x-cors=1") && v.origin != "" }); len(plain) != 0 {
		t.Errorf("requests of scripts with URLs that are for images: %v", plain)
	}
}

// lengthOnly keeps the status of what a script says.
func (p *tab) lengthOnly(script string) string { return script + `.then(s => s.split(" ")[0])` }

// redPage is a PDF of one page, all of it red.
const redPage = `%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R>> endobj
4 0 obj <</Length 28>> stream
1 0 0 rg 0 0 300 300 re f   
endstream endobj
trailer <</Root 1 0 R>>
`

// A PDF shows in a frame.
func TestPDFInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	g := startGallery(t, s, "documents", longWindow+inStore("documents"))
	s.put(t, "documents", "red.pdf", []byte(redPage))
	g.page(t, "index.html", `<iframe id="f" src="/s3/documents/red.pdf?response-content-type=application%2Fpdf" style="width:600px;height:500px;border:0"></iframe>`)
	b := openTab(t)
	b.open(g.origin + "/")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		shot, red := b.screenshot(), 0
		for x := 0; x < 600; x += 10 {
			for y := 0; y < 500; y += 10 {
				if c := color.RGBAModel.Convert(shot.At(x, y)).(color.RGBA); c.R > 240 && c.G < 20 && c.B < 20 {
					red++
				}
			}
		}
		if red > 100 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 3,000 points are red", red)
		}
	}
	if served := g.store.visits(func(v visit) bool { return v.path == "/documents/red.pdf" && v.status < 300 }); len(served) == 0 {
		t.Error("the store was not asked")
	}
}

// What docs/browsers.md says of policies that pages have: which let the images through, and which do not.
func TestPoliciesInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	g := startGallery(t, s, "policies", longWindow+inStore("policies"))
	s.put(t, "policies", "a.png", coloured(t, 33, 21, color.White))
	csp := func(sources string) string {
		return `<meta http-equiv="Content-Security-Policy" content="img-src ` + sources + `"><img src="/s3/policies/a.png">`
	}
	g.page(t, "self.html", csp("'self'"))
	g.page(t, "named.html", csp("'self' "+g.store.url))
	g.page(t, "require-corp.html", `<img src="/s3/policies/a.png">`)
	g.page(t, "credentialless.html", `<img src="/s3/policies/a.png">`)
	b := openTab(t)
	for page, want := range map[string]string{"self.html": "[0]", "named.html": "[33]", "require-corp.html": "[0]", "credentialless.html": "[33]"} {
		b.open(g.origin + "/" + page)
		if got := b.js(settled); got != want {
			t.Errorf("%s: %s, want %s", page, got, want)
		}
	}
}
