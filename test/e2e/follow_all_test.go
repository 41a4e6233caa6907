package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestFollowAll checks that nginx with follow-all.conf serves all objects itself, and a copy in its
// cache only to viewers whom s3redirect admits at that moment.
func TestFollowAll(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	const bucket = "follow-all"
	s := watch(t, minio(t))
	p := followed(t, bucket, s.env()...)
	f := behindFollower(t, p, "follow-all.conf")
	s.createBucket(t, bucket)
	s.keepVersions(t, bucket)
	first := s.put(t, bucket, "private/a.bin", []byte("an older version"))
	s.put(t, bucket, "private/a.bin", []byte("a private object"))
	s.put(t, bucket, "public/a.bin", []byte("a public object"))
	s.put(t, bucket, "public/empty", nil)
	const private, public = "/s3/" + bucket + "/private/a.bin", "/s3/" + bucket + "/public/a.bin"

	// A Worker (same-origin) sees no redirect either.
	a := f.get(t, "ann", private, "Cookie: a=b", "Sec-Fetch-Mode: same-origin")
	a.wantBody(t, "the first viewer", http.StatusOK, "a private object")
	a.checkServed(t, "the first viewer")
	f.get(t, "ann", private).wantBody(t, "again", http.StatusOK, "a private object")
	s.wantRequests(t, "two requests of a viewer", 1)
	checkDenied(t, f, private)
	s.wantRequests(t, "denied viewers", 0)
	for _, user := range []string{"ann", "bob"} {
		f.get(t, user, public).wantBody(t, user, http.StatusOK, "a public object")
	}
	s.wantRequests(t, "two viewers of an object", 1)

	checkVariants(t, s, p, f, private, first)
	checkConditions(t, s, f, private, a.header.Get("Etag"))
	checkHeads(t, s, f, private)
	checkFollowedProblems(t, f, bucket)
	const series = `s3redirect_requests_total{code="204",integration="keys",method="GET"}`
	if n := p.scrape(t)[series]; n < 10 {
		t.Errorf("%s = %v, want at least 10", series, n)
	}
}

// checkDenied checks that viewers who may not read an object in the cache do not get it.
func checkDenied(t *testing.T, f *follower, private string) {
	t.Helper()
	for user, problem := range map[string]struct {
		status int
		code   string
	}{
		"bob": {http.StatusForbidden, "viewer_denied"},
		"":    {http.StatusUnauthorized, "viewer_unknown"},
		"eve": {http.StatusUnauthorized, "viewer_unknown"},
	} {
		for _, spelling := range []string{
			private, private + "?", private + "?x=1", strings.Replace(private, "private", "%70rivate", 1),
		} {
			a := f.get(t, user, spelling, `If-None-Match: *`, "Range: bytes=0-")
			if err := a.checkProblem(problem.status, problem.code); err != nil {
				t.Errorf("%s as %q: %v", spelling, user, err)
			}
			if problem.status == 401 && a.header.Get("Www-Authenticate") == "" {
				t.Errorf("%s as %q: no WWW-Authenticate", spelling, user)
			}
		}
	}
}

// checkVariants checks that a link gets the copy of its object, and that versions, overrides and
// responses to pages of other origins are told apart.
func checkVariants(t *testing.T, s *watchedStore, p *proxy, f *follower, private, first string) {
	t.Helper()
	query := linkQuery(t, p, "s3://follow-all/private/*")
	f.get(t, "", private+"?"+query).wantBody(t, "a link", http.StatusOK, "a private object")
	s.wantRequests(t, "a link to an object in the cache", 0)
	f.get(t, "ann", private+"?versionId="+first).
		wantBody(t, "an older version", http.StatusOK, "an older version")
	override := f.get(t, "ann", private+"?download=b.txt")
	if got := override.header.Get("Content-Disposition"); got != "attachment; filename=b.txt" {
		t.Errorf("?download: Content-Disposition = %q, want the one asked for", got)
	}
	if got := f.get(t, "ann", private).header.Get("Content-Disposition"); got != "" {
		t.Errorf("after ?download: Content-Disposition = %q, want none", got)
	}
	s.wantRequests(t, "a version and an override", 2)

	// A page of another origin fetches a copy, which is then served to others without its CORS header.
	const origin = "https://app.example.com"
	for _, page := range []string{origin, "", "https://evil.example.com", origin} {
		a := f.get(t, "ann", private+"?download=cors", "Origin: "+page)
		got := a.header.Get("Access-Control-Allow-Origin")
		if a.status != http.StatusOK || (got == origin) != (page == origin) || got != "" && got != page {
			t.Errorf("from %q: got %d and the allowed origin %q", page, a.status, got)
		}
	}
}

