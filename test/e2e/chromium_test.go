package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser is a tab of a headless Chromium with a profile of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := find("chromium")
	if err != nil {
		t.Fatal(err)
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		// Unlike those under localhost, hosts under insecure.example are no secure context without TLS.
		chromedp.Flag("host-resolver-rules", "MAP *.insecure.example 127.0.0.1")}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	if _, err := chromedp.Run(tab, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return tab
}

// tab is one of a browser's.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func openTab(t *testing.T) *tab {
	t.Helper()
	need(t, "chromium")
	return &tab{t: t, ctx: browser(t)}
}

// another opens a tab of the same browser, with the same cookies and the same cache. The caller
// closes it.
func (p *tab) another() (other *tab, closeTab func()) {
	p.t.Helper()
	ctx, closeTab := chromedp.NewContext(p.ctx)
	if _, err := chromedp.Run(ctx, chromedp.Navigate("about:blank")); err != nil {
		p.t.Fatal(err)
	}
	return &tab{t: p.t, ctx: ctx}, closeTab
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// js evaluates a script's promise of a text.
func (p *tab) js(script string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%v: %s", err, script)
	}
	return v
}

// screenshot is what the tab shows.
func (p *tab) screenshot() image.Image {
	p.t.Helper()
	shot, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatal(err)
	}
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(p.t.Name(), "/", "-")+".png"), shot, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	return img
}

// settled waits for a page's images and says how wide each of them is.
const settled = `Promise.all([...document.images].map(i => i.complete ? i : new Promise(d => i.onload = i.onerror = () => d(i))))
	.then(all => JSON.stringify(all.map(i => i.naturalWidth)))`

// imageScript loads an image and says how wide it is.
func imageScript(url, attribute string) string {
	return fmt.Sprintf(`new Promise(d => { const i = new Image(); %s
		i.onload = () => d("" + i.naturalWidth); i.onerror = () => d("broken"); i.src = %q })`, attribute, url)
}

// statusScript reads an object with fetch() and says with which status it came, or that it was refused.
func statusScript(url, options string) string {
	return fmt.Sprintf(`fetch(%q, {%s}).then(async r => { await r.arrayBuffer(); return "" + r.status }, () => "refused")`, url, options)
}

// widths waits for the page's images and says how wide each is by nature; 0 is one that is not painted.
func (p *tab) widths() (widths []int) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.js(settled)), &widths); err != nil {
		p.t.Fatal(err)
	}
	return widths
}

// rectangles are where the page shows what a selector finds.
func (p *tab) rectangles(selector string) (found []image.Rectangle) {
	p.t.Helper()
	var all [][4]float64
	text := p.js(fmt.Sprintf(`Promise.resolve(JSON.stringify([...document.querySelectorAll(%q)].map(e => {
		const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] })))`, selector))
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range all {
		found = append(found, image.Rect(int(r[0]), int(r[1]), int(r[2]), int(r[3])))
	}
	return found
}

// centre is the middle of a rectangle, a part in so many of it wide and high.
func centre(r image.Rectangle, part int) image.Rectangle {
	dx, dy := (r.Dx()-r.Dx()/part)/2, (r.Dy()-r.Dy()/part)/2
	return image.Rect(r.Min.X+dx, r.Min.Y+dy, r.Max.X-dx, r.Max.Y-dy)
}

// mean is the mean colour of a part of an image.
func mean(img image.Image, in image.Rectangle) color.RGBA {
	var sum [3]int
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			c := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
			sum[0], sum[1], sum[2] = sum[0]+int(c.R), sum[1]+int(c.G), sum[2]+int(c.B)
		}
	}
	n := max(1, in.Dx()*in.Dy())
	return color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255}
}

// apart is how far two colours are from each other, in the channel where they differ most.
func apart(a, b color.RGBA) int {
	d := func(x, y uint8) int { return max(int(x)-int(y), int(y)-int(x)) }
	return max(d(a.R, b.R), d(a.G, b.G), d(a.B, b.B))
}
