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

// TestDemoInChromium opens the demo's gallery in the window sizes of a phone and a desktop. Every
// picture is painted in its colours, the page is no wider than the window, and the text object is
// read. Loading the page again costs redirects, but almost no requests to S3.
func TestDemoInChromium(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	dir := t.TempDir()
	s, err := startServer(dir, "demo", nil, built(t),
		"demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
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
	}{{"phone", 360, 3400}, {"desktop", 1280, 1600}} {
		t.Run(size.name, func(t *testing.T) {
			b := openTab(t)
			b.do(chromedp.EmulateViewport(size.width, size.height))
			b.open(page)
			b.checkExhibits(page)
			got := b.js(`Promise.resolve(document.documentElement.scrollWidth + " " + innerWidth)`)
			if page, window, _ := strings.Cut(got, " "); page != window {
				t.Errorf("width of the page = %s, want the window's %s", page, window)
			}
			got = b.js(`new Promise(d => { const read = () => {
				const text = document.querySelector("[data-text]").textContent;
				text.startsWith("Loading") ? setTimeout(read, 20) : d(text) }; read() })`)
			if want := "the store agree"; !strings.Contains(got, want) {
				t.Errorf("text on the page = %q, want a text with %q", got, want)
			}
			b.checkFilm()
			before := b.numbers()
			after := before
			// Try again if the window ended meanwhile: the next window has other URLs.
			for again := true; again; again = before.WindowEnds != after.WindowEnds {
				before = b.numbers()
				b.js(`again().then(() => "")`)
				after = b.numbers()
			}
			if after.Requests < before.Requests+8 || after.S3Requests > before.S3Requests+2 {
				t.Errorf("counts changed from %+v to %+v, want at least 8 more requests to the "+
					"proxy and at most 2 more to S3", before, after)
			}
			shown := b.js(`refresh().then(() => document.getElementById("requests").textContent)`)
			if shown == "–" || shown == "0" {
				t.Errorf("the page shows %q redirects, want at least 1", shown)
			}
		})
	}
}

// checkFilm plays the film, whose playlist is answered in place, to its end.
func (p *tab) checkFilm() {
	p.t.Helper()
	got := p.js(`new Promise(done => {
		const film = document.querySelector("[data-film]");
		film.loop = false;
		film.playbackRate = 8;
		film.onended = () => done("ended after " + Math.round(film.currentTime) + " s");
		film.onerror = () => done("error " + film.error?.message);
		film.play().catch(e => done(String(e)));
	})`)
	if want := "ended after 6 s"; got != want {
		p.t.Errorf("film: %s, want %s", got, want)
	}
}

// checkExhibits compares the images that the gallery paints with the pictures at their URLs.
func (p *tab) checkExhibits(page string) {
	p.t.Helper()
	widths, shot := p.widths(), p.screenshot()
	var paths []string
	text := p.js(`Promise.resolve(JSON.stringify(
		[...document.images].map(i => i.getAttribute("src"))))`)
	if err := json.Unmarshal([]byte(text), &paths); err != nil {
		p.t.Fatal(err)
	}
	if len(paths) != 6 {
		p.t.Fatalf("the gallery has %d pictures, want 6", len(paths))
	}
	for n, where := range p.rectangles("img") {
		resp, err := (&http.Client{}).Get(strings.TrimSuffix(page, "/") + paths[n])
		a, err := readAnswer(resp, err)
		if err != nil || a.status != http.StatusOK {
			p.t.Fatalf("%s: got %v, error %v, want status 200", paths[n], a, err)
		}
		picture, _, err := image.Decode(bytes.NewReader(a.body))
		if err != nil { // the drawing is an SVG
			if widths[n] == 0 {
				p.t.Errorf("%s is not painted", paths[n])
			}
			continue
		}
		if widths[n] != picture.Bounds().Dx() {
			p.t.Errorf("width of %s = %d, want %d", paths[n], widths[n], picture.Bounds().Dx())
		}
		// The page may crop a picture, but both have the same middle.
		got, want := mean(shot, centre(where, 3)), mean(picture, centre(picture.Bounds(), 3))
		if apart(got, want) > 12 {
			p.t.Errorf("colour in the middle of %s = %v, want about %v", paths[n], got, want)
		}
	}
}

// numbers returns the demo's counts.
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
