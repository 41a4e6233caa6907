package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/crypto/bcrypt"
)

// httpClient is a program that sends HTTP requests. Its send sends a request with headers, follows
// redirects by the client's own rules, and returns the last status. A user is "ann:password" or "".
type httpClient struct {
	name string
	send func(t *testing.T, method, url, user string, header ...string) string
}

var statusLine = regexp.MustCompile(`(?m)^\s*HTTP/\S+ (\d+)`)

var httpClients = []httpClient{
	{"curl -L", func(t *testing.T, method, url, user string, header ...string) string {
		args := []string{"curl", "-s", "-L", "-o", "/dev/null", "-w", "%{http_code}"}
		if method == http.MethodHead {
			args = append(args, "-I")
		}
		if user != "" {
			args = append(args, "-u", user)
		}
		for _, h := range header {
			args = append(args, "-H", h)
		}
		return output(t, append(args, url)...)
	}},
	{"wget", func(t *testing.T, method, url, user string, header ...string) string {
		args := []string{"wget", "-S", "-O", "/dev/null", "-t", "1"}
		if method == http.MethodHead {
			args = append(args, "--spider")
		}
		if user != "" {
			name, password, _ := strings.Cut(user, ":")
			args = append(args, "--user="+name, "--password="+password, "--auth-no-challenge")
		}
		for _, h := range header {
			args = append(args, "--header", h)
		}
		lines := statusLine.FindAllStringSubmatch(output(t, append(args, url)...), -1)
		if len(lines) == 0 {
			return "none"
		}
		return lines[len(lines)-1][1]
	}},
	{"Go, net/http", func(t *testing.T, method, url, user string, header ...string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			req.Header.Set(name, value)
		}
		if name, password, ok := strings.Cut(user, ":"); ok {
			req.SetBasicAuth(name, password)
		}
		a, err := readAnswer((&http.Client{}).Do(req))
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(a.status)
	}},
	{"Node.js, fetch", scripted("node", "-e", `
		const [method, url, user, ...headers] = process.argv.slice(1);
		const h = Object.fromEntries(headers.map(l => l.split(": ")));
		if (user) h.Authorization = "Basic " + btoa(user);
		fetch(url, {method, headers: h}).then(r => console.log(r.status), e => console.log(e.message))`)},
	{"Python, urllib", scripted("/usr/bin/python3", "-c", `
import sys, base64, urllib.request, urllib.error
method, url, user, *headers = sys.argv[1:]
r = urllib.request.Request(url, method=method, headers=dict(h.split(": ") for h in headers))
if user: r.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
try: print(urllib.request.urlopen(r).status)
except urllib.error.HTTPError as e: print(e.code)`)},
	{"Python, requests", scripted("/usr/bin/python3", "-c", `import sys, requests
method, url, user, *headers = sys.argv[1:]
r = requests.request(method, url, headers=dict(h.split(": ") for h in headers),
    auth=tuple(user.split(":")) if user else None, allow_redirects=True)
print(r.status_code)`)},
}

// scripted returns a send function that runs an interpreter with a script.
func scripted(args ...string) func(*testing.T, string, string, string, ...string) string {
	return func(t *testing.T, method, url, user string, header ...string) string {
		all := append(args[:len(args):len(args)], method, url, user)
		return output(t, append(all, header...)...)
	}
}

// inBrowser returns a client that calls fetch() in a page on the proxy's origin.
func inBrowser(b *tab) httpClient {
	send := func(_ *testing.T, method, url, user string, header ...string) string {
		var headers []string
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			headers = append(headers, fmt.Sprintf("%q: %q", name, value))
		}
		if user != "" {
			headers = append(headers, fmt.Sprintf(`"Authorization": "Basic " + btoa(%q)`, user))
		}
		return b.js(fmt.Sprintf(`fetch(%q, {method: %q, headers: {%s}, cache: "no-store"}).then(
			r => "" + r.status, e => "refused")`, url, method, strings.Join(headers, ", ")))
	}
	return httpClient{"Chromium, fetch", send}
}

