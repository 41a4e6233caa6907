package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// withSecret denies a folder and allows the rest of the bucket.
func withSecret(c *config.Config, o *Options) {
	withViewers(c, o)
	c.Viewers.Rules = []config.Rule{
		{Known: true, Locators: []string{"s3://bucket/secret/*"}, Deny: true},
		{Known: true, Locators: []string{"s3://bucket/*"}},
	}
}

// Some stores merge slashes. A deny rule covers every key that they would read as one in the
// folder.
func TestDenyRuleMatchesEverySpellingOfSlashes(t *testing.T) {
	w := newWorld(t, withSecret)
	for path, denied := range map[string]bool{
		"/s3/bucket/secret/x":        true,
		"/s3/bucket//secret/x":       true,
		"/s3/bucket///secret/x":      true,
		"/s3/bucket/%2Fsecret/x":     true,
		"/s3/bucket/%2F%2fsecret/x":  true,
		"/s3/bucket/secret//x":       true,
		"/s3/bucket/secret%2F%2Fx":   true,
		"/s3/bucket/%5Csecret%5Cx":   true,
		"/s3/bucket/secret/":         true,
		"/s3/bucket/secret__XLDIR__": true,
		"/s3/bucket/secrets/x":       false,
		"/s3/bucket//secrets/x":      false,
		"/s3/bucket/a//secret/x":     false,
		"/s3/bucket/secret":          false,
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			want := http.StatusFound
			if denied {
				want = http.StatusForbidden
			}
			if got := w.as("ann", method, path).StatusCode; got != want {
				t.Errorf("%s %s: status %d, want %d", method, path, got, want)
			}
		}
	}
	for locator, denied := range map[string]bool{
		"s3://bucket/secret/x": true, "s3://bucket//secret/x": true, "s3://bucket/secret//x": true,
		`s3://bucket/secret\x`: true, "s3://bucket/secrets//x": false,
		"s3://bucket/*": true, "s3://bucket//*": true, "s3://bucket//secret/*": true,
		"s3://bucket/secret//x/*": true, "s3://bucket//secrets/*": false,
	} {
		status, code := http.StatusOK, ""
		if denied {
			status, code = http.StatusForbidden, "viewer_denied"
		}
		body := asJSON(t, map[string]string{"locator": locator})
		resp := w.send("ann", "POST", "/link", body, "Content-Type", "application/json")
		if resp.StatusCode != status {
			t.Errorf("POST /link %s: status %d, want %d", locator, resp.StatusCode, status)
		}
		if strings.HasSuffix(locator, "*") {
			continue
		}
		body = asJSON(t, map[string][]string{"locators": {locator}})
		resp = w.send("ann", "POST", "/presign", body, "Content-Type", "application/json")
		var answer struct{ URLs []presigned }
		err := json.NewDecoder(resp.Body).Decode(&answer)
		if err != nil || len(answer.URLs) != 1 || answer.URLs[0].Error != code ||
			(answer.URLs[0].URL == "") != denied {
			t.Errorf("POST /presign %s: %+v, %v, want error %q", locator, answer.URLs, err, code)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A request without the groups header is rejected on every path that identifies the viewer.
func TestMissingGroupsHeader(t *testing.T) {
	w := newWorld(t, withSecret)
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/s3/bucket/x", ""},
		{"HEAD", "/s3/bucket/x", ""},
		{"POST", "/presign", `{"locators": ["s3://bucket/x"]}`},
		{"POST", "/link", `{"locator": "s3://bucket/x"}`},
	} {
		for groups, status := range map[string]int{"-": 0, "": http.StatusUnauthorized} {
			r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
			r.RemoteAddr, r.Header = "10.0.0.1:1234", http.Header{userHeader: {"ann"},
				"Content-Type": {"application/json"}}
			if groups != "" {
				r.Header[groupsHeader] = []string{groups}
			}
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			if what := fmt.Sprintf("%s %s, groups %q", c.method, c.target, groups); status != 0 {
				wantCode(t, what, rec.Result(), status, "viewer_unknown")
			} else if rec.Code >= 400 {
				t.Errorf("%s: status %d, want success", what, rec.Code)
			}
		}
	}
}
