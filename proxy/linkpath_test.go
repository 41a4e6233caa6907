package proxy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// linkQuery returns the query of a link that expires after a duration.
func (w *world) linkQuery(text string, lives time.Duration) string {
	w.t.Helper()
	target, err := viewer.ParseTarget(text)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	query, err := w.gate.Links().Query(target, now, now.Add(lives).Truncate(time.Second))
	if err != nil {
		w.t.Fatal(err)
	}
	return query
}

// linkAnswer is a response of POST /link.
type linkAnswer struct {
	URL, Query string
	Cookie     struct{ Name, Value, Path string }
	ExpiresAt  time.Time `json:"expires_at"`
}

// makeLink sends POST /link with a body, and returns the link.
func (w *world) makeLink(user, body string) (l linkAnswer) {
	w.t.Helper()
	resp := w.send(user, "POST", "/link", body, "Content-Type", "application/json")
	d := json.NewDecoder(resp.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&l); resp.StatusCode != 200 || err != nil {
		w.t.Fatalf("POST /link with %s: got %d, %v, want 200 and a link", body, resp.StatusCode, err)
	}
	return l
}

// inPath returns the target of an object, /s3/bucket/key, with a link in the path.
func inPath(query, target string) string {
	token := "~" + base64.RawURLEncoding.EncodeToString([]byte(query))
	return "/s3/" + token + strings.TrimPrefix(target, "/s3")
}

// A relative reference in a document that was opened through a link in the path is a request with
// the same link.
func TestReferencesStayWithinTheirLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers)
		defer w.set.Close()
		w.put("bucket", "films/1/film.m3u8", "playlist")
		w.put("bucket", "films/1/ü +/seg 1.ts", "segment")
		query := w.linkQuery("s3://bucket/films/1/*", 10*time.Minute)
		playlist, err := url.Parse("http://proxy.localhost" +
			inPath(query, "/s3/bucket/films/1/film.m3u8"))
		if err != nil {
			t.Fatal(err)
		}
		for reference, want := range map[string]struct {
			status int
			text   string
		}{
			"film.m3u8":                {302, "playlist"},
			"ü%20+/seg%201.ts":         {302, "segment"},
			"./x/../ü%20+/seg%201.ts":  {302, "segment"},
			"../1/film.m3u8?download":  {302, "playlist"},
			"../2/film.m3u8":           {401, ""},
			"../../diary":              {401, ""},
			"../../../photos/k":        {401, ""},
			"/s3/bucket/films/1/x":     {401, ""}, // without the link
			"%2e%2e%2f2/film.m3u8":     {400, ""},
			"x%2F..%2F..%2F2/film":     {400, ""},
			"../../../../bucket/a/b/c": {401, ""},
		} {
			u, err := playlist.Parse(reference)
			if err != nil {
				t.Fatal(err)
			}
			for _, method := range []string{"GET", "HEAD"} {
				resp := w.as("", method, u.RequestURI())
				if resp.StatusCode != want.status {
					t.Errorf("%s %s: got %d, want %d", method, reference, resp.StatusCode, want.status)
				}
				if resp.StatusCode != 302 {
					continue
				}
				checkLinked(t, w, method, resp, want.text)
			}
		}
		time.Sleep(10 * time.Minute)
		wantCode(t, "an expired link", w.as("", "GET", playlist.RequestURI()), 401, "viewer_unknown")
	})
}

// checkLinked checks that a redirect leads to an object's text and has nothing of the link.
func checkLinked(t *testing.T, w *world, method string, resp *http.Response, text string) {
	t.Helper()
	u, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"~", "kid=", "sig=", "exp="} {
		if strings.Contains(u.String(), part) {
			t.Errorf("Location: got %s, want nothing of the link, such as %s", u, part)
		}
	}
	s3, body := w.fetch(method, u)
	if s3.StatusCode != 200 || method == "GET" && body != text {
		t.Errorf("%s %s: got %d %q, want 200 %q", method, u, s3.StatusCode, body, text)
	}
	if got := resp.Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy: got %q, want no-referrer", got)
	}
	if got := resp.Header.Get("Cache-Control"); got != "private, max-age=600" {
		t.Errorf("Cache-Control: got %q, want private, max-age=600", got)
	}
}

