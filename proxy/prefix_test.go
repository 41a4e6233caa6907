package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// withPrefixes makes several integrations share the bucket films. Their access keys are AKIA-NAME.
// Clients may read everything, also with links.
func withPrefixes(wholeBucket string) worldOption {
	return func(c *config.Config, _ *Options) {
		c.Integrations = nil
		add := func(name, prefix string, blocked ...string) {
			c.Integrations = append(c.Integrations, &config.Integration{
				Name: name, Bucket: "films", Prefix: prefix, BlockedPrefixes: blocked,
				AccessKeyID: "AKIA-" + name, SecretAccessKey: testSecret,
				Region: "us-east-1", Endpoint: storeURL, PathStyle: true,
				URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute,
			})
		}
		add("a", "tenant-a/", "tenant-a/raw/")
		add("ab", "tenant-a/b/")
		add("b", "tenant-b/")
		add("wild", "*?$/")
		add("umlaut", "tenant-\u00fc/")
		add("long", strings.Repeat("l", 1023)+"/")
		if wholeBucket != "" {
			add(wholeBucket, "", "old/")
		}
		c.Viewers.Anonymous = true
		c.Viewers.Links = &config.Links{MaxLifetime: time.Hour, Keys: []config.LinkKey{
			{ID: "k1", Secret: "canary-0123456789abcdef0123456789abcdef"},
		}}
	}
}

// hostileKeys are escaped keys of the bucket films, with the integration whose access key must sign
// or the code of the problem. * stands for an integration of the whole bucket.
var hostileKeys = map[string]string{
	"tenant-a/x":                         "a",
	"tenant-a/":                          "a",
	"tenant%2da%2Fx":                     "a",
	"tenant-a//x":                        "a",
	"tenant-a/b/x":                       "ab",
	"tenant-a/b":                         "a",
	"tenant-a/bc/x":                      "a",
	"tenant-a/tenant-b/x":                "a",
	"tenant-b/x":                         "b",
	"*%3F$/x":                            "wild",
	"%2A%3F%24/x":                        "wild",
	"tenant-%C3%BC/x":                    "umlaut",
	strings.Repeat("l", 1023) + "/":      "long",
	"tenant-a%252f..%252ftenant-b%252fx": "*",
	strings.Repeat("l", 1023):            "*",
	"x":                                  "*",
	"tenant-a":                           "*",
	"tenant-ab/x":                        "*",
	"Tenant-A/x":                         "*",
	"TENANT-A/x":                         "*",
	"tenant-u%CC%88/x":                   "*",
	"tenant-%EF%BD%81/x":                 "*", // a full-width letter
	"tenant-a%20/x":                      "*",
	"tenant-a%E2%80%8B/x":                "*",
	"tenant-*/x":                         "*",
	"tenant-%3F/x":                       "*",
	"$%7Baws:username%7D/x":              "*",
	"abc/x":                              "*",
	"tenant-a%2f..":                      "bad_locator",
	"tenant-a%2f..%2ftenant-b/x":         "bad_locator",
	"tenant-a/../tenant-b/x":             "bad_locator",
	"tenant-a%5C..%5Ctenant-b/x":         "bad_locator",
	"tenant-a/%00/x":                     "bad_locator",
	"tenant-a%FF/x":                      "bad_locator",
	strings.Repeat("l", 1023) + "/x":     "bad_locator",
	"/tenant-a/":                         "bucket_not_permitted",
	"/tenant-a/x":                        "bucket_not_permitted",
	"%2Ftenant-a/x":                      "bucket_not_permitted",
	"///tenant-b/x":                      "bucket_not_permitted",
	"%5Ctenant-a/x":                      "bucket_not_permitted",
	"tenant-a%5Cx":                       "bucket_not_permitted",
	"tenant-a//b/x":                      "bucket_not_permitted",
	"tenant-a/b%5Cx":                     "bucket_not_permitted",
	"tenant-a__XLDIR__":                  "bucket_not_permitted",
	"/tenant-b__XLDIR__":                 "bucket_not_permitted",
	"tenant-a/raw/x":                     "viewer_denied",
	"tenant-a/raw/":                      "viewer_denied",
	"tenant-a//raw/x":                    "viewer_denied",
	"/tenant-a/raw/x":                    "viewer_denied",
	"tenant-a%2F%2Fraw%5Cx":              "viewer_denied",
	"tenant-a/raw__XLDIR__":              "viewer_denied",
	"tenant-a/raw.zip/x":                 "a",
}

