package check

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// inBubble runs a test whose clock starts in the middle of a window.
func inBubble(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// frontSteps returns the steps of a check that concern the front.
func frontSteps(t *testing.T, w *world) (steps []Step, ok bool) {
	t.Helper()
	all, ok := w.check(t)
	for _, s := range all {
		checkText(t, s)
		if strings.Contains(s.Reason+s.Remedy, "sig=") {
			t.Errorf("%+v contains a link", s)
		}
		if s.Name == stepFront {
			steps = append(steps, s)
		}
	}
	return steps, ok
}

// A front that changes nothing passes all steps, anonymously and with a signed link.
func TestFrontWithoutFaults(t *testing.T) {
	sample := func(key string) func(*world) {
		return func(w *world) {
			w.Sample.Key = key
			w.put(key, fakeaws.Object{Data: []byte("1")})
		}
	}
	for name, change := range map[string]func(*world){
		"short key":   func(*world) {},
		"long key":    sample(strings.Repeat("ü", 500) + ".jpg"),
		"long folder": sample(strings.Repeat("folder/", 142) + "photo.jpg"),
		"no folder":   sample("top+level #1.jpg"),
		"an empty object": func(w *world) {
			w.put(w.Sample.Key, fakeaws.Object{})
		},
		"overrides: none": func(w *world) { w.replace("file_versioning: true", "overrides: none") },
	} {
		for _, viewers := range []string{"", linksOnly} {
			inBubble(t, fmt.Sprintf("%s, %d", name, len(viewers)), func(t *testing.T) {
				w := newWorld()
				change(w)
				w.moreConfig = viewers
				w.useFront(t, pass)
				steps, _ := frontSteps(t, w)
				if len(steps) != 6 {
					t.Errorf("got %d steps %s, want 6", len(steps), stepFront)
				}
				for _, s := range steps {
					if s.Verdict != OK {
						t.Errorf("got %s: %s → %s, want ok", s.Verdict, s.Reason, s.Remedy)
					}
				}
			})
		}
	}
}

// frontFault is a front with one fault, and the step that reports it.
type frontFault struct {
	name    string
	viewers string
	front   func(http.Handler) http.Handler
	verdict Verdict
	reason  string // part of the step's reason
	remedy  string // part of the step's remedy
}

// convertHead is a front that sends GET for HEAD.
var convertHead = changing(func(r *http.Request) {
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
})

// pathOf is a front that changes the path of requests.
func pathOf(change func(string) string) func(http.Handler) http.Handler {
	return changing(func(r *http.Request) { r.RequestURI = change(r.RequestURI) })
}

func replacing(old, new string) func(http.Handler) http.Handler {
	return pathOf(func(path string) string {
		path, query, _ := strings.Cut(path, "?")
		return strings.ReplaceAll(path, old, new) + "?" + query
	})
}

// caching is a front that gives everyone the first answer for a path.
func cachingFront(proxy http.Handler) http.Handler {
	stored := map[string]*httptest.ResponseRecorder{}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		name := r.Method + path
		if stored[name] == nil {
			stored[name] = httptest.NewRecorder()
			proxy.ServeHTTP(stored[name], r)
		}
		for name, values := range stored[name].Header() {
			rw.Header()[name] = values
		}
		rw.WriteHeader(stored[name].Code)
	})
}

