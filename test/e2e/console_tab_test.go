package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// pictures makes the console tests write the screenshots of docs/console.md:
//
//	go test ./test/e2e -run TestConsoleAddsTheFirstIntegration -pictures ../../docs/console
var pictures = flag.String("pictures", "",
	"the `folder` to which the screenshots of docs/console.md are written")

// adminToken is the console's token in all tests.
const adminToken = "0123456789-canary-token-of-the-administrators"

// withConsole is the part of a configuration that lets administrators change it in the console.
const withConsole = `
admin: {token: "${ADMIN_TOKEN}"}
`

// consoleTab is a browser tab that shows the console.
type consoleTab struct{ *tab }

// openConsole opens p's console in a new tab and waits until it has loaded.
func openConsole(t *testing.T, p *proxy) *consoleTab {
	t.Helper()
	c := &consoleTab{openTab(t)}
	c.do(chromedp.EmulateViewport(1100, 900))
	c.open(p.admin + "/")
	c.until(`document.querySelector("#about").textContent !== "" &&
		document.querySelector("#account").children.length > 0`)
	return c
}

// until waits up to 30 seconds for a JavaScript condition to hold, and fails the test otherwise.
func (c *consoleTab) until(condition string) {
	c.t.Helper()
	script := `new Promise(done => {
		let n = 0;
		const poll = () => {
			if (` + condition + `) done("yes");
			else if (++n > 600) done("no");
			else setTimeout(poll, 50);
		};
		poll();
	})`
	if got := c.js(script); got != "yes" {
		c.t.Fatalf("timed out waiting for %s; the page shows:\n%s", condition, c.text())
	}
}

// arrives is like until, but polls from Go. A navigation in progress discards the previous page's
// promises, so a promise of that page may never resolve.
func (c *consoleTab) arrives(condition string) {
	c.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if got, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool](condition)); err == nil && got {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("timed out waiting for %s; the page shows:\n%s", condition, c.text())
}

// text returns the visible text of the open dialog, or of the page if there is none.
func (c *consoleTab) text() string {
	return c.js(`Promise.resolve(
		(document.querySelector("dialog[open]") || document.body).innerText)`)
}

// tabTo presses Tab until the element that matches selector has the focus.
func (c *consoleTab) tabTo(selector string) {
	c.t.Helper()
	for range 120 {
		script := `Promise.resolve(
			String(document.activeElement.matches(` + quoted(selector) + `)))`
		if c.js(script) == "true" {
			return
		}
		c.do(chromedp.KeyEvent(kb.Tab))
	}
	c.t.Fatalf("Tab does not reach %s; the page shows:\n%s", selector, c.text())
}

// press moves the focus to the button that matches selector and presses Enter.
func (c *consoleTab) press(selector string) {
	c.t.Helper()
	c.tabTo(selector)
	c.do(chromedp.KeyEvent(kb.Enter))
}

// fill moves the focus to the named field and replaces its value with text.
func (c *consoleTab) fill(name, text string) {
	c.t.Helper()
	c.tabTo(`[name="` + name + `"]`)
	c.do(
		chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)),
		chromedp.KeyEvent(kb.Delete),
		chromedp.KeyEvent(text),
	)
}

// next presses the dialog's primary button and waits for the step whose title begins with title.
func (c *consoleTab) next(title string) {
	c.t.Helper()
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelector("#dialog-title")?.textContent
		.startsWith(` + quoted(title) + `)`)
}

// signIn signs in with the administrators' token as the user name.
func (c *consoleTab) signIn(name string) {
	c.t.Helper()
	c.press("#account button")
	c.until(`document.querySelector("dialog[open] [name=token]")`)
	c.fill("who", name)
	c.fill("token", adminToken)
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`!document.querySelector("#add").hidden`)
}

// screenshot writes a screenshot for the documentation if the flag -pictures is set.
func (c *consoleTab) screenshot(name string) {
	c.t.Helper()
	if *pictures == "" {
		return
	}
	shot, err := chromedp.Run(c.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*pictures, name+".png"), shot, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// emulate sets the preferred color scheme ("light" or "dark") and the window's width in pixels.
func (c *consoleTab) emulate(scheme string, width int64) {
	c.t.Helper()
	media := emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}
	setMedia := func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, media)
		return err
	}
	c.do(chromedp.EmulateViewport(width, 900), chromedp.Func(setMedia))
}

// quoted returns text as a JavaScript string literal.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(b)
}
