package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Settings of an integration that reads MinIO, with keys and with the session of a role.
const (
	withKeys = `
    endpoint: ${ENDPOINT}
    path_style: true
    region: us-east-1
    access_key_id: ${ACCESS_KEY}
    secret_access_key: ${SECRET_KEY}
`
	withRole = withKeys + `
    role_arn: arn:minio:iam:::role/reader
    sts_endpoint: ${ENDPOINT}
`
)

// Following a redirect gives the stored bytes with GET, parts of them with ranges, and their length
// with HEAD.
func TestRedirectDeliversStoredBytes(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: bytes-role
`+withRole+`
  - name: keys
    bucket: bytes-keys
`+withKeys, s.env()...)

	objects := map[string][]byte{
		"empty":                {},
		"one byte":             {7},
		"video.mp4":            randomBytes(3 << 20),
		"folder/photo ü+1.jpg": randomBytes(100_000),
	}
	for _, bucket := range []string{"bytes-role", "bytes-keys"} {
		s.createBucket(t, bucket)
		for key, body := range objects {
			s.put(t, bucket, key, body)
			url := p.location(t, http.MethodGet, path(bucket, key))
			a := fetch(t, http.MethodGet, url)
			if a.status != http.StatusOK || !bytes.Equal(a.body, body) {
				t.Errorf("GET %s %q: status %d, %d bytes, want 200 and the %d stored bytes: %.300s",
					bucket, key, a.status, len(a.body), len(body), a.body)
			}
			a = fetch(t, http.MethodHead, p.location(t, http.MethodHead, path(bucket, key)))
			contentType := a.header.Get("Content-Type")
			if a.status != http.StatusOK || a.length != int64(len(body)) ||
				contentType != "application/x-test" {
				t.Errorf("HEAD %s %q: status %d, length %d, Content-Type %q, "+
					"want 200, %d and application/x-test: %v",
					bucket, key, a.status, a.length, contentType, len(body), a.header)
			}
			if len(body) < 1000 {
				continue
			}
			for spec, want := range map[string][]byte{
				"0-99":    body[:100],
				"500-999": body[500:1000],
				"-4":      body[len(body)-4:],
				"1000-":   body[1000:],
			} {
				a := fetch(t, http.MethodGet, url, "Range: bytes="+spec)
				if a.status != http.StatusPartialContent || !bytes.Equal(a.body, want) {
					t.Errorf("%s %q, bytes %s: status %d, %d bytes, want 206 and %d stored bytes",
						bucket, key, spec, a.status, len(a.body), len(want))
				}
			}
			a = fetch(t, http.MethodGet, url, fmt.Sprintf("Range: bytes=%d-", len(body)))
			if a.status != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("%s %q, range past the end: status = %d, want 416", bucket, key, a.status)
			}
		}
	}
}

// When a browser last uses a cached redirect, its URL is still valid for min_remaining. No URL
// outlives its session.
func TestMaxAgeLeavesMinRemaining(t *testing.T) {
	t.Parallel()
	s := minio(t)
	sts := s.sts(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: ages-role
    url_lifetime: 10m
    min_remaining: 4m
    session_duration: 15m
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}")+`
  - name: keys
    bucket: ages-keys
    url_lifetime: 168h
    min_remaining: 4m
`+withKeys, append(s.env(), "STS="+sts.url)...)

	for _, bucket := range []string{"ages-role", "ages-keys"} {
		a := fetch(t, http.MethodGet, p.url(path(bucket, "key")))
		now := time.Now()
		if err := a.checkRedirect(); err != nil {
			t.Fatal(err)
		}
		cacheControl := a.header.Get("Cache-Control")
		maxAge, _ := strconv.Atoi(strings.TrimPrefix(cacheControl, "private, max-age="))
		signed, err := time.Parse("20060102T150405Z", a.query().Get("X-Amz-Date"))
		if err != nil {
			t.Fatal(err)
		}
		expires, err := strconv.Atoi(a.query().Get("X-Amz-Expires"))
		if err != nil || maxAge < 0 {
			t.Fatal(err, maxAge)
		}
		end := signed.Add(time.Duration(expires) * time.Second)
		needed := now.Add(time.Duration(maxAge)*time.Second + 4*time.Minute)
		if needed.After(end.Add(time.Second)) {
			t.Errorf("%s: with max-age %d s, the URL expires in %v, want max-age plus 4m at least",
				bucket, maxAge, end.Sub(now))
		}
		if bucket == "ages-role" && end.After(sts.session(t).Expires) {
			t.Errorf("the URL expires at %v, want no later than its session at %v",
				end, sts.session(t).Expires)
		}
	}
}

// Within a window an object's URL does not change, so browsers can cache the object.
func TestSameURLWithinWindow(t *testing.T) {
	t.Parallel()
	s := minio(t)
	// Windows last 5 hours and half a week, so that none ends while the test runs.
	config := `
integrations:
  - name: role
    bucket: same-role
    url_lifetime: 6h
    min_remaining: 1h
    session_duration: 12h
` + withRole + `
  - name: keys
    bucket: same-keys
    url_lifetime: 168h
    min_remaining: 84h
` + withKeys
	p := startProxy(t, config, s.env()...)
	const key = "folder/photo ü+1.jpg"
	first := map[string]string{}
	for _, bucket := range []string{"same-role", "same-keys"} {
		first[bucket] = p.location(t, http.MethodGet, path(bucket, key))
		if head := p.location(t, http.MethodHead, path(bucket, key)); head == first[bucket] {
			t.Errorf("%s: HEAD has the URL of GET, which S3 rejects: %s", bucket, head)
		}
		for range 20 {
			if again := p.location(t, http.MethodGet, path(bucket, key)); again != first[bucket] {
				t.Errorf("%s: repeated request: URL =\n%s\nwant\n%s", bucket, again, first[bucket])
			}
		}
		// The proxy ignores cache busters and tracking parameters and does not pass them on.
		const ignored = "?v=3&utm_source=mail&X-Amz-Expires=9"
		again := p.location(t, http.MethodGet, path(bucket, key)+ignored)
		if again != first[bucket] {
			t.Errorf("%s: request with ignored parameters: URL =\n%s\nwant\n%s",
				bucket, again, first[bucket])
		}
	}

	p.signal(t, syscall.SIGTERM)
	p.wait(t, 10*time.Second)
	p = startProxy(t, config, s.env()...)
	again := p.location(t, http.MethodGet, path("same-keys", key))
	if want := first["same-keys"]; again != want {
		t.Errorf("after a restart: URL =\n%s\nwant\n%s", again, want)
	}
}

// S3 accepts a URL only for the method, object and time that it was signed for. That is why the
// proxy signs HEAD separately.
func TestURLIsValidForOneRequestOnly(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: bound
`+withRole, s.env()...)
	s.createBucket(t, "bound")
	s.put(t, "bound", "mine", []byte("mine"))
	s.put(t, "bound", "other", []byte("other"))
	get := p.location(t, http.MethodGet, path("bound", "mine"))
	head := p.location(t, http.MethodHead, path("bound", "mine"))
	for _, c := range []struct{ what, method, url string }{
		{"GET's URL for HEAD", http.MethodHead, get},
		{"HEAD's URL for GET", http.MethodGet, head},
		{"GET's URL for DELETE", http.MethodDelete, get},
		{"another key", http.MethodGet, strings.Replace(get, "/mine?", "/other?", 1)},
		{
			"a longer lifetime", http.MethodGet,
			strings.Replace(get, "X-Amz-Expires=", "X-Amz-Expires=1", 1),
		},
		{"another parameter", http.MethodGet, get + "&response-content-type=text%2Fhtml"},
		{"another signature", http.MethodGet, get[:len(get)-4] + "0000"},
	} {
		if a := fetch(t, c.method, c.url); a.status != http.StatusForbidden {
			t.Errorf("%s: status = %d, want 403", c.what, a.status)
		}
	}
	if a := fetch(t, http.MethodGet, get); string(a.body) != "mine" {
		t.Errorf("the unchanged URL: status %d, body %q, want 200 and \"mine\"", a.status, a.body)
	}
}

