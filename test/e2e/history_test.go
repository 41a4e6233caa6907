package e2e

import (
	"fmt"
	"image/color"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// silence is a WAV file of one second: 8,000 samples of 8 bits.
const silence = "RIFF\x64\x1f\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00" +
	"\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x40\x1f\x00\x00"

// remembered maps objects to the elements that show them, and to the types with which they are
// requested. %s stands for the URL.
var remembered = map[string]struct{ html, contentType string }{
	"img":    {`<img src="%s">`, "image/png"},
	"video":  {`<video preload="auto" src="%s"></video>`, "audio/wav"},
	"audio":  {`<audio preload="auto" src="%s"></audio>`, "audio/wav"},
	"iframe": {`<iframe src="%s"></iframe>`, "text/plain"},
	"embed":  {`<embed type="text/plain" src="%s">`, "text/plain"},
	"object": {`<object type="text/plain" data="%s"></object>`, "text/plain"},
	"track": {
		`<video crossorigin src="/film"><track default kind="metadata" src="%s"></video>`, "text/vtt",
	},
	"document": {"", "text/plain"},
}

// startMemories starts a site whose index.html shows the remembered objects. It returns the URL of
// the document among them.
func startMemories(t *testing.T, bucket string) (g *gallerySite, document string) {
	t.Helper()
	g = startGallery(t, minio(t), bucket, "url_lifetime: 12s\nmin_remaining: 4s\n"+inStore(bucket))
	bodies := map[string][]byte{
		"image/png":  coloured(t, 33, 21, color.White),
		"audio/wav":  []byte(silence + strings.Repeat("\x80", 8000)),
		"text/plain": []byte("text"),
		"text/vtt":   []byte("WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n"),
	}
	var html strings.Builder
	for key, r := range remembered {
		minio(t).put(t, bucket, key, bodies[r.contentType])
		// The browser's cache may not keep the objects, so that the browser has to load them again.
		url := path(bucket, key) + "?response-cache-control=no-store&response-content-type=" +
			strings.ReplaceAll(r.contentType, "/", "%2F")
		if key == "document" {
			document = g.origin + url
			continue
		}
		fmt.Fprintf(&html, r.html, url)
	}
	g.page(t, "index.html", html.String())
	g.page(t, "other.html", "another page")
	return g, document
}

// TestHistory goes back to a page, and to an object itself, after the URLs of the objects have
// expired. It compares docs/browsers.md with what loads again and with what does not.
func TestHistory(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	expired := map[string][]string{
		"Chromium": {"document", "iframe", "embed", "object"},
		"Firefox":  {"document", "iframe"},
	}
	inEachEngine(t, func(t *testing.T, engine string, page webPage) {
		if expired[engine] == nil {
			return // WebKitGTK's back-forward cache cannot be switched off
		}
		g, document := startMemories(t, "history-"+strings.ToLower(engine))
		// statuses returns the store's last response for each object since an instant.
		statuses := func(since time.Time) map[string]int {
			last := map[string]int{}
			for _, v := range g.store.visits(func(v visit) bool { return v.at.After(since) }) {
				if key := v.path[strings.LastIndexByte(v.path, '/')+1:]; remembered[key].contentType != "" {
					last[key] = v.status
				}
			}
			return last
		}
		page.open(g.origin + "/")
		awaitThat(t, "the page's objects are loaded", func() bool {
			return len(statuses(time.Time{})) == len(remembered)-1
		})
		page.open(document)
		page.open(g.origin + "/other.html")
		loaded := g.store.visits(func(v visit) bool { return v.status < http.StatusBadRequest })
		for _, v := range loaded {
			awaitThat(t, "the URL of "+v.path+" has expired", func() bool {
				return g.store.status(t, v.path, v.query) == http.StatusForbidden
			})
		}
		back := time.Now()
		page.back()
		awaitThat(t, "the document is requested again", func() bool { return len(statuses(back)) > 0 })
		page.back()
		awaitThat(t, "the page's objects are requested again", func() bool {
			return len(statuses(back)) == len(remembered)
		})
		for key, status := range statuses(back) {
			if key == "img" {
				continue // expired only if its redirect was cached, which depends on the window's end
			}
			want := slices.Contains(expired[engine], key)
			if got := status == http.StatusForbidden; got != want {
				t.Errorf("going back to %s: status %d of the store, want expired = %v", key, status, want)
			}
		}
	})
}
