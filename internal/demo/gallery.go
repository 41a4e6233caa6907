// Package demo holds the sample objects of `s3redirect demo` and a web page, the gallery, that
// shows them through the proxy.
package demo

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
	"time"
)

// Stats holds the numbers that the gallery shows. The counts start with the program.
type Stats struct {
	Requests    uint64    `json:"requests"`             // requests answered by the proxy
	URLHits     uint64    `json:"url_hits"`             // hits of the URL cache
	URLMisses   uint64    `json:"url_misses"`           // misses of the URL cache
	AssumeRoles uint64    `json:"assume_roles"`         // AssumeRole calls
	S3Requests  uint64    `json:"s3_requests"`          // objects served by S3
	WindowEnds  time.Time `json:"window_ends,omitzero"` // end of the current window
}

//go:embed gallery.html
var galleryHTML string

// Gallery returns a handler that serves a page with the samples at / and the stats at /demo/stats.
// The page loads the samples from the proxy's paths on its own origin.
func Gallery(samples []Sample, stats func() Stats) http.Handler {
	page := galleryPage(samples)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" && r.URL.Path != "/demo/stats" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(page) // fails only if the client is gone
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(stats())
		}
	})
}

// exhibitTags holds the HTML of a sample by the type of its Content-Type. It is not a
// html/template, which would make the binary a quarter larger: templates call methods by name, so
// the linker would keep every method of every type.
var exhibitTags = map[string]string{
	"image": `<img data-source src="%[1]s" alt="%[2]s" title="%[3]s">`,
	"video": `<video data-source src="%[1]s" aria-label="%[2]s" title="%[3]s" ` +
		`controls loop muted playsinline preload="metadata"></video>`,
	"application": `<video data-film="%[1]s" aria-label="%[2]s" title="%[3]s" ` +
		`controls loop muted playsinline></video>`,
	"text": `<pre data-source data-text="%[1]s" title="%[3]s">Loading…</pre>`,
}

// galleryPage returns the HTML of the page.
func galleryPage(samples []Sample) []byte {
	var exhibits strings.Builder
	for _, s := range samples {
		kind, _, _ := strings.Cut(s.ContentType, "/")
		path, title := html.EscapeString(s.Locator.Path()), html.EscapeString(s.Title)
		fmt.Fprintf(&exhibits, "<figure class=\"%s\">\n  ", kind)
		fmt.Fprintf(&exhibits, exhibitTags[kind], path, html.EscapeString(s.Alt), title)
		fmt.Fprintf(&exhibits,
			"\n  <figcaption>%s<code><a href=\"%s\">%s</a></code></figcaption>\n</figure>\n",
			title, path, html.EscapeString(s.Locator.String()))
	}
	return []byte(strings.Replace(galleryHTML, "<!-- the exhibits -->", exhibits.String(), 1))
}
