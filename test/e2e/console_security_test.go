package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestConsoleRejectsOtherOrigins opens a page of another origin, which can neither read nor change
// the configuration nor embed the console. A host name that an attacker points at the console's
// address (DNS rebinding) gets 421.
func TestConsoleRejectsOtherOrigins(t *testing.T) {
	t.Parallel()
	p, dir := startProxyIn(t, withConsole+fewIntegrations(1),
		"ADMIN_TOKEN="+adminToken, "SECRET=canary")
	file := filepath.Join(dir, "integrations.d", "one-0.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := openConsole(t, p)
	c.signIn("Ann")
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!DOCTYPE html><title>evil</title><form method=post></form>")
	}))
	t.Cleanup(evil.Close)
	// The page has the console's host but another port. Browsers send the cookie anyway, because
	// cookies do not distinguish ports.
	c.open(evil.URL)
	body := quoted(`{"action":"remove","name":"one-0","base":"","save":true}`)
	for kind, mode := range map[string]string{
		"application/json":                  "cors",
		"text/plain":                        "no-cors",
		"application/x-www-form-urlencoded": "no-cors",
	} {
		got := c.js(`fetch("` + p.admin + `/api/changes", {
			method: "POST",
			mode: "` + mode + `",
			credentials: "include",
			headers: {"Content-Type": "` + kind + `"},
			body: ` + body + `,
		}).then(r => r.type + " " + r.status, () => "refused")`)
		if got != "refused" && got != "opaque 0" {
			t.Errorf("cross-origin POST of %s = %q, want %q or %q",
				kind, got, "refused", "opaque 0")
		}
	}
	for _, path := range []string{
		"/api/session",
		"/api/integrations",
		"/",
		"/api/draft?name=one-0",
	} {
		got := c.js(`fetch("` + p.admin + path + `", {credentials: "include"})
			.then(r => r.text(), () => "refused")`)
		if got != "refused" {
			t.Errorf("cross-origin GET of %s = %q, want %q", path, got, "refused")
		}
	}
	got := c.js(`new Promise(done => {
		const f = document.createElement("iframe");
		f.src = "` + p.admin + `/";
		f.onload = () => {
			try { done(f.contentDocument ? "in a frame" : "kept out"); } catch { done("kept out"); }
		};
		document.body.append(f);
	})`)
	if got != "kept out" {
		t.Errorf("console in an iframe of another origin: %q, want %q", got, "kept out")
	}
	c.js(`(() => {
		const f = document.forms[0];
		f.action = "` + p.admin + `/api/changes";
		f.enctype = "text/plain";
		const i = document.createElement("input");
		i.name = '{"action":"remove","name":"one-0","save":true,"x":"';
		i.value = '"}';
		f.append(i);
		f.submit();
		return Promise.resolve("");
	})()`)
	c.arrives(`document.body.innerText.includes("only the console")`)

	// DNS rebinding: the Host header has another name.
	r, err := http.NewRequest(http.MethodGet, p.admin+"/api/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example.com" + p.admin[strings.LastIndexByte(p.admin, ':'):]
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("GET with Host %s = %d, want 421", r.Host, resp.StatusCode)
	}
	wantUnchanged(t, file, before)
}

// TestConsoleEscapesForeignText puts scripts into an STS response, a locator, a viewer, a user name
// and a form. The console shows them as text.
func TestConsoleEscapesForeignText(t *testing.T) {
	t.Parallel()
	const script = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>%s</Message>"+
			"</Error></ErrorResponse>",
			strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(script))
	}))
	t.Cleanup(sts.Close)
	p, dir := startProxyIn(t, withConsole+`include: [integrations.d/*.yaml]
integrations:
  - name: denied
    bucket: denied-bucket
    role_arn: arn:aws:iam:::role/r
    region: us-east-1
    endpoint: https://store.example.com
    sts_endpoint: `+sts.URL+`
    access_key_id: AKIA
    secret_access_key: ${SECRET}
`, "ADMIN_TOKEN="+adminToken, "SECRET=canary")
	p.wantProblem(t, "/s3/denied-bucket/k", http.StatusBadGateway, "assume_role_denied")
	c := openConsole(t, p)
	wantHarmless := func(source string) {
		t.Helper()
		got := c.js(`new Promise(done => setTimeout(() => done(
			String(window.pwned) + document.querySelectorAll("img[src=x]").length), 100))`)
		if got != "undefined0" {
			t.Fatalf("%s: window.pwned and the number of injected elements = %q, want %q",
				source, got, "undefined0")
		}
	}
	c.until(`document.querySelector(".card .notice.bad")?.textContent
		.includes("<script>window.pwned=1</script>")`)
	wantHarmless("STS response")
	// A button keeps the focus when the page refreshes the integrations' state.
	const focused = "Check of denied"
	c.tabTo(`[aria-label="` + focused + `"]`)
	c.js(`new Promise(done => {
		const count = () => performance.getEntriesByType("resource")
			.filter(e => e.name.includes("/api/integrations")).length;
		const before = count();
		const poll = () => {
			if (count() > before) setTimeout(() => done(""), 300);
			else setTimeout(poll, 100);
		};
		poll();
	})`)
	got := c.js(`Promise.resolve(document.activeElement.getAttribute("aria-label") ||
		document.activeElement.tagName)`)
	if got != focused {
		t.Errorf("focused element after a refresh = %q, want %q", got, focused)
	}
	c.fill("locator", "s3://denied-bucket/"+script+".png")
	c.fill("user", script)
	c.fill("groups", script)
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result").textContent.includes("<script>")`)
	wantHarmless("locator and viewer")
	c.until(`document.querySelector("#trial-result iframe")
		?.contentDocument?.readyState === "complete"`)
	got = c.js(`Promise.resolve(
		String(document.querySelector("#trial-result iframe").contentWindow.pwned))`)
	if got != "undefined" {
		t.Errorf("window.pwned in the preview = %q, want %q", got, "undefined")
	}
	c.press(`[aria-label="Check of denied"]`)
	c.until(`document.querySelector(".card .check")`)
	c.press(".card .check button")
	// A check requires a session: the card asks the user to sign in and then runs the check.
	c.until(`document.querySelector(".card .check [name=token]")`)
	c.fill("who", `<b onclick="window.pwned=1">Ann</b>`)
	c.fill("token", adminToken)
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector(".card .check [role=status]").textContent.startsWith("Some")`)
	c.until(`!document.querySelector(".card .check [name=token]") &&
		!document.querySelector("#add").hidden`)
	wantHarmless("check and user name")
	c.press("#add")
	c.until(`document.querySelector("dialog[open] [name=bucket]")`)
	for _, name := range []string{"bucket", "name", "region"} {
		c.fill(name, script)
	}
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelectorAll("dialog [aria-invalid=true]").length === 3`)
	wantHarmless("form")
	entries, err := os.ReadDir(filepath.Join(dir, "integrations.d"))
	if err != nil || len(entries) > 0 {
		t.Errorf("integrations.d has %v (error %v), want no files", entries, err)
	}
}