var frontFaults = []frontFault{
	{"HEAD as GET", "", convertHead, Failed, "redirects HEAD to the URL that is signed for GET",
		"proxy_cache_convert_head off"},
	{"HEAD as GET, by link", linksOnly, convertHead, Failed,
		"redirects HEAD to the URL that is signed for GET", "return (pass)"},
	{"HEAD not allowed", "", func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				rw.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			proxy.ServeHTTP(rw, r)
		})
	}, Failed, "itself answers HEAD with 405", "pass GET and HEAD"},
	{"longer max-age", "", setHeader("Cache-Control", "private, max-age=14400"), Failed,
		"may keep the redirect for 4h, but the proxy allows", "Browser Cache TTL"},
	{"longer than the link", linksOnly, setHeader("Cache-Control", "private, max-age=900"), Failed,
		"may keep the redirect for 15m, but the proxy allows 10m", "Respect Existing Headers"},
	{"an Expires header", "", answering(func(_ *http.Request, from *httptest.ResponseRecorder) {
		from.Header().Set("Cache-Control", "private")
		from.Header().Set("Expires", time.Now().Add(3*time.Hour).UTC().Format(http.TimeFormat))
	}), Failed, "but the proxy allows", "no expires"},
	{"a second max-age", "", answering(func(_ *http.Request, from *httptest.ResponseRecorder) {
		from.Header().Add("Cache-Control", "max-age=86400")
	}), Failed, "may keep the redirect for 24h", "no add_header Cache-Control"},
	{"stale-while-revalidate", "", answering(func(_ *http.Request, from *httptest.ResponseRecorder) {
		from.Header().Add("Cache-Control", "stale-while-revalidate=7200")
	}), Failed, "but the proxy allows", "Cache-Control on unchanged"},
	{"an Expires header in the far future", "",
		answering(func(_ *http.Request, from *httptest.ResponseRecorder) {
			from.Header().Set("Expires", "Fri, 31 Dec 9999 23:59:59 GMT")
			from.Header().Add("Cache-Control", "stale-if-error=2000000000")
		}), Failed, "lengthens max-age", "no expires"},
	{"public", "", setHeader("Cache-Control", "public, max-age=60"), Failed,
		"shared caches keep redirects (public)", "unchanged"},
	{"s-maxage", "", setHeader("Cache-Control", "private, max-age=60, s-maxage=600"), Failed,
		"shared caches keep redirects (s-maxage=600)", "unchanged"},
	{"no private", "", setHeader("Cache-Control", "max-age=60"), Failed,
		"no private in Cache-Control", "unchanged"},
	{"Age", "", setHeader("Age", "17"), Failed, "answers from its cache (Age: 17)", "proxy_cache off"},
	{"no-store", "", setHeader("Cache-Control", "no-store"), Warning,
		"does not let browsers keep the redirect", "unchanged"},
	{"a cache that ignores the query", linksOnly, cachingFront, Failed,
		"without the signed link that a request before had", "CachingDisabled"},
	{"a cache that ignores Vary", "", cachingFront, Warning, "redirects scripts", "Sec-Fetch-Mode"},
	{"removed query", linksOnly, pathOf(func(target string) string {
		path, _, _ := strings.Cut(target, "?")
		return path
	}), Failed, "although the request has a signed link", "query string"},
	{"removed parameters", "", pathOf(func(target string) string {
		path, _, _ := strings.Cut(target, "?")
		return path
	}), Warning, "removes parameters such as response-content-language", "query string"},
	{"merged slashes", "", replacing("//", "/"), Warning, "paths with //,", "Normalize URLs to origin"},
	{"decoded and merged slashes", "", pathOf(func(target string) string {
		return strings.ReplaceAll(strings.ReplaceAll(target, "%2F", "/"), "//", "/")
	}), Warning, "paths with %2F%2F //,", "AllowEncodedSlashes NoDecode"},
	{"decoded plus", "", replacing("+", "%20"), Warning, "paths with +,", "URI part"},
	{"decoded twice", "", replacing("%25", "%"), Warning, "paths with %2541,", "URI part"},
	{"backslashes", "", replacing("%5C", "/"), Warning, "paths with %5C,", "Cloudflare"},
	{"encoded twice", "", replacing("%20", "%2520"), Warning, "paths with %20,", "URI part"},
	{"another path", "", replacing("/photo.jpg", "/other.jpg"), Failed,
		"redirects GET to another key of the store", "proxy_pass without a URI part"},
	{"a removed folder", "", replacing("/s3/", "/"), Failed, "removes /s3/ from the path",
		"Pass the path on"},
	{"4 kB of headers", "", answering(func(_ *http.Request, from *httptest.ResponseRecorder) {
		if len(from.Header().Get("Location")) > 4096-162 {
			from.Header().Del("Location")
			from.Code = http.StatusBadGateway
		}
	}), Warning, "answers 502 if the Location is long", "proxy_buffer_size 16k"},
	{"cannot reach the proxy", "", fixed(http.StatusBadGateway), Failed, "itself answers GET with 502",
		"Start the proxy"},
	{"gateway timeout", "", fixed(http.StatusGatewayTimeout), Failed, "cannot reach the proxy",
		"the address under which the front knows it"},
	{"firewall", "", fixed(http.StatusForbidden), Failed, "itself answers GET with 403", "firewall"},
	{"follows redirects", "", fixed(http.StatusOK), Failed, "it follows redirects",
		`{redirect: "manual"}`},
	{"another status", "", answering(func(_ *http.Request, from *httptest.ResponseRecorder) {
		if from.Code == http.StatusFound {
			from.Code = http.StatusMovedPermanently
		}
	}), Failed, "answers GET with 301 instead of the proxy's 302", "unchanged"},
	{"sign-in", "", fixed(http.StatusFound, "Location", "https://login.example.com/?state=canary"), Failed,
		"redirects GET to login.example.com instead of the store", "If that is a sign-in"},
	{"a loop", "", fixed(http.StatusMovedPermanently, "Location", "/"), Failed, "redirects GET to itself",
		"Set public_url"},
	{"no Location", "", fixed(http.StatusFound), Failed, "no valid Location", "pass GET and HEAD"},
	{"a hostile Location", "", fixed(http.StatusFound, "Location",
		"https://photos.s3.eu-central-1.amazonaws.com.evil.example/a/photo.jpg?X-Amz-Signature=canary"),
		Failed, "amazonaws.com.evil.example instead of the store", "reload the proxy"},
	{"an unsigned Location", "", fixed(http.StatusFound, "Location",
		"https://photos.s3.eu-central-1.amazonaws.com/a/photo.jpg?x=canary"), Failed,
		"redirects GET to a URL that the store rejects", "reload it"},
	{"rate limit", "", fixed(http.StatusTooManyRequests, "Content-Type", "application/problem+json"),
		Skipped, "429", ""},
}

