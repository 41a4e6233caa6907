package wire

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The header sets of common clients and reverse proxies. All are plain.
var clients = map[string]string{
	"wrk": "GET /s3/b/k HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"Chromium": "GET /s3/photos/album/1.jpg HTTP/1.1\r\nHost: app.example.com\r\n" +
		"Connection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
		"Chrome/156.0.0.0 Safari/537.36\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"156\", \"Not)A;Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n" +
		"Accept: image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8\r\n" +
		"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n" +
		"Referer: https://app.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-US,en;q=0.9\r\nCookie: session=abc.def.ghi; theme=dark\r\n\r\n",
	"Firefox": "GET /s3/photos/1.jpg HTTP/1.1\r\nHost: app.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0\r\n" +
		"Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Connection: keep-alive\r\nReferer: https://app.example.com/\r\nSec-Fetch-Dest: image\r\n" +
		"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\nPriority: u=5, i\r\n\r\n",
	"curl": "GET /s3/b/k?versionId=a HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n" +
		"User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
	"wget": "HEAD /s3/b/k HTTP/1.1\r\nHost: [::1]:8080\r\nUser-Agent: Wget/1.21.3\r\n" +
		"Accept: */*\r\nAccept-Encoding: identity\r\nConnection: Keep-Alive\r\n\r\n",
	"ffmpeg": "GET /s3/b/film.mp4 HTTP/1.1\r\nUser-Agent: Lavf/59.27.100\r\nAccept: */*\r\n" +
		"Range: bytes=0-\r\nConnection: close\r\nHost: media.example.com\r\nIcy-MetaData: 1\r\n\r\n",
	"nginx": "GET /s3/b/a%20b%2Fc HTTP/1.1\r\nHost: app.example.com\r\n" +
		"X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n" +
		"X-Auth-Request-Email: \r\nX-Auth-Request-Groups: -\r\nX-Real-IP:192.0.2.1\r\n\r\n",
	"HAProxy": "GET /s3/b/k HTTP/1.1\r\nhost: app.example.com\r\nuser-agent: curl/7.88.1\r\n" +
		"accept: */*\r\nx-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n\r\n",
	"a tab in a value": "GET /s3/b/k HTTP/1.1\r\nHost:\th \r\nA: b\tc\r\n\r\n",
}

// Requests that are not plain, among them the usual collection of request smuggling.
var oddities = map[string]string{
	"POST":                 "POST /s3/b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
	"OPTIONS":              "OPTIONS /s3/b/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"lower-case method":    "get /s3/b/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"long method":          "GETT /s3/b/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"another path":         "GET /presign HTTP/1.1\r\nHost: h\r\n\r\n",
	"asterisk":             "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	"absolute-form":        "GET http://h/s3/b/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"authority-form":       "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
	"HTTP/1.0":             "GET /s3/b/k HTTP/1.0\r\nHost: h\r\n\r\n",
	"HTTP/1.0, keep-alive": "GET /s3/b/k HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
	"HTTP/0.9":             "GET /s3/b/k\r\n",
	"HTTP/2":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"HTTP/1.2":             "GET /s3/b/k HTTP/1.2\r\nHost: h\r\n\r\n",
	"lower-case version":   "GET /s3/b/k http/1.1\r\nHost: h\r\n\r\n",
	"TLS":                  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
	"empty line first":     "\r\nGET /s3/b/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"two spaces":           "GET  /s3/b/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"space in the target":  "GET /s3/b/k k HTTP/1.1\r\nHost: h\r\n\r\n",
	"space at the end":     "GET /s3/b/k HTTP/1.1 \r\nHost: h\r\n\r\n",
	"tab for a space":      "GET\t/s3/b/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"fragment":             "GET /s3/b/k#f HTTP/1.1\r\nHost: h\r\n\r\n",
	"bad escape":           "GET /s3/b/%zz HTTP/1.1\r\nHost: h\r\n\r\n",
	"half an escape":       "GET /s3/b/%4 HTTP/1.1\r\nHost: h\r\n\r\n",
	"8-bit target":         "GET /s3/b/\xc3\xbc HTTP/1.1\r\nHost: h\r\n\r\n",
	"NUL in the target":    "GET /s3/b/\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
	"DEL in the target":    "GET /s3/b/1234567\x7f HTTP/1.1\r\nHost: h\r\n\r\n",
	"8-bit value":          "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nA: \xc3\xbc\r\n\r\n",
	"NUL in a value":       "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nA: 12345\x006\r\n\r\n",
	"NUL in a name":        "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nA\x00: 1\r\n\r\n",
	"bare LF":              "GET /s3/b/k HTTP/1.1\nHost: h\n\n",
	"bare LF, one line":    "GET /s3/b/k HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
	"bare LF at the end":   "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n\n",
	"bare CR":              "GET /s3/b/k HTTP/1.1\r\nHost: h\rA: b\r\n\r\n",
	"two CR":               "GET /s3/b/k HTTP/1.1\r\r\nHost: h\r\n\r\n",
	"obs-fold":             "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
	"obs-fold with a tab": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"A: b\r\n\tTransfer-Encoding: chunked\r\n\r\n",
	"obs-fold at first":      "GET /s3/b/k HTTP/1.1\r\n Host: h\r\n\r\n",
	"no Host":                "GET /s3/b/k HTTP/1.1\r\nA: b\r\n\r\n",
	"no fields":              "GET /s3/b/k HTTP/1.1\r\n\r\n",
	"empty Host":             "GET /s3/b/k HTTP/1.1\r\nHost:\r\n\r\n",
	"two Hosts":              "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
	"Host in another case":   "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nhOST: h\r\n\r\n",
	"Host with a slash":      "GET /s3/b/k HTTP/1.1\r\nHost: h/x\r\n\r\n",
	"Host with a user":       "GET /s3/b/k HTTP/1.1\r\nHost: u@h\r\n\r\n",
	"space before the colon": "GET /s3/b/k HTTP/1.1\r\nHost : h\r\n\r\n",
	"no colon":               "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nA\r\n\r\n",
	"no name":                "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n",
	"name with brackets":     "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n(A): a\r\n\r\n",
	"Content-Length":         "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
	"CL.TE": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"TE.CL": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nA\r\n0\r\n\r\n",
	"TE.TE": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"Transfer-Encoding: xchunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"two Content-Lengths": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	"TE in another case": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"transfer-ENCODING: chunked\r\n\r\n0\r\n\r\n",
	"TE after a NUL": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"A: \x00\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE":      "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n",
	"Trailer": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nTrailer: A\r\n\r\n",
	"Upgrade": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
	"Connection: Upgrade": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
	"Connection with a name": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"Connection: close, X-User\r\n\r\n",
	"two Connections": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"Connection: close\r\nConnection: keep-alive\r\n\r\n",
	"empty Connection": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nConnection:\r\n\r\n",
	"Expect":           "GET /s3/b/k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
	"101 fields": "GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" +
		"" + strings.Repeat("A: b\r\n", 100) + "\r\n",
	"shorter than the prefix": "GET /s3 HTTP/1.1\r\nHost: h\r\n\r\n",
	"only a version":          "GET HTTP/1.1\r\nHost: h\r\n\r\n",
}

