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

// Signing out ends the session on the server, so a copy of the cookie becomes invalid. Other
// sessions continue.
func TestSignOutEndsTheSession(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("bob")
	bobs, bobsCSRF := w.cookie, w.csrf
	w.cookie = nil
	w.signInAs("ann")
	anns, annsCSRF := w.cookie, w.csrf
	if a := w.post("/api/sign-out", map[string]string{}); a.status != http.StatusNoContent {
		t.Fatalf("sign-out: got status %d, want 204", a.status)
	}
	checkStatus := func(want int) {
		t.Helper()
		if a := w.get("/api/draft?name=lab"); a.status != want {
			t.Errorf("GET /api/draft: got status %d, want %d", a.status, want)
		}
		a := w.post("/api/changes", map[string]any{"action": "remove", "name": "lab"})
		if a.status != want {
			t.Errorf("POST /api/changes: got status %d, want %d", a.status, want)
		}
	}
	w.cookie, w.csrf = anns, annsCSRF
	checkStatus(http.StatusUnauthorized)
	w.cookie, w.csrf = bobs, bobsCSRF
	checkStatus(http.StatusOK)
	// The CSRF token of one session is invalid in another.
	w.csrf = annsCSRF
	if a := w.post("/api/changes", map[string]any{"action": "remove",
		"name": "lab"}); a.status != http.StatusForbidden {
		t.Errorf("with another session's %s: got status %d, want 403", csrfHeader, a.status)
	}
}

// At most maxSessions sessions are kept. One more ends the oldest.
func TestSessionsAreBounded(t *testing.T) {
	var s sessions
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var cookies []string
	for n := range maxSessions + 2 {
		cookies = append(cookies, s.add("ann", testToken, begin.Add(time.Duration(n)*time.Second)))
	}
	for n, cookie := range cookies {
		if _, ok := s.find(cookie, testToken, begin.Add(time.Hour)); ok != (n >= 2) {
			t.Errorf("session %d of %d: valid = %v, want %v", n, len(cookies), ok, n >= 2)
		}
	}
	if len(s.all) != maxSessions {
		t.Errorf("got %d sessions, want %d", len(s.all), maxSessions)
	}
}

// Checks and all requests about a draft need a session and its CSRF token. Without them, STS and S3
// are not called.
func TestChecksAndDraftsNeedASession(t *testing.T) {
	w := newWorld(t, testFile)
	change := map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"file_versioning": "true"}}
	requests := []struct {
		name, target string
		body         any
	}{
		{"a check", "/api/check", map[string]any{"name": "lab"}},
		{"a check of a draft", "/api/check", map[string]any{"change": change}},
		{"documents of a draft", "/api/documents",
			map[string]any{"change": change, "format": "json"}},
		{"a change", "/api/changes", change},
	}
	sendAll := func(want int, why string, edit ...func(*http.Request)) {
		t.Helper()
		before := w.cloud.Calls()
		for _, r := range requests {
			if a := w.send(http.MethodPost, r.target, r.body, edit...); a.status != want {
				t.Errorf("%s %s: got status %d, %s, want %d", r.name, why, a.status, a.body, want)
			}
		}
		if after := w.cloud.Calls(); want != http.StatusOK && !reflect.DeepEqual(after, before) {
			t.Errorf("%s: calls of STS and S3 = %+v, want %+v", why, after, before)
		}
	}
	sendAll(http.StatusUnauthorized, "without a session")
	w.signInAs("ann")
	sendAll(http.StatusForbidden, "without the CSRF token",
		func(r *http.Request) { r.Header.Del(csrfHeader) })
	sendAll(http.StatusForbidden, "from another origin",
		func(r *http.Request) { r.Header.Set("Origin", "https://evil.example.com") })
	sendAll(http.StatusUnauthorized, "without the cookie",
		func(r *http.Request) { r.Header.Del("Cookie") })
	sendAll(http.StatusOK, "with the cookie and the CSRF token")
}

// Without admin.token no user can sign in, and any client that reaches the console may check.
func TestChecksWithoutAToken(t *testing.T) {
	w := newWorld(t, strings.Replace(testFile, "  token: "+testToken+"\n", "", 1))
	if a := w.post("/api/check", map[string]any{"name": "lab"}); a.status != http.StatusOK ||
		!strings.Contains(a.body, `"sound":true`) {
		t.Errorf("check: got status %d, %s, want 200 and sound", a.status, a.body)
	}
	if a := w.post("/api/documents", map[string]any{"name": "lab", "format": "json",
		"kinds": []string{"trust"}}); !strings.Contains(a.body, ":user/proxy") {
		t.Errorf("documents: got status %d, %s, want the principal from STS", a.status, a.body)
	}
	// Drafts need a session, because they choose the STS endpoint and the keys.
	before := w.cloud.Calls()
	draft := map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"file_versioning": "true"}}
	for target, body := range map[string]any{"/api/check": map[string]any{"change": draft},
		"/api/documents": map[string]any{"change": draft, "format": "json"}, "/api/changes": draft} {
		if a := w.post(target, body); a.status != http.StatusForbidden {
			t.Errorf("%s of a draft: got status %d, %s, want 403", target, a.status, a.body)
		}
	}
	if after := w.cloud.Calls(); !reflect.DeepEqual(after, before) {
		t.Errorf("calls of STS and S3 = %+v, want %+v", after, before)
	}
}

// Bodies longer than maxBody are rejected, and the rest is not read.
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
		a := w.send(http.MethodPost, target, nil,
			func(r *http.Request) { r.Body = io.NopCloser(unread) })
		if a.status != http.StatusRequestEntityTooLarge || unread.Len() < maxBody/2 {
			t.Errorf("%s: got status %d with %d bytes unread, want 413 and at least %d",
				target, a.status, unread.Len(), maxBody/2)
		}
	}
}
