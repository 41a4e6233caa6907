package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

func withLinkCookie(c *config.Config, _ *Options) { c.Viewers.Links.Cookie = "s3link" }

// A link in a cookie serves the objects of its folder, and changes nothing for others.
func TestLinkCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withLinkCookie)
		defer w.set.Close()
		ask := func(user, target, value string) *http.Response {
			return w.as(user, "GET", target, "Cookie", "a=b; s3link="+value)
		}
		const film, diary = "/s3/bucket/films/ü/k", "/s3/bucket/users/ann/diary"
		good := w.linkQuery("s3://bucket/films/ü/*", 10*time.Minute)
		stale := w.linkQuery("s3://bucket/films/ü/*", time.Second)
		time.Sleep(2 * time.Second)
		for what, value := range map[string]string{
			"unchanged":       good,
			"in quotes":       `"` + good + `"`,
			"percent-encoded": url.QueryEscape(good),
		} {
			resp := ask("", film, value)
			if resp.StatusCode != 302 {
				t.Errorf("%s: got %d, want 302", what, resp.StatusCode)
			}
			if got := resp.Header.Get("Cache-Control"); got != "private, max-age=598" {
				t.Errorf("%s: Cache-Control: got %q, want private, max-age=598", what, got)
			}
			if got := resp.Header.Get("Vary"); !strings.Contains(got, "Cookie") {
				t.Errorf("%s: Vary: got %q, want Cookie in it", what, got)
			}
		}
		if resp := w.as("bob", "GET", film, "Cookie", "s3link="+good); resp.StatusCode != 302 {
			t.Errorf("a viewer whom the rules deny: got %d, want 302", resp.StatusCode)
		}
		for what, value := range map[string]string{
			"an expired link":   stale,
			"a changed link":    strings.Replace(good, "exp=", "exp=1", 1),
			"no link":           "x",
			"encoded twice":     url.QueryEscape(url.QueryEscape(good)),
			"a bad escape":      "%zz",
			"two values":        good + "; s3link=" + stale,
			"the token of one":  strings.TrimPrefix(inPath(good, ""), "/s3/"),
			"a link of 30 kB":   url.QueryEscape(good + "&a=" + strings.Repeat("%", 10<<10)),
			"an empty value":    "",
			"a link and a part": good[:len(good)-1],
		} {
			wantCode(t, what, ask("", film, value), 401, "viewer_unknown")
			wantCode(t, what+", bob", ask("bob", film, value), 403, "viewer_denied")
			// Whatever the cookie is, the viewer's own access remains.
			resp := ask("ann", diary, value)
			if resp.StatusCode != 302 {
				t.Errorf("%s: ann's own object: got %d, want 302", what, resp.StatusCode)
			}
			if got := resp.Header.Get("Cache-Control"); got == "private, max-age=598" {
				t.Errorf("%s: Cache-Control: got %q, want the window's", what, got)
			}
		}
		wantCode(t, "another folder", ask("", "/s3/bucket/films/x", good), 401, "viewer_unknown")
		wantCode(t, "another bucket", ask("", "/s3/photos/films/ü/k", good), 401, "viewer_unknown")
		wantCode(t, "a version", ask("", film+"?versionId=1", good), 401, "viewer_unknown")
		wantCode(t, "a bad link in the query", ask("", film+"?sig=x", good), 401, "viewer_unknown")
		wantCode(t, "a bad link in the path", ask("", inPath("sig=x", film), good), 401,
			"viewer_unknown")
		resp := w.send("", "POST", "/presign", `{"locators": ["s3://bucket/films/ü/k"]}`,
			"Content-Type", "application/json", "Cookie", "s3link="+good)
		wantCode(t, "POST /presign", resp, 401, "viewer_unknown")
		time.Sleep(10 * time.Minute)
		wantCode(t, "at the expiry", ask("", film, good), 401, "viewer_unknown")
	})
}

// Without viewers.links.cookie, a cookie with a link is a cookie like any other.
func TestLinkCookieIsOffByDefault(t *testing.T) {
	w := newWorld(t, withViewers)
	query := w.linkQuery("s3://bucket/films/*", time.Hour)
	for _, name := range []string{"s3link", ""} {
		wantCode(t, name, w.as("", "GET", "/s3/bucket/films/k", "Cookie", name+"="+query), 401,
			"viewer_unknown")
	}
}

