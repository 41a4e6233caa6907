package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// withContentTypes sets the content types of every integration.
func withContentTypes(c *config.Config, _ *Options) {
	for n := range c.Integrations {
		c.Integrations[n].ContentTypes = map[string]string{
			".svg": "image/svg+xml", ".wasm": "application/wasm", ".html": "text/plain",
		}
	}
}

// The store answers GET and HEAD with the configured type, unless the request names another one.
func TestContentTypes(t *testing.T) {
	w := newWorld(t, withContentTypes)
	for _, key := range []string{"a.svg", "B.SVG", "a.wasm", "a.html", "a.css"} {
		w.put("bucket", key, "text")
	}
	for _, c := range []struct{ target, want string }{
		{"a.svg", "image/svg+xml"},
		{"B.SVG", "image/svg+xml"},
		{"a%2Esvg", "image/svg+xml"},
		{"a.wasm", "application/wasm"},
		{"a.css", "text/plain"},
		{"a.svg?download=x", "image/svg+xml"},
		{"a.svg?unknown=1", "image/svg+xml"},
		{"a.svg?response-content-type=image/png", "image/png"},
		{"a.css?response-content-type=image/png", "image/png"},
		{"a.html?response-content-type=", "text/plain"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			u := w.redirect(method, "/s3/bucket/"+c.target)
			resp, body := w.fetch(method, u)
			if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != c.want {
				t.Errorf("%s %s: got %d with %q, want 200 with %q %s", method, c.target,
					resp.StatusCode, got, c.want, body)
			}
		}
	}
	// An empty value does not remove the operator's type.
	u := w.redirect(http.MethodGet, "/s3/bucket/a.html?response-content-type=")
	if got := u.Query().Get("response-content-type"); got != "text/plain" {
		t.Errorf("with an empty override the URL has the type %q, want text/plain", got)
	}
}

func TestContentTypesInBatches(t *testing.T) {
	w := newWorld(t, withContentTypes)
	items := readURLs(t, w.post("/presign", strings.NewReader(
		`{"locators": ["s3://bucket/a.Svg", "s3://bucket/a.png"]}`)))
	for n, want := range []string{"image/svg+xml", ""} {
		u, err := url.Parse(items[n].URL)
		if err != nil || items[n].Error != "" {
			t.Fatalf("item %d: got %q, %v, want a URL", n, items[n].Error, err)
		}
		if got := u.Query().Get("response-content-type"); got != want {
			t.Errorf("item %d: response-content-type = %q, want %q", n, got, want)
		}
	}
}

// The operator's type is no reason to allow inline: the object is shown only with a safe type that
// the same request names. An operator's type that holds scripts does not prevent other overrides.
func TestSafeOverridesWithContentTypes(t *testing.T) {
	w := newWorld(t, withContentTypes)
	for query, status := range map[string]int{
		"response-content-disposition=inline":                                       400,
		"response-content-disposition=inline&response-content-type=":                400,
		"response-content-disposition=inline&response-content-type=image/svg%2Bxml": 400,
		"response-content-type=image/svg%2Bxml":                                     400,
		"response-content-disposition=inline&response-content-type=image/png":       302,
		"response-content-disposition=attachment":                                   302,
		"response-content-type=":                                                    302,
		"response-cache-control=no-store":                                           302,
		"download":                                                                  302,
	} {
		if resp := w.ask(http.MethodGet, "/s3/bucket/a.svg?"+query); resp.StatusCode != status {
			t.Errorf("%s: got %d, want %d", query, resp.StatusCode, status)
		}
	}
}

// The preview is about the URL that viewers get, with the content type of its key.
func TestPeekHasContentTypes(t *testing.T) {
	w := newWorld(t, withContentTypes)
	for _, key := range []string{"a.SVG", "a.png"} {
		u := w.redirect(http.MethodGet, "/s3/bucket/"+key)
		p, ok := w.Peek(locator.Locator{Bucket: "bucket", Key: key}, "")
		if !ok || !p.Hit || p.Bytes != len(u.String()) {
			t.Errorf("Peek(%s) = hit %v, %d bytes, %v, want a hit of %d bytes", key, p.Hit, p.Bytes, ok,
				len(u.String()))
		}
	}
}
