package console

import (
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
)

// Every answer has the headers that keep others out, and nothing of it is kept.
func TestHeaders(t *testing.T) {
	w := newWorld(t, testFile)
	for _, target := range []string{"/", "/static/main.js", "/static/console.css", "/api/overview",
		"/api/nothing", "/static/nothing"} {
		a := w.get(target)
		for name, want := range map[string]string{
			"Content-Security-Policy": contentSecurityPolicy, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s: %q", target, name, got)
			}
		}
	}
}

// No other page can show the console in a frame, and only the console itself can show the preview
// in one. A frame of a page that looks
// like something else would have its user press the console's buttons.
func TestFrames(t *testing.T) {
	w := newWorld(t, testFile)
	for target, want := range map[string]string{"/": "'none'",
		"/static/main.js": "'none'", "/api/overview": "'none'", "/nothing": "'none'",
		"/preview?locator=s3://photos/a.jpg": "'self'"} {
		var got []string
		for directive := range strings.SplitSeq(w.get(target).header.Get("Content-Security-Policy"), ";") {
			if sources, ok := strings.CutPrefix(strings.TrimSpace(directive), "frame-ancestors "); ok {
				got = append(got, sources)
			}
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: frame-ancestors %q, want %s once", target, got, want)
		}
	}
}

// The page is of its own parts only: each that it names is there, with its media type, and none is elsewhere.
func TestPage(t *testing.T) {
	w := newWorld(t, testFile)
	page := w.get("/")
	if page.status != http.StatusOK || page.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", page.status, page.header)
	}
	named := regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(named) < 5 {
		t.Fatal(named)
	}
	for _, m := range named {
		if !strings.HasPrefix(m[1], "/static/") {
			if m[1] != "/metrics" && m[1] != "/healthz" {
				t.Errorf("the page names %s", m[1])
			}
			continue
		}
		if a := w.get(m[1]); a.status != http.StatusOK || a.header.Get("Content-Type") != staticTypes[path.Ext(m[1])] {
			t.Errorf("%s: %d %v", m[1], a.status, a.header)
		}
	}
	scripts, err := fs.Glob(static, "static/*.js")
	if err != nil || len(scripts) < 7 {
		t.Fatal(scripts, err)
	}
	for _, name := range scripts {
		text, err := fs.ReadFile(static, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`from "(.*?)"`).FindAllStringSubmatch(string(text), -1) {
			if a := w.get("/static/" + strings.TrimPrefix(m[1], "./")); a.status != http.StatusOK {
				t.Errorf("%s imports %s: %d", name, m[1], a.status)
			}
		}
		// What comes from outside may be a text, and nothing else.
		for _, risky := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML",
			"document.write", "eval(", "new Function", "https://", "http://"} {
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, risky) &&
					!strings.Contains(line, "placeholder") && !strings.Contains(line, "//") &&
					!strings.Contains(line, `label: "http://`) {
					t.Errorf("%s: %s", name, line)
				}
			}
		}
	}
}

// A page whose name leads to our address (DNS rebinding) gets nothing, not even the page.
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
		for _, target := range []string{"/", "/api/session", "/static/main.js", "/preview?locator=s3://photos/a.jpg"} {
			if a := w.send(http.MethodGet, target, nil, func(r *http.Request) { r.Host = host }); a.status != want {
				t.Errorf("%s of %q: %d, want %d", target, host, a.status, want)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t, testFile)
	if a := w.send(http.MethodPost, "/", nil); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", a.status)
	}
	for _, target := range []string{"/api/check", "/api/changes", "/api/sign-in", "/api/documents"} {
		if a := w.get(target); a.status != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", target, a.status)
		}
	}
}