// strict starts a reverse proxy to the store at another address. Like AWS and unlike MinIO, it
// rejects requests that have both an Authorization header and a signature in the query ("Only one
// auth mechanism allowed").
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func (s *store) strict(t *testing.T) (endpoint string) {
	t.Helper()
	target, err := url.Parse(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
	}}
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		forward.ServeHTTP(w, r)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(handler))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// clientRow matches a row of the table of clients in docs/browsers.md.
var clientRow = regexp.MustCompile(`(?m)^\|` + strings.Repeat(` ([^|]+) \|`, 6) + `$`)

// TestClients compares the table of clients in docs/browsers.md with what the clients do.
func TestClients(t *testing.T) {
	t.Parallel()
	need(t, "chromium", "curl", "wget", "node", "/usr/bin/python3")
	s := minio(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	passwords := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(passwords, append([]byte("ann:"), hash...), 0o600); err != nil {
		t.Fatal(err)
	}
	config := longWindow + inStore("clients") + `
viewers:
  anonymous: true
  basic: {htpasswd_file: "${PASSWORDS}"}
  links: {keys: [{id: k1, secret: canary-of-a-link-with-32-bytes!!}]}
`
	g := startGallery(t, s, "clients", config, "PASSWORDS="+passwords)
	s.put(t, "clients", "k", []byte("0123456789"))
	found, err := s.client(s.owner).HeadObject(t.Context(),
		&s3.HeadObjectInput{Bucket: aws.String("clients"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	g.page(t, "index.html", "")
	b := openTab(t)
	b.open(g.origin + "/")

	documented := map[string]string{}
	for _, row := range clientRow.FindAllStringSubmatch(readFile(t, "../../docs/browsers.md"), -1) {
		documented[row[1]] = strings.Join(row[2:], " ")
	}
	// Not every program resolves *.localhost, so these clients reach the store by an IP address. It
	// differs from the proxy's.
	strict := s.strict(t)
	env := append(s.env(), "STORE="+strict, "PASSWORDS="+passwords)
	direct := startProxy(t, config, env...)
	for _, c := range append([]httpClient{inBrowser(b)}, httpClients...) {
		target := direct.url("/s3/clients/k")
		if c.name == "Chromium, fetch" {
			target = g.origin + "/s3/clients/k"
		}
		got := strings.Join([]string{
			c.send(t, http.MethodGet, target, ""),
			c.send(t, http.MethodHead, target, ""),
			c.send(t, http.MethodGet, target, "", "Range: bytes=0-3"),
			c.send(t, http.MethodGet, target, "", "If-None-Match: "+aws.ToString(found.ETag)),
			c.send(t, http.MethodGet, target, "ann:password"),
		}, " ")
		if want := documented[c.name]; got != want {
			t.Errorf("%s: got the statuses %q, want %q as in docs/browsers.md", c.name, got, want)
		}
		delete(documented, c.name)
	}
	for name, row := range documented {
		if name != "client" && strings.Trim(name, "-") != "" {
			t.Errorf("docs/browsers.md has a row for %q, which is not tested: %s", name, row)
		}
	}

	// Signed links work with clients that pass the password on to S3, because a link carries its
	// credential in the query.
	link := linkTo(t, config, "s3://clients/k", env...)
	for _, c := range httpClients {
		if got := c.send(t, http.MethodGet, direct.url(link), ""); got != "200" {
			t.Errorf("%s with a link: status %s, want 200", c.name, got)
		}
	}
}

// linkTo returns a signed link, a path and its query, that the link command makes.
func linkTo(t *testing.T, config, locator string, env ...string) string {
	t.Helper()
	env = append(env, "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")
	code, link := command(t, writeConfig(t, config), env, "link", locator)
	if code != 0 {
		t.Fatalf("s3redirect link: exit code %d, want 0: %s", code, link)
	}
	return strings.TrimSpace(link)
}
