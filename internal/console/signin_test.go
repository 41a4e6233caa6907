package console

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rename is a change like any other.
func rename(base string) map[string]any {
	return map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"bucket": "pictures"}, "base": base, "save": true}
}

// base is what a change is made for.
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
		t.Errorf("%+v", s)
	}
	for name, in := range map[string]map[string]string{
		"the wrong token": {"name": "ann", "token": "guess"}, "none": {"name": "ann", "token": ""},
		"no name":                     {"name": " ", "token": testToken},
		"a name that reads backwards": {"name": "ann\u202e", "token": testToken},
		"a name of two lines":         {"name": "ann\nroot", "token": testToken},
		"a long one":                  {"name": strings.Repeat("n", 65), "token": testToken},
		"a beginning":                 {"name": "ann", "token": testToken[:len(testToken)-1]},
	} {
		if a := w.post("/api/sign-in", in); a.status/100 != 4 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
	}
	// Neither a form nor a link signs anybody in.
	if a := w.send(http.MethodPost, "/api/sign-in", map[string]string{"name": "ann",
		"token": testToken}, func(r *http.Request) {
		r.Header.Set("Content-Type",
			"text/plain")
	}); a.status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", a.status)
	}
	for _, target := range []string{"/?token=" + testToken, "/api/session?token=" + testToken + "&name=ann"} {
		r := w.send(http.MethodGet, target, nil)
		if r.header.Get("Set-Cookie") != "" || strings.Contains(r.body, `"signed_in":true`) {
			t.Errorf("%s: %v %s", target, r.header, r.body)
		}
	}
	w.signInAs("ann")
	if c := w.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" ||
		c.MaxAge != 12*3600 || c.Secure || strings.Contains(c.Value, testToken) {
		t.Errorf("%+v", c)
	}
	if a := w.send(http.MethodPost, "/api/sign-in", map[string]string{"name": "ann",
		"token": testToken}, func(r *http.Request) {
		r.Header.Set("X-Forwarded-Proto",
			"https")
	}); !strings.Contains(a.header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("behind TLS: %v", a.header)
	}
	if a := w.post("/api/sign-out", map[string]string{}); !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("signing out: %v", a.header)
	}
	log := w.log.String()
	if !strings.Contains(log, `"msg":"console: sign-in refused","from":"192.0.2.1:1234"`) ||
		!strings.Contains(log, `"msg":"console: signed in","name":"ann"`) || strings.Contains(log, "canary") {
		t.Error(log)
	}
}

// A change needs the cookie, the page's word for it, and the page's origin: whichever lacks, nothing changes.
func TestForgedChanges(t *testing.T) {
	w := newWorld(t, testFile)
	if a := w.post("/api/changes", rename(w.base())); a.status != http.StatusUnauthorized {
		t.Errorf("nobody's: %d", a.status)
	}
	if a := w.get("/api/draft?name=lab"); a.status != http.StatusUnauthorized || strings.Contains(a.body, testKey) {
		t.Errorf("a draft for nobody: %d %s", a.status, a.body)
	}
	w.signInAs("ann")
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, edit := range map[string]func(*http.Request){
		"no word":             header(csrfHeader, ""),
		"another word":        header(csrfHeader, strings.ToLower(w.csrf[:20])+strings.ToUpper(w.csrf[20:])),
		"another page":        header("Origin", "https://evil.example.com"),
		"another port's page": header("Origin", "http://127.0.0.1:8080"),
		"no page":             header("Origin", ""),
		"a sandboxed page":    header("Origin", "null"),
		"another site":        header("Sec-Fetch-Site", "cross-site"),
		"a neighbour":         header("Sec-Fetch-Site", "same-site"),
		"a form":              header("Content-Type", "application/x-www-form-urlencoded"),
		"another name of us": func(r *http.Request) {
			r.Host = "evil.example.com"
			r.Header.Set("Origin",
				"http://evil.example.com")
		},
		"no cookie":              header("Cookie", ""),
		"a longer cookie":        header("Cookie", cookieName+"="+w.cookie.Value+"A"),
		"a shorter cookie":       header("Cookie", cookieName+"="+w.cookie.Value[1:]),
		"a cookie in lower case": header("Cookie", cookieName+"="+strings.ToLower(w.cookie.Value)),
		"an empty cookie":        header("Cookie", cookieName+"="),
		"a cookie of dots":       header("Cookie", cookieName+"=..."),
		"the token for one":      header("Cookie", cookieName+"="+testToken),
	} {
		if a := w.send(http.MethodPost, "/api/changes", rename(w.base()), edit); a.status/100 != 4 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if w.file() != testFile || w.reloads != 1 {
			t.Fatalf("%s: the file has changed", name)
		}
	}
	if a := w.post("/api/changes", rename(w.base())); a.status != http.StatusOK || w.file() == testFile {
		t.Errorf("the real one: %d %s", a.status, a.body)
	}
}

// A sign-in ends by itself, and with the token that it was made with.
func TestSignInEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testFile)
		w.signInAs("ann")
		time.Sleep(sessionLifetime - time.Second)
		if a := w.post("/api/changes", map[string]any{"action": "remove", "name": "lab"}); a.status != http.StatusOK {
			t.Errorf("a second before its end: %d %s", a.status, a.body)
		}
		time.Sleep(time.Second)
		if a := w.post("/api/changes", map[string]any{"action": "remove",
			"name": "lab"}); a.status != http.StatusUnauthorized {
			t.Errorf("at its end: %d", a.status)
		}
		w.signInAs("ann")
		w.write(strings.Replace(testFile, testToken, "another-token-0123456789-0123456789-012345", 1))
		if err := w.Reload(); err != nil {
			t.Fatal(err)
		}
		if a := w.post("/api/changes", map[string]any{"action": "remove",
			"name": "lab"}); a.status != http.StatusUnauthorized {
			t.Errorf("with another token: %d", a.status)
		}
	})
}

// Without a token there is nothing to sign in with, and without a file nothing to change.
func TestReadOnly(t *testing.T) {
	w := newWorld(t, strings.Replace(testFile, "  token: "+testToken+"\n", "", 1))
	var s sessionAnswer
	w.get("/api/session").into(t, &s)
	if s.Changeable || !strings.Contains(s.Why, "admin.token") {
		t.Errorf("%+v", s)
	}
	for _, token := range []string{"", testToken} {
		if a := w.post("/api/sign-in", map[string]string{"name": "ann",
			"token": token}); a.status != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%d %v", a.status, a.header)
		}
	}
	// A session that was made with an empty token is good for nothing: neither for a change nor for reading a draft.
	w.cookie = &http.Cookie{Name: cookieName, Value: w.users.add("ann", "", time.Now())}
	u, ok := w.users.find(w.cookie.Value, "", time.Now())
	if w.csrf = u.csrf; !ok {
		t.Fatal("the session is not there")
	}
	if a := w.post("/api/changes", rename(w.base())); a.status != http.StatusForbidden {
		t.Errorf("a change without a token: status %d, want 403", a.status)
	}
	if a := w.get("/api/draft?name=lab"); a.status != http.StatusUnauthorized {
		t.Errorf("a draft without a token: status %d, want 401: %s", a.status, a.body)
	}
	w = newWorld(t, testFile)
	w.signInAs("ann")
	w.state.File = ""
	if a := w.post("/api/changes", rename("")); a.status != http.StatusForbidden ||
		!strings.Contains(a.body, "does not come from a file") {
		t.Errorf("without a file: %d %s", a.status, a.body)
	}
}
