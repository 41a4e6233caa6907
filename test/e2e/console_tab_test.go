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

// go test ./test/e2e -run TestConsoleAddsTheFirstIntegration -pictures ../docs/console
var pictures = flag.String("pictures", "", "the `folder` that the pictures of docs/console.md are written to")

const adminToken = "0123456789-canary-token-of-the-administrators"

// withConsole is a configuration that the console may change.
const withConsole = `
admin: {token: "${ADMIN_TOKEN}"}
`

// consoleTab is a browser at the console.
type consoleTab struct{ *tab }

func openConsole(t *testing.T, p *proxy) *consoleTab {
	t.Helper()
	c := &consoleTab{openTab(t)}
	c.do(chromedp.EmulateViewport(1100, 900))
	c.open(p.admin + "/")
	c.until(`document.querySelector("#about").textContent !== "" && document.querySelector("#account").children.length > 0`)
	return c
}

// until waits for a condition of the page.
func (c *consoleTab) until(condition string) {
	c.t.Helper()
	if got := c.js(`new Promise(done => { let n = 0; const look = () => { if (` + condition + `) done("yes"); else if (++n > 600) done("no"); else setTimeout(look, 50); }; look(); })`); got != "yes" {
		c.t.Fatalf("it did not come to this: %s\n%s", condition, c.text())
	}
}

// arrives is until, for a page that is on its way: what is asked of the one before may come to nothing.
func (c *consoleTab) arrives(condition string) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool](condition)); err == nil && got {
			return
		}
	}
	c.t.Fatalf("it did not come to this: %s\n%s", condition, c.text())
}

// text is what can be read on the page.
func (c *consoleTab) text() string {
	return c.js(`Promise.resolve((document.querySelector("dialog[open]") || document.body).innerText)`)
}

// tabTo presses the tabulator until the focus is on an element, as people without a mouse do.
func (c *consoleTab) tabTo(selector string) {
	c.t.Helper()
	for range 120 {
		if c.js(`Promise.resolve(String(document.activeElement.matches(`+quoted(selector)+`)))`) == "true" {
			return
		}
		c.do(chromedp.KeyEvent(kb.Tab))
	}
	c.t.Fatalf("the keyboard does not come to %s\n%s", selector, c.text())
}

// press goes to a button and presses it.
func (c *consoleTab) press(selector string) {
	c.t.Helper()
	c.tabTo(selector)
	c.do(chromedp.KeyEvent(kb.Enter))
}

// fill goes to a field, and writes into it instead of what is there.
func (c *consoleTab) fill(name, text string) {
	c.t.Helper()
	c.tabTo(`[name="` + name + `"]`)
	c.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.KeyEvent(kb.Delete), chromedp.KeyEvent(text))
}

// next presses the button that leads on, and waits for the step with a title.
func (c *consoleTab) next(title string) {
	c.t.Helper()
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelector("#dialog-title")?.textContent.startsWith(` + quoted(title) + `)`)
}

func (c *consoleTab) signIn(name string) {
	c.t.Helper()
	c.press("#account button")
	c.until(`document.querySelector("dialog[open] [name=token]")`)
	c.fill("who", name)
	c.fill("token", adminToken)
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`!document.querySelector("#add").hidden`)
}

// picture takes one, for the documents.
func (c *consoleTab) picture(name string) {
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

// look sets the light, and how wide the window is.
func (c *consoleTab) look(scheme string, width int64) {
	c.t.Helper()
	c.do(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}

func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // texts always marshal
	}
	return string(b)
}
