package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// linkConfig turns links on.
const linkConfig = "viewers: {links: {keys: [{id: k1, secret: canary-of-a-link-with-32-bytes!!}]}}\n"

// linkTarget returns the target that a command for a link in a form prints, with a file name added.
func linkTarget(t *testing.T, config, form string) string {
	t.Helper()
	dir := writeConfig(t, config)
	env := []string{"LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0"}
	code, out := command(t, dir, env, "link", "--config", "config.yaml", "--form", form,
		"s3://flooded/film/*")
	if code != 0 {
		t.Fatalf("s3redirect link --form %s: exit code = %d, want 0: %s", form, code, out)
	}
	u, err := url.Parse(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	u.Path += "seg 1.ts"
	return u.RequestURI()
}

// readmeBlock returns the code block in a language of deploy/README.md.
func readmeBlock(t *testing.T, language string) string {
	t.Helper()
	text := readFile(t, filepath.Join("..", "..", "deploy", "README.md"))
	m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("deploy/README.md has no block in %s", language)
	}
	return m[1]
}

// TestFrontsDoNotLogLinks sends links through each front, with its log on as deploy/README.md says,
// and looks for them in the log.
func TestFrontsDoNotLogLinks(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "caddy", "haproxy", "apache2")
	viewers := strings.Replace(linkConfig, "{links:", "{anonymous: true, links:", 1)
	p, config := flooded(t, viewers), viewers+floodedConfig
	inPath, inQuery := linkTarget(t, config, "path"), linkTarget(t, config, "query")
	host, dir := freeAddress(t), shipped(t, "nginx", "127.0.0.1:8080", p.host)
	nginxLog := filepath.Join(t.TempDir(), "access.log")
	nginx := nginxWith(t, host, fmt.Sprintf(`
include %[1]s/upstream.conf;
server { listen %[2]s; include %[1]s/location.conf; access_log %[3]s s3redirect; }`,
		dir, host, nginxLog))
	caddy := behindShippedCaddy(t, "Caddyfile", p,
		"@s3redirect path /s3/* /presign", readmeBlock(t, "caddyfile")+"\n@s3redirect path /s3/* /presign")
	haproxy := behindShippedHAProxy(t, p, "    use_backend s3redirect",
		"    log stdout format raw daemon\n"+readmeBlock(t, "haproxy")+"    use_backend s3redirect")
	apacheLogs := t.TempDir()
	apache := apacheWith(t, freeAddress(t), strings.NewReplacer(
		"/etc/apache2/s3redirect", shipped(t, "apache", "127.0.0.1:8080", p.host),
		"${APACHE_LOG_DIR}", apacheLogs).Replace(documented(t, "fronts.md", "apache")))
	for name, c := range map[string]struct {
		f   *front
		log func() string
	}{
		"nginx":   {nginx, func() string { return readFile(t, nginxLog) }},
		"caddy":   {caddy, caddy.output},
		"haproxy": {haproxy, haproxy.output},
		"apache":  {apache, func() string { return readFile(t, filepath.Join(apacheLogs, "access.log")) }},
	} {
		for _, target := range []string{inPath, inQuery} {
			if a := c.f.ask(t, "127.0.0.1", "", target); a.status != http.StatusFound {
				t.Errorf("%s: GET %s = %d %s, want 302", name, target, a.status, a.body)
			}
		}
		encoded := strings.Replace(inPath, "~", "%7E", 1)
		if a := c.f.ask(t, "127.0.0.1", "", encoded); a.status != http.StatusBadRequest {
			t.Errorf("%s: GET %s = %d, want 400", name, encoded, a.status)
		}
		logged := func() bool { return strings.Count(c.log(), "film/seg%201.ts") >= 3 }
		if err := p.await("the log of "+name, logged); err != nil {
			t.Errorf("%s: %v: %s", name, err, c.log())
		}
		token := strings.Split(inPath, "/")[2]
		for _, part := range []string{token[1:], "sig=", "kid="} {
			if strings.Contains(c.log(), part) {
				t.Errorf("%s: the log has %s, want nothing of the link: %s", name, part, c.log())
			}
		}
	}
	if strings.Contains(p.output(), "sig=") || strings.Contains(p.output(), "/s3/~") {
		t.Errorf("the proxy's log has a link: %s", p.output())
	}
}

// TestLinksBehindSignIn checks that a link in the path does not bypass the sign-in proxy, and that
// the location in deploy/README.md serves links, and nothing else, without signing in.
func TestLinksBehindSignIn(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	auth := httptest.NewServer(http.HandlerFunc(cookieAuth))
	t.Cleanup(auth.Close)
	viewers := strings.Replace(linkConfig, "{links:", "{forwarded: {user_header: X-Auth-Request-Email, "+
		"groups_header: X-Auth-Request-Groups, trusted_proxies: [127.0.0.1]}, links:", 1)
	p := flooded(t, viewers)
	target := linkTarget(t, viewers+floodedConfig, "path")
	signIn := strings.TrimPrefix(auth.URL, "http://")
	f := behindAuthRequest(t, p, signIn)
	if a := f.ask(t, "127.0.0.1", "", target); a.status != http.StatusUnauthorized {
		t.Errorf("without signing in: GET %s = %d, want 401", target, a.status)
	}
	if a := f.ask(t, "127.0.0.1", "ann", target); a.status != http.StatusFound {
		t.Errorf("ann: GET %s = %d %s, want 302", target, a.status, a.body)
	}

	host, dir := freeAddress(t), shipped(t, "nginx", "127.0.0.1:8080", p.host, "127.0.0.1:4180", signIn)
	open := nginxWith(t, host, fmt.Sprintf(`
include %[1]s/upstream.conf;
server { listen %[2]s; include %[1]s/auth_request.conf; %[3]s }`, dir, host,
		strings.ReplaceAll(readmeBlock(t, "nginx"), "/etc/nginx/s3redirect", dir)))
	token := strings.Split(target, "/")[2]
	for path, want := range map[string]int{
		target:                              http.StatusFound,
		"/s3/flooded/film/seg":              http.StatusUnauthorized,
		"/s3/" + token + "/flooded/x":       http.StatusUnauthorized,
		"/s3/~/flooded/film/x":              http.StatusUnauthorized,
		"/s3/~x/../flooded/film/x":          http.StatusUnauthorized, // nginx matches /s3/flooded
		"/s3/~x/..%2f..%2fs3/flooded/film":  http.StatusUnauthorized,
		"/s3/%7Ex/flooded/film/x":           http.StatusBadRequest,
		"/s3/x/../~x/../../s3/flooded/film": http.StatusUnauthorized,
	} {
		forged := "X-Auth-Request-Email: ann"
		if a := open.ask(t, "127.0.0.1", "", path, forged, "X-Auth-Request-Groups: -"); a.status != want {
			t.Errorf("GET %s = %d %s, want %d", path, a.status, a.body, want)
		}
	}
}