func TestFrontFaults(t *testing.T) {
	for _, c := range frontFaults {
		inBubble(t, c.name, func(t *testing.T) {
			w := newWorld()
			w.moreConfig = c.viewers
			w.useFront(t, c.front)
			steps, ok := frontSteps(t, w)
			found, failed := false, false
			for _, s := range steps {
				failed = failed || s.Verdict == Failed
				found = found || s.Verdict == c.verdict && strings.Contains(s.Reason, c.reason) &&
					strings.Contains(s.Remedy, c.remedy)
			}
			if !found || ok == failed || (c.verdict != Failed) == failed {
				t.Errorf("Run = %v, want a step %s with the reason %q and the remedy %q; got:", ok,
					c.verdict, c.reason, c.remedy)
				for _, s := range steps {
					t.Logf("%s: %s → %s", s.Verdict, s.Reason, s.Remedy)
				}
			}
		})
	}
}

// Without a way to be admitted, the step is skipped and says how to be admitted.
func TestFrontThatAdmitsNoCheck(t *testing.T) {
	for locator, want := range map[string]string{
		"s3://photos/b/*":         "viewers.links is off",
		"s3://photos/a/photo.jpg": "keys next to the sample",
	} {
		inBubble(t, want, func(t *testing.T) {
			w := newWorld()
			w.moreConfig = "viewers: {anonymous: true, rules: [{anonymous: true, locators: [\"" + locator +
				"\"]}]}\n"
			w.useFront(t, pass)
			steps, ok := frontSteps(t, w)
			if !ok || !strings.Contains(fmt.Sprint(steps), want) {
				t.Errorf("Run = %v with %+v, want true and a step with %q", ok, steps, want)
			}
			for _, s := range steps {
				if s.Verdict != OK && s.Verdict != Skipped {
					t.Errorf("got %s: %s → %s, want ok or skipped", s.Verdict, s.Reason, s.Remedy)
				}
			}
		})
	}
}

