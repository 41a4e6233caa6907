package console

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rename returns a request that renames the bucket of lab and saves it.
func rename(base string) map[string]any {
	return map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"bucket": "pictures"}, "base": base, "save": true}
}

// base returns the identifier of the current content of lab's file.
func (w *world) base() string {
	w.t.Helper()
	var d draftAnswer
	w.get("/api/draft?name=lab").into(w.t, &d)
	return d.Base
}

func TestSignIn(t *testing.T) {
	w := newWorld(t, testFile)
	var s sessionAnswer
	w.get("/api/session").into(t, &s)
	if s.SignedIn || !s.Changeable || s.CSRF != "" || s.Version != "1.2.3" {
		t.Errorf("session = %+v, want a changeable one that is not signed in", s)
	}
	for name, in := range map[string]map[string]string{
		"wrong token":               {"name": "ann", "token": "guess"},
		"empty token":               {"name": "ann", "token": ""},
		"prefix of the token":       {"name": "ann", "token": testToken[:len(testToken)-1]},
		"blank name":                {"name": " ", "token": testToken},
		"name with a bidi override": {"name": "ann\u202e", "token": testToken},
		"name with two lines":       {"name": "ann\nroot", "token": testToken},
		"long name":                 {"name": strings.Repeat("n", 65), "token": testToken},
	} {
		a := w.post("/api/sign-in", in)
		if a.status/100 != 4 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: got status %d, %v, want 4xx and no cookie", name, a.status, a.header)
		}
	}
	// Forms and links of other pages cannot sign a user in.
	a := w.send(http.MethodPost, "/api/sign-in",
		map[string]string{"name": "ann", "token": testToken},
		func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	if a.status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: got status %d, want 415", a.status)
	}
	for _, target := range []string{
		"/?token=" + testToken, "/api/session?token=" + testToken + "&name=ann",
	} {
		r := w.send(http.MethodGet, target, nil)
		if r.header.Get("Set-Cookie") != "" || strings.Contains(r.body, `"signed_in":true`) {
			t.Errorf("GET %s: got %v, %s, want no session", target, r.header, r.body)
		}
	}
	w.signInAs("ann")
	if c := w.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" ||
		c.MaxAge != 12*3600 || c.Secure || strings.Contains(c.Value, testToken) {
		t.Errorf("cookie = %+v, want HttpOnly, SameSite=Strict, 12h and no token in it", c)
	}
	a = w.send(http.MethodPost, "/api/sign-in",
		map[string]string{"name": "ann", "token": testToken},
		func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") })
	if !strings.Contains(a.header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("over HTTPS: got %v, want a Secure cookie", a.header)
	}
	a = w.post("/api/sign-out", map[string]string{})
	if !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("sign-out: got %v, want a Set-Cookie with Max-Age=0", a.header)
	}
	log := w.log.String()
	if !strings.Contains(log, `"msg":"console: sign-in refused","from":"192.0.2.1:1234"`) ||
		!strings.Contains(log, `"msg":"console: signed in","name":"ann"`) ||
		strings.Contains(log, "canary") {
		t.Errorf("log = %s, want refused and successful sign-ins without the token", log)
	}
}

