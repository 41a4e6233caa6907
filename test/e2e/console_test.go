package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// From a configuration without an integration to an image on the page, by keyboard alone: the whole way, against a store that looks at
// the role. A role that is not there is explained before anything is written.
func TestConsoleAddsTheFirstIntegration(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	const bucket = "console-wizard"
	g.createBucket(t, bucket)
	g.put(t, bucket, "pictures/one.png", picture(t, 48))
	p, dir := startProxyIn(t, "\ninclude: [integrations.d/*.yaml]\nadmin: {token: \"${ADMIN_TOKEN}\", variables: {ids: [TRUSTED_KEY], secrets: [TRUSTED_SECRET]}}\n", append(g.env(), "ADMIN_TOKEN="+adminToken)...)
	before, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := openConsole(t, p)
	c.signIn("Ann")
	c.press("#add")
	c.until(`document.querySelector("dialog[open] [name=bucket]")`)
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelector("dialog [name=bucket][aria-invalid]") === document.activeElement`)
	c.fill("bucket", "Console_Wizard")
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelectorAll("dialog [aria-invalid]").length === 1`)
	c.fill("bucket", bucket)
	c.fill("name", "wizard")
	c.fill("region", "us-east-1")
	c.press("dialog summary")
	c.fill("endpoint", g.endpoint)
	c.fill("sts_endpoint", g.endpoint)
	c.fill("access_key_id", "${TRUSTED_KEY}")
	c.fill("secret_access_key", "${TRUSTED_SECRET}")
	c.tabTo("[name=path_style]")
	c.do(chromedp.KeyEvent(" "))
	c.next("Access policy")
	c.until(`document.querySelector("dialog pre")?.textContent.includes("arn:aws:s3:::` + bucket + `/*")`)
	c.next("Trust policy")
	c.fill("external_id", "")    // radosgw does not know them
	c.fill("external_id", "one") // and a fresh one is not lost by accident: it is written, or it is not
	c.fill("external_id", "")
	c.fill("principal", "arn:aws:iam:::user/trusted")
	c.do(chromedp.KeyEvent(kb.Tab))
	c.until(`document.querySelector("dialog pre")?.textContent.includes("arn:aws:iam:::user/trusted")`)
	c.next("The role")
	c.fill("role_arn", "arn:aws:iam:::role/nobody")
	c.next("CORS")
	c.next("Try it")
	c.fill("sample", "s3://"+bucket+"/pictures/one.png")
	c.press("dialog .check button")
	c.until(`document.querySelector("dialog .check [role=status]").textContent.startsWith("Some steps failed")`)
	if text := c.text(); !strings.Contains(text, "the role arn:aws:iam:::role/nobody does not exist") || !strings.Contains(text, "Correct role_arn, or create the role") {
		t.Errorf("a role that is not there:\n%s", text)
	}
	back := func(title string) {
		c.press("dialog .actions button:nth-of-type(2)")
		c.until(`document.querySelector("#dialog-title").textContent.startsWith(` + quoted(title) + `)`)
	}
	back("CORS")
	back("The role")
	c.fill("role_arn", g.roleARN)
	c.next("CORS")
	c.next("Try it")
	c.fill("sample", "s3://"+bucket+"/pictures/one.png")
	c.press("dialog .check button")
	c.until(`document.querySelector("dialog .check [role=status]").textContent.startsWith("All steps passed")`)
	c.next("What will be written")
	c.until(`document.querySelector("dialog .diff")`)
	c.screenshot("diff")
	written := filepath.Join(dir, "integrations.d", "wizard.yaml")
	if _, err := os.Stat(written); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the file was written before anybody saved it: %v", err)
	}
	c.next("Done")
	c.press("dialog .step button")
	c.until(`document.querySelector(".card h3")?.textContent === "wizard"`)
	after, err := os.ReadFile(written)
	if err != nil || !strings.HasPrefix(string(after), "# Written by s3redirect.\nname: wizard\n") || !strings.Contains(string(after), "secret_access_key: ${TRUSTED_SECRET}\n") {
		t.Errorf("%v:\n%s", err, after)
	}
	if now, err := os.ReadFile(filepath.Join(dir, "config.yaml")); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the main file has changed: %v", err)
	}

	c.fill("locator", "s3://"+bucket+"/pictures/one.png")
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result iframe")?.contentDocument?.images[0]?.naturalWidth === 48`)
	if text := c.text(); !strings.Contains(text, "allowed, because there are no rules") || !strings.Contains(text, "wizard") {
		t.Errorf("the trial says\n%s", text)
	}
	// What the image did shows on the next look.
	c.do(chromedp.KeyEvent(kb.Enter))
	c.fill("locator", "/s3/"+bucket+"/pictures/one.png")
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result").innerText.includes("hit: it is in the cache")`)
	c.until(`document.querySelector(".card .state").textContent.startsWith("session good for")`)
	if log := p.output(); !strings.Contains(log, `"msg":"console: configuration changed","who":"Ann"`) || strings.Contains(log, adminToken) {
		t.Errorf("the log lacks who did it, or has the token")
	}
}

