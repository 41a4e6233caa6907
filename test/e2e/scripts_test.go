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

// canvasScript returns a script that draws an image onto a canvas and reads one pixel.
func canvasScript(url, attribute string) string {
	return fmt.Sprintf(`new Promise(d => {
		const i = new Image(); %s i.onerror = () => d("broken"); i.src = %q; i.onload = () => {
		const x = document.createElement("canvas").getContext("2d"); x.drawImage(i, 0, 0);
		try { d(x.getImageData(5, 5, 1, 1).data.join()) } catch (e) { d(e.name) } } })`,
		attribute, url)
}

// rangeScript returns a script that fetches a range of bytes and returns result, an expression of
// the response r.
func rangeScript(url, bytes, result string) string {
	return fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=%s"}}).then(async r => %s)`,
		url, bytes, result)
}

// crossOrigin sets the attribute that makes the browser load an element with CORS.
const crossOrigin = `i.crossOrigin = "anonymous";`

// allowAllOrigins is the setting that lets scripts of any origin use the proxy.
const allowAllOrigins = "cors: {allowed_origins: [\"*\"]}\n"

// privateCache is the setting of an integration whose objects browsers cache for an hour.
const privateCache = "    response_cache_control: private, max-age=3600\n"

// isCORS reports whether a request has a URL that the proxy issued for a CORS request.
func isCORS(v visit) bool { return strings.Contains(v.query, "x-cors=1") }

// step is a script that a page runs and its expected result.
type step struct{ name, script, want string }

// steps runs the scripts of steps one after the other.
func (p *tab) steps(where string, steps []step) {
	p.t.Helper()
	for _, s := range steps {
		if got := p.js(s.script); got != s.want {
			p.t.Errorf("%s, %s: %s, want %s", where, s.name, got, s.want)
		}
	}
}

// Images and fetch() work for the same locator in either order, with page and proxy on the same
// origin and on different origins. A page can read an image from a canvas. The store gets the
// page's origin if the origins are the same, and null if they differ.
func TestScriptsInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const bucket = "scripts"
	g := startGallery(t, s, bucket, longWindow+allowAllOrigins+inStore(bucket)+privateCache)
	body := coloured(t, 33, 21, color.RGBA{200, 100, 50, 255})
	for _, key := range []string{"a.png", "b.png", "c.png", "d.png", "e.png"} {
		s.put(t, bucket, key, body)
	}
	g.page(t, "index.html", "")
	b := openTab(t)
	for _, c := range []struct{ name, base, sent string }{
		{"same origin", g.origin, g.origin},
		{"different origins", g.elsewhere(), "null"},
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
			{
				"a range",
				rangeScript(at("e.png"), "0-3", `[r.status, r.headers.get("Content-Range"),
					(await r.arrayBuffer()).byteLength].join(" ")`),
				fmt.Sprintf("206 bytes 0-3/%d 4", len(body)),
			},
			{
				"the last bytes",
				rangeScript(at("e.png"), "-4",
					`r.status + " " + (await r.arrayBuffer()).byteLength`),
				"206 4",
			},
			{"fetch of a cached object", statusScript(at("b.png"), ""), "200"},
			{
				"HEAD after GET",
				fmt.Sprintf(`fetch(%q, {method: "HEAD"}).then(
					r => r.status + " " + r.headers.get("Content-Length"))`, at("e.png")),
				fmt.Sprintf("200 %d", len(body)),
			},
			{"HEAD after an element", statusScript(at("c.png"), `method: "HEAD"`), "200"},
			{"HEAD after an image", statusScript(at("d.png"), `method: "HEAD"`), "200"},
		})
		sent := g.store.visits(func(v visit) bool {
			return isCORS(v) && v.method == http.MethodGet && v.origin == c.sent
		})
		if len(sent) == 0 {
			t.Errorf("%s: no request of a script has Origin: %s", c.name, c.sent)
		}
		preflights := g.store.visits(func(v visit) bool {
			return v.method == http.MethodOptions && v.origin == c.sent
		})
		if len(preflights) != 1 {
			t.Errorf("%s: %d preflights, want 1", c.name, len(preflights))
		}
		loads := g.store.visits(func(v visit) bool {
			return isCORS(v) && strings.HasSuffix(v.path, "/b.png") && v.origin == c.sent
		})
		if len(loads) != 1 {
			t.Errorf("%s: two fetches of the same object made %d requests to the store, want 1",
				c.name, len(loads))
		}
	}
	// A range that starts at the first byte needs no preflight. A suffix range does.
	for _, v := range g.store.visits(func(v visit) bool { return v.method == http.MethodOptions }) {
		if !strings.HasSuffix(v.path, "/e.png") {
			t.Errorf("a preflight for %s, want preflights for /e.png only", v.path)
		}
	}
	plain := g.store.visits(func(v visit) bool { return !isCORS(v) && v.origin != "" })
	if len(plain) != 0 {
		t.Errorf("requests of scripts with the URLs of images = %v, want none", plain)
	}
}