// A change needs the cookie, the CSRF token and the console's origin. If one is missing or wrong,
// nothing changes.
func TestForgedChangesAreRejected(t *testing.T) {
	w := newWorld(t, testFile)
	if a := w.post("/api/changes", rename(w.base())); a.status != http.StatusUnauthorized {
		t.Errorf("change without a session: got status %d, want 401", a.status)
	}
	a := w.get("/api/draft?name=lab")
	if a.status != http.StatusUnauthorized || strings.Contains(a.body, testKey) {
		t.Errorf("draft without a session: got status %d, %s, want 401", a.status, a.body)
	}
	w.signInAs("ann")
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, edit := range map[string]func(*http.Request){
		"no CSRF token": header(csrfHeader, ""),
		"CSRF token with other case": header(csrfHeader,
			strings.ToLower(w.csrf[:20])+strings.ToUpper(w.csrf[20:])),
		"another origin":    header("Origin", "https://evil.example.com"),
		"another port":      header("Origin", "http://127.0.0.1:8080"),
		"no origin":         header("Origin", ""),
		"sandboxed origin":  header("Origin", "null"),
		"cross-site":        header("Sec-Fetch-Site", "cross-site"),
		"same-site":         header("Sec-Fetch-Site", "same-site"),
		"form content type": header("Content-Type", "application/x-www-form-urlencoded"),
		"rebound host": func(r *http.Request) {
			r.Host = "evil.example.com"
			r.Header.Set("Origin", "http://evil.example.com")
		},
		"no cookie":             header("Cookie", ""),
		"longer cookie":         header("Cookie", cookieName+"="+w.cookie.Value+"A"),
		"shorter cookie":        header("Cookie", cookieName+"="+w.cookie.Value[1:]),
		"cookie in lower case":  header("Cookie", cookieName+"="+strings.ToLower(w.cookie.Value)),
		"empty cookie":          header("Cookie", cookieName+"="),
		"cookie of dots":        header("Cookie", cookieName+"=..."),
		"admin token as cookie": header("Cookie", cookieName+"="+testToken),
	} {
		a := w.send(http.MethodPost, "/api/changes", rename(w.base()), edit)
		if a.status/100 != 4 {
			t.Errorf("%s: got status %d, %s, want 4xx", name, a.status, a.body)
		}
		if w.file() != testFile || w.reloads != 1 {
			t.Fatalf("%s: got %d reloads and\n%s\nwant 1 and the same file",
				name, w.reloads, w.file())
		}
	}
	a = w.post("/api/changes", rename(w.base()))
	if a.status != http.StatusOK || w.file() == testFile {
		t.Errorf("genuine change: got status %d, %s, want 200 and a change", a.status, a.body)
	}
}

// A session ends after sessionLifetime, or when admin.token changes.
func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testFile)
		w.signInAs("ann")
		time.Sleep(sessionLifetime - time.Second)
		removal := map[string]any{"action": "remove", "name": "lab"}
		if a := w.post("/api/changes", removal); a.status != http.StatusOK {
			t.Errorf("1s before the end: got status %d, %s, want 200", a.status, a.body)
		}
		time.Sleep(time.Second)
		if a := w.post("/api/changes", removal); a.status != http.StatusUnauthorized {
			t.Errorf("at the end: got status %d, want 401", a.status)
		}
		w.signInAs("ann")
		w.write(strings.Replace(testFile, testToken, "another-token-0123456789-0123456789-012345", 1))
		if err := w.Reload(); err != nil {
			t.Fatal(err)
		}
		if a := w.post("/api/changes", removal); a.status != http.StatusUnauthorized {
			t.Errorf("after admin.token changed: got status %d, want 401", a.status)
		}
	})
}

// Without admin.token no user can sign in. Without a configuration file nothing can be changed.
func TestReadOnlyConsole(t *testing.T) {
	w := newWorld(t, strings.Replace(testFile, "  token: "+testToken+"\n", "", 1))
	var s sessionAnswer
	w.get("/api/session").into(t, &s)
	if s.Changeable || !strings.Contains(s.Why, "admin.token") {
		t.Errorf("session = %+v, want read-only because of admin.token", s)
	}
	for _, token := range []string{"", testToken} {
		if a := w.post("/api/sign-in", map[string]string{"name": "ann",
			"token": token}); a.status != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
			t.Errorf("sign-in with %q: got status %d, %v, want 403", token, a.status, a.header)
		}
	}
	// A session with an empty token can neither change nor read a draft.
	w.cookie = &http.Cookie{Name: cookieName, Value: w.users.add("ann", "", time.Now())}
	u, ok := w.users.find(w.cookie.Value, "", time.Now())
	if w.csrf = u.csrf; !ok {
		t.Fatal("the session is missing")
	}
	if a := w.post("/api/changes", rename(w.base())); a.status != http.StatusForbidden {
		t.Errorf("change without a token: got status %d, want 403", a.status)
	}
	if a := w.get("/api/draft?name=lab"); a.status != http.StatusUnauthorized {
		t.Errorf("draft without a token: got status %d, %s, want 401", a.status, a.body)
	}
	w = newWorld(t, testFile)
	w.signInAs("ann")
	w.state.File = ""
	if a := w.post("/api/changes", rename("")); a.status != http.StatusForbidden ||
		!strings.Contains(a.body, "does not come from a file") {
		t.Errorf("without a file: got status %d, %s, want 403", a.status, a.body)
	}
}
