package proxy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"s3redirect/internal/locator"
)

// rawServer serves w's handler like [Server.Run].
func rawServer(t testing.TB, w *world) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(w.Handler, w.Handler.log)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr()
}

// sendRaw sends a request line unchanged.
func sendRaw(t testing.TB, addr net.Addr, method, target, version string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "%s %s %s\r\nHost: proxy.example\r\nConnection: close\r\n\r\n",
		method, target, version)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %.80q: %v", method, target, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestRequestLines(t *testing.T) {
	table, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	addr := rawServer(t, w)
	cases := 0
	for n, line := range strings.Split(string(table), "\n") {
		request, want, ok := strings.Cut(line, " => ")
		if strings.HasPrefix(line, "#") || !ok {
			if line != "" && line[0] != '#' {
				t.Fatalf("requests.txt:%d: invalid case %q", n+1, line)
			}
			continue
		}
		method, target, _ := strings.Cut(request, " ")
		if strings.HasPrefix(target, `"`) {
			if target, err = strconv.Unquote(target); err != nil {
				t.Fatalf("requests.txt:%d: %v", n+1, err)
			}
		}
		resp, body := sendRaw(t, addr, method, target, "HTTP/1.1")
		got := strconv.Itoa(resp.StatusCode)
		location, _, _ := strings.Cut(resp.Header.Get("Location"), "?")
		kind := resp.Header.Get("Content-Type")
		if location != "" {
			got += " " + location
		} else if kind == "application/problem+json" && method != "HEAD" {
			resp.Body = io.NopCloser(strings.NewReader(body))
			got += " " + problemIn(t, resp).Code
		}
		if got != want {
			t.Errorf("requests.txt:%d: %s\n got %s\nwant %s", n+1, request, got, want)
		}
		cases++
	}
	if cases < 80 {
		t.Errorf("requests.txt has %d cases, want at least 80", cases)
	}
}

func TestOversizedRequestLines(t *testing.T) {
	addr := rawServer(t, newWorld(t))
	for _, c := range []struct {
		bytes, status int
	}{{1024, 302}, {1025, 400}, {8 << 10, 400}, {64 << 10, 400}, {256 << 10, 431}} {
		target := "/s3/bucket/" + strings.Repeat("k", c.bytes)
		resp, body := sendRaw(t, addr, "GET", target, "HTTP/1.1")
		if resp.StatusCode != c.status ||
			c.status == 400 && !strings.Contains(body, `"bad_locator"`) {
			t.Errorf("key of %d bytes: got %d %.100s, want %d", c.bytes, resp.StatusCode, body,
				c.status)
		}
	}
	if resp, _ := sendRaw(t, addr, "GET", "/s3/bucket/key", "HTTP/1.0"); resp.StatusCode != 302 {
		t.Errorf("HTTP/1.0: status %d, want 302", resp.StatusCode)
	}
	resp, _ := sendRaw(t, addr, "HEAD", "/s3/nobodys/key", "HTTP/1.1")
	if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("HEAD of an unserved bucket: got %d %v, want 404 and a problem", resp.StatusCode,
			resp.Header)
	}
}

