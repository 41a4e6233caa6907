package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// watchedStore is a store behind a proxy that records the requests and can replace the responses.
type watchedStore struct {
	*store
	url string

	mu       sync.Mutex // guards the fields below
	requests []*http.Request
	instead  http.HandlerFunc                    // answers in place of the store, unless nil
	change   func(response *http.Response) error // changes the store's responses, unless nil
}

// watch starts a watched store. The URLs of a proxy with its env lead to it.
func watch(t *testing.T, s *store) *watchedStore {
	t.Helper()
	w := &watchedStore{store: s}
	to, err := url.Parse(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		// The host is signed.
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			w.mu.Lock()
			change := w.change
			w.mu.Unlock()
			if change == nil {
				return nil
			}
			return change(r)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.requests = append(w.requests, r.Clone(r.Context()))
		instead := w.instead
		w.mu.Unlock()
		if instead != nil {
			instead(rw, r)
			return
		}
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// env is the environment with which a proxy's URLs lead to the watched store.
func (w *watchedStore) env() []string {
	return append(w.store.env(), "ENDPOINT="+w.url)
}

// taken returns the requests since the last call.
func (w *watchedStore) taken() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.requests
	w.requests = nil
	return taken
}

// wantRequests checks the number of requests since the last call, and that they carry no
// credential of a viewer.
func (w *watchedStore) wantRequests(t *testing.T, what string, want int) {
	t.Helper()
	requests := w.taken()
	checkAsked(t, requests)
	if len(requests) != want {
		t.Errorf("%s: %d requests reached the store, want %d", what, len(requests), want)
	}
}

// set sets what answers in place of the store, and what changes its responses.
func (w *watchedStore) set(instead http.HandlerFunc, change func(*http.Response) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instead, w.change = instead, change
}

// followed starts a proxy for a bucket in which ann may read everything, bob what is below public/,
// and anonymous viewers what is below open/.
func followed(t *testing.T, bucket string, env ...string) *proxy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "htpasswd")
	text := ""
	for _, user := range []string{"ann", "bob"} {
		hash, err := bcrypt.GenerateFromPassword([]byte("secret-of-"+user), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		text += user + ":" + string(hash) + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startProxy(t, `
trusted_proxies: [127.0.0.1]
integrations:
  - name: keys
    bucket: `+bucket+withKeys+`
    file_versioning: true
viewers:
  basic: {htpasswd_file: `+file+`}
  anonymous: true
  links: {keys: [{id: k1, secret: "${LINK_SECRET}"}], max_lifetime: 24h}
  rules:
    - {users: [ann], locators: ["s3://`+bucket+`/*"]}
    - {users: [bob], locators: ["s3://`+bucket+`/public/*"]}
    - {anonymous: true, locators: ["s3://`+bucket+`/open/*"]}
cors: {allowed_origins: ["https://app.example.com"]}
`, append(env, "LINK_SECRET="+canaryLinkSecret)...)
}

const canaryLinkSecret = "canary-link-secret-of-32-bytes!!"

// as returns the header line that authenticates a user, or nothing for "".
func as(user string) string {
	if user == "" {
		return "Accept: */*"
	}
	return "Authorization: Basic " +
		base64.StdEncoding.EncodeToString([]byte(user+":secret-of-"+user))
}

// follower is nginx with the shipped follower.
type follower struct {
	*front
	log string // the follower's log file
}

// behindFollower starts nginx with follow.conf or follow-all.conf, and an error log of the most
// verbose level. pieces replace more of the shipped files.
func behindFollower(t *testing.T, p *proxy, name string, pieces ...string) *follower {
	t.Helper()
	host, dir := freeAddress(t), t.TempDir()
	f := &follower{log: filepath.Join(dir, "follower.log")}
	pieces = append(pieces,
		"127.0.0.1:8080", p.host,
		"127.0.0.1:8079", freeAddress(t),
		"/var/log/nginx/s3redirect-follower.log", f.log,
		"/var/cache/s3redirect-objects", filepath.Join(dir, "objects"))
	conf := shipped(t, "nginx", pieces...)
	cache := ""
	if name == "follow-all.conf" {
		cache = "include " + conf + "/follow-all-cache.conf;"
	}
	f.front = nginxLogging(t, "debug", host, fmt.Sprintf(`
include %[1]s/upstream.conf;
include %[1]s/follower.conf; %[2]s
server { listen %[3]s; include %[1]s/%[4]s; }`, conf, cache, host, name))
	return f
}

// get sends a request as a user.
func (f *follower) get(t *testing.T, user, target string, header ...string) *answer {
	t.Helper()
	return fetch(t, http.MethodGet, "http://"+f.host+target, append(header, as(user))...)
}

// wantBody checks the status and the body of an answer.
func (a *answer) wantBody(t *testing.T, what string, status int, body string) {
	t.Helper()
	if a.status != status || string(a.body) != body {
		t.Errorf("%s: got %d %.300q, want %d %.300q", what, a.status, a.body, status, body)
	}
}

// checkServed checks the header of an object that nginx served itself.
func (a *answer) checkServed(t *testing.T, what string) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control":           "private, no-cache",
		"Content-Security-Policy": "sandbox; default-src 'none'",
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "no-referrer",
		"Set-Cookie":              "",
		"Location":                "",
	} {
		if got := strings.Join(a.header[name], "|"); got != want {
			t.Errorf("%s: %s = %q, want %q", what, name, got, want)
		}
	}
	if a.header.Get("Etag") == "" || !strings.Contains(a.header.Get("Vary"), "Authorization") {
		t.Errorf("%s: header %v, want an ETag, and Vary with Authorization", what, a.header)
	}
	for name := range a.header {
		if strings.HasPrefix(name, "X-Accel") || strings.HasPrefix(name, "X-Amz-Request") {
			t.Errorf("%s: the client gets %s of the store", what, name)
		}
	}
}

