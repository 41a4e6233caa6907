package e2e

import (
	"fmt"
	"image/color"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// canvasScript draws an image onto a canvas and reads a point of it back.
func canvasScript(url, attribute string) string {
	return fmt.Sprintf(`new Promise(d => { const i = new Image(); %s i.onerror = () => d("broken"); i.src = %q; i.onload = () => {
		const x = document.createElement("canvas").getContext("2d"); x.drawImage(i, 0, 0);
		try { d(x.getImageData(5, 5, 1, 1).data.join()) } catch (e) { d(e.name) } } })`, attribute, url)
}

// crossOrigin is the attribute with which an element is held to CORS.
const crossOrigin = `i.crossOrigin = "anonymous";`

// step is something that a page does, and what is to come of it.
type step struct{ what, script, want string }

// steps has the page take steps, each after the one before.
func (p *tab) steps(where string, steps []step) {
	p.t.Helper()
	for _, s := range steps {
		if got := p.js(s.script); got != s.want {
			p.t.Errorf("%s, %s: %s, want %s", where, s.what, got, s.want)
		}
	}
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
		{"two origins", g.elsewhere(), "null"},
	} {
		b.open(g.origin + "/?" + url.QueryEscape(c.name))
		at := func(key string) string { return c.base + path(bucket, key) }
		b.steps(c.name, []step{
			{"an image", imageScript(at("a.png"), ""), "33"},
			{"then fetch", statusScript(at("a.png"), ""), "200"},
			{"the image again", imageScript(at("a.png"), ""), "33"},
			{"fetch first", statusScript(at("b.png"), ""), "200"},
			{"then an image", imageScript(at("b.png"), ""), "33"},
			{"an image with crossorigin", imageScript(at("a.png"), crossOrigin), "33"},
			{"a canvas", canvasScript(at("c.png"), crossOrigin), "200,100,50,255"},
			{"a canvas without crossorigin", canvasScript(at("d.png"), ""), "SecurityError"},
			{"a range", fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=0-3"}}).then(async r => [r.status, r.headers.get("Content-Range"), (await r.arrayBuffer()).byteLength].join(" "))`, at("e.png")), fmt.Sprintf("206 bytes 0-3/%d 4", len(body))},
			{"the last bytes", fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=-4"}}).then(async r => r.status + " " + (await r.arrayBuffer()).byteLength)`, at("e.png")), "206 4"},
			{"fetch, kept by the browser", statusScript(at("b.png"), ""), "200"},
			{"HEAD after GET", fmt.Sprintf(`fetch(%q, {method: "HEAD"}).then(r => r.status + " " + r.headers.get("Content-Length"))`, at("e.png")), fmt.Sprintf("200 %d", len(body))},
			{"HEAD after an element", statusScript(at("c.png"), `method: "HEAD"`), "200"},
			{"HEAD after an image", statusScript(at("d.png"), `method: "HEAD"`), "200"},
		})
		sent := g.store.visits(func(v visit) bool {
			return strings.Contains(v.query, "x-cors=1") && v.method == http.MethodGet && v.origin == c.sent
		})
		if len(sent) == 0 {
			t.Errorf("%s: no script's request came with Origin: %s", c.name, c.sent)
		}
		if n := len(g.store.visits(func(v visit) bool { return v.method == http.MethodOptions && v.origin == c.sent })); n != 1 {
			t.Errorf("%s: %d preflights", c.name, n)
		}
		if n := len(g.store.visits(func(v visit) bool {
			return strings.HasSuffix(v.path, "/b.png") && strings.Contains(v.query, "x-cors=1") && v.origin == c.sent
		})); n != 1 {
			t.Errorf("%s: two scripts' requests for the same object were %d requests to the store", c.name, n)
		}
	}
	// A range from the beginning needs no preflight, the last bytes do.
	for _, v := range g.store.visits(func(v visit) bool { return v.method == http.MethodOptions }) {
		if !strings.HasSuffix(v.path, "/e.png") {
			t.Errorf("a preflight for %s", v.path)
		}
	}
	if plain := g.store.visits(func(v visit) bool { return !strings.Contains(v.query, "x-cors=1") && v.origin != "" }); len(plain) != 0 {
		t.Errorf("requests of scripts with URLs that are for images: %v", plain)
	}
}

// The redirects of elements with crossorigin are kept as those of images are: the proxy is asked once. A script's are not; the
// object comes from the browser's cache all the same, as its URL is the same.
func TestKeptRedirectsInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	g := startGallery(t, s, "kept", longWindow+inStore("kept")+"    response_cache_control: private, max-age=3600\n")
	s.put(t, "kept", "a.png", coloured(t, 33, 21, color.White))
	g.page(t, "index.html", `<img crossorigin src="/s3/kept/a.png">`)
	b := openTab(t)
	want := func(when string, redirects, loads int) {
		t.Helper()
		if asked, given := g.store.gets(), g.awaitRedirects(t, redirects); asked != loads || given != redirects {
			t.Errorf("%s: the store was asked %d times, want %d; the proxy %d times, want %d", when, asked, loads, given, redirects)
		}
	}
	for _, when := range []string{"the first visit", "a second visit", "a third visit"} {
		b.open("about:blank")
		b.open(g.origin + "/")
		if got := b.widths(); len(got) != 1 || got[0] != 33 {
			t.Errorf("%s: %v", when, got)
		}
		want(when, 1, 1)
	}
	b.steps("one origin", []step{{"fetch", statusScript("/s3/kept/a.png", ""), "200"}, {"fetch again", statusScript("/s3/kept/a.png", ""), "200"}})
	want("two scripts", 3, 1)
	b.steps("one origin", []step{{"HEAD", statusScript("/s3/kept/a.png", `method: "HEAD"`), "200"}})
	want("HEAD", 4, 1)
}

// What docs/decisions/0005-scripts.md says of Vary: which values have Chromium tell the redirect of an image from that of a script, on the
// proxy's own origin and on another. The store is one that does not vary its answers by Origin, as S3 does not without CORS rules
// that match.
func TestVaryInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const bucket = "vary"
	s.createBucket(t, bucket)
	store := countedBefore(t, s.endpoint, "s3.localhost", func(h http.Header) { h.Del("Vary") })
	p := startProxy(t, longWindow+"cors: {allowed_origins: [\"*\"]}\n"+inStore(bucket)+"    response_cache_control: private, max-age=3600\n", append(s.env(), "STORE="+store.url)...)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!DOCTYPE html><title>A page</title>") }))
	t.Cleanup(pages.Close)
	shipped := fetch(t, http.MethodGet, p.url(path(bucket, "x"))).header.Get("Vary")
	b := openTab(t)
	for n, c := range []struct{ vary, own, other string }{
		{"", "refused", "refused"},
		{"Origin", "refused", "200"},
		{"Sec-Fetch-Mode", "200", "200"},
		{shipped, "200", "200"},
	} {
		// Both the pages and the objects are before the proxy, which answers with the Vary in question.
		proxy := countedBefore(t, "http://"+p.host, "app.localhost", func(h http.Header) {
			if h.Del("Vary"); c.vary != "" {
				h.Set("Vary", c.vary)
			}
		})
		for _, from := range []struct{ name, page, want string }{
			{"own", proxy.url + "/no-object", c.own}, {"other", strings.Replace(pages.URL, "127.0.0.1", "pages.localhost", 1), c.other},
		} {
			key := fmt.Sprintf("%d-%s.png", n, from.name)
			s.put(t, bucket, key, coloured(t, 33, 21, color.White))
			b.open(from.page)
			b.steps(fmt.Sprintf("Vary: %q, the page's origin is the proxy's %s", c.vary, from.name), []step{
				{"an image", imageScript(proxy.url+path(bucket, key), ""), "33"},
				{"then fetch", statusScript(proxy.url+path(bucket, key), ""), from.want},
			})
		}
	}
}

