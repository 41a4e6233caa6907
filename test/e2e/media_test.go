package e2e

import (
	"fmt"
	"image/color"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// filmPlayers are the players that show films in pages, each in a browser.
var filmPlayers = []struct {
	name, player, npm string
	open              func(t *testing.T) webPage
	film              func() (*movie, error)
	cues              int
}{
	{"hls.js-Chromium", "hls.js", "hls.js", chromiumPage, hlsMovie, 2},
	{"hls.js-Chromium-ranges", "hls.js", "hls.js", chromiumPage, rangesMovie, 0},
	{"dash.js-Chromium", "dash.js", "dashjs", chromiumPage, dashMovie, 2},
	{"Shaka-Chromium-HLS", "Shaka Player", "shaka-player", chromiumPage, hlsMovie, 2},
	{"Shaka-Chromium-DASH", "Shaka Player", "shaka-player", chromiumPage, dashMovie, 2},
	{"hls.js-Firefox", "hls.js", "hls.js", firefoxPage, hlsMovie, 2},
}

func chromiumPage(t *testing.T) webPage { return openTab(t) }
func firefoxPage(t *testing.T) webPage  { return openFirefox(t) }

// wayIn is a way in which viewers get access to the films in a folder.
type wayIn struct {
	name, folder string
	cookie, link bool
}

var waysIn = []wayIn{
	{"anonymous", "open/", false, false},
	{"cookie", "closed/", true, false},
	{"link", "closed/", false, true},
}

// TestFilmsInPlayers plays films to their end. Playlists, manifests and captions come from the
// proxy, and segments from the store. Like TestClients, it does not run beside other tests.
func TestFilmsInPlayers(t *testing.T) {
	m := startMediaSite(t, "films-in-players", longWindow)
	t.Run("players", func(t *testing.T) {
		for _, p := range filmPlayers {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				needFiles(t, "npm/"+p.npm)
				page := p.open(t)
				defer page.close()
				for _, way := range waysIn {
					folder := way.folder + p.name + "-" + way.name + "/"
					film := m.stored(t, p.film, folder)
					target := m.target(t, folder, way.link) + film.document
					got := m.watch(page, p.player, target, way.cookie, "{rate: 4}")
					if want := fmt.Sprintf("ended at 6 s, %d cues", p.cues); got != want {
						t.Errorf("%s: %s, want %s", way.name, got, want)
					}
					m.checkWhole(t, folder, m.origin, film)
				}
			})
		}
	})
	m.checkMetrics(t)
}

// TestFilmOutlivesURLs plays a film that is four times as long as a URL lives. The player requests
// each segment shortly before it plays it, and gets a URL of the window that it requests it in.
func TestFilmOutlivesURLs(t *testing.T) {
	t.Parallel()
	needFiles(t, "npm/hls.js")
	m := startMediaSite(t, "long-film", "url_lifetime: 3s\nmin_remaining: 1s\n")
	film := m.stored(t, longMovie, "open/")
	got := m.watch(openTab(t), "hls.js", "/s3/"+m.bucket+"/open/"+film.document, false,
		`{settings: {maxBufferLength: 1, maxMaxBufferLength: 1}}`)
	if want := "ended at 12 s, 0 cues"; got != want {
		t.Errorf("film: %s, want %s", got, want)
	}
	m.checkWhole(t, "open/", m.origin, film)
	loads := m.store.visits(func(v visit) bool { return m.isLoad(v, "open/") })
	signed := map[string]bool{}
	for _, v := range loads {
		query, err := url.ParseQuery(v.query)
		if err != nil {
			t.Fatal(err)
		}
		signed[query.Get("X-Amz-Date")] = true
	}
	if len(signed) < 4 {
		t.Errorf("the segments' URLs are of %d windows, want at least 4", len(signed))
	}
	if got := m.store.status(t, loads[0].path, loads[0].query); got != http.StatusForbidden {
		t.Errorf("the first segment's URL after the film: status = %d, want 403", got)
	}
}