// signedBy returns the name of the integration that signed a URL.
func signedBy(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	key, _, _ := strings.Cut(u.Query().Get("X-Amz-Credential"), "/")
	return strings.TrimPrefix(key, "AKIA-")
}

// answeredBy returns the name of the integration whose URL a response redirects to, or the code of
// its problem.
func answeredBy(t *testing.T, resp *http.Response) string {
	t.Helper()
	if resp.StatusCode == http.StatusFound {
		return signedBy(t, resp.Header.Get("Location"))
	}
	return problemIn(t, resp).Code
}

// No way of asking gets a URL that was signed with another tenant's access key.
func TestHostileKeysInSharedBucket(t *testing.T) {
	for _, whole := range []string{"", "whole"} {
		w := newWorld(t, withPrefixes(whole), withPublicURL)
		everything := w.linkQuery("s3://films/*", time.Minute)
		for escaped, want := range hostileKeys {
			if want == "*" && whole == "" {
				want = "bucket_not_permitted"
			} else if want == "*" {
				want = whole
			}
			target := "/s3/films/" + escaped
			for how, got := range map[string]*http.Response{
				"GET":                  w.ask("GET", target),
				"GET again":            w.ask("GET", target),
				"HEAD":                 w.ask("HEAD", target),
				"GET with a link":      w.ask("GET", target+"?"+everything),
				"HEAD with a link":     w.ask("HEAD", target+"?"+everything),
				"GET with a path link": w.ask("GET", inPath(everything, target)),
			} {
				if got := answeredBy(t, got); got != want {
					t.Errorf("%s %s: got %s, want %s", how, escaped, got, want)
				}
			}
			wantWire(t, w, target, want)
			wantJudged(t, w, target, want)
			key, err := url.PathUnescape(escaped)
			if err != nil {
				t.Fatal(err)
			}
			if utf8.ValidString(key) { // else JSON cannot hold it
				wantPresigned(t, w, "s3://films/"+key, want)
			}
			if l := (locator.Locator{Bucket: "films", Key: key}); locator.CheckKey(key) == nil {
				wantPeeked(t, w, l, want)
			}
		}
	}
}

// wantWire checks how the wire answers GET.
func wantWire(t *testing.T, w *world, target, want string) {
	t.Helper()
	r := httptest.NewRequest("GET", "http://proxy.localhost/", nil)
	r.RequestURI = target
	resp := w.answerOnWire(r)
	if resp == nil {
		return // net/http answers
	}
	if got := answeredBy(t, resp); got != want {
		t.Errorf("GET %s on the wire: got %s, want %s", target, got, want)
	}
}

// wantJudged checks the answer of /authorize.
func wantJudged(t *testing.T, w *world, target, want string) {
	t.Helper()
	resp := w.ask("GET", "/authorize"+target)
	problems := strings.Contains(want, "_")
	switch {
	case !problems && resp.StatusCode != http.StatusNoContent:
		t.Errorf("/authorize%s: got %d, want 204", target, resp.StatusCode)
	case problems:
		if got := problemIn(t, resp).Code; got != want {
			t.Errorf("/authorize%s: got %s, want %s", target, got, want)
		}
	}
}

// wantPresigned checks the answer of POST /presign for a locator.
func wantPresigned(t *testing.T, w *world, text, want string) {
	t.Helper()
	resp := w.post("/presign", strings.NewReader(batch(1, func(int) string { return text })))
	var answer struct{ URLs []item }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.URLs) != 1 {
		t.Fatalf("POST /presign %s: %d, %v", text, resp.StatusCode, err)
	}
	got := answer.URLs[0].Error
	if got == "" {
		got = signedBy(t, answer.URLs[0].URL)
	}
	if got != want {
		t.Errorf("POST /presign %q: got %s, want %s", text, got, want)
	}
}