// The proxy may not run yet.
func TestFrontThatIsNotReached(t *testing.T) {
	w := newWorld()
	host := closedPort(t)
	w.moreConfig = "public_url: http://" + host + "\n"
	w.Transport = splitTransport{host, w.Transport, http.DefaultTransport}
	steps, ok := frontSteps(t, w)
	if !ok || len(steps) != 1 || steps[0].Verdict != Warning ||
		!strings.Contains(steps[0].Reason, "refused") {
		t.Errorf("Run = %v with %+v, want true and a warning that the connection is refused", ok, steps)
	}
}

// The proxy may not serve the bucket yet.
func TestFrontOfAnotherConfiguration(t *testing.T) {
	inBubble(t, "not reloaded", func(t *testing.T) {
		w := newWorld()
		w.useFront(t, replacing("/photos/", "/not-served/"))
		steps, ok := frontSteps(t, w)
		if !ok || len(steps) != 1 || steps[0].Verdict != Skipped ||
			!strings.Contains(steps[0].Reason, "does not serve the bucket photos") {
			t.Errorf("Run = %v with %+v, want true and a skipped step", ok, steps)
		}
	})
	inBubble(t, "draft", func(t *testing.T) {
		w := newWorld()
		w.useFront(t, pass)
		w.PolicyCommand = func(string) string { return "the document" }
		steps, ok := frontSteps(t, w)
		if !ok || len(steps) != 1 || steps[0].Verdict != Skipped {
			t.Errorf("Run = %v with %+v, want true and a skipped step", ok, steps)
		}
	})
}

// A front that does not answer delays the check only until the timeout.
func TestFrontThatStalls(t *testing.T) {
	inBubble(t, "no answer", func(t *testing.T) {
		w := newWorld()
		w.useFront(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		})
		steps, ok := frontSteps(t, w)
		if !ok || len(steps) != 1 || !strings.Contains(steps[0].Reason, "did not answer within 15s") {
			t.Errorf("Run = %v with %+v, want true and a timeout", ok, steps)
		}
	})
}

// The check does not read an endless response to its end.
func TestFrontWithAnEndlessResponse(t *testing.T) {
	blanks := []byte(strings.Repeat(" ", 1<<10))
	front := newServer(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/problem+json")
		rw.WriteHeader(http.StatusNotFound)
		for {
			if _, err := rw.Write(blanks); err != nil {
				return
			}
		}
	})
	w := newWorld()
	w.moreConfig = "public_url: " + front.URL + "\n"
	w.Transport = splitTransport{strings.TrimPrefix(front.URL, "http://"), w.Transport,
		&http.Transport{DisableKeepAlives: true}}
	steps, ok := frontSteps(t, w)
	if ok || len(steps) != 1 || !strings.Contains(steps[0].Reason, "itself answers GET with 404") {
		t.Errorf("Run = %v with %+v, want false and a 404", ok, steps)
	}
}

// The keys are under the integration's prefix: others belong to other integrations.
func TestFrontFolderIsUnderPrefix(t *testing.T) {
	long := strings.Repeat("long/", 200)
	for key, want := range map[string]string{
		"tenant-a/2026/x":        "tenant-a/2026/" + checkFolder,
		"tenant-a/" + long + "x": "tenant-a/" + checkFolder,
	} {
		f := &frontCheck{probe: &probe{i: &config.Integration{Prefix: "tenant-a/"},
			sample: &locator.Locator{Bucket: "films", Key: key}}}
		if got, path := f.folder(); got != want || path != "/s3/films/"+want {
			t.Errorf("folder() for %.20s = %q, %q, want %q", key, got, path, want)
		}
	}
}
