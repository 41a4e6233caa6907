package e2e

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// httpClient is a program or library that sends HTTP requests. Its send sends requests, follows
// redirects by the client's own rules, and returns the last response of each.
type httpClient struct {
	name  string
	needs []string
	// setting is how the client gets a password that it then sends to the proxy only. "" means that
	// it always does so.
	setting string
	send    func(*testing.T, *clientSite, []httpRequest) []httpResult
}

// httpRequest is a request. User is "ann:password" or "". Fixed is whether to use the setting.
type httpRequest struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	User    string            `json:"user"`
	Headers map[string]string `json:"headers"`
	Fixed   bool              `json:"fixed"`
}

// httpResult is a response. The status is "ok" or "failed" if the client does not tell it, and ""
// if the client has no such request.
type httpResult struct{ status, body string }

var httpColumns = []string{
	"GET", "HEAD", "Range", "If-None-Match", "password", "link", "link in the path",
	"setting for the password",
}

// httpRows returns the rows of the clients that send requests.
func httpRows() (rows []clientRow) {
	for _, c := range httpClients {
		rows = append(rows, clientRow{c.name, c.needs, c.cells})
	}
	return rows
}

var httpClients = []httpClient{
	{"Chromium, fetch", chromiumNeeds, "", sendInPage("Chromium")},
	{"Firefox, fetch", firefoxNeeds, "", sendInPage("Firefox")},
	{"WebKitGTK, fetch", webKitNeeds, "", sendInPage("WebKitGTK")},
	{"curl -L", []string{"curl"}, "", sendWithCurl},
	{"wget", []string{"wget"}, "in the URL, `http://user:password@host/…`, or in `~/.netrc`",
		sendWithWget},
	{"aria2", []string{"aria2c"}, "in the URL, or in `~/.netrc`", sendWithAria2},
	{"Go, net/http", nil, "", sendWithGo},
	node("fetch"), node("axios"), node("got"),
	python("urllib", "`Request.add_unredirected_header`"),
	python("requests", ""),
	python("httpx", ""),
	python("aiohttp", ""),
	python("fsspec", "`headers` with `Authorization`, instead of aiohttp's `BasicAuth`"),
	python("pandas", "read with `requests`, and pass the bytes to pandas"),
}

// resumed is an object that is large enough for aria2 to resume. aria2 keeps whole pieces of 1 MiB.
var resumed = strings.Repeat("0123456789", 1<<18)

// cells are the client's row.
func (c httpClient) cells(t *testing.T, b *clientSite) []string {
	const body = "0123456789"
	etag := fmt.Sprintf(`"%x"`, md5.Sum([]byte(body)))
	requests := []httpRequest{
		{Method: http.MethodGet},
		{Method: http.MethodHead},
		{Method: http.MethodGet, Headers: map[string]string{"Range": "bytes=0-3"}},
		{Method: http.MethodGet, Headers: map[string]string{"If-None-Match": etag}},
		{Method: http.MethodGet, User: clientUser},
		{Method: http.MethodGet},
		{Method: http.MethodGet},
		{Method: http.MethodGet, User: clientUser, Fixed: true},
	}
	if c.setting == "" {
		requests = requests[:7]
	}
	bodies := slices.Repeat([]string{body}, len(requests))
	want := slices.Clone(bodies)
	if want[2] = body[:4]; c.name == "aria2" {
		bodies[2], want[2] = resumed, resumed
	}
	// The store's log distinguishes the requests by their keys. Some clients rewrite URLs that they
	// are redirected to, so the keys have characters that are escaped.
	keys := make([]string, len(requests))
	for i := range requests {
		access := "open"
		if i >= 4 {
			access = "closed"
		}
		name := fmt.Sprintf("%d a+b,(1)'.txt", i)
		keys[i] = b.folder(t, clientBucket, access, c.name,
			map[string][]byte{name: []byte(bodies[i])}) + name
		target := path(clientBucket, keys[i])
		switch i {
		case 5:
			target = b.link(t, "s3://"+clientBucket+"/"+keys[i])
		case 6:
			target = b.link(t, "s3://"+clientBucket+"/"+keys[i], "--form", "path")
		}
		requests[i].URL = b.url(target)
		if strings.HasSuffix(c.name, ", fetch") && c.name != "Node.js, fetch" {
			requests[i].URL = b.origin + target
		}
		if requests[i].Headers == nil {
			requests[i].Headers = map[string]string{}
		}
	}
	results := c.send(t, b, requests)
	if len(results) != len(requests) {
		t.Fatalf("%d results, want %d", len(results), len(requests))
	}
	cells := make([]string, len(requests))
	for i, r := range results {
		cells[i] = b.status(t, r, keys[i])
		success := cells[i] == "200" || cells[i] == "206"
		if success && i != 1 && r.body != want[i] {
			t.Errorf("request %d: body = %.20q (%d bytes), want %.20q (%d bytes)",
				i, r.body, len(r.body), want[i], len(want[i]))
		}
	}
	return c.checkPassword(t, cells)
}

