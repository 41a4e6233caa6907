package console

import (
	"net/http"
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
		if a := w.post("/api/changes", map[string]any{"action": "remove", "name": "keys"}); a.status != want {
			t.Errorf("POST /api/changes: status %d, want %d", a.status, want)
		}
	}
	w.cookie, w.csrf = anns, annsCSRF
	stolen(http.StatusUnauthorized)
	w.cookie, w.csrf = bobs, bobsCSRF
	stolen(http.StatusOK)
	// The word of one session is no good for another.
	w.csrf = annsCSRF
	if a := w.post("/api/changes", map[string]any{"action": "remove", "name": "keys"}); a.status != http.StatusForbidden {
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
