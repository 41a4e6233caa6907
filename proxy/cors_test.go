package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// withExampleOrigin allows one origin.
func withExampleOrigin(_ *config.Config, o *Options) {
	o.CORS = &config.CORS{AllowedOrigins: []string{"https://example.com"}}
}

func TestCORS(t *testing.T) {
	exact := newWorld(t, withViewers, withExampleOrigin)
	every := newWorld(t, withViewers, func(_ *config.Config, o *Options) {
		o.CORS = &config.CORS{AllowedOrigins: []string{"*"}}
	})
	off := newWorld(t, withViewers)
	for _, c := range []struct {
		w                  *world
		origin             string
		allow, credentials string // the values of Access-Control-Allow-Origin and -Credentials
	}{
		{exact, "https://example.com", "https://example.com", "true"},
		{exact, "https://evil-example.com", "", ""},
		{exact, "https://example.com.evil.example", "", ""},
		{exact, "http://example.com", "", ""},
		{exact, "https://example.com:8443", "", ""},
		{exact, "https://EXAMPLE.com", "", ""},
		{exact, "null", "", ""},
		{exact, "", "", ""},
		{exact, "*", "", ""},
		{every, "https://anywhere.example", "*", ""},
		{every, "null", "*", ""},
		{off, "https://example.com", "", ""},
	} {
		for what, resp := range map[string]*http.Response{
			"302": c.w.as("ann", "GET", "/s3/photos/k", "Origin", c.origin),
			"401": c.w.as("", "GET", "/s3/photos/k", "Origin", c.origin),
			"403": c.w.as("bob", "GET", "/s3/photos/k", "Origin", c.origin),
			"404": c.w.as("ann", "GET", "/s3/elsewhere/k", "Origin", c.origin),
			"405": c.w.as("ann", "PUT", "/s3/photos/k", "Origin", c.origin),
			"preflight": c.w.as("", "OPTIONS", "/s3/photos/k", "Origin", c.origin,
				"Access-Control-Request-Method", "GET",
				"Access-Control-Request-Headers", "range,x-trace"),
		} {
			h := resp.Header
			if h.Get("Access-Control-Allow-Origin") != c.allow ||
				h.Get("Access-Control-Allow-Credentials") != c.credentials ||
				!strings.HasPrefix(h.Get("Vary"), "Origin") {
				t.Errorf("%s from %q: got %v, want Allow-Origin %q and Allow-Credentials %q",
					what, c.origin, h, c.allow, c.credentials)
			}
			if what != "preflight" {
				continue
			}
			allowed := c.allow != ""
			if resp.StatusCode != 204 || h.Get("Location") != "" ||
				(h.Get("Access-Control-Allow-Methods") == "GET, HEAD") != allowed ||
				(h.Get("Access-Control-Allow-Headers") == "range,x-trace") != allowed {
				t.Errorf("preflight from %q: got %d %v, want 204, allowed: %v",
					c.origin, resp.StatusCode, h, allowed)
			}
		}
	}
}

func TestPreflightOfPresign(t *testing.T) {
	w := newWorld(t, withViewers, withExampleOrigin)
	resp := w.as("", "OPTIONS", "/presign", "Origin", "https://example.com",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Methods") != "POST" ||
		resp.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("preflight of /presign: got %d %v, want 204 and POST", resp.StatusCode,
			resp.Header)
	}
}

// Invalid or long lists of headers, and requests with two origins, are not allowed.
func TestInvalidCORSRequests(t *testing.T) {
	w := newWorld(t, withViewers, withExampleOrigin)
	for _, names := range []string{"x\r\ny", "a;b", strings.Repeat("x", 1025)} {
		r := httptest.NewRequest("OPTIONS", "/s3/photos/k", nil)
		r.Header = http.Header{
			"Origin":                         {"https://example.com"},
			"Access-Control-Request-Method":  {"GET"},
			"Access-Control-Request-Headers": {names},
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if got := rec.Header().Get("Access-Control-Allow-Headers"); got != "" {
			t.Errorf(
				"preflight for the headers %.20q: Access-Control-Allow-Headers is %.20q, want none",
				names, got,
			)
		}
	}
	resp := w.as("ann", "GET", "/s3/photos/k", "Origin", "https://example.com",
		"Origin", "https://evil.example")
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("two origins: Access-Control-Allow-Origin is %q, want none", got)
	}
}