// status returns the cell for a result: the status of the store's last response. It checks that
// the client came to the same.
func (b *clientSite) status(t *testing.T, r httpResult, key string) string {
	t.Helper()
	visits := b.seen(clientBucket, key)
	if r.status == "" || len(visits) == 0 {
		if len(visits) > 0 {
			t.Errorf("%s: %d requests to the store, want none", key, len(visits))
		}
		return strings.TrimSpace(r.status + " –")
	}
	last := visits[len(visits)-1]
	status := fmt.Sprint(last.status)
	switch r.status {
	case status:
	case "ok", "failed":
		if (r.status == "ok") != (last.status < 400) {
			t.Errorf("%s: the client says %s after status %s", key, r.status, status)
		}
	default:
		t.Errorf("%s: the client says %q, the store %s", key, r.status, status)
	}
	return status
}

// checkPassword replaces the result with the setting by the setting's description.
func (c httpClient) checkPassword(t *testing.T, cells []string) []string {
	t.Helper()
	if c.setting == "" {
		if cells[4] != "200" {
			t.Errorf("with a password: %s, want 200, or a setting that makes it work", cells[4])
		}
		return append(cells, "–")
	}
	if cells[4] == "200" || cells[7] != "200" {
		t.Errorf("with a password: %s, and %s with the setting, want 400 and 200",
			cells[4], cells[7])
	}
	cells[7] = c.setting
	return cells
}

// sendInPage returns a send function that calls fetch() in a page on the proxy's origin.
func sendInPage(engine string) func(*testing.T, *clientSite, []httpRequest) []httpResult {
	return func(t *testing.T, b *clientSite, requests []httpRequest) (results []httpResult) {
		p := openEngine(t, engine)
		p.open(b.origin + "/index.html")
		for _, r := range requests {
			h, err := json.Marshal(r.Headers)
			if err != nil {
				t.Fatal(err)
			}
			text := p.js(fmt.Sprintf(`(() => {
				const headers = %s, user = %q;
				if (user) headers.Authorization = "Basic " + btoa(user);
				return fetch(%q, {method: %q, headers, cache: "no-store"}).then(
					async r => r.status + " " + await r.text(), e => "failed " + e.message)
			})()`, h, r.User, r.URL, r.Method))
			status, body, _ := strings.Cut(text, " ")
			results = append(results, httpResult{status, body})
		}
		return results
	}
}

func sendWithCurl(t *testing.T, _ *clientSite, requests []httpRequest) (results []httpResult) {
	file := filepath.Join(t.TempDir(), "body")
	for _, r := range requests {
		args := []string{"curl", "-s", "-L", "-o", file, "-w", "%{http_code}"}
		if r.Method == http.MethodHead {
			args = append(args, "-I")
		}
		if r.User != "" {
			args = append(args, "-u", r.User)
		}
		for name, value := range r.Headers {
			args = append(args, "-H", name+": "+value)
		}
		status := output(t, append(args, r.URL)...)
		results = append(results, httpResult{status, bodyIn(file)})
	}
	return results
}

// bodyIn returns what is in a file, and removes it.
func bodyIn(file string) string {
	body, _ := os.ReadFile(file) // a missing file is an empty body
	_ = os.Remove(file)
	return string(body)
}

var statusLine = regexp.MustCompile(`(?m)^\s*HTTP/\S+ (\d+)`)