// Over plain http, browsers do not say whether a script asks: what an image has left in the cache spoils fetch() on the proxy's own
// origin, as docs/browsers.md says, unless the image has the attribute crossorigin too. On another origin, Origin tells.
func TestPlainHTTPInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const bucket = "plain-http"
	s.createBucket(t, bucket)
	for _, key := range []string{"a.png", "b.png", "c.png"} {
		s.put(t, bucket, key, coloured(t, 33, 21, color.White))
	}
	store := countedBefore(t, s.endpoint, "s3.insecure.example", func(h http.Header) { h.Del("Vary") })
	p := startProxy(t, longWindow+"cors: {allowed_origins: [\"*\"]}\n"+inStore(bucket)+"    insecure: true\n    response_cache_control: private, max-age=3600\n", append(s.env(), "STORE="+store.url)...)
	b := openTab(t)
	own, other := "http://"+strings.Replace(p.host, "127.0.0.1", "app.insecure.example", 1), "http://"+strings.Replace(p.host, "127.0.0.1", "media.insecure.example", 1)
	b.open(own + "/no-object")
	at := func(origin, key string) string { return origin + path(bucket, key) }
	b.steps("plain http", []step{
		{"an image", imageScript(at(own, "a.png"), ""), "33"},
		{"then fetch", statusScript(at(own, "a.png"), ""), "refused"},
		{"an image with crossorigin", imageScript(at(own, "b.png"), crossOrigin), "33"},
		{"then fetch", statusScript(at(own, "b.png"), ""), "200"},
		{"an image of another origin", imageScript(at(other, "c.png"), ""), "33"},
		{"then fetch", statusScript(at(other, "c.png"), ""), "200"},
	})
}

