// Package demo holds what `s3redirect demo` shows: samples to store in a stand-in of S3, and a page that loads them through
// the proxy.
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

// Stats is what the gallery's page shows, live. All but the last count from the start.
type Stats struct {
	Requests    uint64    `json:"requests"` // requests that the proxy answered
	URLHits     uint64    `json:"url_hits"`
	URLMisses   uint64    `json:"url_misses"`
	AssumeRoles uint64    `json:"assume_roles"` // calls of AssumeRole
	S3Requests  uint64    `json:"s3_requests"`  // objects fetched from the store
	WindowEnds  time.Time `json:"window_ends,omitzero"`
}

//go:embed gallery.html
var galleryHTML string

// Gallery is a page that shows the samples through the proxy, whose paths it expects at its own origin, and what that took. It
// serves / and /demo/stats; anything else is 404.
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
			_, _ = w.Write(page) // an error is the viewer's going away
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(stats())
		}
	})
}

// Each sample's tag. html/template would do it too, and make the binary a quarter larger: a template may call any method by
// its name, so that the linker must keep every method of every type.
var exhibitTags = map[string]string{
	"image": `<img data-source src="%[1]s" alt="%[2]s" title="%[3]s">`,
	"video": `<video data-source src="%[1]s" aria-label="%[2]s" title="%[3]s" controls loop muted playsinline preload="metadata"></video>`,
	"text":  `<pre data-source data-text="%[1]s" title="%[3]s">Loading…</pre>`,
}

func galleryPage(samples []Sample) []byte {
	var exhibits strings.Builder
	for _, s := range samples {
		kind, _, _ := strings.Cut(s.ContentType, "/")
		path, title := html.EscapeString(s.Locator.Path()), html.EscapeString(s.Title)
		fmt.Fprintf(&exhibits, "<figure class=\"%s\">\n  ", kind)
		fmt.Fprintf(&exhibits, exhibitTags[kind], path, html.EscapeString(s.Alt), title)
		fmt.Fprintf(&exhibits, "\n  <figcaption>%s<code><a href=\"%s\">%s</a></code></figcaption>\n</figure>\n", title, path, html.EscapeString(s.Locator.String()))
	}
	return []byte(strings.Replace(galleryHTML, "<!-- the exhibits -->", exhibits.String(), 1))
}
