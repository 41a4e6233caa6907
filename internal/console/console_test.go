package console

import (
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
)

// Every response has the security headers and is not cached.
func TestSecurityHeaders(t *testing.T) {
	w := newWorld(t, testFile)
	for _, target := range []string{"/", "/static/main.js", "/static/console.css", "/api/overview",
		"/api/missing", "/static/missing"} {
		a := w.get(target)
		for name, want := range map[string]string{
			"Content-Security-Policy": contentSecurityPolicy, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", target, name, got, want)
			}
		}
	}
}

// No page can frame the console (clickjacking), and only the console itself can frame the preview.
func TestFrameAncestors(t *testing.T) {
	w := newWorld(t, testFile)
	for target, want := range map[string]string{"/": "'none'",
		"/static/main.js": "'none'", "/api/overview": "'none'", "/missing": "'none'",
		"/preview?locator=s3://photos/a.jpg": "'self'"} {
		var got []string
		csp := w.get(target).header.Get("Content-Security-Policy")
		for directive := range strings.SplitSeq(csp, ";") {
			sources, ok := strings.CutPrefix(strings.TrimSpace(directive), "frame-ancestors ")
			if ok {
				got = append(got, sources)
			}
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: frame-ancestors = %q, want %s once", target, got, want)
		}
	}
}

// The page loads only its own files. All of them exist and have the right media type, and no script
// interprets text as HTML or code.
func TestPageLoadsOnlyItsOwnFiles(t *testing.T) {
	w := newWorld(t, testFile)
	page := w.get("/")
	if page.status != http.StatusOK || page.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("GET /: got status %d, %v, want 200 and text/html", page.status, page.header)
	}
	references := regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(references) < 5 {
		t.Fatalf("the page refers to %v, want at least 5 files", references)
	}
	for _, m := range references {
		if !strings.HasPrefix(m[1], "/static/") {
			if m[1] != "/metrics" && m[1] != "/healthz" {
				t.Errorf("the page refers to %s, want only /static/, /metrics and /healthz", m[1])
			}
			continue
		}
		a, want := w.get(m[1]), staticTypes[path.Ext(m[1])]
		if a.status != http.StatusOK || a.header.Get("Content-Type") != want {
			t.Errorf("%s: got status %d, %v, want 200 and %s", m[1], a.status, a.header, want)
		}
	}
	scripts, err := fs.Glob(static, "static/*.js")
	if err != nil || len(scripts) < 7 {
		t.Fatalf("got scripts %v, error %v, want at least 7", scripts, err)
	}
	for _, name := range scripts {
		text, err := fs.ReadFile(static, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`from "(.*?)"`).FindAllStringSubmatch(string(text), -1) {
			a := w.get("/static/" + strings.TrimPrefix(m[1], "./"))
			if a.status != http.StatusOK {
				t.Errorf("%s imports %s: got status %d, want 200", name, m[1], a.status)
			}
		}
		// Scripts insert data as text nodes only, and load nothing from other origins.
		for _, risky := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML",
			"document.write", "eval(", "new Function", "https://", "http://"} {
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, risky) &&
					!strings.Contains(line, "placeholder") && !strings.Contains(line, "//") &&
					!strings.Contains(line, `label: "http://`) {
					t.Errorf("%s contains %q: %s", name, risky, line)
				}
			}
		}
	}
}

// Requests for other hosts are rejected, because a page can resolve its own name to the console's
// address (DNS rebinding).
func TestHosts(t *testing.T) {
	w := newWorld(t, testFile)
	for host, want := range map[string]int{
		"127.0.0.1:9090": 200, "[::1]:9090": 200, "10.1.2.3": 200, "localhost:9090": 200,
		"LOCALHOST": 200, "app.localhost:9090": 200,
		"admin.example.com": 200, "Admin.Example.com:443": 200, "admin.example.com.:9090": 200,
		"evil.example.com:9090": 421, "127.0.0.1.evil.example.com": 421,
		"localhost.evil.example.com:9090": 421,
		"evil-admin.example.com":          421, "": 421, ":9090": 421, "a;b.localhost": 421,
		".localhost": 421, "[fe80::1%25a]:9090": 421,
	} {
		for _, target := range []string{
			"/", "/api/session", "/static/main.js", "/preview?locator=s3://photos/a.jpg",
		} {
			a := w.send(http.MethodGet, target, nil, func(r *http.Request) { r.Host = host })
			if a.status != want {
				t.Errorf("GET %s, Host %q: got status %d, want %d", target, host, a.status, want)
			}
		}
	}
}

func TestMethodNotAllowed(t *testing.T) {
	w := newWorld(t, testFile)
	if a := w.send(http.MethodPost, "/", nil); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST /: got status %d, want 405", a.status)
	}
	for _, target := range []string{
		"/api/check", "/api/changes", "/api/sign-in", "/api/documents",
	} {
		if a := w.get(target); a.status != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: got status %d, want 405", target, a.status)
		}
	}
}