// checkAsked checks that requests to the store carry no credential of the viewer's.
func checkAsked(t *testing.T, requests []*http.Request) {
	t.Helper()
	for _, r := range requests {
		for _, name := range []string{
			"Authorization", "Cookie", "Origin", "X-Forwarded-For", "Referer",
		} {
			if got, ok := r.Header[name]; ok {
				t.Errorf("the store gets %s: %q, want it left out", name, got)
			}
		}
	}
}

const playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsegment0.ts\n#EXT-X-ENDLIST\n"

// TestFollowPlaylists checks that nginx with follow.conf serves playlists at their own path, so
// that their relative references come back to s3redirect, and that other objects stay redirects.
func TestFollowPlaylists(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	const bucket = "follow-playlists"
	s := watch(t, minio(t))
	p := followed(t, bucket, s.env()...)
	f := behindFollower(t, p, "follow.conf")
	s.createBucket(t, bucket)
	for key, text := range map[string]string{
		"film/index.m3u8": playlist, "film/segment0.ts": "segment", "film/index.m3u8.html": "<p>",
		"public/a b+c%2F.vtt": "WEBVTT\n", "film/dash.mpd": "<MPD/>", "film/empty.vtt": "",
	} {
		s.put(t, bucket, key, []byte(text))
	}
	const target = "/s3/" + bucket + "/film/index.m3u8"
	a := f.get(t, "ann", target, "Cookie: a=b", "Referer: https://app.example.com/",
		"Origin: https://app.example.com")
	a.wantBody(t, "the playlist", http.StatusOK, playlist)
	a.checkServed(t, "the playlist")
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "https://app.example.com" {
		t.Errorf("Access-Control-Allow-Origin = %q, want the page's origin", got)
	}
	// A <track> without crossorigin sees no redirect.
	f.get(t, "ann", target, "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: track").
		wantBody(t, "the mode same-origin", http.StatusOK, playlist)
	checkAsked(t, s.taken())
	base, err := url.Parse("http://" + f.host + target)
	if err != nil {
		t.Fatal(err)
	}
	segment := fetch(t, http.MethodGet, base.JoinPath("../segment0.ts").String(), as("ann"))
	if err := segment.checkRedirect(); err != nil {
		t.Errorf("the playlist's reference: %v", err)
	}
	fetch(t, http.MethodGet, segment.header.Get("Location")).
		wantBody(t, "the segment", http.StatusOK, "segment")
	if a := f.get(t, "ann", target+".html"); a.status != http.StatusFound {
		t.Errorf("a key with a suffix within it: status %d, want 302", a.status)
	}

	checkPlaylistRanges(t, f, target, a.header.Get("Etag"))
	checkPlaylistTypes(t, f, bucket)
	checkPlaylistProblems(t, f, bucket)
}