// A bad credential that the client sent on purpose is rejected, with or without a link in a cookie.
// A stale session is ignored, so that the link in the other cookie decides.
func TestLinkCookieBesideOtherCredentials(t *testing.T) {
	file := writeHtpasswd(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withLinkCookie, func(c *config.Config, _ *Options) {
			c.Viewers.Basic = &config.Basic{HtpasswdFile: file}
			c.Viewers.JWT = []config.JWT{{
				Issuer:         "https://id.example.com",
				Audience:       []string{"media"},
				AudienceClaims: []string{"aud"},
				Algorithms:     []string{"RS256"},
				Cookie:         "session",
				UserClaim:      "sub",
			}}
		})
		defer w.set.Close()
		cookie := "s3link=" + w.linkQuery("s3://bucket/films/*", time.Hour)
		const film = "/s3/bucket/films/k"
		wantCode(t, "a wrong password", w.as("", "GET", film, "Cookie", cookie,
			"Authorization", "Basic YW5uOndyb25n"), 401, "viewer_unknown")
		wantCode(t, "a bad token", w.as("", "GET", film, "Cookie", cookie,
			"Authorization", "Bearer x.y.z"), 401, "viewer_unknown")
		resp := w.as("", "GET", film, "Cookie", "session=x; "+cookie)
		if resp.StatusCode != 302 {
			t.Errorf("a bad session and a link: got %d, want 302", resp.StatusCode)
		}
		// Without groups, a rule that denies one of them cannot be evaluated.
		resp = w.send("ann", "GET", film, "", "Cookie", cookie, groupsHeader, "x")
		wantCode(t, "unreadable groups", resp, 401, "viewer_unknown")
		// The response to a bad link has the challenge for other credentials.
		resp = w.as("", "GET", film, "Cookie", "s3link=x")
		wantCode(t, "a bad link", resp, 401, "viewer_unknown")
		if got := resp.Header.Values("WWW-Authenticate"); len(got) != 2 {
			t.Errorf("a bad link: WWW-Authenticate: got %q, want Bearer and Basic", got)
		}
	})
}

// A page that anyone may read stays readable with a stale link, and costs no more.
func TestStaleLinkCookieKeepsPublicObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withLinkCookie, withRateLimit,
			func(c *config.Config, _ *Options) {
				c.Viewers.Anonymous = true
				c.Viewers.Rules = []config.Rule{
					{Anonymous: true, Locators: []string{"s3://photos/public/*"}},
				}
			})
		defer w.set.Close()
		cookie := []string{"Cookie", "s3link=" + w.linkQuery("s3://photos/films/*", time.Second)}
		time.Sleep(time.Minute)
		for n := range 5 {
			resp := w.as("", "GET", "/s3/photos/public/k", cookie...)
			if resp.StatusCode != 302 {
				t.Errorf("request %d: got %d, want 302", n, resp.StatusCode)
			}
		}
		wantCode(t, "over the limit", w.as("", "GET", "/s3/photos/public/k", cookie...), 429,
			"rate_limited")
	})
}

// Each request with a link in a cookie takes one token from its address, whether the link is valid
// or not, and with a bad session beside it.
func TestLinkCookieRateLimit(t *testing.T) {
	for _, c := range []struct {
		what, first string
		anonymous   bool
	}{
		{what: "links only"},
		{what: "with anonymous", anonymous: true},
		{what: "with a bad session", first: "session=x.y.z; "},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, withViewers, withLinkCookie, withRateLimit,
				func(v *config.Config, _ *Options) {
					v.Viewers.Anonymous = c.anonymous
					v.Viewers.Rules = []config.Rule{{Known: true, Locators: []string{"s3://x-y/*"}}}
					v.Viewers.JWT = []config.JWT{{
						Issuer:         "https://id.example.com",
						Audience:       []string{"media"},
						AudienceClaims: []string{"aud"},
						Algorithms:     []string{"RS256"},
						Cookie:         "session",
						UserClaim:      "sub",
					}}
				})
			defer w.set.Close()
			good := c.first + "s3link=" + w.linkQuery("s3://photos/*", time.Hour)
			bad := c.first + "s3link=x"
			for n, cookie := range []string{good, bad, good, bad, good, good, bad} {
				got := w.as("", "GET", "/s3/photos/k", "Cookie", cookie).StatusCode
				want := map[string]int{good: 302, bad: 401}[cookie]
				if n >= 5 {
					want = 429
				}
				if got != want {
					t.Errorf("%s: request %d: got %d, want %d", c.what, n, got, want)
				}
			}
		})
	}
}

