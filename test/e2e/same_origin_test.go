package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// captions is a script that waits for a page's captions. Its result is the track's readyState: 2 if
// they are loaded, 3 after an error.
const captions = `new Promise(d => {
	const t = document.querySelector("track");
	t.onload = t.onerror = () => d("" + t.readyState);
	t.track.mode = "showing";
	if (t.readyState > 1) d("" + t.readyState);
})`

// TestSameOriginMode loads captions and a Worker. Without crossorigin, Chromium and Firefox would
// not follow a redirect: the network panel shows the proxy's problem instead. The remedies in the
// problem's detail work.
func TestSameOriginMode(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	inEachEngine(t, func(t *testing.T, engine string, page webPage) {
		bucket := "captions-" + strings.ToLower(engine)
		s := minio(t)
		g := startGallery(t, s, bucket, longWindow+inStore(bucket))
		s.put(t, bucket, "en.vtt", []byte("WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n"))
		s.put(t, bucket, "worker.js", []byte(`postMessage("works")`))
		track := path(bucket, "en.vtt") + "?response-content-type=text%2Fvtt"
		for name, attribute := range map[string]string{"without": "", "with": "crossorigin"} {
			g.page(t, name+".html", fmt.Sprintf(
				`<video %s src="/film"><track default kind="captions" src="%s"></video>`, attribute, track))
		}
		site := countedBefore(t, strings.Replace(g.origin, "app.localhost", "127.0.0.1", 1),
			"site.localhost", nil)
		last := func(key string) (status int) {
			for _, v := range site.visits(func(v visit) bool { return v.path == path(bucket, key) }) {
				status = v.status
			}
			return status
		}
		status, state, worker := http.StatusBadRequest, "3", "error"
		if engine == "WebKitGTK" { // see inWebKit
			status, state = http.StatusFound, "2"
		}
		page.open(site.url + "/without.html")
		if got := page.js(captions); got != state || last("en.vtt") != status {
			t.Errorf("without crossorigin: readyState %s after status %d, want %s after %d",
				got, last("en.vtt"), state, status)
		}
		page.open(site.url + "/with.html")
		if got := page.js(captions); got != "2" || last("en.vtt") != http.StatusFound {
			t.Errorf("with crossorigin: readyState %s after status %d, want 2 after 302",
				got, last("en.vtt"))
		}
		const start = `(url => new Promise(d => {
			const w = new Worker(url);
			w.onmessage = e => d(e.data);
			w.onerror = () => d("error");
		}))`
		url := path(bucket, "worker.js")
		if got := page.js(fmt.Sprintf("%s(%q)", start, url)); got != worker ||
			last("worker.js") != http.StatusBadRequest {
			t.Errorf("a Worker: %s after status %d, want %s after 400", got, last("worker.js"), worker)
		}
		got := page.js(fmt.Sprintf(`fetch(%q).then(r => r.text()).then(
			text => %s(URL.createObjectURL(new Blob([text]))))`, url, start))
		if got != "works" {
			t.Errorf("a Worker from a blob URL: %s, want works", got)
		}
	})
}