// Whatever can be pressed can be reached by keyboard, and axe-core finds nothing serious: narrow and wide, light and dark, with and without a
// dialog.
func TestConsoleForEverybody(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(filepath.Join("..", "..", ".tools", "npm", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		const reason = "axe-core is missing: `make tools` gets it"
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	p, _ := startProxyIn(t, withConsole+fewIntegrations(3), "ADMIN_TOKEN="+adminToken, "SECRET=canary")
	c := openConsole(t, p)
	c.js(string(axe) + `; Promise.resolve("")`)
	audit := func(what string) {
		t.Helper()
		// Of an answer that is still on its way there is nothing to see.
		c.until(`document.getAnimations().every(a => a.playState === "finished")`)
		found := c.js(`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}).then(r => JSON.stringify({passes: r.passes.length,
			violations: r.violations.filter(v => v.impact === "serious" || v.impact === "critical").map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 200)).join(" | "))}))`)
		var r struct {
			Passes     int
			Violations []string
		}
		if err := json.Unmarshal([]byte(found), &r); err != nil || r.Passes < 15 || len(r.Violations) > 0 {
			t.Errorf("%s: %v: %d rules pass, and not %q", what, err, r.Passes, r.Violations)
		}
		if over := c.js(`Promise.resolve(String(document.documentElement.scrollWidth - innerWidth))`); over != "0" {
			t.Errorf("%s: it is %s pixels wider than the window", what, over)
		}
	}
	c.press("#account button")
	c.until(`document.querySelector("dialog[open] [name=token]")`)
	audit("signing in")
	c.do(chromedp.KeyEvent(kb.Escape))
	c.signIn("Ann")
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			c.emulate(scheme, width)
			what := fmt.Sprintf("%s, %d wide", scheme, width)
			audit(what)
			c.press(`[aria-label="Documents of one-0"]`)
			c.until(`document.querySelectorAll(".card .document").length > 1`)
			audit(what + ", with documents")
			c.press(`[aria-label="Documents of one-0"]`)
			c.press("#add")
			c.until(`document.querySelector("dialog[open] [name=bucket]")`)
			audit(what + ", with a dialog")
			c.press("dialog .actions button:not([type])")
			c.until(`document.querySelector("dialog [aria-invalid]")`)
			audit(what + ", with a field that is refused")
			c.do(chromedp.KeyEvent(kb.Escape))
			c.until(`!document.querySelector("dialog[open]")`)
		}
	}
	c.fill("locator", "s3://bucket-0/a.png")
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result dl")`)
	audit("a locator that was tried")
	c.press(`[aria-label="Check of one-0"]`)
	c.until(`document.querySelector(".card .check")`)
	c.press(".card .check button")
	c.until(`document.querySelector(".card .check [role=status]").textContent.includes("steps ")`)
	audit("a check")
	c.press(`[aria-label="Remove one-0"]`)
	c.until(`document.querySelector("dialog .diff")`)
	audit("a diff")
	c.do(chromedp.KeyEvent(kb.Escape))
	c.until(`!document.querySelector("dialog[open]")`)
	c.emulate("light", 1100)

	// From the top through the whole page: each button, link and field comes by, and none holds the focus.
	c.do(chromedp.Reload())
	c.until(`document.querySelectorAll(".card").length === 3 && !document.querySelector("#add").hidden`)
	want := c.js(`(() => { let n = 0; for (const e of document.querySelectorAll("a, button, input, select, textarea, [tabindex='0']")) if (e.checkVisibility()) e.dataset.seen = ++n; return Promise.resolve(String(n)); })()`)
	seen := map[string]bool{}
	for range 80 {
		seen[c.js(`Promise.resolve(document.activeElement.dataset.seen || "")`)] = true
		c.do(chromedp.KeyEvent(kb.Tab))
	}
	delete(seen, "")
	if fmt.Sprint(len(seen)) != want {
		t.Errorf("of %s things to press or to fill the keyboard came to %d", want, len(seen))
	}
}