// The URL, the cache and the metrics see the plain bucket and key: a link in the path and one in the
// query share a signature.
func TestLinkInPathSharesTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers)
		defer w.set.Close()
		query := w.linkQuery("s3://bucket/films/*", time.Hour)
		const object = "/s3/bucket/films/k"
		plain := w.as("", "GET", object+"?"+query)
		inside := w.as("", "GET", inPath(query, object))
		if got, want := inside.Header.Get("Location"), plain.Header.Get("Location"); got != want ||
			want == "" {
			t.Errorf("Location: got %q, want %q", got, want)
		}
		if n := w.urls.Len(); n != 1 {
			t.Errorf("the cache has %d signatures, want 1", n)
		}
		const want = `s3redirect_requests_total{code="302",integration="lab",method="GET"} 2`
		if text := scrapeText(t, w); !strings.Contains(text, want) {
			t.Errorf("metrics: got %s, want %s", matching(text, "s3redirect_requests_total{"), want)
		}
	})
}

// matching returns the lines of a text that begin with a prefix.
func matching(text, prefix string) (lines string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			lines += line
		}
	}
	return lines
}

// A link in the path that is not valid is never ignored, not even if the viewer could read the
// object without it.
func TestBadLinksInPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, func(c *config.Config, _ *Options) { c.Viewers.Anonymous = true })
		defer w.set.Close()
		const object = "/s3/bucket/users/ann/k"
		query := w.linkQuery("s3://bucket/users/ann/*", time.Hour)
		if resp := w.as("", "GET", inPath(query, object)); resp.StatusCode != 302 {
			t.Fatalf("the link: got %d, want 302", resp.StatusCode)
		}
		for what, target := range map[string]string{
			"empty":                        "/s3/~/bucket/users/ann/k",
			"not base64url":                "/s3/~a+b/bucket/users/ann/k",
			"escaped":                      strings.Replace(inPath(query, object), "~", "~%45", 1),
			"padded":                       strings.Replace(inPath(query, object), "/bucket", "=/bucket", 1),
			"changed":                      inPath(strings.Replace(query, "exp=", "exp=1", 1), object),
			"incomplete":                   inPath(query[:len(query)-10], object),
			"widened":                      inPath(strings.Replace(query, "ann", "bob", 1), "/s3/bucket/users/bob/k"),
			"a query that is no link":      inPath("download", object),
			"another bucket":               inPath(query, "/s3/photos/users/ann/k"),
			"another folder":               inPath(query, "/s3/bucket/users/bob/k"),
			"a link in the query, too":     inPath(query, object) + "?" + query,
			"an escaped link in the query": inPath(query, object) + "?s%69g=x",
			"an expiry in the query":       inPath(query, object) + "?exp=9999999999",
			"a version":                    inPath(query, object) + "?versionId=1",
			"an escaped version":           inPath(query, object) + "?version%49d=1",
			"a version in the token":       inPath(query+"&versionId=1", object),
			"8 kB":                         inPath(query+"&a="+strings.Repeat("b", 8<<10), object),
		} {
			for _, user := range []string{"ann", ""} {
				resp := w.as(user, "GET", target)
				wantCode(t, what, resp, 401, "viewer_unknown")
			}
		}
		for what, target := range map[string]string{
			"an escaped tilde": strings.Replace(inPath(query, object), "~", "%7E", 1),
			"no bucket":        inPath(query, "/s3"),
			"two tokens":       inPath(query, inPath(query, object)),
			"no key":           inPath(query, "/s3/bucket/"),
		} {
			wantCode(t, what, w.as("ann", "GET", target), 400, "bad_locator")
		}
		if s := w.log.String(); strings.Contains(s, "~") || strings.Contains(s, "sig=") {
			t.Errorf("the log has a link: %s", s)
		}
	})
}

