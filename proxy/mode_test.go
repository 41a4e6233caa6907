package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// Scripts that read across origins get another URL than images, so that an image in the browser's
// cache is not used for the script, and Vary lists the headers that decide. Browsers may cache the
// redirects of elements, but not those of scripts, which may send HEAD next.
func TestScriptsGetTheirOwnURLs(t *testing.T) {
	w := newWorld(t)
	w.put("bucket", "k", "text")
	location := func(header ...string) string {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "http://proxy.localhost/s3/bucket/k", nil)
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		kept := strings.HasPrefix(rec.Header().Get("Cache-Control"), "private, max-age=")
		element := strings.Contains(r.Header.Get("Sec-Fetch-Dest"), "image") ||
			!strings.Contains(rec.Header().Get("Location"), "x-cors")
		if kept != element {
			t.Errorf("%q: Cache-Control %q, want max-age: %v", header,
				rec.Header().Get("Cache-Control"), element)
		}
		const vary = "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest"
		if got := rec.Header().Get("Vary"); rec.Code != http.StatusFound || got != vary {
			t.Errorf("%q: status %d and Vary %q, want 302 and %q", header, rec.Code, got, vary)
		}
		return rec.Header().Get("Location")
	}
	plain := location()
	if strings.Contains(plain, "x-cors") {
		t.Errorf("plain request: got %s, want a URL without x-cors", plain)
	}
	script := location("Sec-Fetch-Mode: cors", "Origin: https://app.example.com")
	if !strings.Contains(script, "&x-cors=1&") {
		t.Errorf("script: got %s, want a URL with x-cors", script)
	}
	for _, c := range []struct {
		want   string
		header []string
	}{
		{plain, []string{"Sec-Fetch-Mode: no-cors"}}, // <img>, <video>
		{plain, []string{"Sec-Fetch-Mode: navigate"}},
		{plain, []string{"Sec-Fetch-Mode: no-cors", "Origin: https://app.example.com"}},
		{plain, []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}},
		{script, []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: image"}}, // <img crossorigin>
		// A fetch() from a page of the proxy's origin.
		{script, []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}},
		{script, []string{"Sec-Fetch-Mode: cors"}},
		// A browser that does not send the mode.
		{script, []string{"Origin: https://app.example.com"}},
		{script, []string{"Origin: null"}},
	} {
		if got := location(c.header...); got != c.want {
			t.Errorf("%q: got %s, want %s", c.header, got, c.want)
		}
	}
	for _, text := range []string{plain, script} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		resp, body := w.fetch(http.MethodGet, u)
		if resp.StatusCode != http.StatusOK || body != "text" {
			t.Errorf("GET %s: %d %s, want 200", text, resp.StatusCode, body)
		}
	}
}

func TestBatchWithCORS(t *testing.T) {
	w := newWorld(t)
	w.put("bucket", "k", "text")
	for body, want := range map[string]bool{
		`{"locators": ["s3://bucket/k"]}`:               false,
		`{"locators": ["s3://bucket/k"], "cors": true}`: true,
	} {
		r := httptest.NewRequest(
			http.MethodPost, "http://proxy.localhost/presign", strings.NewReader(body),
		)
		r.Header.Set("Content-Type", "application/json")
		// This header is about the batch, and not about the uses of its URLs.
		r.Header.Set("Sec-Fetch-Mode", "cors")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		var answer struct{ URLs []struct{ URL string } }
		err := json.Unmarshal(rec.Body.Bytes(), &answer)
		if err != nil || len(answer.URLs) != 1 {
			t.Fatalf("%s: %v, %s, want one URL", body, err, rec.Body)
		}
		if got := strings.Contains(answer.URLs[0].URL, "x-cors=1"); got != want {
			t.Errorf("%s: got %s, want x-cors: %v", body, answer.URLs[0].URL, want)
		}
	}
}

// The store sends the integration's response_cache_control, unless the request overrides it.
func TestResponseCacheControl(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *Options) {
		for n := range c.Integrations {
			c.Integrations[n].ResponseCacheControl = "private, max-age=1800"
		}
	})
	w.put("bucket", "k", "text")
	w.put("scans", "k", "text")
	for target, want := range map[string]string{
		"/s3/bucket/k": "private, max-age=1800",
		"/s3/scans/k":  "private, max-age=1800", // with requester_pays
		"/s3/bucket/k?response-cache-control=no-store":    "no-store",
		"/s3/bucket/k?response-content-type=text%2Fplain": "private, max-age=1800",
	} {
		resp, _ := w.fetch(http.MethodGet, w.redirect(http.MethodGet, target))
		got := resp.Header.Get("Cache-Control")
		if resp.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: status %d and Cache-Control %q, want 200 and %q", target, resp.StatusCode,
				got, want)
		}
	}
}
