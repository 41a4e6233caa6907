package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// getWith sends a GET request with header fields, given as "Name: value".
func (w *world) getWith(target string, header ...string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://media.example.com"+target, nil)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result()
}

// Browsers go back to media, frames and documents with an expired redirect, so those redirects are
// not stored. All others are stored as before.
func TestRedirectsOfHistoryAreNotStored(t *testing.T) {
	w := newWorld(t)
	w.put("bucket", "k", "text")
	for destination, stored := range map[string]bool{
		"":         true, // a browser that sends no Sec-Fetch-Dest
		"image":    true,
		"font":     true,
		"script":   true,
		"style":    true,
		"manifest": true,
		"empty":    true, // fetch() with the mode no-cors
		"audio":    false,
		"document": false,
		"embed":    false,
		"frame":    false,
		"iframe":   false,
		"object":   false,
		"track":    false,
		"video":    false,
	} {
		for _, mode := range []string{"no-cors", "navigate", "cors"} {
			want := stored && (mode != "cors" || destination != "empty" && destination != "")
			header := []string{"Sec-Fetch-Mode: " + mode}
			if destination != "" {
				header = append(header, "Sec-Fetch-Dest: "+destination)
			}
			resp := w.getWith("/s3/bucket/k", header...)
			got := resp.Header.Get("Cache-Control")
			kept := strings.HasPrefix(got, "private, max-age=")
			if resp.StatusCode != http.StatusFound || kept != want || !kept && got != "no-store" {
				t.Errorf("destination %q, mode %s: status %d and Cache-Control %q, want 302 and stored = %v",
					destination, mode, resp.StatusCode, got, want)
			}
		}
	}
}

// A browser does not follow a same-origin request to another origin. The response is then a
// problem that says what to change, unless the store may have the origin of the request.
func TestSameOriginRequestsGetAProblem(t *testing.T) {
	const (
		sameOrigin = "Sec-Fetch-Mode: same-origin"
		app        = "media.example.com"
		found      = http.StatusFound
		refused    = http.StatusBadRequest
	)
	store := strings.TrimPrefix(storeURL, "http://")
	for name, c := range map[string]struct {
		public, host, header string
		want                 int
	}{
		"another host":        {"", app, sameOrigin, refused},
		"a longer host":       {"", store + ".example.com", sameOrigin, refused},
		"another port":        {"", store + ":8080", sameOrigin, refused},
		"the store's host":    {"", strings.ToUpper(store), sameOrigin, found},
		"another public_url":  {"https://" + app + "/", app, sameOrigin, refused},
		"the store's URL":     {storeURL + "/", app, sameOrigin, found},
		"the store over TLS":  {"https://" + store, "backend", sameOrigin, found},
		"no host":             {"", "", sameOrigin, found},
		"no host, public_url": {"https://" + app, "", sameOrigin, refused},
		"crossorigin":         {"", app, "Sec-Fetch-Mode: cors", found},
		"an image":            {"", app, "Sec-Fetch-Mode: no-cors", found},
		"no metadata":         {"", app, "Accept: text/vtt", found},
	} {
		w := newWorld(t, func(_ *config.Config, o *Options) { o.PublicURL = c.public })
		w.put("bucket", "k", "text")
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := httptest.NewRequest(method, "http://"+app+"/s3/bucket/k", nil)
			field, value, _ := strings.Cut(c.header, ": ")
			r.Header.Set(field, value)
			r.Host = c.host
			rec := httptest.NewRecorder()
			w.Handler.ServeHTTP(rec, r)
			resp := rec.Result()
			if resp.StatusCode != c.want {
				t.Errorf("%s: %s: status %d, want %d", name, method, resp.StatusCode, c.want)
				continue
			}
			if c.want != refused {
				continue
			}
			p := problemIn(t, resp)
			location := resp.Header.Get("Location")
			if p.Code != "cross_origin_required" || !strings.Contains(p.Detail, "crossorigin") ||
				location != "" {
				t.Errorf("%s: got %+v and Location %q, want cross_origin_required and no Location",
					name, p, location)
			}
		}
	}
}

// A viewer who may not read the object does not learn from the problem that it could be redirected.
func TestSameOriginProblemAfterAdmission(t *testing.T) {
	w := newWorld(t, withViewers)
	resp := w.getWith("/s3/bucket/k", "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: track")
	if p := problemIn(t, resp); p.Code != "viewer_unknown" {
		t.Errorf("without credentials: code %s, want viewer_unknown", p.Code)
	}
}
