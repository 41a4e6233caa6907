package proxy

import (
	"net/url"
	"strings"
	"testing"
)

// S3 stores keys with control characters, such as the files Icon\r of macOS.
func TestKeysWithControlCharacters(t *testing.T) {
	w := newWorld(t)
	for key, path := range map[string]string{
		"Icon\r":           "/s3/bucket/Icon%0D",
		"\x01\t\n\x1b\x7f": "/s3/bucket/%01%09%0A%1B%7F",
		"Ã¤\u0084":         "/s3/bucket/%C3%83%C2%A4%C2%84",
	} {
		w.put("bucket", key, key)
		location := w.redirect("GET", path)
		if resp, body := w.fetch("GET", location); resp.StatusCode != 200 || body != key {
			t.Errorf("%s: got %d %q, want 200 %q", path, resp.StatusCode, body, key)
		}
		if name := strings.TrimPrefix(path, "/s3/"); location.EscapedPath() != "/"+name {
			t.Errorf("%s: redirect to the path %s, want /%s", path, location.EscapedPath(), name)
		}
		resp, _ := w.fetch("GET", w.redirect("GET", path+"?download"))
		if got := resp.Header.Get("Content-Disposition"); got != "attachment" {
			t.Errorf("%s?download: Content-Disposition %q, want attachment", path, got)
		}
	}
	for _, path := range []string{"/s3/bucket/%00", "/s3/bucket/a%0D%00", "/s3/bucket/..%2F%0D"} {
		if resp := w.ask("GET", path); problemIn(t, resp).Code != "bad_locator" {
			t.Errorf("%s: got %d, want 400 bad_locator", path, resp.StatusCode)
		}
	}
}

func TestQueryParameters(t *testing.T) {
	w := newWorld(t)
	old := w.put("team-a", "k.txt", "old")
	w.put("team-a", "k.txt", "new")
	w.put("bucket", "k.txt", "b")
	for _, c := range []struct {
		target, body string
		header       map[string]string
		problem      string
	}{
		{target: "/s3/team-a/k.txt", body: "new"},
		{target: "/s3/team-a/k.txt?versionId=" + url.QueryEscape(old), body: "old"},
		{
			target: "/s3/team-a/k.txt?response-content-type=text%2Fcsv%3B+charset%3Dutf-8",
			header: map[string]string{"Content-Type": "text/csv; charset=utf-8"},
		},
		{
			target: "/s3/team-a/k.txt?response-cache-control=max-age%3D60&" +
				"response-content-language=de&response-content-encoding=identity&" +
				"response-expires=Thu,%2001%20Dec%202044%2016:00:00%20GMT&" +
				"response-content-disposition=inline&response-content-type=text/plain",
			header: map[string]string{
				"Cache-Control":       "max-age=60",
				"Content-Language":    "de",
				"Content-Encoding":    "identity",
				"Expires":             "Thu, 01 Dec 2044 16:00:00 GMT",
				"Content-Disposition": "inline",
			},
		},
		{
			target: "/s3/team-a/k.txt?download",
			header: map[string]string{"Content-Disposition": "attachment"},
		},
		{
			target: "/s3/team-a/k.txt?download=a+b.txt",
			header: map[string]string{"Content-Disposition": `attachment; filename="a b.txt"`},
		},
		{
			target: "/s3/team-a/k.txt?download=%C3%BC%22.txt",
			header: map[string]string{
				"Content-Disposition": `attachment; filename*=utf-8''%C3%BC%22.txt`,
			},
		},
		{
			target: "/s3/team-a/k.txt?response-content-type=",
			header: map[string]string{"Content-Type": "text/plain"},
		},
		{
			target: "/s3/team-a/k.txt?_=123&utm_source=x&X-Amz-Signature=00&x-id=PutObject&" +
				"%zz&=&&partNumber=1",
			body: "new",
		},

		{target: "/s3/bucket/k.txt?versionId=abc", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?versionId=", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?versionId=a&versionId=b", problem: "bad_query"},
		{
			target:  "/s3/team-a/k.txt?response-content-type=a%0d%0aSet-Cookie:x",
			problem: "bad_query",
		},
		{target: "/s3/team-a/k.txt?response-content-type=%00", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-content-type=%ff", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?response-content-type=%zz", problem: "bad_query"},
		{target: "/s3/team-a/k.txt?download=a%0ab", problem: "bad_query"},
		{
			target:  "/s3/team-a/k.txt?download=a&response-content-disposition=inline",
			problem: "bad_query",
		},
		{
			target:  "/s3/team-a/k.txt?response-content-disposition=inline&download",
			problem: "bad_query",
		},
		{
			target:  "/s3/team-a/k.txt?response-expires=" + strings.Repeat("x", 1025),
			problem: "bad_query",
		},
	} {
		if c.problem != "" {
			resp := w.ask("GET", c.target)
			if p := problemIn(t, resp); p.Code != c.problem || resp.StatusCode != 400 {
				t.Errorf("%.80s: got %d %s, want 400 %s", c.target, resp.StatusCode, p.Code,
					c.problem)
			}
			continue
		}
		resp, body := w.fetch("GET", w.redirect("GET", c.target))
		if resp.StatusCode != 200 || c.body != "" && body != c.body {
			t.Errorf("%s: got %d %q, want 200 %q", c.target, resp.StatusCode, body, c.body)
		}
		for name, want := range c.header {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", c.target, name, got, want)
			}
		}
	}
}
