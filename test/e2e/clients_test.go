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

// httpClient sends a request with headers, follows redirects as it does by itself, and returns the last status. A user is
// "ann:password" or "".
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
	{"Node.js, fetch", scripted("node", "-e", `const [method, url, user, ...headers] = process.argv.slice(1);
		const h = Object.fromEntries(headers.map(l => l.split(": "))); if (user) h.Authorization = "Basic " + btoa(user);
		fetch(url, {method, headers: h}).then(r => console.log(r.status), e => console.log(e.message))`)},
	{"Python, urllib", scripted("/usr/bin/python3", "-c", `import sys, base64, urllib.request, urllib.error
method, url, user, *headers = sys.argv[1:]
r = urllib.request.Request(url, method=method, headers=dict(h.split(": ") for h in headers))
if user: r.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
try: print(urllib.request.urlopen(r).status)
except urllib.error.HTTPError as e: print(e.code)`)},
	{"Python, requests", scripted("/usr/bin/python3", "-c", `import sys, requests
method, url, user, *headers = sys.argv[1:]
r = requests.request(method, url, headers=dict(h.split(": ") for h in headers), auth=tuple(user.split(":")) if user else None, allow_redirects=True)
print(r.status_code)`)},
}

// scripted is a client that is a script's interpreter.
func scripted(args ...string) func(*testing.T, string, string, string, ...string) string {
	return func(t *testing.T, method, url, user string, header ...string) string {
		return output(t, append(append(args[:len(args):len(args)], method, url, user), header...)...)
	}
}

// inBrowser is fetch() of a page that has one origin with the proxy.
func inBrowser(b *tab) httpClient {
	return httpClient{"Chromium, fetch", func(_ *testing.T, method, url, user string, header ...string) string {
		var headers []string
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			headers = append(headers, fmt.Sprintf("%q: %q", name, value))
		}
		if user != "" {
			headers = append(headers, fmt.Sprintf(`"Authorization": "Basic " + btoa(%q)`, user))
		}
		return b.js(fmt.Sprintf(`fetch(%q, {method: %q, headers: {%s}, cache: "no-store"}).then(r => "" + r.status, e => "refused")`, url, method, strings.Join(headers, ", ")))
	}}
}

// strict is the store at an address of its own, and refuses what AWS refuses and MinIO does not: an Authorization beside a
// signature in the query ("Only one auth mechanism allowed").
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func (s *store) strict(t *testing.T) (endpoint string) {
	t.Helper()
	target, err := url.Parse(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host }}
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

var clientRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`)

// The table of docs/browsers.md is what happens.
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
	const viewers = "\nviewers: {anonymous: true, basic: {htpasswd_file: \"${PASSWORDS}\"}, links: {keys: [{id: k1, secret: canary-of-a-link-with-32-bytes!!}]}}\n"
	g := startGallery(t, s, "clients", longWindow+inStore("clients")+viewers, "PASSWORDS="+passwords)
	s.put(t, "clients", "k", []byte("0123456789"))
	found, err := s.client(s.owner).HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("clients"), Key: aws.String("k")})
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
	// Programs that do not know *.localhost are sent to the store by an address, another than the proxy's.
	strict := s.strict(t)
	direct := startProxy(t, longWindow+inStore("clients")+viewers, append(s.env(), "STORE="+strict, "PASSWORDS="+passwords)...)
	for _, c := range append([]httpClient{inBrowser(b)}, httpClients...) {
		target := direct.url("/s3/clients/k")
		if c.name == "Chromium, fetch" {
			target = g.origin + "/s3/clients/k"
		}
		got := strings.Join([]string{
			c.send(t, http.MethodGet, target, ""), c.send(t, http.MethodHead, target, ""), c.send(t, http.MethodGet, target, "", "Range: bytes=0-3"),
			c.send(t, http.MethodGet, target, "", "If-None-Match: "+aws.ToString(found.ETag)), c.send(t, http.MethodGet, target, "ann:password"),
		}, " ")
		if got != documented[c.name] {
			t.Errorf("%s: %s, and docs/browsers.md says %q", c.name, got, documented[c.name])
		}
		delete(documented, c.name)
	}
	for name, row := range documented {
		if name != "client" && strings.Trim(name, "-") != "" {
			t.Errorf("docs/browsers.md says of %s, which nobody tries: %s", name, row)
		}
	}

	// The way out for those that pass the password on to S3: a link, which has the proof in the query.
	link := linkTo(t, longWindow+inStore("clients")+viewers, "s3://clients/k", append(s.env(), "STORE="+strict, "PASSWORDS="+passwords)...)
	for _, c := range httpClients {
		if got := c.send(t, http.MethodGet, direct.url(link), ""); got != "200" {
			t.Errorf("%s with a link: %s", c.name, got)
		}
	}
}

// linkTo is a signed link, a path and its query, that the command line makes.
func linkTo(t *testing.T, config, locator string, env ...string) string {
	t.Helper()
	code, link := command(t, writeConfig(t, config), append(env, "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0"), "link", locator)
	if code != 0 {
		t.Fatalf("link: exit %d: %s", code, link)
	}
	return strings.TrimSpace(link)
}
