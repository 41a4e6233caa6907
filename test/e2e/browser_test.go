package e2e

import (
	"fmt"
	"image/color"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

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
	wantImages := func(when string) {
		t.Helper()
		widths := b.widths()
		if len(widths) != images {
			t.Fatalf("%s: %d images", when, len(widths))
		}
		for n, w := range widths {
			if w != 10+n {
				t.Errorf("%s: image %d is %d wide, want %d", when, n, w, 10+n)
			}
		}
		shot := b.screenshot()
		for n, where := range b.rectangles("img") {
			at := centre(where, where.Dx()).Min
			if got, want := color.RGBAModel.Convert(shot.At(at.X, at.Y)).(color.RGBA), colourOf(n); got != want {
				t.Errorf("%s: image %d is painted %v, want %v", when, n, got, want)
			}
		}
	}
	wantCounts := func(when string) {
		t.Helper()
		if asked, given := g.store.gets(), g.awaitRedirects(t, images); asked != images || given != images {
			t.Errorf("%s: the store was asked %d times, the proxy %d times, want %d each", when, asked, given, images)
		}
	}
	wantImages("the first visit")
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
		wantImages(again.when)
		wantCounts(again.when)
	}
}

// In visits without end, each redirect is asked for once in its max-age, and each object once in its window: the URL that the next
// window has is loaded, and the old one never again. These windows are twelve seconds long, and really turn.
func TestImagesFromWindowToWindow(t *testing.T) {
	t.Parallel()
	const window = 12 * time.Second
	s := minio(t)
	g := startGallery(t, s, "windows", "url_lifetime: 18s\nmin_remaining: 6s\n"+inStore("windows"))
	asked := countedBefore(t, "http://"+g.host, "media.localhost", nil)
	var html strings.Builder
	keys := []string{"a.png", "b.png", "c.png"}
	for n, key := range keys {
		s.put(t, "windows", key, coloured(t, 10+n, 8, color.White))
		// The copy may be kept for longer than the test takes: what is loaded again is loaded since its URL is another.
		fmt.Fprintf(&html, `<img src="%s?response-cache-control=max-age%%3D3600">`, asked.url+path("windows", key))
	}
	g.page(t, "index.html", html.String())

	// What the store was asked for: each object's URLs, and how often.
	loaded := func(key string) map[string]int {
		urls := map[string]int{}
		for _, v := range g.store.visits(func(v visit) bool { return v.path == "/windows/"+key }) {
			urls[v.query]++
		}
		return urls
	}
	// How often the proxy was asked for each redirect that may be kept for half a window or more. Browsers count in whole seconds, from the
	// answer's Date, and what the request took: when a redirect is old, its URL may go on for some seconds.
	kept := func(key string) map[string]int {
		redirects := map[string]int{}
		for _, v := range asked.visits(func(v visit) bool { return v.path == path("windows", key) }) {
			age, err := strconv.Atoi(strings.TrimPrefix(v.header.Get("Cache-Control"), "private, max-age="))
			if err == nil && time.Duration(age)*time.Second >= window/2 {
				redirects[v.header.Get("Location")]++
			}
		}
		return redirects
	}
	b, visits := openTab(t), 0
	awaitThat(t, "the window turns twice", func() bool {
		b.open("about:blank")
		b.open(g.origin + "/")
		visits++
		if widths := b.widths(); len(widths) != 3 || widths[0] != 10 || widths[1] != 11 || widths[2] != 12 {
			t.Fatalf("visit %d: %v", visits, widths)
		}
		return !slices.ContainsFunc(keys, func(key string) bool { return len(loaded(key)) < 3 || len(kept(key)) < 2 })
	})
	for _, key := range keys {
		checkWindows(t, key, slices.Collect(maps.Keys(loaded(key))), window)
		for query, times := range loaded(key) {
			if times != 1 {
				t.Errorf("%s was loaded %d times from one URL, of %d visits: %s", key, times, visits, query)
			}
		}
		for location, times := range kept(key) {
			if times != 1 {
				t.Errorf("%s: a redirect was asked for %d times, of %d visits: %s", key, times, visits, location)
			}
		}
	}
}

// checkWindows wants an object's URLs, by their queries, to be of different windows: a URL's instant is its window's beginning.
func checkWindows(t *testing.T, key string, queries []string, window time.Duration) {
	t.Helper()
	var begin []time.Time
	for _, query := range queries {
		values, _ := url.ParseQuery(query)
		at, err := time.Parse("20060102T150405Z", values.Get("X-Amz-Date"))
		if err != nil {
			t.Fatal(err)
		}
		begin = append(begin, at)
	}
	slices.SortFunc(begin, time.Time.Compare)
	for n := range begin[1:] {
		if apart := begin[n+1].Sub(begin[n]); apart < window || apart%window != 0 {
			t.Errorf("%s: URLs that begin %v apart: they have changed within a window", key, apart)
		}
	}
}

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
	// Each page has an image of its own: what another one has loaded already is not judged again.
	for _, page := range []string{"a", "self", "named", "require-corp", "credentialless", "require-corp-cors"} {
		s.put(t, "policies", page+".png", coloured(t, 33, 21, color.White))
	}
	csp := func(page, sources string) string {
		return `<meta http-equiv="Content-Security-Policy" content="img-src ` + sources + `"><img src="/s3/policies/` + page + `.png">`
	}
	g.page(t, "self.html", csp("self", "'self'"))
	g.page(t, "named.html", csp("named", "'self' "+g.store.url))
	g.page(t, "require-corp.html", `<img src="/s3/policies/require-corp.png">`)
	g.page(t, "credentialless.html", `<img src="/s3/policies/credentialless.png">`)
	g.page(t, "require-corp-cors.html", `<img crossorigin src="/s3/policies/require-corp-cors.png">`)
	b := openTab(t)
	for page, want := range map[string]int{"self.html": 0, "named.html": 33, "require-corp.html": 0, "credentialless.html": 33, "require-corp-cors.html": 33} {
		b.open(g.origin + "/" + page)
		if got := b.widths(); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, want %d", page, got, want)
		}
	}
	// What is embedded is told by the page's own report of what its policy blocked, or by the store, which is asked for it.
	for directive, tag := range map[string]string{"media-src": "video", "frame-src": "iframe"} {
		key := directive + ".bin"
		s.put(t, "policies", key, []byte(key))
		embed := func(sources string) {
			g.page(t, directive+".html", `<meta http-equiv="Content-Security-Policy" content="`+directive+` `+sources+`"><script>
				var blocked = new Promise(d => document.addEventListener("securitypolicyviolation", e => d(e.effectiveDirective)))</script>
				<`+tag+` src="/s3/policies/`+key+`"></`+tag+`>`)
			b.open("about:blank")
			b.open(g.origin + "/" + directive + ".html")
		}
		loaded := func() bool {
			return len(g.store.visits(func(v visit) bool { return v.path == "/policies/"+key })) > 0
		}
		embed("'self'")
		if got := b.js("blocked"); got != directive || loaded() {
			t.Errorf("%s 'self': %s is what blocked", directive, got)
		}
		embed("'self' " + g.store.url)
		awaitThat(t, directive+" lets the store through", loaded)
	}
	for sources, want := range map[string]string{"'self'": "refused", "'self' " + g.store.url: "200"} {
		g.page(t, "connect.html", `<meta http-equiv="Content-Security-Policy" content="connect-src `+sources+`">`)
		b.open("about:blank")
		b.open(g.origin + "/connect.html")
		b.steps("connect-src "+sources, []step{{"fetch", statusScript("/s3/policies/a.png", ""), want}})
	}
}