// fewIntegrations returns the end of a configuration: integrations with keys, of a store that nobody asks, in files that the console may change.
func fewIntegrations(n int) string {
	var b strings.Builder
	b.WriteString("include: [integrations.d/*.yaml]\n")
	for i := range n {
		fmt.Fprintf(&b, "-- one-%d.yaml --\n# Written by s3redirect.\nname: one-%d\nbucket: bucket-%d\nregion: us-east-1\nendpoint: https://store.example.com\naccess_key_id: AKIA\nsecret_access_key: ${SECRET}\n", i, i, i)
	}
	return b.String()
}

// A page of another origin changes nothing, whatever it sends; and one whose name leads here is not answered.
func TestConsoleAgainstOtherPages(t *testing.T) {
	t.Parallel()
	p, dir := startProxyIn(t, withConsole+fewIntegrations(1), "ADMIN_TOKEN="+adminToken, "SECRET=canary")
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
	// The same host as the console's, another port: the cookie goes along, for all that browsers know of ports.
	c.open(evil.URL)
	body := quoted(`{"action":"remove","name":"one-0","base":"","save":true}`)
	for _, kind := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded"} {
		got := c.js(`fetch("` + p.admin + `/api/changes", {method: "POST", mode: "` + map[bool]string{true: "cors", false: "no-cors"}[kind == "application/json"] + `", credentials: "include", headers: {"Content-Type": "` + kind + `"}, body: ` + body + `}).then(r => r.type + " " + r.status, () => "refused")`)
		if got != "refused" && got != "opaque 0" {
			t.Errorf("%s: %s", kind, got)
		}
	}
	for _, path := range []string{"/api/session", "/api/integrations", "/", "/api/draft?name=one-0"} {
		if got := c.js(`fetch("` + p.admin + path + `", {credentials: "include"}).then(r => r.text(), () => "refused")`); got != "refused" {
			t.Errorf("another origin's page reads %s: %s", path, got)
		}
	}
	if got := c.js(`new Promise(done => { const f = document.createElement("iframe"); f.src = "` + p.admin + `/"; f.onload = () => { try { done(f.contentDocument ? "in a frame" : "kept out"); } catch { done("kept out"); } }; document.body.append(f); })`); got != "kept out" {
		t.Errorf("the console in another page: %s", got)
	}
	c.js(`(() => { const f = document.forms[0]; f.action = "` + p.admin + `/api/changes"; f.enctype = "text/plain"; const i = document.createElement("input"); i.name = '{"action":"remove","name":"one-0","save":true,"x":"'; i.value = '"}'; f.append(i); f.submit(); return Promise.resolve(""); })()`)
	c.arrives(`document.body.innerText.includes("only the console")`)

	// A name that leads to our address.
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
		t.Errorf("a name that leads here is answered %d", resp.StatusCode)
	}
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the file has changed: %v", err)
	}
}