// wantPeeked checks what the console would show.
func wantPeeked(t *testing.T, w *world, l locator.Locator, want string) {
	t.Helper()
	if strings.Contains(want, "_") {
		want = ""
	}
	if p, ok := w.Peek(l, ""); ok != (want != "") || p.Integration != want || ok && p.Bytes == 0 {
		t.Errorf("Peek(%q) = %+v, %v, want integration %q", l, p, ok, want)
	}
}

// POST /link makes links for folders that several integrations serve. Each object that is requested
// with the link has its own integration.
func TestLinksAcrossPrefixes(t *testing.T) {
	w := newWorld(t, withViewers, withPrefixes(""), withPublicURL, func(c *config.Config, _ *Options) {
		c.Viewers.Rules = nil
	})
	for text, want := range map[string]string{
		"s3://films/*":               "",
		"s3://films/tenant-a/*":      "",
		"s3://films/tenant-a/b/c/*":  "",
		"s3://films/tenant-a/x":      "",
		"s3://films/elsewhere/*":     "bucket_not_permitted",
		"s3://films/elsewhere":       "bucket_not_permitted",
		"s3://films//tenant-a/x":     "bucket_not_permitted",
		"s3://films/tenant-a/raw/*":  "viewer_denied",
		"s3://films/tenant-a/raw/x":  "viewer_denied",
		"s3://films//tenant-a/raw/x": "viewer_denied",
		"s3://elsewhere/*":           "bucket_not_permitted",
	} {
		resp, _ := w.createLink("ann", text, "10m")
		got := ""
		if resp.StatusCode != http.StatusOK {
			got = problemIn(t, resp).Code
		}
		if got != want {
			t.Errorf("POST /link for %s: got %q, want %q", text, got, want)
		}
	}
	query := w.linkQuery("s3://films/*", time.Minute)
	for key, want := range map[string]string{
		"tenant-a/x": "a", "tenant-a/b/x": "ab", "tenant-b/x": "b",
		"elsewhere/x": "bucket_not_permitted", "tenant-a/raw/x": "viewer_denied",
	} {
		if got := answeredBy(t, w.ask("GET", "/s3/films/"+key+"?"+query)); got != want {
			t.Errorf("%s with a link to the bucket: got %s, want %s", key, got, want)
		}
	}
}

// A request that began before a reload may cache a URL after it. If another integration serves the
// object since, that URL is not used.
func TestMovedPrefixDoesNotUseCachedURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c config.Config
		var o Options
		w := newWorld(t, withPrefixes("whole"), func(built *config.Config, options *Options) {
			c, o = *built, *options
		})
		defer w.set.Close()
		const target = "/s3/films/tenant-a/x"
		moved, a, b := c, *c.Integrations[0], *c.Integrations[2]
		a.Prefix, b.Prefix, a.BlockedPrefixes = b.Prefix, a.Prefix, nil
		moved.Integrations = []*config.Integration{&a, &b}
		next, err := w.set.Next(&moved, w.integrationOptions(o.Log, o.Metrics))
		if err != nil {
			t.Fatal(err)
		}
		o.Integrations, o.Gate, o.Previous = next, w.gate, w.Handler
		after := &world{t: t, cloud: w.cloud, set: next, log: w.log}
		if after.Handler, err = New(o); err != nil {
			t.Fatal(err)
		}
		w.set.Retire(next)
		after.Purge()
		if got := answeredBy(t, w.ask("GET", target)); got != "a" {
			t.Fatalf("the previous handler signs with the key of %s, want a", got)
		}
		l := locator.Locator{Bucket: "films", Key: "tenant-a/x"}
		want, err := next.Presign(t.Context(), "GET", l, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := after.redirect("GET", target).String(); got != want || signedBy(t, got) != "b" {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}