// What the bucket must allow, with the CORS rules of a real bucket: the page's origin where the proxy is on it, and * where it is not,
// since the store is told that the origin is null. With cookies, the second way never works: the proxy lets them in, and the store does not.
func TestBucketCORSInChromium(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	r := radosgw(t)
	const bucket = "bucket-cors"
	g := startGallery(t, &r.store, bucket, longWindow+inStore(bucket))
	r.put(t, bucket, "k", []byte("0123456789"))
	g.page(t, "index.html", "")
	b := openTab(t)
	b.open(g.origin + "/")
	// The other origin is that of a proxy which allows the pages their cookies.
	second := startProxy(t, longWindow+`cors: {allowed_origins: ["${PAGES}"]}`+inStore(bucket), append(r.env(), "STORE="+g.store.url, "PAGES="+g.origin)...)
	own, other := g.origin+path(bucket, "k"), "http://"+strings.Replace(second.host, "127.0.0.1", "media.localhost", 1)+path(bucket, "k")
	allow := func(origin string) {
		t.Helper()
		_, err := r.client(r.owner).PutBucketCors(t.Context(), &s3.PutBucketCorsInput{Bucket: new(bucket), CORSConfiguration: &types.CORSConfiguration{
			CORSRules: []types.CORSRule{{AllowedMethods: []string{"GET", "HEAD"}, AllowedOrigins: []string{origin}, AllowedHeaders: []string{"*"}}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	const fresh = `cache: "no-store"`
	if _, err := r.client(r.owner).DeleteBucketCors(t.Context(), &s3.DeleteBucketCorsInput{Bucket: new(bucket)}); err != nil { // with -count, tests come again
		t.Fatal(err)
	}
	b.steps("no rules", []step{{"own origin", statusScript(own, fresh), "refused"}, {"other origin", statusScript(other, fresh), "refused"}})
	allow(g.origin)
	b.steps("the page's origin", []step{{"own origin", statusScript(own, fresh), "200"}, {"other origin", statusScript(other, fresh), "refused"}})
	allow("*")
	b.steps("*", []step{
		{"own origin", statusScript(own, fresh), "200"},
		{"other origin", statusScript(other, fresh), "200"},
		{"other origin, a range", statusScript(other, fresh+`, headers: {Range: "bytes=-4"}`), "206"},
	})
	before := second.awaitRedirects(t, 4)
	b.steps("*", []step{{"other origin, with cookies", statusScript(other, fresh+`, credentials: "include"`), "refused"}})
	if got := second.awaitRedirects(t, before+1); got != before+1 {
		t.Errorf("with cookies, the proxy gave %d redirects, want 1", got-before)
	}
}
