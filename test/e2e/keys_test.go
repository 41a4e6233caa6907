package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// oddKeys are keys that a component between the page and the store could misread.
var oddKeys = []string{
	"plain.txt", "a b", " leading space", "trailing space ", "a  b", "+", "a+b", "a+b c%20d",
	"%", "100%", "%41", "%2F", "a%2Fb", "%252F", "%zz", "%00 in letters",
	"/leading slash", "trailing slash/", "a//b", "//", "a///", "/", "folder/sub folder/file.txt",
	".hidden", "..a", "a..", "...", "a/.../b", "a./b", "~", "~user/file",
	"ü NFC", "u\u0308 NFD", "日本語/写真.jpg", "Ελληνικά", "עברית", "\u202eright to left",
	"zero\u200bwidth", "\ufeffbyte order mark", "line\u2028separator", "\ufffd",
	"🎬", "👩‍👩‍👧‍👦 family.png", "a\u0301\u0302\u0303",
	"Icon\r", "folder/Icon\r", "a\nb", "\ttab", "\x01\x1b[2J", "delete\x7f", "Ã¤\u0084", "\u0085",
	"'single'", `"double"`, "[1]", "(1)", "{a}", "<b>", "a&b=c", "a=b", "a?b", "a#b", "a;b", "a:b",
	"user@host", "a!", "a*b", "a,b", "$HOME", `back\slash`, "a^b", "`a`", "a|b", "-", "_",
	"?acl", "key?versionId=1&response-content-type=text/html",
	"key?X-Amz-Signature=0&X-Amz-Expires=9", "#fragment", "a?", "a&", "a#",
	"s3://bucket/key", "http://example.com/x?y#z", "//example.com/x", "C:\\photos\\1.jpg", "con.",
	"index.html;jsessionid=1", "\\\\host\\share",
	strings.Repeat("k", 1024), strings.Repeat("ü", 512), strings.Repeat("日/", 256),
	strings.Repeat("%", 1024), strings.Repeat("folder/", 146) + "e.",
}

// spellings returns paths that all name the same object. They differ in which bytes are
// percent-encoded and in the case of the hexadecimal digits.
func spellings(bucket, key string) []string {
	var upper, lower strings.Builder
	for i := range len(key) {
		fmt.Fprintf(&upper, "%%%02X", key[i])
		fmt.Fprintf(&lower, "%%%02x", key[i])
	}
	return []string{
		path(bucket, key),
		"/s3/" + bucket + "/" + upper.String(),
		"/s3/" + bucket + "/" + lower.String(),
	}
}

// checkKeys stores an object under each key and fetches it through the proxy.
func checkKeys(t *testing.T, s *store, p *proxy, bucket string, keys []string) {
	t.Helper()
	s.createBucket(t, bucket)
	bodies := make([][]byte, len(keys))
	for i, key := range keys {
		bodies[i] = randomBytes(20 + i) // distinct lengths tell the objects apart
		s.put(t, bucket, key, bodies[i])
	}
	for i, key := range keys {
		url := p.location(t, http.MethodGet, path(bucket, key))
		a := fetch(t, http.MethodGet, url)
		if a.status != http.StatusOK || !bytes.Equal(a.body, bodies[i]) {
			t.Errorf("GET %.80q: status %d, body %.200q, want 200 and the stored bytes",
				key, a.status, a.body)
		}
		head := p.location(t, http.MethodHead, path(bucket, key))
		want := int64(len(bodies[i]))
		if a := fetch(t, http.MethodHead, head); a.status != http.StatusOK || a.length != want {
			t.Errorf("HEAD %.80q: status %d, length %d, want 200 and %d",
				key, a.status, a.length, want)
		}
		for _, spelling := range spellings(bucket, key) {
			a := p.raw(t, http.MethodGet, spelling)
			if got := a.header.Get("Location"); got != url {
				t.Errorf("%.80q spelled %.100s: status %d, Location %s, want %s",
					key, spelling, a.status, got, url)
			}
		}
	}
}