// TestFilmsInFFmpeg plays films from the command line, and compares the frames with those of the
// stored files.
func TestFilmsInFFmpeg(t *testing.T) {
	t.Parallel()
	m := startMediaSite(t, "films-in-ffmpeg", longWindow)
	for name, of := range map[string]func() (*movie, error){
		"hls": hlsMovie, "dash": dashMovie, "ranges": rangesMovie,
	} {
		for _, way := range waysIn {
			if way.cookie {
				continue
			}
			folder := way.folder + name + "/"
			film := m.stored(t, of, folder)
			// ffmpeg reads the best rendition, and ffprobe all of them.
			for _, args := range [][]string{
				{"ffmpeg", "-nostdin", "-v", "error", "-i", "", "-f", "framemd5", "-"},
				{"ffprobe", "-v", "error", "-count_packets", "-select_streams", "v",
					"-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", "-i", ""},
			} {
				read := func(target string, more ...string) string {
					i := slices.Index(args, "-i")
					args := slices.Concat(args[:i], more, []string{"-i", target}, args[i+2:])
					out, err := run(film.dir, args...)
					if err != nil {
						t.Fatalf("%s, %s: %v", name, way.name, err)
					}
					return out
				}
				// ffmpeg does not read captions from files unless it is told to.
				want := read(film.document, "-allowed_extensions", "ALL")
				if !strings.Contains(want, "150\n") && strings.Count(want, "\n") < 150 {
					t.Errorf("%s: %s of the files = %s, want 150 frames", name, args[0], want)
				}
				if got := read(m.url(m.target(t, folder, way.link) + film.document)); got != want {
					t.Errorf("%s, %s: %s of the proxy's URL =\n%s\nwant\n%s",
						name, way.name, args[0], got, want)
				}
			}
			for key, size := range m.checkPlayed(t, folder, "") {
				if want := int64(len(film.files[key])); size < want {
					t.Errorf("%s: %d bytes loaded from the store, want at least %d", key, size, want)
				}
			}
		}
	}
	m.checkMetrics(t)
}

// TestPlaylistWithoutSegments checks that a viewer who may read a film's playlists, but not its
// segments, gets the playlists only.
func TestPlaylistWithoutSegments(t *testing.T) {
	t.Parallel()
	needFiles(t, "npm/hls.js")
	m := startMediaSite(t, "half-a-film", longWindow)
	film := m.stored(t, hlsMovie, "half/")
	got := m.watch(openTab(t), "hls.js", "/s3/"+m.bucket+"/half/"+film.document, true,
		"{settings: {fragLoadPolicy: {default: {maxTimeToFirstByteMs: 20000, maxLoadTimeMs: 20000}}}}")
	if want := "error: fragLoadError 403"; got != want {
		t.Errorf("film: %s, want %s", got, want)
	}
	statuses := map[string]map[int]bool{}
	awaitThat(t, "the access log", func() bool {
		for _, e := range m.served("half/") {
			suffix := filepath.Ext(e.Key)
			if statuses[suffix] == nil {
				statuses[suffix] = map[int]bool{}
			}
			statuses[suffix][e.Status] = true
		}
		return statuses[".ts"] != nil
	})
	for suffix, want := range map[string]int{
		".m3u8": http.StatusOK,
		".ts":   http.StatusForbidden,
	} {
		if got := statuses[suffix]; !maps.Equal(got, map[int]bool{want: true}) {
			t.Errorf("statuses of *%s = %v, want %d only", suffix, got, want)
		}
	}
	loads := m.store.visits(func(v visit) bool { return m.isLoad(v, "half/") })
	if len(loads) != 0 {
		t.Errorf("requests to the store for segments = %v, want none", loads)
	}
}