// A named viewer whom a link in a cookie serves pays one token from their own bucket, and none from
// that of the address.
func TestLinkCookieTakesOneToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withLinkCookie, withRateLimit)
		defer w.set.Close()
		cookie := "s3link=" + w.linkQuery("s3://photos/*", time.Hour)
		for n := range 6 {
			for _, user := range []string{"bob", "carl"} { // whom the rules deny
				want := 302
				if n == 5 {
					want = 429
				}
				if got := w.as(user, "GET", "/s3/photos/k", "Cookie", cookie).StatusCode; got != want {
					t.Errorf("request %d of %s: got %d, want %d", n, user, got, want)
				}
			}
		}
		for n := range 5 {
			if got := w.as("", "GET", "/s3/photos/k", "Cookie", cookie).StatusCode; got != 302 {
				t.Errorf("request %d of the address: got %d, want 302", n, got)
			}
		}
	})
}

// While an identity provider's keys are unavailable, a session cannot be verified. A valid link in
// another cookie serves its objects all the same, and nothing else does.
func TestLinkCookieWithoutKeys(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withLinkCookie)
		defer w.set.Close()
		c := &config.Viewers{}
		c.Links = &config.Links{Keys: []config.LinkKey{{ID: "k1", Secret: linkSecret}},
			MaxLifetime: time.Hour, Cookie: "s3link"}
		c.Rules = []config.Rule{{Users: []string{"ann"}, Locators: []string{"s3://photos/*"}}}
		c.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 5}
		c.JWT = []config.JWT{{
			Issuer: "https://id.example.com", Audience: []string{"media"}, AudienceClaims: []string{"aud"},
			JWKSURL: "https://id.example.com/keys", Algorithms: []string{"ES256"}, UserClaim: "sub",
			Cookie: "session",
		}}
		w.gate, err = viewer.New(c, viewer.Options{
			Clock: time.Now, Log: slog.New(slog.DiscardHandler),
			Transport: transportFunc(func(*http.Request) (*http.Response, error) {
				return nil, io.ErrUnexpectedEOF
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.gate.Close()
		token := signToken(t, key)
		session := "session=" + token + "; s3link="
		good := w.linkQuery("s3://photos/films/*", 10*time.Minute)
		for n := range 6 {
			want := 302
			if n == 5 {
				want = 429 // each took one token
			}
			resp := w.as("", "GET", "/s3/photos/films/k", "Cookie", session+good)
			if resp.StatusCode != want {
				t.Errorf("a link, request %d: got %d, want %d", n, resp.StatusCode, want)
			}
		}
		time.Sleep(time.Minute)
		const unavailable = "identity_unavailable"
		wantCode(t, "another folder", w.as("", "GET", "/s3/photos/k", "Cookie", session+good), 503, unavailable)
		wantCode(t, "a bad link", w.as("", "GET", "/s3/photos/films/k", "Cookie", session+"x"), 503, unavailable)
		wantCode(t, "no link", w.as("", "GET", "/s3/photos/films/k", "Cookie", "session="+token), 503, unavailable)
		wantCode(t, "a token in a header", w.as("", "GET", "/s3/photos/films/k", "Cookie", "s3link="+good,
			"Authorization", "Bearer "+token), 503, unavailable)
	})
}

// The cookie that POST /link describes comes back from a browser's jar on the paths of its bucket.
func TestLinkCookieInAJar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withLinkCookie, withPublicURL)
		defer w.set.Close()
		l := w.makeLink("ann", `{"locator": "s3://bucket/users/ann/ü +/*", "lifetime": "10m", "form": "cookie"}`)
		if l.Cookie.Name != "s3link" || l.Cookie.Path != "/s3/bucket/" ||
			l.URL != publicURL+"/s3/bucket/users/ann/%C3%BC%20+/" || l.Query != "" {
			t.Errorf("POST /link: got %+v, want the cookie s3link for /s3/bucket/", l)
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		origin, err := url.Parse(publicURL + "/")
		if err != nil {
			t.Fatal(err)
		}
		line := (&http.Cookie{
			Name: l.Cookie.Name, Value: l.Cookie.Value, Path: l.Cookie.Path, Expires: l.ExpiresAt,
			Secure: true,
		}).String()
		set, err := http.ParseSetCookie(line)
		if err != nil {
			t.Fatalf("the cookie %s: %v", line, err)
		}
		jar.SetCookies(origin, []*http.Cookie{set})
		for path, want := range map[string]int{
			"/s3/bucket/users/ann/%C3%BC%20+/k": 302,
			"/s3/bucket/users/ann/x":            401,
			"/s3/photos/k":                      401,
		} {
			r := &http.Request{Header: http.Header{}}
			for _, c := range jar.Cookies(origin.JoinPath(path)) {
				r.AddCookie(c)
			}
			if resp := w.as("", "GET", path, "Cookie", r.Header.Get("Cookie")); resp.StatusCode != want {
				t.Errorf("%s: got %d, want %d", path, resp.StatusCode, want)
			}
		}
	})
}