// read reads a head at the start of text.
func readHead(text string) (*Request, verdict) {
	r := &Request{}
	return r, r.read([]byte(text), []string{"/s3/"})
}

func TestPlainHeads(t *testing.T) {
	for name, text := range clients {
		r, got := readHead(text + "next")
		if got != plain || r.size != len(text) {
			t.Errorf("%s: read = %v and %d bytes, want plain and %d", name, got, r.size, len(text))
			continue
		}
		line, _, _ := strings.Cut(text, "\r\n")
		if want := r.Method + " " + r.Target + " HTTP/1.1"; line != want {
			t.Errorf("%s: the request line is %q, want %q", name, want, line)
		}
		for n := range text {
			if _, got := readHead(text[:n]); got != incomplete {
				t.Errorf("%s: read of %q = %v, want incomplete", name, text[:n], got)
			}
		}
	}
	fields := strings.Repeat("A: b\r\n", maxFields-1)
	if _, got := readHead("GET /s3/b/k HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"); got != plain {
		t.Errorf("%d fields: read = %v, want plain", maxFields, got)
	}
}

func TestOddHeads(t *testing.T) {
	for name, text := range oddities {
		r, got := readHead(text)
		if got != odd {
			t.Errorf("%s: read(%q) = %v, want odd", name, text, got)
		}
		// The line that is not plain is noticed when it is complete.
		if lines := strings.SplitAfter(text, "\n"); got == odd && r.size < len(text) {
			for n := range lines {
				if part := strings.Join(lines[:n], ""); len(part) >= r.size && r.size > 0 {
					if _, got := readHead(part); got != odd {
						t.Errorf("%s: read(%q) = %v, want odd", name, part, got)
					}
				}
			}
		}
	}
}

// Every byte is checked at every position of the eight that are compared at a time.
func TestTextIsVisibleASCII(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				b := slices.Repeat([]byte{'~'}, length)
				b[at] = byte(c)
				want := c >= 0x20 && c < 0x7f
				if got := isText(b); got != want {
					t.Fatalf("isText(%q) = %v, want %v", b, got, want)
				}
				if got := isTabbedText(b); got != (want || c == '\t') {
					t.Fatalf("isTabbedText(%q) = %v, want %v", b, got, want || c == '\t')
				}
			}
		}
	}
}

func TestValues(t *testing.T) {
	r, _ := readHead("GET /s3/b/k HTTP/1.1\r\nHost: h\r\nCookie: a\r\nX-User:\t ann \t\r\n" +
		"cookie: b\r\nCOOKIE:\r\n\r\n")
	cookies, users := r.Values("Cookie"), r.Values("x-uSER")
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"Cookie", cookies, []string{"a", "b", ""}},
		{"X-User", users, []string{"ann"}},
		{"Host", r.Values("Host"), nil},
		{"Cooki", r.Values("Cooki"), nil},
		{"a second time, Cookie", r.Values("Cookie"), cookies},
	} {
		if !slices.Equal(c.got, c.want) || (c.got == nil) != (c.want == nil) {
			t.Errorf("Values(%s) = %q, want %q", c.name, c.got, c.want)
		}
	}
	_ = append(cookies, "another")
	if users[0] != "ann" {
		t.Errorf("after an append to another result, Values(X-User) = %q, want ann", users)
	}
}

func BenchmarkReadHead(b *testing.B) {
	for _, name := range []string{"wrk", "Chromium"} {
		b.Run(name, func(b *testing.B) {
			head, r := []byte(clients[name]), &Request{}
			b.SetBytes(int64(len(head)))
			b.ReportAllocs()
			for b.Loop() {
				r.reset()
				if got := r.read(head, []string{"/s3/"}); got != plain {
					b.Fatal(fmt.Errorf("read = %v, want plain", got))
				}
			}
		})
	}
}
