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

// film creates a video of two minutes and returns its path. It has about 20 MB of H.264, more than
// a browser buffers ahead.
var film = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "film.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error",
		"-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=120",
		"-c:v", "libx264", "-preset", "ultrafast", "-qp", "1", "-g", "25",
		"-pix_fmt", "yuv420p", "-movflags", "+faststart", path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	return path, nil
})

// startCinema opens a page with the film and returns when it did so.
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

// filmOf returns the HTML element that shows a bucket's film.
func filmOf(bucket string) string {
	return `<video id="v" muted preload="metadata" src="/s3/` + bucket +
		`/film.mp4?response-content-type=video%2Fmp4"></video>`
}

// ready waits until the film's metadata is loaded and returns the film's duration in seconds.
const ready = `new Promise(d => {
	const v = document.getElementById("v");
	v.onerror = () => d("error " + v.error.code);
	const ok = () => d("" + Math.round(v.duration));
	if (v.readyState > 0) ok(); else v.onloadedmetadata = ok;
})`

// seek returns a script that seeks to a second of the film. Its result is the position afterwards,
// or "stuck" if the seek takes more than timeout seconds.
func seek(second, timeout int) string {
	return fmt.Sprintf(`new Promise(d => {
		const v = document.getElementById("v");
		setTimeout(() => d("stuck"), %d * 1000);
		v.onseeked = () => d("at " + Math.round(v.currentTime));
		v.currentTime = %d;
	})`, timeout, second)
}

// A browser plays a film and seeks in it with range requests, all with a single redirect.
func TestVideoInChromium(t *testing.T) {
	t.Parallel()
	g, b, _ := startCinema(t, "films", longWindow)
	if got := b.js(ready); got != "120" {
		t.Fatalf("duration of the film = %s, want 120", got)
	}
	played := b.js(`new Promise(d => {
		const v = document.getElementById("v");
		v.ontimeupdate = () => { if (v.currentTime > 0.3) d("plays") };
		v.play();
	})`)
	if played != "plays" {
		t.Errorf("playing the film: %s, want plays", played)
	}
	for _, second := range []int{100, 20, 70} {
		if got, want := b.js(seek(second, 20)), fmt.Sprintf("at %d", second); got != want {
			t.Errorf("seek: %s, want %s", got, want)
		}
	}
	ranges := g.store.visits(func(v visit) bool {
		return v.rng != "" && v.rng != "bytes=0-" && v.status == http.StatusPartialContent
	})
	if len(ranges) < 2 {
		t.Errorf("%d range requests to the store, want at least 2: %v", len(ranges), ranges)
	}
	if n := g.awaitRedirects(t, 1); n != 1 {
		t.Errorf("%d redirects, want 1", n)
	}
	denied := g.store.visits(func(v visit) bool { return v.status >= 400 })
	if len(denied) != 0 {
		t.Errorf("requests that the store denied = %v, want none", denied)
	}
}

// jsBlock matches a code block of JavaScript in Markdown.
var jsBlock = regexp.MustCompile("(?s)```js\n(.*?)```")

// Each seek works for min_remaining after a film was loaded. After its URL has expired, the store
// denies a seek. With the script of docs/browsers.md, the page loads a new URL instead. The URLs of
// this test expire after ten seconds.
func TestVideoPlaysAfterURLExpires(t *testing.T) {
	t.Parallel()
	const bucket, minRemaining = "long-films", 8 * time.Second
	g, b, opened := startCinema(t, bucket, "url_lifetime: 10s\nmin_remaining: 8s\n")
	if got := b.js(ready); got != "120" {
		t.Fatalf("duration of the film = %s, want 120", got)
	}
	denials := func() int {
		return len(g.store.visits(func(v visit) bool { return v.status == http.StatusForbidden }))
	}
	// Seek until the store denies one. Without the script, the browser retries the expired URL.
	seeks := 0
	for second := 10; denials() == 0; second = (second + 37) % 110 {
		if got := b.js(seek(second, 3)); strings.HasPrefix(got, "at ") {
			seeks++
		}
		if time.Since(opened) > time.Minute {
			t.Fatal("the URL has not expired after a minute")
		}
	}
	inTime := 0
	for _, v := range g.store.visits(func(v visit) bool {
		return v.rng != "" && v.at.Before(opened.Add(minRemaining))
	}) {
		if inTime++; v.status >= http.StatusBadRequest {
			t.Errorf("range request %v after the film was opened: status = %d, want success",
				v.at.Sub(opened), v.status)
		}
	}
	if inTime < 2 || seeks < 1 {
		t.Errorf("%d seeks and %d range requests within min_remaining, want at least 1 and 2",
			seeks, inTime)
	}
	if got := b.js(seek(115, 3)); got != "stuck" {
		t.Errorf("seek with an expired URL: %s, want stuck", got)
	}

	// Load the film again, in a page with the script.
	block := jsBlock.FindStringSubmatch(readFile(t, "../../docs/browsers.md"))
	if block == nil {
		t.Fatal("docs/browsers.md contains no script")
	}
	g.page(t, "again.html", fmt.Sprintf(
		`%s<script>%s; keepPlaying(document.getElementById("v"), %d)</script>`,
		filmOf(bucket), block[1], minRemaining/time.Second))
	b.open(g.origin + "/again.html")
	if got := b.js(ready); got != "120" {
		t.Fatalf("duration of the film in the second page = %s, want 120", got)
	}
	b.js(`document.getElementById("v").play().then(() => "")`)
	last := g.store.visits(func(v visit) bool { return v.status == http.StatusPartialContent })
	awaitThat(t, "an expired URL", func() bool {
		v := last[len(last)-1]
		return g.store.status(t, v.path, v.query) == http.StatusForbidden
	})
	before, asked := denials(), g.awaitRedirects(t, 2)
	got := b.js(`new Promise(d => {
		const v = document.getElementById("v");
		setTimeout(() => d("stuck at " + v.currentTime + ", ready " + v.readyState), 20000);
		v.currentTime = 90;
		v.ontimeupdate = () => { if (v.currentTime > 90.2 && !v.paused) d("continues") };
	})`)
	given := g.awaitRedirects(t, asked+1)
	if got != "continues" || denials() != before || given != asked+1 {
		t.Errorf("with the script: the film %s, %d denials, %d redirects, want continues, 0 and 1",
			got, denials()-before, given-asked)
	}
}

// status requests an object's first byte with the Host header of browsers and returns the status.
func (c *counted) status(t *testing.T, path, query string) int {
	t.Helper()
	url := strings.Replace(c.url, "s3.localhost", "127.0.0.1", 1) + path + "?" + query
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
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

// awaitThat waits until is returns true, for at most two minutes.
func awaitThat(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for ; time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("timed out after two minutes waiting for %s", what)
}