// FuzzRequestLine checks that every request line gets a problem, or a redirect to the store, to a
// bucket in the configuration, and to the key that the path encodes.
func FuzzRequestLine(f *testing.F) {
	table, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if request, _, ok := strings.Cut(line, " => "); ok {
			method, target, _ := strings.Cut(request, " ")
			if unquoted, err := strconv.Unquote(target); err == nil {
				target = unquoted
			}
			f.Add(method == "HEAD", target)
		}
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, head bool, target string) {
		r := httptest.NewRequest("GET", "http://proxy.example/", nil)
		if r.RequestURI = target; head {
			r.Method = "HEAD"
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		resp := rec.Result()
		if resp.StatusCode != 302 {
			if resp.StatusCode < 400 || resp.StatusCode > 499 || resp.Header.Get("Location") != "" {
				t.Fatalf("%q: status %d and Location %q, want 302 or 4xx without Location", target,
					resp.StatusCode, resp.Header.Get("Location"))
			}
			problemIn(t, resp)
			return
		}
		u, err := url.Parse(resp.Header.Get("Location"))
		if err != nil || u.Scheme+"://"+u.Host != storeURL || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q: Location %q (%v), want a URL of %s", target, u, err, storeURL)
		}
		// Browsers do not resolve the path to another one.
		dots := strings.Contains(u.Path, "/../") || strings.Contains(u.Path, "/./")
		if dots || u.JoinPath().Host != u.Host {
			t.Fatalf("%q: browsers resolve %s to another path", target, u.Path)
		}
		bucket, key, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		_, served := w.set.Find(locator.Locator{Bucket: bucket}, w.clock())
		path := target
		if i := strings.Index(path, "://"); i >= 0 && path[0] != '/' {
			path = path[i+3:]
			path = path[max(0, strings.IndexByte(path, '/')):]
		}
		path, _, _ = strings.Cut(path, "?")
		meant, err := locator.ParsePath(path)
		if !served || err != nil || meant != (locator.Locator{Bucket: bucket, Key: key}) {
			t.Fatalf("%q: Location has %s/%s (served: %v), want %v (%v)", target, bucket, key,
				served, meant, err)
		}
		if got := u.Query()["X-Amz-SignedHeaders"]; len(got) != 1 || got[0] != "host" ||
			u.Query().Get("X-Amz-Signature") == "" {
			t.Fatalf("%q: X-Amz-SignedHeaders=%q, want host and a signature", target, got)
		}
	})
}

// FuzzBatch checks that every body gets a problem, or one URL or error per locator, in order, and
// only URLs of buckets in the configuration.
func FuzzBatch(f *testing.F) {
	for _, seed := range []string{
		`{"locators": ["s3://bucket/k"]}`,
		`{"locators": ["s3://bucket/k", "s3://nobodys/k", "", "s3://photos/a\u0000b"],
			"cors": true}`,
		`{}`,
		`[]`,
		`{"locators": null}`,
		`{"locators": [1]}`,
		`{"locators": ["s3://bucket/../x"]} {}`,
		"\xff",
		`{"locators": ["s3://photos/\ud800"]}`,
		strings.Repeat(`[`, 10_000),
	} {
		f.Add(seed)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/presign", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		resp := rec.Result()
		if resp.StatusCode != 200 {
			if resp.StatusCode < 400 || resp.StatusCode > 499 {
				t.Fatalf("%q: status %d, want 200 or 4xx", body, resp.StatusCode)
			}
			problemIn(t, resp)
			return
		}
		var asked struct{ Locators []string }
		var answer struct {
			URLs []struct{ Locator, URL, Error string }
		}
		err := errors.Join(
			json.Unmarshal([]byte(body), &asked),
			json.NewDecoder(resp.Body).Decode(&answer),
		)
		if err != nil || len(asked.Locators) != len(answer.URLs) {
			t.Fatalf("%q: got %d items (%v), want %d", body, len(answer.URLs), err,
				len(asked.Locators))
		}
		for n, got := range answer.URLs {
			if got.Locator != asked.Locators[n] || (got.URL == "") == (got.Error == "") {
				t.Fatalf("%q: item %d: got %+v, want %q with a URL or an error", body, n, got,
					asked.Locators[n])
			}
			if got.URL == "" {
				continue
			}
			u, err := url.Parse(got.URL)
			l, parseErr := locator.Parse(got.Locator)
			if err != nil || parseErr != nil || u.Scheme+"://"+u.Host != storeURL ||
				u.Path != "/"+l.Bucket+"/"+l.Key {
				t.Fatalf("%q: item %d: got %s, want a URL of %v", body, n, got.URL, l)
			}
		}
	})
}