// An integration that a person wrote is read-only: its card says where it is, and the page how to move it.
func TestConsoleShowsWhatIsReadOnly(t *testing.T) {
	t.Parallel()
	p, _ := startProxyIn(t, withConsole+`
integrations:
  - name: ours
    bucket: our-bucket
    region: us-east-1
    endpoint: https://store.example.com
    access_key_id: AKIA
    secret_access_key: ${SECRET}
`+fewIntegrations(1), "ADMIN_TOKEN="+adminToken, "SECRET=canary")
	c := openConsole(t, p)
	c.until(`[...document.querySelectorAll(".card")].filter(e => e.textContent.includes("config.yaml, line ")).length === 1`)
	c.signIn("Ann")
	c.until(`document.querySelector('[aria-label="Edit one-0"]') && !document.querySelector('[aria-label="Edit ours"]') && !document.querySelector('[aria-label="Remove ours"]')`)
	c.press(`[aria-label="Read-only: how to change ours"]`)
	c.until(`document.querySelector("dialog [role=alert]")?.textContent.includes("only people edit this file. To change it here, move its keys to integrations.d/ours.yaml")`)
}

// Scripts in whatever comes from outside, be it STS's answer, a locator, a name, or what somebody writes into a form, are texts.
func TestConsoleRunsNothingFromOutside(t *testing.T) {
	t.Parallel()
	const script = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>%s</Message></Error></ErrorResponse>", strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(script))
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
	harmless := func(what string) {
		t.Helper()
		if got := c.js(`new Promise(done => setTimeout(() => done(String(window.pwned) + document.querySelectorAll("img[src=x]").length), 100))`); got != "undefined0" {
			t.Fatalf("%s: a script ran, or an element was made: %s", what, got)
		}
	}
	c.until(`document.querySelector(".card .notice.bad")?.textContent.includes("<script>window.pwned=1</script>")`)
	harmless("what STS said")
	// Whoever is at a button stays there while the page asks how things stand.
	c.tabTo(`[aria-label="Check of denied"]`)
	c.js(`new Promise(done => { const was = performance.getEntriesByType("resource").filter(e => e.name.endsWith("/api/integrations")).length; const look = () =>
		performance.getEntriesByType("resource").filter(e => e.name.endsWith("/api/integrations")).length > was ? setTimeout(() => done(""), 300) : setTimeout(look, 100); look(); })`)
	if got := c.js(`Promise.resolve(document.activeElement.getAttribute("aria-label") || document.activeElement.tagName)`); got != "Check of denied" {
		t.Errorf("the focus went to %s", got)
	}
	c.fill("locator", "s3://denied-bucket/"+script+".png")
	c.fill("user", script)
	c.fill("groups", script)
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result").textContent.includes("<script>")`)
	harmless("a locator and a viewer")
	c.until(`document.querySelector("#trial-result iframe")?.contentDocument?.readyState === "complete"`)
	if got := c.js(`Promise.resolve(String(document.querySelector("#trial-result iframe").contentWindow.pwned))`); got != "undefined" {
		t.Error("a script ran in the preview")
	}
	c.press(`[aria-label="Check of denied"]`)
	c.until(`document.querySelector(".card .check")`)
	c.press(".card .check button")
	// A check needs a user: the card asks for the sign-in, and continues with the check.
	c.until(`document.querySelector(".card .check [name=token]")`)
	c.fill("who", `<b onclick="window.pwned=1">Ann</b>`)
	c.fill("token", adminToken)
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector(".card .check [role=status]").textContent.startsWith("Some")`)
	c.until(`!document.querySelector(".card .check [name=token]") && !document.querySelector("#add").hidden`)
	harmless("a check, and the name that a user signs in with")
	c.press("#add")
	c.until(`document.querySelector("dialog[open] [name=bucket]")`)
	for _, name := range []string{"bucket", "name", "region"} {
		c.fill(name, script)
	}
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelectorAll("dialog [aria-invalid=true]").length === 3`)
	harmless("a form")
	if entries, err := os.ReadDir(filepath.Join(dir, "integrations.d")); err != nil || len(entries) > 0 {
		t.Errorf("files were written: %v %v", entries, err)
	}
}

