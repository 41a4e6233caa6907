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

// TestImagesInChromium checks that a page's sixty images are painted, each in its colour. When the
// page is visited again or reloaded, or another page shows them, they come from the browser's
// cache: the store and the proxy are asked once for each image.
func TestImagesInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	const images = 60
	g := startGallery(t, s, "sixty-images",
		longWindow+inStore("sixty-images")+"    response_cache_control: private, max-age=3600\n")
	colourOf := func(n int) color.RGBA {
		return color.RGBA{uint8(n * 4), uint8(255 - n*4), uint8(n * 37), 255}
	}
	var html strings.Builder
	for n := range images {
		key := fmt.Sprintf("album ü/%d+%d.png", n, n)
		s.put(t, "sixty-images", key, coloured(t, 10+n, 8, colourOf(n)))
		fmt.Fprintf(&html, `<img src="%s" style="width:40px;height:40px">`,
			path("sixty-images", key))
	}
	g.page(t, "index.html", html.String())
	g.page(t, "other.html", "<h1>Another page</h1>"+html.String())

	b := openTab(t)
	b.open(g.origin + "/")
	wantImages := func(when string) {
		t.Helper()
		widths := b.widths()
		if len(widths) != images {
			t.Fatalf("%s: the page has %d images, want %d", when, len(widths), images)
		}
		for n, w := range widths {
			if w != 10+n {
				t.Errorf("%s: width of image %d = %d, want %d", when, n, w, 10+n)
			}
		}
		shot := b.screenshot()
		for n, where := range b.rectangles("img") {
			at := centre(where, where.Dx()).Min
			got := color.RGBAModel.Convert(shot.At(at.X, at.Y)).(color.RGBA)
			if want := colourOf(n); got != want {
				t.Errorf("%s: colour of image %d = %v, want %v", when, n, got, want)
			}
		}
	}
	wantCounts := func(when string) {
		t.Helper()
		gets, redirects := g.store.gets(), g.awaitRedirects(t, images)
		if gets != images || redirects != images {
			t.Errorf("%s: got %d downloads and %d redirects, want %d each",
				when, gets, redirects, images)
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

// TestImagesFromWindowToWindow visits a page again and again while windows of twelve seconds pass.
// The browser requests each redirect once per max-age, and loads each object once per window: it
// loads the next window's URL and never the old one again.
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
		// The copy stays fresh for longer than the test takes, so the browser loads an object again
		// only because its URL has changed.
		fmt.Fprintf(&html, `<img src="%s?response-cache-control=max-age%%3D3600">`,
			asked.url+path("windows", key))
	}
	g.page(t, "index.html", html.String())

	// loaded counts the requests to the store for an object, by URL.
	loaded := func(key string) map[string]int {
		urls := map[string]int{}
		for _, v := range g.store.visits(func(v visit) bool { return v.path == "/windows/"+key }) {
			urls[v.query]++
		}
		return urls
	}
	// kept counts the requests to the proxy for each redirect with a max-age of half a window or
	// more. Browsers compute a redirect's age in whole seconds, from the response's Date and the
	// request's duration, so they may request one again in the last seconds of its window.
	kept := func(key string) map[string]int {
		redirects := map[string]int{}
		target := path("windows", key)
		for _, v := range asked.visits(func(v visit) bool { return v.path == target }) {
			cacheControl := v.header.Get("Cache-Control")
			age, err := strconv.Atoi(strings.TrimPrefix(cacheControl, "private, max-age="))
			if err == nil && time.Duration(age)*time.Second >= window/2 {
				redirects[v.header.Get("Location")]++
			}
		}
		return redirects
	}
	b, visits := openTab(t), 0
	awaitThat(t, "two windows have passed", func() bool {
		b.open("about:blank")
		b.open(g.origin + "/")
		visits++
		if got, want := b.widths(), []int{10, 11, 12}; !slices.Equal(got, want) {
			t.Fatalf("visit %d: image widths = %v, want %v", visits, got, want)
		}
		return !slices.ContainsFunc(keys, func(key string) bool {
			return len(loaded(key)) < 3 || len(kept(key)) < 2
		})
	})
	for _, key := range keys {
		checkWindows(t, key, slices.Collect(maps.Keys(loaded(key))), window)
		for query, times := range loaded(key) {
			if times != 1 {
				t.Errorf("%s: %d visits loaded one URL %d times, want once: %s",
					key, visits, times, query)
			}
		}
		for location, times := range kept(key) {
			if times != 1 {
				t.Errorf("%s: %d visits requested one redirect %d times, want once: %s",
					key, visits, times, location)
			}
		}
	}
}

// checkWindows checks that an object's URLs, given by their queries, belong to different windows:
// a URL is signed with the start of its window.
func checkWindows(t *testing.T, key string, queries []string, window time.Duration) {
	t.Helper()
	var starts []time.Time
	for _, query := range queries {
		values, _ := url.ParseQuery(query)
		at, err := time.Parse("20060102T150405Z", values.Get("X-Amz-Date"))
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, at)
	}
	slices.SortFunc(starts, time.Time.Compare)
	for n := range starts[1:] {
		if got := starts[n+1].Sub(starts[n]); got < window || got%window != 0 {
			t.Errorf("%s: two URLs are signed %v apart, want a multiple of %v", key, got, window)
		}
	}
}

