package e2e

import (
	"bytes"
	"encoding/json"
	"image"
	_ "image/jpeg"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The demo's gallery, on a telephone and on a desk: every picture is painted in its own colours, nothing sticks out at the side, the
// text is read; and loading again costs redirects, but hardly any fetch.
func TestDemoInChromium(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	dir := t.TempDir()
	s, err := startServer(dir, "demo", nil, built(t), "demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	gallery := regexp.MustCompile(`gallery +(http://\S+)`)
	if err := s.await("the demo", func() bool { return gallery.MatchString(s.output()) }); err != nil {
		t.Fatal(err)
	}
	page := gallery.FindStringSubmatch(s.output())[1]
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"telephone", 360, 3400}, {"desk", 1280, 1600}} {
		t.Run(size.name, func(t *testing.T) {
			b := openTab(t)
			b.do(chromedp.EmulateViewport(size.width, size.height))
			b.open(page)
			b.checkExhibits(page)
			if got := b.js(`Promise.resolve(document.documentElement.scrollWidth + " " + innerWidth)`); strings.Fields(got)[0] != strings.Fields(got)[1] {
				t.Errorf("the page is wider than the window: %s", got)
			}
			if got := b.js(`new Promise(d => { const read = () => {
				const text = document.querySelector("[data-text]").textContent;
				text.startsWith("Loading") ? setTimeout(read, 20) : d(text) }; read() })`); !strings.Contains(got, "the store agree") {
				t.Errorf("the text: %s", got)
			}
			before := b.numbers()
			after := before
			for again := true; again; again = before.WindowEnds != after.WindowEnds { // with another window come other URLs
				before = b.numbers()
				b.js(`again().then(() => "")`)
				after = b.numbers()
			}
			if after.Requests < before.Requests+8 || after.S3Requests > before.S3Requests+2 {
				t.Errorf("loaded again: %+v, before it %+v", after, before)
			}
			if shown := b.js(`refresh().then(() => document.getElementById("requests").textContent)`); shown == "–" || shown == "0" {
				t.Errorf("the page shows %q redirects", shown)
			}
		})
	}
}

// checkExhibits compares what the gallery paints with the pictures that it names.
func (p *tab) checkExhibits(page string) {
	p.t.Helper()
	widths, shot := p.widths(), p.screenshot()
	var paths []string
	if err := json.Unmarshal([]byte(p.js(`Promise.resolve(JSON.stringify([...document.images].map(i => i.getAttribute("src"))))`)), &paths); err != nil {
		p.t.Fatal(err)
	}
	if len(paths) != 6 {
		p.t.Fatalf("%d pictures", len(paths))
	}
	for n, where := range p.rectangles("img") {
		resp, err := (&http.Client{}).Get(strings.TrimSuffix(page, "/") + paths[n])
		a, err := readAnswer(resp, err)
		if err != nil || a.status != http.StatusOK {
			p.t.Fatalf("%s: %v %v", paths[n], a, err)
		}
		picture, _, err := image.Decode(bytes.NewReader(a.body))
		if err != nil { // the drawing is an SVG
			if widths[n] == 0 {
				p.t.Errorf("%s is not painted", paths[n])
			}
			continue
		}
		if widths[n] != picture.Bounds().Dx() {
			p.t.Errorf("%s is %d wide, want %d", paths[n], widths[n], picture.Bounds().Dx())
		}
		// The page may cut a border off: the middle of it is the middle of the picture.
		if got, want := mean(shot, centre(where, 3)), mean(picture, centre(picture.Bounds(), 3)); apart(got, want) > 12 {
			p.t.Errorf("%s is painted %v in its middle, want %v", paths[n], got, want)
		}
	}
}

// numbers are the demo's counts.
func (p *tab) numbers() (n struct {
	Requests   int    `json:"requests"`
	S3Requests int    `json:"s3_requests"`
	WindowEnds string `json:"window_ends"`
}) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.js(`fetch("/demo/stats").then(r => r.text())`)), &n); err != nil {
		p.t.Fatal(err)
	}
	return n
}
