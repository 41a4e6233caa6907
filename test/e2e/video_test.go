package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// film is two minutes of H.264, some 20 MB: more than a browser loads ahead.
var film = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "film.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=120", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "1",
		"-g", "25", "-pix_fmt", "yuv420p", "-movflags", "+faststart", path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	return path, nil
})

// startCinema opens a page with a film, and says when.
func startCinema(t *testing.T, bucket, config string) (*gallerySite, *tab, time.Time) {
	t.Helper()
	need(t, "chromium", "ffmpeg")
	path, err := film()
	if err != nil {
		t.Fatal(err)
	}
	s := minio(t)
	g := startGallery(t, s, bucket, config+inStore(bucket))
	s.put(t, bucket, "film.mp4", []byte(readFile(t, path)))
	g.page(t, "index.html", filmOf(bucket))
	b := openTab(t)
	opened := time.Now()
	b.open(g.origin + "/")
	return g, b, opened
}

// filmOf is the part of a page that shows a bucket's film.
func filmOf(bucket string) string {
	return `<video id="v" muted preload="metadata" src="/s3/` + bucket + `/film.mp4?response-content-type=video%2Fmp4"></video>`
}

// ready waits until the film can play.
const ready = `new Promise(d => { const v = document.getElementById("v"); v.onerror = () => d("error " + v.error.code); const ok = () => d("" + Math.round(v.duration)); if (v.readyState > 0) ok(); else v.onloadedmetadata = ok })`

// seek goes to a second of the film, and says whether the film got there: within some seconds, or not.
func seek(second, patience int) string {
	return fmt.Sprintf(`new Promise(d => { const v = document.getElementById("v"); setTimeout(() => d("stuck"), %d * 1000);
		v.onseeked = () => d("at " + Math.round(v.currentTime)); v.currentTime = %d })`, patience, second)
}

// A film plays, and is sought in by ranges. The proxy is asked once.
func TestVideoInChromium(t *testing.T) {
	t.Parallel()
	g, b, _ := startCinema(t, "films", longWindow)
	if got := b.js(ready); got != "120" {
		t.Fatalf("the film: %s", got)
	}
	played := b.js(`new Promise(d => { const v = document.getElementById("v"); v.ontimeupdate = () => { if (v.currentTime > 0.3) d("plays") }; v.play() })`)
	if played != "plays" {
		t.Error(played)
	}
	for _, second := range []int{100, 20, 70} {
		if got, want := b.js(seek(second, 20)), fmt.Sprintf("at %d", second); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	ranges := g.store.visits(func(v visit) bool { return v.rng != "" && v.rng != "bytes=0-" && v.status == http.StatusPartialContent })
	if len(ranges) < 2 {
		t.Errorf("the store was asked for %d ranges: %v", len(ranges), ranges)
	}
	if n := g.awaitRedirects(t, 1); n != 1 {
		t.Errorf("the proxy was asked %d times, want 1", n)
	}
	if refused := g.store.visits(func(v visit) bool { return v.status >= 400 }); len(refused) != 0 {
		t.Errorf("refused: %v", refused)
	}
}

var jsBlock = regexp.MustCompile("(?s)```js\n(.*?)```")

// For min_remaining after a film was loaded, every seek works, the last one too. Once its URL has expired, a seek is refused; the lines of
// docs/browsers.md have it load a fresh one instead. These URLs live for ten seconds, and really expire.
func TestVideoOutlivesItsURL(t *testing.T) {
	t.Parallel()
	const bucket, minRemaining = "long-films", 8 * time.Second
	g, b, opened := startCinema(t, bucket, "url_lifetime: 10s\nmin_remaining: 8s\n")
	if got := b.js(ready); got != "120" {
		t.Fatalf("the film: %s", got)
	}
	refusals := func() int { return len(g.store.visits(func(v visit) bool { return v.status == http.StatusForbidden })) }
	// Seeks until one is refused: without the snippet the browser asks in vain, again and again.
	seeks := 0
	for second := 10; refusals() == 0; second = (second + 37) % 110 {
		if got := b.js(seek(second, 3)); strings.HasPrefix(got, "at ") {
			seeks++
		}
		if time.Since(opened) > time.Minute {
			t.Fatal("its URL does not expire")
		}
	}
	inTime := 0
	for _, v := range g.store.visits(func(v visit) bool { return v.rng != "" && v.at.Before(opened.Add(minRemaining)) }) {
		if inTime++; v.status >= http.StatusBadRequest {
			t.Errorf("%v after the film was opened: %d", v.at.Sub(opened), v.status)
		}
	}
	if inTime < 2 || seeks < 1 {
		t.Errorf("%d seeks, %d ranges within min_remaining", seeks, inTime)
	}
	if got := b.js(seek(115, 3)); got != "stuck" {
		t.Errorf("a seek with an expired URL: %s", got)
	}

	// With it, from the start.
	block := jsBlock.FindStringSubmatch(readFile(t, "../../docs/browsers.md"))
	if block == nil {
		t.Fatal("docs/browsers.md holds no script")
	}
	g.page(t, "again.html", fmt.Sprintf(`%s<script>%s; keepPlaying(document.getElementById("v"), %d)</script>`, filmOf(bucket), block[1], minRemaining/time.Second))
	b.open(g.origin + "/again.html")
	if got := b.js(ready); got != "120" {
		t.Fatalf("the film, again: %s", got)
	}
	b.js(`document.getElementById("v").play().then(() => "")`)
	last := g.store.visits(func(v visit) bool { return v.status == http.StatusPartialContent })
	awaitThat(t, "the URL expires", func() bool {
		v := last[len(last)-1]
		return g.store.status(t, v.path, v.query) == http.StatusForbidden
	})
	before, asked := refusals(), g.awaitRedirects(t, 2)
	got := b.js(`new Promise(d => { const v = document.getElementById("v"); setTimeout(() => d("stuck at " + v.currentTime + ", ready " + v.readyState), 20000); v.currentTime = 90;
		v.ontimeupdate = () => { if (v.currentTime > 90.2 && !v.paused) d("plays on") } })`)
	if given := g.awaitRedirects(t, asked+1); got != "plays on" || refusals() != before || given != asked+1 {
		t.Errorf("with the snippet: %s, want it to play on; %d refusals, want 0; the proxy was asked %d times, want 1", got, refusals()-before, given-asked)
	}
}

// status asks the store for an object's first byte, under the name that browsers use.
func (c *counted) status(t *testing.T, path, query string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(c.url, "s3.localhost", "127.0.0.1", 1)+path+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = strings.TrimPrefix(c.url, "http://")
	req.Header.Set("Range", "bytes=0-0")
	a, err := readAnswer(client.Do(req))
	if err != nil {
		t.Fatal(err)
	}
	return a.status
}

// awaitThat waits for something that takes its time.
func awaitThat(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("it does not come to this: %s", what)
}