// Only integrations with file_versioning redirect to versions of objects.
func TestFileVersioning(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: versions
    bucket: versions
    file_versioning: true
`+withRole+`
  - name: newest
    bucket: newest-only
`+withRole, s.env()...)
	for _, bucket := range []string{"versions", "newest-only"} {
		s.createBucket(t, bucket)
		s.keepVersions(t, bucket)
	}
	old, recent := randomBytes(1000), randomBytes(2000)
	version := s.put(t, "versions", "a b.txt", old)
	s.put(t, "versions", "a b.txt", recent)
	object := path("versions", "a b.txt")
	for query, want := range map[string][]byte{"": recent, "?versionId=" + version: old} {
		a := fetch(t, http.MethodGet, p.location(t, http.MethodGet, object+query))
		if !bytes.Equal(a.body, want) {
			t.Errorf("GET %s: status %d, body %.300q, want the bytes of the version",
				query, a.status, a.body)
		}
		a = fetch(t, http.MethodHead, p.location(t, http.MethodHead, object+query))
		if a.length != int64(len(want)) {
			t.Errorf("HEAD %s: status %d, length %d, want %d", query, a.status, a.length, len(want))
		}
	}

	version = s.put(t, "newest-only", "a b.txt", old)
	p.wantProblem(t, path("newest-only", "a b.txt")+"?versionId="+version,
		http.StatusBadRequest, "bad_query")
}

// Parameters that override response headers are signed into the URL, and the store sends the
// requested headers.
func TestResponseHeaderOverrides(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: overrides
`+withRole, s.env()...)
	s.createBucket(t, "overrides")
	body := randomBytes(100)
	s.put(t, "overrides", "a.bin", body)
	for _, c := range []struct{ query, header, want string }{
		{"", "Content-Disposition", ""},
		{"", "Content-Type", "application/x-test"},
		{
			"response-content-type=text/plain;%20charset=utf-8",
			"Content-Type", "text/plain; charset=utf-8",
		},
		{
			"response-cache-control=private,%20max-age=3600",
			"Cache-Control", "private, max-age=3600",
		},
		{"response-content-language=fr", "Content-Language", "fr"},
		{"response-content-encoding=br", "Content-Encoding", "br"},
		{
			"response-expires=Thu,%2001%20Dec%202033%2016:00:00%20GMT",
			"Expires", "Thu, 01 Dec 2033 16:00:00 GMT",
		},
		{
			"response-content-disposition=inline&response-content-type=application/pdf",
			"Content-Disposition", "inline",
		},
		{"download", "Content-Disposition", "attachment"},
		{"download=name.ext", "Content-Disposition", "attachment; filename=name.ext"},
		{
			"download=my%20%22best%22.ext",
			"Content-Disposition", `attachment; filename="my \"best\".ext"`,
		},
		{
			"download=%C3%BCber.ext",
			"Content-Disposition", "attachment; filename*=utf-8''%C3%BCber.ext",
		},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := fetch(t, method, p.location(t, method, path("overrides", "a.bin")+"?"+c.query))
			if got := a.header.Get(c.header); a.status != http.StatusOK || got != c.want {
				t.Errorf("%s ?%s: status %d, %s %q, want 200 and %q: %s",
					method, c.query, a.status, c.header, got, c.want, a.body)
			}
			if method == http.MethodGet && !bytes.Equal(a.body, body) {
				t.Errorf("GET ?%s: body = %q, want the stored %q", c.query, a.body, body)
			}
		}
	}
	for _, query := range []string{
		"response-content-type=a%0D%0ASet-Cookie:x",
		"download=a%00b",
		"response-expires=%zz",
		"download=a&download=b",
		"response-content-type=text/html",
		"response-content-type=image/svg%2Bxml",
		"response-content-disposition=inline",
	} {
		a := p.raw(t, http.MethodGet, path("overrides", "a.bin")+"?"+query)
		if err := a.checkProblem(http.StatusBadRequest, "bad_query"); err != nil {
			t.Errorf("?%s: %v", query, err)
		}
	}
}