// checkPlaylistRanges checks conditional requests, ranges and HEAD.
func checkPlaylistRanges(t *testing.T, f *follower, target, etag string) {
	t.Helper()
	f.get(t, "ann", target, "If-None-Match: "+etag).
		wantBody(t, "with the ETag", http.StatusNotModified, "")
	f.get(t, "ann", target, "Range: bytes=1-6").
		wantBody(t, "a range", http.StatusPartialContent, playlist[1:7])
	f.get(t, "ann", target, "Range: bytes=0-6", `If-Range: "other"`).
		wantBody(t, "a range of another version", http.StatusOK, playlist)
	past := f.get(t, "ann", target, "Range: bytes=1000-")
	if past.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range past the end: status %d, want 416", past.status)
	}
	f.get(t, "ann", strings.Replace(target, "index.m3u8", "empty.vtt", 1), "Range: bytes=0-5").
		wantBody(t, "a range of an empty object", http.StatusOK, "")
	head := fetch(t, http.MethodHead, "http://"+f.host+target, as("ann"))
	if head.status != http.StatusOK || head.length != int64(len(playlist)) {
		t.Errorf("HEAD: got %d and the length %d, want 200 and %d",
			head.status, head.length, len(playlist))
	}
}

// checkPlaylistTypes checks that the suffix of a key determines its type.
func checkPlaylistTypes(t *testing.T, f *follower, bucket string) {
	t.Helper()
	for key, want := range map[string]string{
		"film/index.m3u8":       "application/vnd.apple.mpegurl",
		"film/dash.mpd":         "application/dash+xml",
		"public/a b+c%2F.vtt":   "text/vtt; charset=utf-8",
		"film/index%2Em3u8":     "application/vnd.apple.mpegurl",
		"film/index.m3u8?x=.ts": "application/vnd.apple.mpegurl",
	} {
		target := path(bucket, key)
		if strings.HasPrefix(key, "film/index") {
			target = "/s3/" + bucket + "/" + key
		}
		a := f.get(t, "ann", target)
		if got := a.header["Content-Type"]; a.status != 200 || len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %d and the types %q, want 200 and %s", key, a.status, got, want)
		}
	}
}

// checkPlaylistProblems checks that clients get s3redirect's problems, and problems in place of the
// store's errors.
func checkPlaylistProblems(t *testing.T, f *follower, bucket string) {
	t.Helper()
	for _, c := range []struct {
		user, key string
		status    int
		code      string
	}{
		{"bob", "film/index.m3u8", http.StatusForbidden, "viewer_denied"},
		{"", "film/index.m3u8", http.StatusUnauthorized, "viewer_unknown"},
		{"ann", "missing.m3u8", http.StatusNotFound, "object_not_found"},
		{"ann", "a/../x.m3u8", http.StatusBadRequest, "bad_locator"},
	} {
		a := f.asProxy().raw(t, http.MethodGet, "/s3/"+bucket+"/"+c.key+" HTTP/1.1\r\n"+as(c.user)+
			"\r\nX-Ignored: x")
		if err := a.checkProblem(c.status, c.code); err != nil {
			t.Errorf("%s as %q: %v", c.key, c.user, err)
		}
	}
}