// Where links are off, a path with a link is no path of an object, as before there were links.
func TestLinkInPathWhereLinksAreOff(t *testing.T) {
	w := newWorld(t)
	wantCode(t, "GET", w.ask("GET", "/s3/~abc/bucket/k"), 400, "bad_locator")
}

func TestLinkInPathMethods(t *testing.T) {
	w := newWorld(t, withViewers, func(_ *config.Config, o *Options) {
		o.CORS = &config.CORS{AllowedOrigins: []string{"https://app.example.com"}}
	})
	target := inPath(w.linkQuery("s3://bucket/films/*", time.Hour), "/s3/bucket/films/k")
	origin := []string{"Origin", "https://app.example.com"}
	resp := w.as("", "OPTIONS", target, append(origin, "Access-Control-Request-Method", "GET")...)
	if got := resp.Header.Get("Allow"); resp.StatusCode != 204 || got != "GET, HEAD, OPTIONS" {
		t.Errorf("OPTIONS: got %d, Allow %q, want 204 and GET, HEAD, OPTIONS", resp.StatusCode, got)
	}
	if got := resp.Header.Get("Access-Control-Allow-Methods"); got != "GET, HEAD" {
		t.Errorf("Access-Control-Allow-Methods: got %q, want GET, HEAD", got)
	}
	wantCode(t, "PUT", w.as("", "PUT", target), 405, "method_not_allowed")
	resp = w.as("", "GET", target, append(origin, "Sec-Fetch-Mode", "cors")...)
	if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != 302 ||
		got != "https://app.example.com" {
		t.Errorf("GET: got %d, Access-Control-Allow-Origin %q, want 302 and the origin",
			resp.StatusCode, got)
	}
}

// Requests with a link in the path count against the client's address.
func TestLinkInPathRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withRateLimit)
		defer w.set.Close()
		good := inPath(w.linkQuery("s3://photos/*", time.Hour), "/s3/photos/k")
		for _, target := range []string{good, inPath("sig=x", "/s3/photos/k"), good, good, good} {
			if resp := w.from("192.0.2.1:1234", target, ""); resp.StatusCode == 429 {
				t.Fatalf("within the burst: got %d, want 302 or 401", resp.StatusCode)
			}
		}
		wantCode(t, "the sixth", w.from("192.0.2.1:1234", good, ""), 429, "rate_limited")
		if resp := w.from("192.0.2.2:1234", good, ""); resp.StatusCode != 302 {
			t.Errorf("from another address: got %d, want 302", resp.StatusCode)
		}
	})
}

// The access log has the plain bucket and key, and nothing of the link.
func TestAccessLogOmitsLinks(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out lockedBuffer
		w := newWorld(t, withViewers, withLinkCookie, func(_ *config.Config, o *Options) {
			o.AccessLog = NewAccessLog(&out, format, o.Log, o.Metrics.AccessLogLost)
		})
		query := w.linkQuery("s3://bucket/films/*", time.Hour)
		target := inPath(query, "/s3/bucket/films/k")
		w.as("", "GET", target)
		w.as("", "GET", target+"?sig=x")
		w.as("", "GET", target+"/..")
		w.as("", "PUT", target)
		w.as("", "GET", "/s3/bucket/films/k", "Cookie", "s3link="+query)
		w.accessLog.Close()
		log := out.String()
		if n := strings.Count(log, "films/k"); n != 3 {
			t.Errorf("%s: the log has the key %d times, want 3: %s", format, n, log)
		}
		for _, part := range []string{target[5:40], "sig=", "kid=", "~"} {
			if strings.Contains(log, part) {
				t.Errorf("%s: got %s in the log, want nothing of the link: %s", format, part, log)
			}
		}
	}
}