// checkConditions checks conditional requests and ranges.
func checkConditions(t *testing.T, s *watchedStore, f *follower, private, etag string) {
	t.Helper()
	s.taken()
	f.get(t, "ann", private, "If-None-Match: "+etag).
		wantBody(t, "with the ETag", http.StatusNotModified, "")
	f.get(t, "ann", private, `If-None-Match: "x"`, "Range: bytes=2-8").
		wantBody(t, "a range", http.StatusPartialContent, "private")
	f.get(t, "ann", private, "Range: bytes=-6").
		wantBody(t, "a suffix", http.StatusPartialContent, "object")
	past := f.get(t, "ann", private, "Range: bytes=100-200")
	if past.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range past the end: status %d, want 416", past.status)
	}
	s.wantRequests(t, "conditions and ranges", 0)
	past = f.get(t, "ann", private, "Range: bytes=9000000-")
	if past.status != http.StatusRequestedRangeNotSatisfiable || len(past.header["Location"]) > 0 {
		t.Errorf("a range far past the end: status %d, want 416", past.status)
	}
	for _, header := range []string{"Accept: */*", "Range: bytes=0-5"} {
		f.get(t, "bob", strings.Replace(private, "private/a.bin", "public/empty", 1), header).
			wantBody(t, "an empty object, "+header, http.StatusOK, "")
	}
}

// checkHeads checks that HEAD reaches the store as HEAD, and that GET does not get its copy.
func checkHeads(t *testing.T, s *watchedStore, f *follower, private string) {
	t.Helper()
	s.taken()
	fetch(t, http.MethodHead, "http://"+f.host+private+"?download=head", as("ann"))
	f.get(t, "ann", private+"?download=head").
		wantBody(t, "GET after the first HEAD", http.StatusOK, "a private object")
	s.wantRequests(t, "HEAD and then GET", 2)
	for range 2 {
		head := fetch(t, http.MethodHead, "http://"+f.host+private, as("ann"))
		if head.status != http.StatusOK || head.length != int64(len("a private object")) {
			t.Errorf("HEAD: got %d and the length %d, want 200 and 16", head.status, head.length)
		}
		f.get(t, "ann", private).wantBody(t, "GET after HEAD", http.StatusOK, "a private object")
	}
	for _, r := range s.taken() {
		if r.Method != http.MethodHead {
			t.Errorf("HEAD reached the store as %s", r.Method)
		}
	}
}

