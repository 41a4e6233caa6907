package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

const publicURL = "https://media.example.com"

func withPublicURL(_ *config.Config, o *Options) { o.PublicURL = publicURL + "/" }

// createLink sends POST /link, and returns the response and the link's path and query.
func (w *world) createLink(user, locator, lifetime string) (*http.Response, string) {
	w.t.Helper()
	body := fmt.Sprintf(`{"locator": %q, "lifetime": %q}`, locator, lifetime)
	resp := w.send(user, "POST", "/link", body, "Content-Type", "application/json")
	var answer struct {
		URL, Query string
		ExpiresAt  time.Time `json:"expires_at"`
	}
	if resp.StatusCode == 200 {
		wantNoSniff(w.t, resp)
		err := json.NewDecoder(resp.Body).Decode(&answer)
		if err != nil || !strings.HasSuffix(answer.URL, "?"+answer.Query) {
			w.t.Fatalf("POST /link: got %+v, %v, want a URL that ends in the query", answer, err)
		}
	}
	return resp, strings.TrimPrefix(answer.URL, publicURL)
}

func TestSignedLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withPublicURL)
		defer w.set.Close()
		w.put("bucket", "users/ann/trip/ü +1", "hers")
		_, link := w.createLink("ann", "s3://bucket/users/ann/trip/ü +1", "10m")
		if !strings.HasPrefix(link, "/s3/bucket/users/ann/trip/") {
			t.Fatalf("got the link %q, want the path of the object", link)
		}
		for _, method := range []string{"GET", "HEAD"} {
			resp := w.as("", method, link)
			u, err := resp.Location()
			if err != nil {
				t.Fatalf("%s: status %d, %v, want 302", method, resp.StatusCode, err)
			}
			s3, text := w.fetch(method, u)
			if s3.StatusCode != 200 || method == "GET" && text != "hers" ||
				u.Query().Has("kid") || u.Query().Has("sig") {
				t.Errorf("%s %s: status %d, want 200 without the link's parameters", method, u,
					s3.StatusCode)
			}
			// The redirect is not cached beyond the link's expiry.
			if got := resp.Header.Get("Cache-Control"); got != "private, max-age=600" {
				t.Errorf("Cache-Control: got %q, want private, max-age=600", got)
			}
		}
		wantCode(t, "PUT", w.as("", "PUT", link), 405, "method_not_allowed")
		wantCode(t, "another object", w.as("", "GET", strings.Replace(link, "trip/", "trap/", 1)),
			401, "viewer_unknown")
		wantCode(t, "a changed link of a viewer with access",
			w.as("ann", "GET", strings.Replace(link, "exp=", "exp=1", 1)), 401, "viewer_unknown")

		time.Sleep(10*time.Minute - time.Second)
		resp := w.as("", "GET", link)
		got := resp.Header.Get("Cache-Control")
		if resp.StatusCode != 302 || got != "private, max-age=1" {
			t.Errorf("a second before the expiry: got %d %q, want 302 and private, max-age=1",
				resp.StatusCode, got)
		}
		time.Sleep(time.Second)
		wantCode(t, "at the expiry", w.as("", "GET", link), 401, "viewer_unknown")
		if strings.Contains(w.log.String(), "canary") || strings.Contains(w.log.String(), "sig=") {
			t.Errorf("the log contains a secret or a signature: %s", w.log)
		}
	})
}

func TestFolderLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withPublicURL)
		defer w.set.Close()
		_, folder := w.createLink("ann", "s3://bucket/users/ann/trip/*", "10m")
		query := folder[strings.IndexByte(folder, '?'):]
		for path, status := range map[string]int{
			"/s3/bucket/users/ann/trip/x":            302,
			"/s3/bucket/users/ann/trip/a/b":          302,
			"/s3/bucket/users/ann/trip%2Fx":          302,
			"/s3/bucket/users/ann/trips/x":           401,
			"/s3/bucket/users/ann/diary":             401,
			"/s3/bucket/users/ann/trip/../diary":     400,
			"/s3/bucket/users/ann/trip/%2e%2e/diary": 400,
			"/s3/bucket/users/ann/trip%2F..%2Fdiary": 400,
			"/s3/bucket/users/ann//trip/x":           401,
			"/s3/photos/users/ann/trip/x":            401,
			"/s3/bucket/users/ann/tr%C4%B1p/x":       401,
		} {
			if resp := w.as("", "GET", path+query); resp.StatusCode != status {
				t.Errorf("%s: status %d, want %d", path, resp.StatusCode, status)
			}
		}
	})
}

func TestLinkProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withPublicURL)
		defer w.set.Close()
		const object = "s3://bucket/users/ann/x"
		for what, c := range map[string]struct {
			user, locator, lifetime string
			status                  int
			code                    string
		}{
			"anonymous":             {"", object, "1h", 401, "viewer_unknown"},
			"without access":        {"bob", object, "1h", 403, "viewer_denied"},
			"pattern beyond access": {"ann", "s3://bucket/users/*", "1h", 403, "viewer_denied"},
			"too long":              {"ann", object, "25h", 400, "bad_request"},
			"negative lifetime":     {"ann", object, "-1h", 400, "bad_request"},
			"not a duration":        {"ann", object, "soon", 400, "bad_request"},
			"not a locator":         {"ann", "bucket/users/ann/x", "1h", 400, "bad_request"},
			"unserved bucket":       {"ann", "s3://elsewhere/x", "1h", 404, "bucket_not_permitted"},
		} {
			resp, _ := w.createLink(c.user, c.locator, c.lifetime)
			wantCode(t, what, resp, c.status, c.code)
		}
		if strings.Contains(w.log.String(), "canary") {
			t.Errorf("the log contains a secret: %s", w.log)
		}
	})
}
