package console

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Signing out ends the session at the server: a copy of its cookie is good for nothing afterwards. Other sign-ins stay.
func TestSignOutEndsTheSession(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("bob")
	bobs, bobsCSRF := w.cookie, w.csrf
	w.cookie = nil
	w.signInAs("ann")
	anns, annsCSRF := w.cookie, w.csrf
	if a := w.post("/api/sign-out", map[string]string{}); a.status != http.StatusNoContent {
		t.Fatalf("sign-out: status %d, want 204", a.status)
	}
	stolen := func(want int) {
		t.Helper()
		if a := w.get("/api/draft?name=lab"); a.status != want {
			t.Errorf("GET /api/draft: status %d, want %d", a.status, want)
		}
		if a := w.post("/api/changes", map[string]any{"action": "remove", "name": "lab"}); a.status != want {
			t.Errorf("POST /api/changes: status %d, want %d", a.status, want)
		}
	}
	w.cookie, w.csrf = anns, annsCSRF
	stolen(http.StatusUnauthorized)
	w.cookie, w.csrf = bobs, bobsCSRF
	stolen(http.StatusOK)
	// The word of one session is no good for another.
	w.csrf = annsCSRF
	if a := w.post("/api/changes", map[string]any{"action": "remove",
		"name": "lab"}); a.status != http.StatusForbidden {
		t.Errorf("another session's %s: status %d, want 403", csrfHeader, a.status)
	}
}

// The number of sessions is bounded: one more ends the oldest, and no other.
func TestSessionsAreBounded(t *testing.T) {
	var s sessions
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var cookies []string
	for n := range maxSessions + 2 {
		cookies = append(cookies, s.add("ann", testToken, begin.Add(time.Duration(n)*time.Second)))
	}
	for n, cookie := range cookies {
		if _, ok := s.find(cookie, testToken, begin.Add(time.Hour)); ok != (n >= 2) {
			t.Errorf("session %d of %d: valid %v, want %v", n, len(cookies), ok, n >= 2)
		}
	}
	if len(s.all) != maxSessions {
		t.Errorf("%d sessions are kept, want %d", len(s.all), maxSessions)
	}
}

// Checks, and whatever is about a draft, need the session and what only the console's page knows;
// the same request is answered with both.
// What nobody asked for was not done: STS has had no call.
func TestChecksAndDraftsNeedASession(t *testing.T) {
	w := newWorld(t, testFile)
	change := map[string]any{"action": "change", "name": "lab", "draft": map[string]string{"file_versioning": "true"}}
	requests := []struct {
		name, target string
		body         any
	}{
		{"a check", "/api/check", map[string]any{"name": "lab"}},
		{"a check of a draft", "/api/check", map[string]any{"change": change}},
		{"the documents of a draft", "/api/documents", map[string]any{"change": change, "format": "json"}},
		{"a change", "/api/changes", change},
	}
	all := func(want int, why string, edit ...func(*http.Request)) {
		t.Helper()
		before := w.cloud.Calls()
		for _, r := range requests {
			if a := w.send(http.MethodPost, r.target, r.body, edit...); a.status != want {
				t.Errorf("%s, %s: status %d, want %d: %s", r.name, why, a.status, want, a.body)
			}
		}
		if after := w.cloud.Calls(); want != http.StatusOK && !reflect.DeepEqual(after, before) {
			t.Errorf("%s: STS and S3 were called: %+v, before %+v", why, after, before)
		}
	}
	all(http.StatusUnauthorized, "without a session")
	w.signInAs("ann")
	all(http.StatusForbidden, "without the page's word", func(r *http.Request) { r.Header.Del(csrfHeader) })
	all(http.StatusForbidden, "from another origin",
		func(r *http.Request) { r.Header.Set("Origin", "https://evil.example.com") })
	all(http.StatusUnauthorized, "without the cookie", func(r *http.Request) { r.Header.Del("Cookie") })
	all(http.StatusOK, "with both")
}

// Without admin.token there is nothing to sign in with, and every client that reaches the console may check.
func TestChecksWithoutAToken(t *testing.T) {
	w := newWorld(t, strings.Replace(testFile, "  token: "+testToken+"\n", "", 1))
	if a := w.post("/api/check", map[string]any{"name": "lab"}); a.status != http.StatusOK ||
		!strings.Contains(a.body, `"sound":true`) {
		t.Errorf("a check: status %d, want 200: %s", a.status, a.body)
	}
	if a := w.post("/api/documents", map[string]any{"name": "lab", "format": "json",
		"kinds": []string{"trust"}}); !strings.Contains(a.body, ":user/proxy") {
		t.Errorf("documents: status %d, want STS's answer in them: %s", a.status, a.body)
	}
	// A draft says where STS is, and which keys sign: that takes a user.
	before := w.cloud.Calls()
	draft := map[string]any{"action": "change", "name": "lab", "draft": map[string]string{"file_versioning": "true"}}
	for target, body := range map[string]any{"/api/check": map[string]any{"change": draft},
		"/api/documents": map[string]any{"change": draft, "format": "json"}, "/api/changes": draft} {
		if a := w.post(target, body); a.status != http.StatusForbidden {
			t.Errorf("%s of a draft: status %d, want 403: %s", target, a.status, a.body)
		}
	}
	if after := w.cloud.Calls(); !reflect.DeepEqual(after, before) {
		t.Errorf("STS and S3 were called: %+v, before %+v", after, before)
	}
}

// A body of more than maxBody is refused, wherever it is sent, and read no further.
func TestBodiesAreBounded(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	long := strings.Repeat("x", maxBody)
	for target, body := range map[string]any{
		"/api/sign-in":   map[string]string{"name": "ann", "token": long},
		"/api/check":     map[string]string{"name": "lab", "sample": long},
		"/api/documents": map[string]string{"name": "lab", "format": "json", "principal": long},
		"/api/changes":   map[string]string{"action": "remove", "name": long},
	} {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		unread := strings.NewReader(string(text) + strings.Repeat(" ", maxBody))
		a := w.send(http.MethodPost, target, nil, func(r *http.Request) { r.Body = io.NopCloser(unread) })
		if a.status != http.StatusRequestEntityTooLarge || unread.Len() < maxBody/2 {
			t.Errorf("%s: status %d with %d bytes unread, want 413 and most of the rest unread",
				target, a.status, unread.Len())
		}
	}
}