// A response on the wire has the same bytes as net/http's; package wire's tests compare the rest.
func TestLinkInPathOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers)
		defer w.set.Close()
		query := w.linkQuery("s3://bucket/films/*", time.Hour)
		w.as("", "GET", inPath(query, "/s3/bucket/films/k")) // fetches the session
		for _, target := range []string{
			inPath(query, "/s3/bucket/films/k"),
			inPath(query, "/s3/bucket/other/k"),
			inPath(query, "/s3/bucket/films/k") + "?" + query,
			inPath(query, "/s3/bucket/films/../k"),
		} {
			r := httptest.NewRequest("GET", "http://h/", nil)
			r.RequestURI = target
			onWire := w.answerOnWire(r)
			if onWire == nil {
				t.Errorf("%s: the wire did not answer, want a response", target)
				continue
			}
			rec := httptest.NewRecorder()
			w.Handler.ServeHTTP(rec, r)
			want := rec.Result()
			got, _ := io.ReadAll(onWire.Body)
			body, _ := io.ReadAll(want.Body)
			if onWire.StatusCode != want.StatusCode || string(got) != string(body) {
				t.Errorf("%s: got %d %s, want %d %s", target, onWire.StatusCode, got,
					want.StatusCode, body)
			}
			for name := range want.Header {
				if got, want := onWire.Header.Get(name), want.Header.Get(name); got != want {
					t.Errorf("%s: %s: got %q, want %q", target, name, got, want)
				}
			}
		}
	})
}

// POST /link makes all forms of a link. They have the same query, so also the same signature.
func TestLinkForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withLinkCookie, withPublicURL)
		defer w.set.Close()
		const body = `{"locator": "s3://bucket/users/ann/ü/*", "lifetime": "10m"%s}`
		plain := w.makeLink("ann", fmt.Sprintf(body, ""))
		again := w.makeLink("ann", fmt.Sprintf(body, `, "form": "query"`))
		if again != plain || plain.Cookie.Name != "" {
			t.Errorf("form query: got %+v, want %+v as without a form", again, plain)
		}
		inside := w.makeLink("ann", fmt.Sprintf(body, `, "form": "path"`))
		want := linkAnswer{
			URL:       publicURL + inPath(plain.Query, "/s3/bucket/users/ann/%C3%BC/"),
			ExpiresAt: plain.ExpiresAt,
		}
		if inside != want {
			t.Errorf("form path: got %+v, want %+v", inside, want)
		}
		target := strings.TrimPrefix(inside.URL, publicURL) + "k"
		if resp := w.as("", "GET", target); resp.StatusCode != 302 {
			t.Errorf("GET %s: got %d, want 302", target, resp.StatusCode)
		}
		object := w.makeLink("ann", `{"locator": "s3://bucket/users/ann/k", "form": "path"}`)
		target = strings.TrimPrefix(object.URL, publicURL)
		if resp := w.as("", "GET", target); resp.StatusCode != 302 {
			t.Errorf("an object's link in the path: got %d, want 302", resp.StatusCode)
		}
		wantCode(t, "another object", w.as("", "GET", target+"2"), 401, "viewer_unknown")
		in := w.makeLink("ann", fmt.Sprintf(body, `, "form": "cookie"`))
		if in.Cookie.Value != plain.Query || !in.ExpiresAt.Equal(plain.ExpiresAt) {
			t.Errorf("form cookie: got %+v, want the query %s", in, plain.Query)
		}
		resp := w.send("ann", "POST", "/link", fmt.Sprintf(body, `, "form": "header"`),
			"Content-Type", "application/json")
		wantCode(t, "another form", resp, 400, "bad_request")
	})
}

// Without viewers.links.cookie, POST /link says what to configure.
func TestCookieFormNeedsACookie(t *testing.T) {
	w := newWorld(t, withViewers)
	resp := w.send("ann", "POST", "/link", `{"locator": "s3://bucket/users/ann/k", "form": "cookie"}`,
		"Content-Type", "application/json")
	p := problemIn(t, resp)
	if resp.StatusCode != 400 || !strings.Contains(p.Detail, "viewers.links.cookie") {
		t.Errorf("got %d %q, want 400 and viewers.links.cookie in the detail", resp.StatusCode, p.Detail)
	}
}
