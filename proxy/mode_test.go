package proxy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// Scripts that read across origins have URLs of their own, which no image's copy in the browser's
// cache can spoil; and the browser is told what they depend on. It may keep the redirects of
// elements, and not those of scripts, which may ask HEAD next.
func TestScriptsHaveURLsOfTheirOwn(t *testing.T) {
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
		element := strings.Contains(r.Header.Get("Sec-Fetch-Dest"), "image") || !strings.Contains(rec.Header().Get("Location"), "x-cors")
		if kept != element {
			t.Errorf("%q: Cache-Control: %s", header, rec.Header().Get("Cache-Control"))
		}
		if got := rec.Header().Get("Vary"); rec.Code != http.StatusFound || got != "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest" {
			t.Errorf("%q: %d, Vary: %s", header, rec.Code, got)
		}
		return rec.Header().Get("Location")
	}
	plain := location()
	if strings.Contains(plain, "x-cors") {
		t.Errorf("a plain request: %s", plain)
	}
	script := location("Sec-Fetch-Mode: cors", "Origin: https://app.example.com")
	if !strings.Contains(script, "&x-cors=1&") {
		t.Errorf("a script's: %s", script)
	}
	for _, c := range []struct {
		want   string
		header []string
	}{
		{plain, []string{"Sec-Fetch-Mode: no-cors"}}, // <img>, <video>
		{plain, []string{"Sec-Fetch-Mode: navigate"}},
		{plain, []string{"Sec-Fetch-Mode: same-origin"}},
		{plain, []string{"Sec-Fetch-Mode: no-cors", "Origin: https://app.example.com"}},
		{plain, []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}},
		{script, []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: image"}}, // <img crossorigin>
		{script, []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}}, // fetch() from a page of our own origin
		{script, []string{"Sec-Fetch-Mode: cors"}},
		{script, []string{"Origin: https://app.example.com"}}, // a browser that does not tell the mode
		{script, []string{"Origin: null"}},
	} {
		if got := location(c.header...); got != c.want {
			t.Errorf("%q: %s", c.header, got)
		}
	}
	for _, text := range []string{plain, script} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if resp, body := w.fetch(http.MethodGet, u); resp.StatusCode != http.StatusOK || body != "text" {
			t.Errorf("%d: %s", resp.StatusCode, body)
		}
	}
}

func TestBatchForScripts(t *testing.T) {
	w := newWorld(t)
	w.put("bucket", "k", "text")
	for body, want := range map[string]bool{`{"locators": ["s3://bucket/k"]}`: false, `{"locators": ["s3://bucket/k"], "cors": true}`: true} {
		r := httptest.NewRequest(http.MethodPost, "http://proxy.localhost/presign", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Mode", "cors") // the batch itself is always a script's: what its URLs are for is another matter
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		var answer struct{ URLs []struct{ URL string } }
		if err := json.NewDecoder(bytes.NewReader(rec.Body.Bytes())).Decode(&answer); err != nil || len(answer.URLs) != 1 {
			t.Fatalf("%v %s", err, rec.Body)
		}
		if got := strings.Contains(answer.URLs[0].URL, "x-cors=1"); got != want {
			t.Errorf("%s: %s", body, answer.URLs[0].URL)
		}
	}
}

// Objects without a Cache-Control of their own are answered with the integration's, unless the
// request has another.
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
		"/s3/scans/k":  "private, max-age=1800", // beside requester_pays
		"/s3/bucket/k?response-cache-control=no-store":    "no-store",
		"/s3/bucket/k?response-content-type=text%2Fplain": "private, max-age=1800",
	} {
		if resp, _ := w.fetch(http.MethodGet, w.redirect(http.MethodGet, target)); resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != want {
			t.Errorf("%s: %d, Cache-Control: %s", target, resp.StatusCode, resp.Header.Get("Cache-Control"))
		}
	}
}
