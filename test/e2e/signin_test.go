package e2e

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// signInSite configures nginx to authenticate requests with a real oauth2-proxy, using the shipped
// files, and to send viewers who are not signed in to a real OpenID provider.
const signInSite = `
include ${DIR}/upstream.conf;
server {
    listen ${HOST};
    root ${PAGES};
    location / { auth_request /oauth2/auth; error_page 401 = @sign_in; }
    location @sign_in { return 302 /oauth2/start?rd=$request_uri; }
    include ${DIR}/auth_request.conf;
}
`

// page shows an image that the viewer may see and one of another viewer.
const page = `<!DOCTYPE html><title>Signed in</title>
<img id="own" src="/s3/albums/test-user@zitadel.ch/own.png">
<img id="other" src="/s3/albums/test-user2@zitadel.ch/other.png">`

// A viewer who signs in with a real browser at a real OpenID provider sees their own image and not
// that of another viewer. Clients that are not signed in get 401.
func TestSignInWithOpenIDConnect(t *testing.T) {
	t.Parallel()
	need(t, "chromium", "oauth2-proxy", "oidc-provider", "nginx")
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: keys
    bucket: albums
`+withKeys+`
viewers:
  forwarded:
    user_header: X-Auth-Request-Email
    groups_header: X-Auth-Request-Groups
    trusted_proxies: [127.0.0.1]
  rules: [{known: true, locators: ["s3://albums/{user}/*"]}]
`, s.env()...)
	s.createBucket(t, "albums")
	s.put(t, "albums", "test-user@zitadel.ch/own.png", picture(t, 64))
	s.put(t, "albums", "test-user2@zitadel.ch/other.png", picture(t, 32))
	pages := t.TempDir()
	if err := os.WriteFile(filepath.Join(pages, "page.html"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	oauth := fmt.Sprintf("127.0.0.1:%d", ports[1])
	dir := shipped(t, "nginx", "127.0.0.1:8080", p.host, "127.0.0.1:4180", oauth)
	host := freeAddress(t)
	values := strings.NewReplacer("${DIR}", dir, "${HOST}", host, "${PAGES}", pages)
	n := nginxWith(t, host, values.Replace(signInSite))
	site := "http://app.localhost" + n.host[strings.LastIndexByte(n.host, ':'):]
	signInAt(t, ports[0], oauth, site)

	a := fetch(t, http.MethodGet, "http://"+n.host+"/s3/albums/test-user@zitadel.ch/own.png",
		"X-Auth-Request-Email: test-user@zitadel.ch")
	if a.status != http.StatusUnauthorized || a.header.Get("Location") != "" {
		t.Errorf("not signed in: status %d, header %v, want 401 without Location",
			a.status, a.header)
	}
	tab := browser(t)
	visit := func(actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		ctx, cancel := context.WithTimeout(tab, 30*time.Second)
		defer cancel()
		if err := chromedp.Do(ctx, actions...); err != nil {
			at, _ := chromedp.Run(tab, chromedp.Location())
			t.Fatalf("%v at %s", err, at)
		}
	}
	visit(
		chromedp.Navigate(site+"/page.html"),
		chromedp.WaitVisible("#username"),
		chromedp.SendKeys("#username", "test-user@localhost"),
		chromedp.SendKeys("#password", "verysecure"),
		chromedp.Click("button"),
		chromedp.WaitVisible("#own"),
	)
	widths, err := chromedp.Run(tab, chromedp.Evaluate[[]int](`
		Promise.all([...document.images].map(
			i => i.complete ? i : new Promise(done => i.onload = i.onerror = () => done(i))
		)).then(images => images.map(i => i.naturalWidth))`, chromedp.EvalAwaitPromise))
	if err != nil || len(widths) != 2 || widths[0] != 64 || widths[1] != 0 {
		t.Errorf("widths of the images = %v, %v, want [64 0]", widths, err)
	}
}

// picture returns a square PNG with sides of size pixels.
func picture(t *testing.T, size int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, size, size))
	for i := range size * size {
		img.Set(i%size, i/size, color.RGBA{200, uint8(i), 40, 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signInAt starts an OpenID provider on the given port and an oauth2-proxy at the address oauth
// that sends the viewers of site to the provider. oauth2-proxy has the flags of the documentation.
func signInAt(t *testing.T, port int, oauth, site string) {
	t.Helper()
	dir := t.TempDir()
	start := func(name string, env []string, ready string, args ...string) {
		t.Helper()
		server, err := startServer(dir, name, env, args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			server.stop()
			if t.Failed() {
				log := server.output()
				t.Logf("the end of the log of %s:\n%s", name, log[max(0, len(log)-3000):])
			}
		})
		if err := server.await(name, func() bool { return answersOK(ready) }); err != nil {
			t.Fatal(err)
		}
	}
	issuer := fmt.Sprintf("http://localhost:%d/", port)
	start("oidc-provider", []string{
		fmt.Sprintf("PORT=%d", port),
		"REDIRECT_URI=" + site + "/oauth2/callback",
	}, issuer+".well-known/openid-configuration", "oidc-provider")
	secret := filepath.Join(dir, "client-secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := documentedCommand(t, "oauth2-proxy-nginx.md", "oauth2-proxy",
		"https://id.example.com/", issuer,
		"https://app.example.com", site,
		"/etc/oauth2-proxy/client-secret", secret,
		"127.0.0.1:4180", oauth)
	start("oauth2-proxy", []string{
		"OAUTH2_PROXY_COOKIE_SECRET=0123456789abcdef0123456789abcdef",
	}, "http://"+oauth+"/ping", args...)
}

// documentedCommand returns the command line of a tool in a page of docs/sign-in. pieces holds
// texts of the page and their replacements in turn.
func documentedCommand(t *testing.T, page, tool string, pieces ...string) []string {
	t.Helper()
	text := readFile(t, filepath.Join("..", "..", "docs", "sign-in", page))
	_, text, found := strings.Cut(text, "\n"+tool+" \\\n")
	if !found {
		t.Fatalf("%s has no command line of %s", page, tool)
	}
	text, _, _ = strings.Cut(text, "\n```")
	for i := 0; i+1 < len(pieces); i += 2 {
		if !strings.Contains(text, pieces[i]) {
			t.Fatalf("the command line of %s in %s lacks %q", tool, page, pieces[i])
		}
	}
	args := []string{tool}
	for line := range strings.Lines(text) {
		arg := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "\\"))
		args = append(args, strings.Trim(strings.NewReplacer(pieces...).Replace(arg), "'"))
	}
	return args
}
