package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestConsoleAccessibility checks that Tab reaches every control and that axe-core finds no serious
// violation: narrow and wide, light and dark, with and without a dialog.
func TestConsoleAccessibility(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile("../../.tools/npm/node_modules/axe-core/axe.min.js")
	if err != nil {
		const reason = "axe-core is missing: run `make tools`"
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	p, _ := startProxyIn(t, withConsole+fewIntegrations(3),
		"ADMIN_TOKEN="+adminToken, "SECRET=canary")
	c := openConsole(t, p)
	c.js(string(axe) + `; Promise.resolve("")`)
	audit := func(what string) {
		t.Helper()
		// axe-core cannot measure the contrast of an element that is still fading in.
		c.until(`document.getAnimations().every(a => a.playState === "finished")`)
		report := c.js(`axe.run(document, {
			runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
		}).then(r => JSON.stringify({
			passes: r.passes.length,
			violations: r.violations
				.filter(v => v.impact === "serious" || v.impact === "critical")
				.map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 200)).join(" | ")),
		}))`)
		var r struct {
			Passes     int
			Violations []string
		}
		err := json.Unmarshal([]byte(report), &r)
		if err != nil || r.Passes < 15 || len(r.Violations) > 0 {
			t.Errorf("%s: axe-core (error %v): %d rules pass, want at least 15; violations %q",
				what, err, r.Passes, r.Violations)
		}
		overflow := c.js(`Promise.resolve(
			String(document.documentElement.scrollWidth - innerWidth))`)
		if overflow != "0" {
			t.Errorf("%s: the page is %s pixels wider than the window, want 0", what, overflow)
		}
	}
	c.press("#account button")
	c.until(`document.querySelector("dialog[open] [name=token]")`)
	audit("sign-in")
	c.do(chromedp.KeyEvent(kb.Escape))
	c.signIn("Ann")
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			c.emulate(scheme, width)
			what := fmt.Sprintf("%s, %d pixels wide", scheme, width)
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
			audit(what + ", with an invalid field")
			c.do(chromedp.KeyEvent(kb.Escape))
			c.until(`!document.querySelector("dialog[open]")`)
		}
	}
	c.fill("locator", "s3://bucket-0/a.png")
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result dl")`)
	audit("trial result")
	c.press(`[aria-label="Check of one-0"]`)
	c.until(`document.querySelector(".card .check")`)
	c.press(".card .check button")
	c.until(`document.querySelector(".card .check [role=status]").textContent
		.includes("steps ")`)
	audit("check")
	c.press(`[aria-label="Remove one-0"]`)
	c.until(`document.querySelector("dialog .diff")`)
	audit("diff")
	c.do(chromedp.KeyEvent(kb.Escape))
	c.until(`!document.querySelector("dialog[open]")`)
	c.emulate("light", 1100)

	// Tab through the whole page: every button, link and field gets the focus, and none keeps it.
	c.do(chromedp.Reload())
	c.until(`document.querySelectorAll(".card").length === 3 &&
		!document.querySelector("#add").hidden`)
	want := c.js(`(() => {
		const controls = "a, button, input, select, textarea, [tabindex='0']";
		let n = 0;
		for (const e of document.querySelectorAll(controls))
			if (e.checkVisibility()) e.dataset.seen = ++n;
		return Promise.resolve(String(n));
	})()`)
	seen := map[string]bool{}
	for range 80 {
		seen[c.js(`Promise.resolve(document.activeElement.dataset.seen || "")`)] = true
		c.do(chromedp.KeyEvent(kb.Tab))
	}
	delete(seen, "")
	if got := fmt.Sprint(len(seen)); got != want {
		t.Errorf("Tab reached %s controls, want %s", got, want)
	}
}
