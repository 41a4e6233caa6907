package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// engines are the browsers that tests compare. The back-forward cache is off in those that have
// such a setting.
var engines = []struct {
	name string
	open func(t *testing.T) webPage
}{
	{"Chromium", func(t *testing.T) webPage {
		return openTab(t, chromedp.Flag("disable-back-forward-cache", true))
	}},
	{"Firefox", func(t *testing.T) webPage { return openFirefox(t) }},
	{"WebKitGTK", func(t *testing.T) webPage { return openWebKit(t) }},
}

// inEachEngine runs a test in each of the engines, one after the other.
func inEachEngine(t *testing.T, test func(t *testing.T, name string, page webPage)) {
	t.Helper()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			page := engine.open(t)
			defer page.close()
			test(t, engine.name, page)
		})
	}
}

// elements maps each kind of request that a page makes to the HTML that makes it, and to the
// Sec-Fetch-Dest and Sec-Fetch-Mode that browsers send with it. URL stands for the address.
var elements = map[string]struct{ html, metadata string }{
	"img":               {`<img src="URL">`, "image no-cors"},
	"img crossorigin":   {`<img crossorigin src="URL">`, "image cors"},
	"video":             {`<video src="URL"></video>`, "video no-cors"},
	"video crossorigin": {`<video crossorigin src="URL"></video>`, "video cors"},
	"audio":             {`<audio src="URL"></audio>`, "audio no-cors"},
	"track":             {`<video src="/film">CAPTIONS</video>`, "track same-origin"},
	"track crossorigin": {`<video crossorigin src="/film">CAPTIONS</video>`, "track cors"},
	"iframe":            {`<iframe src="URL"></iframe>`, "iframe navigate"},
	"embed":             {`<embed src="URL" type="text/html">`, "embed navigate"},
	"object":            {`<object data="URL" type="text/html"></object>`, "object navigate"},
	"worker":            {`<script>new Worker("URL")</script>`, "worker same-origin"},
	"fetch":             {`<script>fetch("URL").catch(() => {})</script>`, "empty cors"},
	"script":            {`<script src="URL"></script>`, "script no-cors"},
	"stylesheet":        {`<link rel="stylesheet" href="URL">`, "style no-cors"},
	"navigation":        {``, "document navigate"},
}

// inWebKit has what WebKitGTK sends instead. The mode of its track without crossorigin is contrary
// to the standard:
// https://html.spec.whatwg.org/multipage/media.html#sourcing-out-of-band-text-tracks
var inWebKit = map[string]string{
	"embed":  "iframe navigate",
	"object": "iframe navigate",
	"track":  "track no-cors",
}

// TestFetchMetadata records the fetch metadata that real browsers send. By it, the proxy decides
// which redirects may be cached, and which ones the browser would not follow.
func TestFetchMetadata(t *testing.T) {
	t.Parallel()
	var html strings.Builder
	html.WriteString("<!DOCTYPE html><title>page</title>")
	for name, e := range elements {
		part := strings.ReplaceAll(e.html, "CAPTIONS",
			`<track default kind="captions" srclang="en" src="URL">`)
		html.WriteString(strings.ReplaceAll(part, "URL", "/element?"+url.QueryEscape(name)))
	}
	// WebKit loads captions only if the page or the user enables them.
	html.WriteString(`<script>for (const video of document.querySelectorAll("video"))
		for (const track of video.textTracks) track.mode = "showing"</script>`)
	inEachEngine(t, func(t *testing.T, engine string, page webPage) {
		var mu sync.Mutex
		got := map[string]string{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			if r.URL.Path == "/page" {
				fmt.Fprint(w, html.String())
				return
			}
			if r.URL.Path != "/element" {
				return
			}
			name, _ := url.QueryUnescape(r.URL.RawQuery)
			mu.Lock()
			defer mu.Unlock()
			got[name] = r.Header.Get("Sec-Fetch-Dest") + " " + r.Header.Get("Sec-Fetch-Mode")
		}))
		t.Cleanup(server.Close)
		site := strings.Replace(server.URL, "127.0.0.1", "app.localhost", 1)
		page.open(site + "/page")
		awaitThat(t, "the elements' requests", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(got) == len(elements)-1
		})
		page.open(site + "/element?navigation")
		mu.Lock()
		defer mu.Unlock()
		for name, e := range elements {
			want := e.metadata
			if other := inWebKit[name]; engine == "WebKitGTK" && other != "" {
				want = other
			}
			if got[name] != want {
				t.Errorf("%s: Sec-Fetch-Dest and -Mode = %q, want %q", name, got[name], want)
			}
		}
	})
}