// TestNativeHLS plays HLS without a library. Chromium plays it only if the element has the
// attribute crossorigin, because the segments come from another origin. Firefox has no HLS.
func TestNativeHLS(t *testing.T) {
	t.Parallel()
	m := startMediaSite(t, "native-hls", longWindow)
	// The options without and with the attribute.
	const same, cross = "{rate: 4}", `{rate: 4, settings: {crossOrigin: ""}}`
	inEachEngine(t, func(t *testing.T, engine string, page webPage) {
		if engine == "WebKitGTK" {
			needHLS(t)
		}
		play := func(way wayIn, options, want, origin string) {
			t.Helper()
			folder := fmt.Sprintf("%s%s-%s-%d/", way.folder, engine, way.name, len(options))
			film := m.stored(t, hlsMovie, folder)
			target := m.target(t, folder, way.link) + film.document
			var got string
			if engine == "WebKitGTK" {
				got = m.watchInWebKit(t, target, way.cookie, options)
			} else {
				got = m.watch(page, "native", target, way.cookie, options)
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s, %s: %s, want %s", way.name, options, got, want)
			}
			if want == "ended" {
				m.checkWhole(t, folder, origin, film)
			}
		}
		switch engine {
		case "Chromium":
			play(waysIn[0], same, "error: ", "")
			for _, way := range waysIn {
				play(way, cross, "ended", m.origin)
			}
		case "Firefox":
			play(waysIn[0], cross, "error: ", "")
		case "WebKitGTK":
			play(waysIn[0], cross, "ended", m.origin)
			for _, way := range waysIn {
				play(way, same, "ended", "")
			}
		}
	})
}

// TestStylesAndCaptionsInPlace shows captions of a <track> without crossorigin, and a style sheet
// with relative references.
func TestStylesAndCaptionsInPlace(t *testing.T) {
	t.Parallel()
	m := startMediaSite(t, "styles", longWindow)
	m.minio.putFiles(t, m.bucket, "closed/", map[string][]byte{
		"captions.vtt": []byte(filmCaptions),
		"style.css":    []byte(`@import "theme/colours.css"; body { background: url(images/dot.png) }`),
		"theme/colours.css": []byte(`body { color: rgb(1, 2, 3); border: 1px solid;
			border-image: url("../images/dot.png?v=border") 1 }`),
		"images/dot.png": coloured(t, 1, 1, color.White),
	})
	base := "/s3/" + m.bucket + "/closed/"
	m.page(t, "styles.html", `<link rel="icon" href="data:,">
		<link rel="stylesheet" href="`+base+`style.css">
		<video><track default kind="captions" srclang="en" src="`+base+`captions.vtt"></video>`)
	inEachEngine(t, func(t *testing.T, _ string, page webPage) {
		images := func(v visit) bool { return strings.HasSuffix(v.path, "/dot.png") }
		before := len(m.store.visits(images))
		page.open(m.origin + "/watch.html")
		page.js(`(document.cookie = "session=` + m.token + `", "")`)
		page.open(m.origin + "/styles.html")
		// WebKit loads captions only if the page or the user enables them.
		got := page.js(`new Promise(done => {
			const track = document.querySelector("track");
			track.onload = () => done(track.track.cues.length + " cues");
			track.onerror = () => done("error");
			track.track.mode = "showing";
			if (track.readyState === HTMLTrackElement.LOADED) track.onload();
		})`)
		if want := "2 cues"; got != want {
			t.Errorf("captions: %s, want %s", got, want)
		}
		got = page.js(`getComputedStyle(document.body).color`)
		if want := "rgb(1, 2, 3)"; got != want {
			t.Errorf("color = %s, want %s", got, want)
		}
		awaitThat(t, "the images", func() bool { return len(m.store.visits(images)) > before })
		for _, v := range m.store.visits(func(visit) bool { return true }) {
			if v.status >= http.StatusBadRequest {
				t.Errorf("store: GET %s: status = %d, want success", v.path, v.status)
			}
		}
		// The page requested each of them from the proxy. Its list has them once they are loaded.
		awaitThat(t, "the resources of the page", func() bool {
			entries := page.js(`performance.getEntriesByType("resource").map(e => e.name).join(" ")`)
			return !slices.ContainsFunc(
				[]string{"style.css", "theme/colours.css", "images/dot.png"},
				func(name string) bool { return !strings.Contains(entries, m.origin+base+name) })
		})
	})
	m.checkPlayed(t, "closed/", "")
}