// Chromium caches the redirects of elements with the attribute crossorigin, so it requests one
// redirect only. It does not cache the redirects of scripts, but takes the object from its cache,
// as the URL does not change.
func TestCachedRedirectsInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	g := startGallery(t, s, "kept", longWindow+inStore("kept")+privateCache)
	s.put(t, "kept", "a.png", coloured(t, 33, 21, color.White))
	g.page(t, "index.html", `<img crossorigin src="/s3/kept/a.png">`)
	b := openTab(t)
	want := func(when string, redirects, loads int) {
		t.Helper()
		gets, given := g.store.gets(), g.awaitRedirects(t, redirects)
		if gets != loads || given != redirects {
			t.Errorf("%s: %d loads from the store and %d redirects, want %d and %d",
				when, gets, given, loads, redirects)
		}
	}
	for _, when := range []string{"the first visit", "a second visit", "a third visit"} {
		b.open("about:blank")
		b.open(g.origin + "/")
		if got := b.widths(); len(got) != 1 || got[0] != 33 {
			t.Errorf("%s: widths of images = %v, want [33]", when, got)
		}
		want(when, 1, 1)
	}
	b.steps("same origin", []step{
		{"fetch", statusScript("/s3/kept/a.png", ""), "200"},
		{"fetch again", statusScript("/s3/kept/a.png", ""), "200"},
	})
	want("two scripts", 3, 1)
	b.steps("same origin", []step{
		{"HEAD", statusScript("/s3/kept/a.png", `method: "HEAD"`), "200"},
	})
	want("HEAD", 4, 1)
}

// The test repeats the experiment of docs/decisions/0005-scripts.md: which values of Vary make
// Chromium distinguish the redirect of an image from that of a script, on the proxy's own origin
// and on another one. The store sends no Vary: Origin, like S3 without matching CORS rules.
func TestVaryInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const bucket = "vary"
	s.createBucket(t, bucket)
	store := countedBefore(t, s.endpoint, "s3.localhost", func(h http.Header) { h.Del("Vary") })
	p := startProxy(t, longWindow+allowAllOrigins+inStore(bucket)+privateCache,
		append(s.env(), "STORE="+store.url)...)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<!DOCTYPE html><title>A page</title>")
	}))
	t.Cleanup(pages.Close)
	shipped := fetch(t, http.MethodGet, p.url(path(bucket, "x"))).header.Get("Vary")
	b := openTab(t)
	for n, c := range []struct{ vary, own, other string }{
		{"", "refused", "refused"},
		{"Origin", "refused", "200"},
		{"Sec-Fetch-Mode", "200", "200"},
		{shipped, "200", "200"},
	} {
		// This server sits before the proxy and replaces Vary with the value under test.
		proxy := countedBefore(t, "http://"+p.host, "app.localhost", func(h http.Header) {
			if h.Del("Vary"); c.vary != "" {
				h.Set("Vary", c.vary)
			}
		})
		otherOrigin := strings.Replace(pages.URL, "127.0.0.1", "pages.localhost", 1)
		for _, from := range []struct{ name, page, want string }{
			{"own", proxy.url + "/no-object", c.own},
			{"other", otherOrigin, c.other},
		} {
			key := fmt.Sprintf("%d-%s.png", n, from.name)
			s.put(t, bucket, key, coloured(t, 33, 21, color.White))
			b.open(from.page)
			where := fmt.Sprintf("Vary: %q, page on the proxy's %s origin", c.vary, from.name)
			b.steps(where, []step{
				{"an image", imageScript(proxy.url+path(bucket, key), ""), "33"},
				{"then fetch", statusScript(proxy.url+path(bucket, key), ""), from.want},
			})
		}
	}
}