// redPage is a PDF of one red page.
const redPage = `%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R>> endobj
4 0 obj <</Length 28>> stream
1 0 0 rg 0 0 300 300 re f   
endstream endobj
trailer <</Root 1 0 R>>
`

// TestPDFInChromium checks that a PDF is shown in a frame.
func TestPDFInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	g := startGallery(t, s, "documents", longWindow+inStore("documents"))
	s.put(t, "documents", "red.pdf", []byte(redPage))
	g.page(t, "index.html",
		`<iframe id="f" src="/s3/documents/red.pdf?response-content-type=application%2Fpdf" `+
			`style="width:600px;height:500px;border:0"></iframe>`)
	b := openTab(t)
	b.open(g.origin + "/")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		shot, red := b.screenshot(), 0
		for x := 0; x < 600; x += 10 {
			for y := 0; y < 500; y += 10 {
				c := color.RGBAModel.Convert(shot.At(x, y)).(color.RGBA)
				if c.R > 240 && c.G < 20 && c.B < 20 {
					red++
				}
			}
		}
		if red > 100 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 3,000 points are red, want more than 100", red)
		}
	}
	served := g.store.visits(func(v visit) bool {
		return v.path == "/documents/red.pdf" && v.status < 300
	})
	if len(served) == 0 {
		t.Error("the PDF did not come from the store")
	}
}

// TestPoliciesInChromium checks what docs/browsers.md says about the policies of pages: which of
// them allow the images, and which block them.
func TestPoliciesInChromium(t *testing.T) {
	t.Parallel()
	s := minio(t)
	g := startGallery(t, s, "policies", longWindow+inStore("policies"))
	// Each page has its own image, because Chromium does not check an image again that another page
	// has loaded.
	for _, page := range []string{
		"a", "self", "named", "require-corp", "credentialless", "require-corp-cors",
	} {
		s.put(t, "policies", page+".png", coloured(t, 33, 21, color.White))
	}
	csp := func(page, sources string) string {
		return `<meta http-equiv="Content-Security-Policy" content="img-src ` + sources + `">` +
			`<img src="/s3/policies/` + page + `.png">`
	}
	g.page(t, "self.html", csp("self", "'self'"))
	g.page(t, "named.html", csp("named", "'self' "+g.store.url))
	g.page(t, "require-corp.html", `<img src="/s3/policies/require-corp.png">`)
	g.page(t, "credentialless.html", `<img src="/s3/policies/credentialless.png">`)
	g.page(t, "require-corp-cors.html",
		`<img crossorigin src="/s3/policies/require-corp-cors.png">`)
	b := openTab(t)
	for page, want := range map[string]int{
		"self.html":              0,
		"named.html":             33,
		"require-corp.html":      0,
		"credentialless.html":    33,
		"require-corp-cors.html": 33,
	} {
		b.open(g.origin + "/" + page)
		if got := b.widths(); len(got) != 1 || got[0] != want {
			t.Errorf("%s: image widths = %v, want [%d]", page, got, want)
		}
	}
	// For embedded objects, the page reports what its policy blocked, and the store counts what it
	// was asked for.
	for directive, tag := range map[string]string{"media-src": "video", "frame-src": "iframe"} {
		key := directive + ".bin"
		s.put(t, "policies", key, []byte(key))
		embed := func(sources string) {
			g.page(t, directive+".html",
				`<meta http-equiv="Content-Security-Policy" content="`+directive+` `+sources+`">
				<script>var blocked = new Promise(d => document.addEventListener(
					"securitypolicyviolation", e => d(e.effectiveDirective)))</script>
				<`+tag+` src="/s3/policies/`+key+`"></`+tag+`>`)
			b.open("about:blank")
			b.open(g.origin + "/" + directive + ".html")
		}
		loaded := func() bool {
			asked := g.store.visits(func(v visit) bool { return v.path == "/policies/"+key })
			return len(asked) > 0
		}
		embed("'self'")
		if got := b.js("blocked"); got != directive || loaded() {
			t.Errorf("%s 'self': blocked by %s, loaded = %v; want blocked by %[1]s and not loaded",
				directive, got, loaded())
		}
		embed("'self' " + g.store.url)
		awaitThat(t, directive+" allows the store", loaded)
	}
	for sources, want := range map[string]string{
		"'self'":                "refused",
		"'self' " + g.store.url: "200",
	} {
		g.page(t, "connect.html",
			`<meta http-equiv="Content-Security-Policy" content="connect-src `+sources+`">`)
		b.open("about:blank")
		b.open(g.origin + "/connect.html")
		b.steps("connect-src "+sources,
			[]step{{"fetch", statusScript("/s3/policies/a.png", ""), want}})
	}
}