// Two administrators save at once: the second is told, loses nothing, and goes on with the file as it is now.
func TestConsoleTwoAdministrators(t *testing.T) {
	t.Parallel()
	p, dir := startProxyIn(t, withConsole+fewIntegrations(2), "ADMIN_TOKEN="+adminToken, "SECRET=canary")
	ann, bob := openConsole(t, p), openConsole(t, p)
	for name, c := range map[string]*consoleTab{"Ann": ann, "Bob": bob} {
		c.signIn(name)
		c.press(`[aria-label="Edit one-0"]`)
		c.until(`document.querySelector("dialog[open] [name=bucket]")?.value === "bucket-0"`)
		c.fill("bucket", strings.ToLower(name)+"s-bucket")
	}
	ann.next("Try it")
	ann.next("What will be written")
	ann.next("Done")
	bob.press("dialog .actions button:not([type])")
	bob.until(`document.querySelector("dialog [role=alert]")?.textContent.includes("another user or program has saved it")`)
	if got := bob.js(`Promise.resolve(document.querySelector("dialog [name=bucket]").value)`); got != "bobs-bucket" {
		t.Errorf("what Bob wrote is lost: %s", got)
	}
	bob.press(`dialog [role=alert] + button`)
	bob.until(`document.querySelector("#dialog-title").textContent === "Try it"`)
	bob.next("What will be written")
	bob.until(`document.querySelector("dialog .diff del")?.textContent.includes("anns-bucket")`)
	// Meanwhile somebody takes an editor.
	file := filepath.Join(dir, "integrations.d", "one-0.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte("us-east-1"), []byte("us-east-2"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	bob.press("dialog .actions button:not([type])")
	bob.until(`document.querySelector("dialog [role=alert]")?.textContent.includes("another user or program has saved it")`)
	bob.press(`dialog [role=alert] + button`)
	bob.until(`document.querySelector("dialog .diff") && !document.querySelector("dialog [role=alert]")`)
	bob.next("Done")
	now, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(now), "bobs-bucket") || !strings.Contains(string(now), "us-east-2") {
		t.Errorf("%v:\n%s", err, now)
	}
}

// A thousand integrations open as a few do: what is not looked at is not drawn; and the search finds each of them.
func TestConsoleOfAThousand(t *testing.T) {
	t.Parallel()
	opened := func(n int) time.Duration {
		p, _ := startProxyIn(t, fewIntegrations(n), "SECRET=canary")
		c := openConsole(t, p)
		var best time.Duration
		for range 3 {
			began := time.Now()
			c.open(p.admin + "/")
			c.until(fmt.Sprintf(`document.querySelector("#count").textContent.replace(/\D/g, "") === "%d" && document.querySelectorAll(".card").length === %d`, n, min(n, 50)))
			if took := time.Since(began); best == 0 || took < best {
				best = took
			}
		}
		if n > 50 {
			c.tabTo("#search")
			c.do(chromedp.KeyEvent("BUCKET-777"))
			c.until(`document.querySelectorAll(".card").length === 1 && document.querySelector(".card h3").textContent === "one-777" && document.querySelector("#count").textContent.startsWith("1 of")`)
			c.do(chromedp.KeyEvent(strings.Repeat(kb.Backspace, 10)))
			c.press("#more")
			c.until(`document.querySelectorAll(".card").length === 100`)
		}
		return best
	}
	few, many := opened(10), opened(1000)
	t.Logf("the page is open after %v with 10 integrations, after %v with 1,000: a ratio of %.1f", few.Round(time.Millisecond), many.Round(time.Millisecond), float64(many)/float64(few))
}