// Over plain HTTP, browsers do not send Sec-Fetch-Mode. The cached redirect of an image then
// breaks fetch() on the proxy's own origin, unless the image has the attribute crossorigin;
// docs/browsers.md says so. On another origin, the Origin header distinguishes the two.
func TestPlainHTTPInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const bucket = "plain-http"
	s.createBucket(t, bucket)
	for _, key := range []string{"a.png", "b.png", "c.png"} {
		s.put(t, bucket, key, coloured(t, 33, 21, color.White))
	}
	store := countedBefore(t, s.endpoint, "s3.insecure.example",
		func(h http.Header) { h.Del("Vary") })
	p := startProxy(t,
		longWindow+allowAllOrigins+inStore(bucket)+"    insecure: true\n"+privateCache,
		append(s.env(), "STORE="+store.url)...)
	b := openTab(t)
	own := "http://" + strings.Replace(p.host, "127.0.0.1", "app.insecure.example", 1)
	other := "http://" + strings.Replace(p.host, "127.0.0.1", "media.insecure.example", 1)
	b.open(own + "/no-object")
	at := func(origin, key string) string { return origin + path(bucket, key) }
	b.steps("plain HTTP", []step{
		{"an image", imageScript(at(own, "a.png"), ""), "33"},
		{"then fetch", statusScript(at(own, "a.png"), ""), "refused"},
		{"an image with crossorigin", imageScript(at(own, "b.png"), crossOrigin), "33"},
		{"then fetch", statusScript(at(own, "b.png"), ""), "200"},
		{"an image on another origin", imageScript(at(other, "c.png"), ""), "33"},
		{"then fetch", statusScript(at(other, "c.png"), ""), "200"},
	})
}

// The CORS rules of a real bucket must allow the page's origin if the proxy shares it. Otherwise
// they must allow *, since the store gets Origin: null. Requests with cookies never work from
// another origin: the proxy allows credentials, but the store does not.
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
	// The second proxy is on another origin and allows credentials for the pages' origin.
	second := startProxy(t, longWindow+`cors: {allowed_origins: ["${PAGES}"]}`+inStore(bucket),
		append(r.env(), "STORE="+g.store.url, "PAGES="+g.origin)...)
	own := g.origin + path(bucket, "k")
	other := "http://" + strings.Replace(second.host, "127.0.0.1", "media.localhost", 1) +
		path(bucket, "k")
	allow := func(origin string) {
		t.Helper()
		_, err := r.client(r.owner).PutBucketCors(t.Context(), &s3.PutBucketCorsInput{
			Bucket: new(bucket),
			CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{
				AllowedMethods: []string{"GET", "HEAD"},
				AllowedOrigins: []string{origin},
				AllowedHeaders: []string{"*"},
			}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const fresh = `cache: "no-store"`
	// With -count, an earlier run may have left rules.
	_, err := r.client(r.owner).DeleteBucketCors(t.Context(),
		&s3.DeleteBucketCorsInput{Bucket: new(bucket)})
	if err != nil {
		t.Fatal(err)
	}
	b.steps("no rules", []step{
		{"own origin", statusScript(own, fresh), "refused"},
		{"other origin", statusScript(other, fresh), "refused"},
	})
	allow(g.origin)
	b.steps("the page's origin allowed", []step{
		{"own origin", statusScript(own, fresh), "200"},
		{"other origin", statusScript(other, fresh), "refused"},
	})
	allow("*")
	b.steps("* allowed", []step{
		{"own origin", statusScript(own, fresh), "200"},
		{"other origin", statusScript(other, fresh), "200"},
		{
			"other origin, a range",
			statusScript(other, fresh+`, headers: {Range: "bytes=-4"}`), "206",
		},
	})
	before := second.awaitRedirects(t, 4)
	b.steps("* allowed", []step{{
		"other origin, with cookies",
		statusScript(other, fresh+`, credentials: "include"`), "refused",
	}})
	if got := second.awaitRedirects(t, before+1); got != before+1 {
		t.Errorf("with cookies, the proxy sent %d redirects, want 1", got-before)
	}
}
