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

// browser starts a headless Chromium with a new profile and returns the context of its tab. more
// are further options.
func browser(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := find("chromium")
	if err != nil {
		t.Fatal(err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless,
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-first-run", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		// Without TLS, hosts under localhost are secure contexts; hosts under insecure.example are
		// not.
		chromedp.Flag("host-resolver-rules", "MAP *.insecure.example 127.0.0.1"),
	}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), append(options, more...)...)
	t.Cleanup(cancel)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	if _, err := chromedp.Run(tab, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return tab
}

// tab is a tab in Chromium. It implements webPage.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func openTab(t *testing.T, more ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	need(t, "chromium")
	return &tab{t: t, ctx: browser(t, more...)}
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

func (p *tab) back() {
	p.t.Helper()
	p.do(chromedp.NavigateBack())
}

func (p *tab) close() { _ = chromedp.Cancel(p.ctx) }

// js evaluates a script and returns the string with which its promise is fulfilled.
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

// screenshot returns what the tab shows. It also writes it to the folder $SCREENSHOTS, if set.
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
		name := strings.ReplaceAll(p.t.Name(), "/", "-") + ".png"
		if err := os.WriteFile(filepath.Join(dir, name), shot, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	return img
}

// settled is a script that waits for a page's images and returns their natural widths.
const settled = `Promise.all([...document.images]
	.map(i => i.complete ? i : new Promise(d => i.onload = i.onerror = () => d(i))))
	.then(all => JSON.stringify(all.map(i => i.naturalWidth)))`

// imageScript returns a script that loads an image and returns its natural width, or "broken".
func imageScript(url, attribute string) string {
	return fmt.Sprintf(`new Promise(d => { const i = new Image(); %s
		i.onload = () => d("" + i.naturalWidth); i.onerror = () => d("broken"); i.src = %q })`, attribute, url)
}

// statusScript returns a script that reads an object with fetch() and returns the status, or
// "refused" if fetch() fails.
func statusScript(url, options string) string {
	return fmt.Sprintf(`fetch(%q, {%s}).then(
		async r => { await r.arrayBuffer(); return "" + r.status }, () => "refused")`, url, options)
}

// widths waits for the page's images and returns their natural widths; a broken image has width 0.
func (p *tab) widths() (widths []int) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.js(settled)), &widths); err != nil {
		p.t.Fatal(err)
	}
	return widths
}

// rectangles returns the bounds of the elements that a selector finds.
func (p *tab) rectangles(selector string) (found []image.Rectangle) {
	p.t.Helper()
	var all [][4]float64
	text := p.js(fmt.Sprintf(`Promise.resolve(JSON.stringify(
		[...document.querySelectorAll(%q)].map(e => {
			const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] })))`,
		selector))
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range all {
		found = append(found, image.Rect(int(r[0]), int(r[1]), int(r[2]), int(r[3])))
	}
	return found
}

// centre returns the middle of a rectangle, 1/part of its width and height.
func centre(r image.Rectangle, part int) image.Rectangle {
	dx, dy := (r.Dx()-r.Dx()/part)/2, (r.Dy()-r.Dy()/part)/2
	return image.Rect(r.Min.X+dx, r.Min.Y+dy, r.Max.X-dx, r.Max.Y-dy)
}

// mean returns the mean colour of a part of an image.
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

// apart returns how far two colours are apart in the channel in which they differ most.
func apart(a, b color.RGBA) int {
	d := func(x, y uint8) int { return max(int(x)-int(y), int(y)-int(x)) }
	return max(d(a.R, b.R), d(a.G, b.G), d(a.B, b.B))
}