func sendWithWget(t *testing.T, _ *clientSite, requests []httpRequest) (results []httpResult) {
	file := filepath.Join(t.TempDir(), "body")
	for _, r := range requests {
		// By default wget sends a request that fails again, in another spelling, up to 20 times.
		args := []string{"wget", "--no-iri", "-S", "-O", file, "-t", "1"}
		if r.Method == http.MethodHead {
			args = append(args, "--spider")
		}
		name, password, _ := strings.Cut(r.User, ":")
		switch {
		case r.Fixed:
			r.URL = strings.Replace(r.URL, "://", "://"+r.User+"@", 1)
			args = append(args, "--auth-no-challenge")
		case r.User != "":
			args = append(args, "--user="+name, "--password="+password, "--auth-no-challenge")
		}
		for name, value := range r.Headers {
			args = append(args, "--header", name+": "+value)
		}
		out := output(t, append(args, r.URL)...)
		lines := statusLine.FindAllStringSubmatch(out, -1)
		status := "failed: " + out
		if len(lines) > 0 {
			status = lines[len(lines)-1][1]
		}
		results = append(results, httpResult{status, bodyIn(file)})

	}
	return results
}

// sendWithAria2 resumes a download instead of sending the Range header.
func sendWithAria2(t *testing.T, _ *clientSite, requests []httpRequest) (results []httpResult) {
	dir := t.TempDir()
	for _, r := range requests {
		file := filepath.Join(dir, "body")
		args := []string{"aria2c", "-d", dir, "-o", "body", "-q", "--no-conf", "-m", "1"}
		switch name, password, _ := strings.Cut(r.User, ":"); {
		case r.Headers["If-None-Match"] != "":
			args = append(args, "--header", "If-None-Match: "+r.Headers["If-None-Match"])
		case r.Headers["Range"] != "":
			if err := os.WriteFile(file, []byte(resumed[:2<<20]), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "-c")
		case r.Method == http.MethodHead:
			args = append(args, "--dry-run")
		case r.Fixed:
			r.URL = strings.Replace(r.URL, "://", "://"+r.User+"@", 1)
		case r.User != "":
			args = append(args, "--http-user="+name, "--http-passwd="+password)
		}
		status := "ok"
		if _, err := program(t, append(args, r.URL)...); err != nil {
			status = "failed"
		}
		results = append(results, httpResult{status, bodyIn(file)})
	}
	return results
}

func sendWithGo(t *testing.T, _ *clientSite, requests []httpRequest) (results []httpResult) {
	for _, r := range requests {
		req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range r.Headers {
			req.Header.Set(name, value)
		}
		if name, password, ok := strings.Cut(r.User, ":"); ok {
			req.SetBasicAuth(name, password)
		}
		a, err := readAnswer((&http.Client{}).Do(req))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, httpResult{fmt.Sprint(a.status), string(a.body)})
	}
	return results
}

// node is a library of testdata/clients/clients.mjs.
func node(library string) httpClient {
	needs := []string{"node"}
	if library != "fetch" {
		needs = append(needs, "npm/"+library)
	}
	folder, err := filepath.Abs(filepath.Dir(nodeModules))
	if err != nil {
		panic(err) // the working directory is gone
	}
	return httpClient{"Node.js, " + library, needs, "", scripted(library,
		"node", "testdata/clients/clients.mjs", folder)}
}

// python is a library of testdata/clients/clients.py.
func python(library, setting string) httpClient {
	needs := []string{"/usr/bin/python3"}
	if library != "urllib" {
		needs = append(needs, "/usr/lib/python3/dist-packages/"+library)
	}
	return httpClient{"Python, " + library, needs, setting, scripted(library,
		"/usr/bin/python3", "testdata/clients/clients.py")}
}

// scripted returns a send function that runs an interpreter with a script.
func scripted(
	library string, args ...string,
) func(*testing.T, *clientSite, []httpRequest) []httpResult {
	return func(t *testing.T, _ *clientSite, requests []httpRequest) (results []httpResult) {
		text, err := json.Marshal(requests)
		if err != nil {
			t.Fatal(err)
		}
		all := append(args[:len(args):len(args)], library, string(text))
		out, err := program(t, all...)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		var answers [][2]string
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &answers); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, a := range answers {
			results = append(results, httpResult{a[0], a[1]})
		}
		return results
	}
}