// radosgw stores every key unchanged.
func TestUnusualKeysOnRadosgw(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: odd-keys
`+asTrusted, g.env()...)
	checkKeys(t, &g.store, p, "odd-keys", oddKeys)
}

// MinIO stores objects as files. The test skips keys that MinIO rejects or stores under another
// name because they are not valid file names.
func TestUnusualKeysOnMinIO(t *testing.T) {
	t.Parallel()
	s := minio(t)
	var keys []string
	for _, key := range oddKeys {
		longest := 0
		for segment := range strings.SplitSeq(key, "/") {
			longest = max(longest, len(segment))
		}
		emptySegment := strings.Contains("/"+key+"/", "//")
		if !emptySegment && !strings.Contains(key, `\`) && longest < 256 {
			keys = append(keys, key)
		}
	}
	p := startProxy(t, `
integrations:
  - name: role
    bucket: odd-files
`+withRole, s.env()...)
	checkKeys(t, s, p, "odd-files", keys)
}

// The proxy never issues a URL for an invalid locator, nor for one that a browser would rewrite.
func TestInvalidPathsAreRejected(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: role
    permitted_buckets: ["refused*"]
`+withRole, s.env()...)
	for _, target := range []string{
		"/s3/refused", "/s3/refused/", "/s3//key", "/s3/", "/s3/Refused/key", "/s3/re%66used/key",
		"/s3/refused%2Fkey", "/s3/re/key", "/s3/127.0.0.1/key",
		"/s3/refused/..", "/s3/refused/.", "/s3/refused/../other/key", "/s3/refused/a/../b",
		"/s3/refused/a/./b", "/s3/refused/%2e%2e/b", "/s3/refused/a%2F..%2Fb",
		"/s3/refused/%2E", "/s3/refused/a/%2e%2E", "/s3/../s3/refused/key",
		"/s3/refused/%", "/s3/refused/%4", "/s3/refused/%00", "/s3/refused/a%0A%00b",
		"/s3/refused/\x7f", "/s3/refused/\u0085", "/s3/refused/%ff", "/s3/refused/%ed%a0%80",
		"/s3/refused/" + strings.Repeat("a", 1025), "/s3/refused/" + strings.Repeat("%C3%BC", 513),
	} {
		a := p.raw(t, http.MethodGet, target)
		// net/http rejects invalid request lines before the proxy's handler runs.
		body := string(a.body)
		if body == "400 Bad Request" || strings.HasPrefix(body, "400 Bad Request: ") {
			continue
		}
		if err := a.checkProblem(http.StatusBadRequest, "bad_locator"); err != nil {
			t.Errorf("%.100s: %v", target, err)
		}
	}
	for _, target := range []string{
		"/", "/s3", "/S3/refused/key", "/metrics", "/readyz", "//s3/refused/key", "/favicon.ico",
	} {
		a := p.raw(t, http.MethodGet, target)
		if err := a.checkProblem(http.StatusNotFound, "not_found"); err != nil {
			t.Errorf("%.100s: %v", target, err)
		}
	}
	for _, method := range []string{
		http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch,
	} {
		a := p.raw(t, method, "/s3/refused/key")
		err := a.checkProblem(http.StatusMethodNotAllowed, "method_not_allowed")
		if allow := a.header.Get("Allow"); err != nil || !strings.Contains(allow, "GET") {
			t.Errorf("%s: %v, Allow %q, want no error and GET allowed", method, err, allow)
		}
	}
}

// The proxy redirects to missing objects and buckets too. The store answers that they are missing.
func TestStoreReportsMissingObjects(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	p := startProxy(t, `
integrations:
  - name: role
    permitted_buckets: [half-full, no-such-bucket]
`+asTrusted, g.env()...)
	g.createBucket(t, "half-full")
	for bucket, code := range map[string]string{
		"half-full":      "NoSuchKey",
		"no-such-bucket": "NoSuchBucket",
	} {
		a := fetch(t, http.MethodGet, p.location(t, http.MethodGet, path(bucket, "missing")))
		found := bytes.Contains(a.body, []byte("<Code>"+code+"</Code>"))
		if a.status != http.StatusNotFound || !found {
			t.Errorf("%s: status %d, body %s, want 404 and the store's code %s",
				bucket, a.status, a.body, code)
		}
	}
	p.wantProblem(t, path("not-permitted", "key"), http.StatusNotFound, "bucket_not_permitted")
}
