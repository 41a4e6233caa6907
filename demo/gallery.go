package demo

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
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

// exhibit is a sample as the page shows it.
type exhibit struct {
	Kind, Path, Name, Title, Alt string
}

func galleryPage(samples []Sample) []byte {
	exhibits := make([]exhibit, len(samples))
	for i, s := range samples {
		kind, _, _ := strings.Cut(s.ContentType, "/")
		exhibits[i] = exhibit{kind, s.Locator.Path(), s.Locator.String(), s.Title, s.Alt}
	}
	var page bytes.Buffer
	if err := template.Must(template.New("gallery").Parse(galleryHTML)).Execute(&page, exhibits); err != nil {
		panic(err) // the template is part of the program
	}
	return page.Bytes()
}
