package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mediaSite is a site that shows films. Its documents are answered in place. Everyone may read what
// is in open/. For closed/, a cookie or a link is needed. With the cookie, a viewer may also read
// the playlists and captions in half/, but not the segments.
type mediaSite struct {
	*gallerySite
	minio  *store
	bucket string
	token  string // the value of the cookie "session"
	config string
	env    []string
}

// startMediaSite starts a site for films in a new bucket. window configures the lifetime of URLs.
func startMediaSite(t *testing.T, bucket, window string) *mediaSite {
	t.Helper()
	need(t, "ffmpeg", "ffprobe", "nginx")
	s := minio(t)
	issuer, token := issuedToken(t)
	m := &mediaSite{minio: s, bucket: bucket, token: token}
	m.config = window + inStore(bucket) + `    in_place: {suffixes: [.m3u8, .mpd, .vtt, .css]}
viewers:
  anonymous: true
  jwt:
    issuer: "${ISSUER}"
    jwks_url: "${ISSUER}/keys"
    audience: media
    user_claim: sub
    cookie: session
  links: {keys: [{id: k1, secret: canary-of-a-link-with-32-bytes!!}]}
  rules:
    - {anonymous: true, locators: ["s3://BUCKET/open/*"]}
    - {known: true, locators: ["s3://BUCKET/open/*", "s3://BUCKET/closed/*"]}
    - {known: true, locators: ["s3://BUCKET/half/film*", "s3://BUCKET/half/captions*"]}
`
	m.config = strings.ReplaceAll(m.config, "BUCKET", bucket)
	s.createBucket(t, bucket)
	// The proxy fetches documents, and ffmpeg segments, so the store needs a name that programs
	// resolve too. It is another origin than the site's.
	store := countedBefore(t, s.endpoint, "127.0.0.1", nil)
	m.env = append(s.env(), "STORE="+store.url, "ISSUER="+issuer)
	m.gallerySite = &gallerySite{store: store, pages: t.TempDir()}
	m.proxy = startProxy(t, m.config, m.env...)
	libraries, err := filepath.Abs(nodeModules)
	if err != nil {
		t.Fatal(err)
	}
	nginx := behindShippedNginx(t, m.proxy, `root `+m.pages+`;
		location /lib/ { alias `+libraries+`/; }
		types { text/html html; text/javascript js; }`)
	m.origin = "http://app.localhost" + nginx.host[strings.LastIndexByte(nginx.host, ':'):]
	script := readFile(t, "testdata/media/player.js")
	if err := os.WriteFile(filepath.Join(m.pages, "player.js"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	m.page(t, "watch.html", `<link rel="icon" href="data:,"><video id="video"></video>`)
	return m
}

// link returns the path of a link to a folder. It ends with a slash.
func (m *mediaSite) link(t *testing.T, folder string) string {
	t.Helper()
	env := append(slices.Clone(m.env), "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")
	code, link := command(t, writeConfig(t, m.config), env,
		"link", "--config", "config.yaml", "--form", "path", "s3://"+m.bucket+"/"+folder+"*")
	if code != 0 {
		t.Fatalf("s3redirect link: exit code = %d, want 0: %s", code, link)
	}
	return strings.TrimSpace(link)
}

// target returns the path of a folder, or a link to it.
func (m *mediaSite) target(t *testing.T, folder string, link bool) string {
	t.Helper()
	if link {
		return m.link(t, folder)
	}
	return "/s3/" + m.bucket + "/" + folder
}

// stored stores a film in a folder and returns it.
func (m *mediaSite) stored(t *testing.T, film func() (*movie, error), folder string) *movie {
	t.Helper()
	f, err := film()
	if err != nil {
		t.Fatal(err)
	}
	m.minio.putFiles(t, m.bucket, folder, f.files)
	return f
}

// watch opens a page that plays a film and returns how that ended. With cookie, the viewer has
// signed in.
func (m *mediaSite) watch(page webPage, player, film string, cookie bool, options string) string {
	m.openPlayer(page, cookie)
	return page.js(playScript(player, film, options))
}

// watchInWebKit plays HLS in a new WebKitGTK without a library and returns how that ended. On a
// busy machine, GStreamer sometimes deadlocks while it plays, and the browser no longer responds.
// Then the film is played again in another browser.
func (m *mediaSite) watchInWebKit(t *testing.T, film string, cookie bool, options string) string {
	t.Helper()
	const attempts = 3
	for attempt := 1; ; attempt++ {
		page := openWebKit(t)
		m.openPlayer(page, cookie)
		got, err := page.tryJS(playScript("native", film, options))
		page.close()
		switch {
		case err == nil:
			return got
		case attempt == attempts:
			t.Fatalf("WebKitGTK hung while it played %s, in each of %d attempts: %v",
				film, attempts, err)
		}
		t.Logf("WebKitGTK hung while it played %s: %v", film, err)
	}
}

// openPlayer opens the page with the player, with or without the cookie of a signed-in viewer.
func (m *mediaSite) openPlayer(page webPage, cookie bool) {
	page.open(m.origin + "/watch.html")
	session := `"session=; max-age=0"`
	if cookie {
		session = `"session=` + m.token + `"`
	}
	page.js(`(document.cookie = ` + session + `, "")`)
}

// playScript returns a script that plays a film.
func playScript(player, film, options string) string {
	return fmt.Sprintf(`import("/player.js").then(m => m.play(%q, %q, %s))`, player, film, options)
}

// entry is a line of the proxy's access log.
type entry struct {
	Msg, Key string
	Status   int
}

// clientClosed is the status of requests whose client disconnected before the response.
const clientClosed = 499

// served reports whether the response was a document.
func (e entry) served() bool {
	return e.Status == http.StatusOK || e.Status == http.StatusPartialContent ||
		e.Status == http.StatusNotModified
}

// served returns the proxy's responses to requests for keys with a prefix.
func (m *mediaSite) served(prefix string) (found []entry) {
	for line := range strings.Lines(m.output()) {
		var e entry
		err := json.Unmarshal([]byte(line), &e)
		if err == nil && e.Msg == "request" && strings.HasPrefix(e.Key, prefix) {
			found = append(found, e)
		}
	}
	return found
}

// isDocument reports whether an object is answered in place.
func isDocument(key string) bool {
	return slices.Contains([]string{".m3u8", ".mpd", ".vtt", ".css"}, filepath.Ext(key))
}

// checkPlayed checks that the proxy answered the documents of a folder and redirected everything
// else, and that a client loaded from the store, successfully, what it was redirected to. origin is
// the client's Origin, or "". It returns the loaded objects' names and the bytes loaded of each.
func (m *mediaSite) checkPlayed(t *testing.T, folder, origin string) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	for _, v := range m.store.visits(func(v visit) bool { return m.isLoad(v, folder) }) {
		if v.origin != origin || v.status >= http.StatusBadRequest {
			t.Errorf("store: GET %s from %q: status = %d, want success, from %q",
				v.path, v.origin, v.status, origin)
		}
		size, _ := strconv.ParseInt(v.header.Get("Content-Length"), 10, 64) // a 304 has none
		sizes[strings.TrimPrefix(v.path, "/"+m.bucket+"/"+folder)] += size
	}
	// The access log is written in batches.
	awaitThat(t, "a redirect of every object that was loaded", func() bool {
		redirected := map[string]bool{}
		for _, e := range m.served(folder) {
			if e.Status == http.StatusFound {
				redirected[strings.TrimPrefix(e.Key, folder)] = true
			}
		}
		for name := range sizes {
			if !redirected[name] {
				return false
			}
		}
		return len(sizes) > 0
	})
	for _, e := range m.served(folder) {
		right := e.Status == http.StatusFound
		if isDocument(e.Key) {
			right = e.served()
		}
		// Players give up requests that they have no use for any more.
		if !right && e.Status != clientClosed {
			t.Errorf("GET %s: status = %d, want 302 or, for documents, success", e.Key, e.Status)
		}
	}
	return sizes
}

// isLoad reports whether a request to the store is for a folder's object that is not a document:
// documents are fetched by the proxy.
func (m *mediaSite) isLoad(v visit, folder string) bool {
	return strings.HasPrefix(v.path, "/"+m.bucket+"/"+folder) && !isDocument(v.path)
}

// ofRendition matches the name of a rendition's segment. The group is the same for all renditions.
var ofRendition = regexp.MustCompile(`^segments/\d+([-.].+)$`)

// checkWhole checks with checkPlayed that a client has played a whole film: that it loaded each of
// its segments, in any rendition, from the store.
func (m *mediaSite) checkWhole(t *testing.T, folder, origin string, film *movie) {
	t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for name := range film.files {
		if !isDocument(name) {
			want[ofRendition.ReplaceAllString(name, "$1")] = true
		}
	}
	for name, size := range m.checkPlayed(t, folder, origin) {
		got[ofRendition.ReplaceAllString(name, "$1")] = true
		if atLeast := int64(len(film.files[name])); size < atLeast {
			t.Errorf("%s: %d bytes loaded from the store, want at least %d", name, size, atLeast)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("objects loaded from the store = %v, want %v", got, want)
	}
}

// checkMetrics checks that the metrics agree with the access log: documents were answered in place,
// and everything else was redirected.
func (m *mediaSite) checkMetrics(t *testing.T) {
	t.Helper()
	const (
		redirected = `s3redirect_requests_total{code="302",integration="keys",method="GET"}`
		served     = `s3redirect_in_place_total{integration="keys",result="served"}`
	)
	awaitThat(t, "the metrics to agree with the access log", func() bool {
		documents, others, got := 0.0, 0.0, m.scrape(t)
		for _, e := range m.served("") {
			if e.served() {
				documents++
			} else if e.Status == http.StatusFound {
				others++
			}
		}
		// A document is counted even if the client disconnects while it is being sent.
		return others > 0 && got[redirected] == others && got[served] >= documents
	})
}