// linkQuery returns the query of a signed link of ann's.
func linkQuery(t *testing.T, p *proxy, locator string) string {
	t.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"locator": %q}`, locator))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/link"), body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("ann", "secret-of-ann")
	a, err := readAnswer(client.Do(req))
	var link struct{ Query string }
	if err != nil || json.Unmarshal(a.body, &link) != nil || link.Query == "" {
		t.Fatalf("POST /link: %+v, %v, want a query", a, err)
	}
	return link.Query
}

// checkFollowedProblems checks that the client gets s3redirect's problems, although auth_request
// would make 500 of them, and problems in place of the store's errors. None is cached.
func checkFollowedProblems(t *testing.T, f *follower, bucket string) {
	t.Helper()
	for target, want := range map[string]struct {
		status int
		code   string
	}{
		"/s3/" + bucket + "/private/missing":                   {http.StatusNotFound, "object_not_found"},
		"/s3/not-served/k":                                     {http.StatusForbidden, "viewer_denied"},
		"/s3/" + bucket + "/private/../a":                      {http.StatusBadRequest, "bad_locator"},
		"/s3/" + bucket + "/private/a.bin?versionId=":          {http.StatusBadRequest, "bad_query"},
		"/s3/" + bucket + "/a?response-content-type=text/html": {http.StatusBadRequest, "bad_query"},
		"/s3/x":                                 {http.StatusBadRequest, "bad_locator"},
		"/x/../s3/" + bucket + "/private/a.bin": {http.StatusNotFound, "not_found"},
		"//s3/" + bucket + "/private/a.bin":     {http.StatusNotFound, "not_found"},
	} {
		a := f.asProxy().raw(t, http.MethodGet, target+" HTTP/1.1\r\n"+as("ann")+"\r\nX-Ignored: x")
		if err := a.checkProblem(want.status, want.code); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	for method, status := range map[string]int{
		http.MethodPost: 405, http.MethodPut: 405, http.MethodOptions: 204,
	} {
		a := fetch(t, method, "http://"+f.host+"/s3/"+bucket+"/private/a.bin",
			"Origin: https://app.example.com", "Access-Control-Request-Method: GET")
		allowed := a.header.Get("Access-Control-Allow-Origin")
		if a.status != status || allowed != "https://app.example.com" {
			t.Errorf("%s: got %d, allowed origin %q, want %d and the page's",
				method, a.status, allowed, status)
		}
	}
	for _, target := range []string{
		"/_s3redirect/authorize", "/authorize/s3/" + bucket + "/private/a.bin",
	} {
		if a := f.get(t, "ann", target); a.status != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404: it is not for clients", target, a.status)
		}
	}
}

// TestFollowAllSlices checks that the bytes of a large object and of its ranges are right, whatever
// part of it is in the cache, and that many viewers cause one request for each slice.
func TestFollowAllSlices(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	const bucket, target = "follow-slices", "/s3/follow-slices/public/large"
	s := watch(t, minio(t))
	p := followed(t, bucket, s.env()...)
	f := behindFollower(t, p, "follow-all.conf", "slice 4m;", "slice 64k;")
	s.createBucket(t, bucket)
	const slice, slices = 64 << 10, 5
	body := randomBytes(slice*slices - 100)
	s.put(t, bucket, "public/large", body)
	check := func(start, end int) {
		t.Helper()
		a := f.get(t, "ann", target, fmt.Sprintf("Range: bytes=%d-%d", start, end))
		want := body[start:min(end+1, len(body))]
		content := fmt.Sprintf("bytes %d-%d/%d", start, start+len(want)-1, len(body))
		if a.status != http.StatusPartialContent || !bytes.Equal(a.body, want) ||
			a.header.Get("Content-Range") != content {
			t.Errorf("bytes %d to %d: got %d, %d bytes, %q, want 206, %d bytes, %q", start, end,
				a.status, len(a.body), a.header.Get("Content-Range"), len(want), content)
		}
	}
	check(slice*3+7, slice*3+9) // the third slice comes first
	for _, start := range []int{
		0, 1, slice - 1, slice, slice + 1, 2*slice - 5, 4 * slice, len(body) - 1,
	} {
		for _, length := range []int{1, 2, slice, slice + 1, 3 * slice} {
			check(start, start+length-1)
		}
	}
	s.taken()
	var all sync.WaitGroup
	for _, user := range []string{"ann", "bob", "ann", "bob", "ann", "bob"} {
		all.Go(func() {
			a, err := try(t, http.MethodGet, "http://"+f.host+target+"?download=x", as(user))
			if err != nil || a.status != http.StatusOK || !bytes.Equal(a.body, body) {
				t.Errorf("%s: got %+v, %v, want the object", user, a, err)
			}
		})
	}
	all.Wait()
	if n := len(s.taken()); n != slices {
		t.Errorf("%d requests reached the store, want one for each of %d slices", n, slices)
	}
	// An object that changes between two slices is not put together from both.
	s.put(t, bucket, "public/changing", body)
	s.set(nil, nil)
	f.get(t, "ann", "/s3/"+bucket+"/public/changing", "Range: bytes=0-9")
	s.put(t, bucket, "public/changing", randomBytes(len(body)))
	a, err := try(t, http.MethodGet, "http://"+f.host+"/s3/"+bucket+"/public/changing", as("ann"))
	if err == nil && len(a.body) == len(body) {
		t.Error("a download of an object that has changed is complete, want it to be aborted")
	}
}

// TestFollowAllKeys checks that no two keys share a copy: every odd key, in every spelling, gets
// its own bytes, from the store and from the cache.
func TestFollowAllKeys(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	g := radosgw(t)
	const bucket = "follow-keys"
	p := followed(t, bucket, g.env()...)
	f := behindFollower(t, p, "follow-all.conf")
	g.createBucket(t, bucket)
	keys := append([]string{
		"open/a/b", "open/a%2Fb", "open/a%252Fb", "open/a//b", "open//a/b", "open/A/b", "open/a+b",
		"open/a b", "open/a%2Bb", "open/a%20b", "open/ü", "open/u\u0308", "open/a?versionId=null",
		"open/a", "open/a?download", "open/a\nb", "open/a\r\nb", "open/a#b", "open/a?", "open/a/",
		"open/HEAD bytes=0-4194303 x", "open/a?response-content-type=text/plain",
	}, oddKeys...)
	for round, what := range []string{"from the store", "from the cache"} {
		for n, key := range keys {
			body := fmt.Sprintf("object %d", n)
			if round == 0 {
				g.put(t, bucket, key, []byte(body))
			}
			for _, spelling := range spellings(bucket, key) {
				a := f.asProxy().raw(t, http.MethodGet,
					spelling+" HTTP/1.1\r\n"+as("ann")+"\r\nX-Ignored: x")
				if a.status != http.StatusOK || string(a.body) != body {
					t.Errorf("%.80q %s, spelled %.100s: got %d %.200q, want 200 %q",
						key, what, spelling, a.status, a.body, body)
				}
			}
		}
	}
	if n := strings.Count(readFile(t, f.log), " 206 GET "); n < len(keys)/2 || n > len(keys) {
		t.Errorf("the follower got %d slices, want one for each of %d keys at most", n, len(keys))
	}
}
