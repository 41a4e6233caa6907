package fakeaws

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestS3Refuses holds one case for each thing that the stand-in refuses; each is a good URL but for the one thing.
func TestS3Refuses(t *testing.T) {
	edit := func(change func(q url.Values)) func(string) string {
		return func(target string) string {
			base, query, _ := strings.Cut(target, "?")
			q, _ := url.ParseQuery(query)
			change(q)
			return base + "?" + q.Encode()
		}
	}
	without := func(parameter string) func(string) string { return edit(func(q url.Values) { q.Del(parameter) }) }
	with := func(parameter, value string) func(string) string {
		return edit(func(q url.Values) { q.Set(parameter, value) })
	}
	appended := func(s string) func(string) string { return func(target string) string { return target + s } }
	replaced := func(from, to string) func(string) string {
		return func(target string) string { return strings.Replace(target, from, to, 1) }
	}
	const badParameters = "AuthorizationQueryParametersError"

	tests := []struct {
		name    string
		sign    signing
		tamper  func(url string) string
		method  string // sent; GET
		header  http.Header
		wait    time.Duration
		status  int
		code    string
		message string // part of it
	}{
		{name: "unsigned", tamper: func(u string) string { u, _, _ = strings.Cut(u, "?"); return u }, status: 403, code: "AccessDenied"},
		{name: "two mechanisms", header: http.Header{"Authorization": {"Bearer x"}}, status: 400, code: "InvalidArgument", message: "Only one auth mechanism allowed"},
		{name: "another mechanism", tamper: func(u string) string { u, _, _ = strings.Cut(u, "?"); return u }, header: http.Header{"Authorization": {"Bearer x"}}, status: 400, code: "InvalidArgument"},
		{name: "signed in the header", tamper: func(u string) string { u, _, _ = strings.Cut(u, "?"); return u }, header: http.Header{"Authorization": {algorithm + " x"}}, status: 501, code: "NotImplemented"},
		{name: "no algorithm", tamper: without("X-Amz-Algorithm"), status: 400, code: badParameters},
		{name: "no credential", tamper: without("X-Amz-Credential"), status: 400, code: badParameters},
		{name: "no date", tamper: without("X-Amz-Date"), status: 400, code: badParameters},
		{name: "no expires", tamper: without("X-Amz-Expires"), status: 400, code: badParameters},
		{name: "no signed headers", tamper: without("X-Amz-SignedHeaders"), status: 400, code: badParameters},
		{name: "no signature", tamper: without("X-Amz-Signature"), status: 400, code: badParameters},
		{name: "another algorithm", tamper: with("X-Amz-Algorithm", "AWS4-HMAC-SHA1"), status: 400, code: badParameters},
		{name: "malformed credential", tamper: with("X-Amz-Credential", "AKIA/us-east-1/s3"), status: 400, code: badParameters, message: "mal-formed"},
		{name: "malformed date", tamper: with("X-Amz-Date", "2026-03-14"), status: 400, code: badParameters, message: "ISO8601"},
		{name: "scope of another day", tamper: with("X-Amz-Date", "20260313T120000Z"), status: 400, code: badParameters, message: "date"},
		{name: "scope of another service", sign: signing{service: "sts"}, status: 400, code: badParameters, message: "service"},
		{name: "scope of another region", sign: signing{region: "us-east-1"}, status: 400, code: badParameters, message: "is wrong; expecting"},
		{name: "eight days", sign: signing{expires: "604801"}, status: 400, code: badParameters, message: "week"},
		{name: "less than no time", sign: signing{expires: "-1"}, status: 400, code: badParameters, message: "non-negative"},
		{name: "no number", sign: signing{expires: "15m"}, status: 400, code: badParameters, message: "number"},
		{name: "host not signed", tamper: with("X-Amz-SignedHeaders", "range"), status: 400, code: badParameters, message: "host"},
		{name: "16 minutes ahead", sign: signing{at: noon.Add(16 * time.Minute)}, status: 403, code: "AccessDenied", message: "not valid yet"},
		{name: "expired", wait: 15 * time.Minute, status: 403, code: "AccessDenied", message: "expired"},
		{name: "unknown key", sign: signing{credentials: aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}}, status: 403, code: "InvalidAccessKeyId"},
		{name: "no session token", tamper: without("X-Amz-Security-Token"), status: 400, code: "InvalidToken"},
		{name: "wrong session token", tamper: with("X-Amz-Security-Token", "another token"), status: 400, code: "InvalidToken"},
		{name: "a user with a token", sign: signing{credentials: aws.Credentials{AccessKeyID: userKey, SecretAccessKey: canary, SessionToken: "another token"}}, status: 400, code: "InvalidToken"},
		{name: "session expired", sign: signing{expires: "7200"}, wait: time.Hour, status: 400, code: "ExpiredToken"},
		{name: "wrong secret", sign: signing{bucket: "own-files", credentials: aws.Credentials{AccessKeyID: userKey, SecretAccessKey: "wrong"}}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "wrong signature", tamper: with("X-Amz-Signature", strings.Repeat("0", 64)), status: 403, code: "SignatureDoesNotMatch"},
		{name: "GET's signature on POST", method: "POST", status: 405, code: "MethodNotAllowed"},
		{name: "HEAD's signature on GET", sign: signing{method: "HEAD"}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "another key", tamper: replaced("a.txt", "b.txt"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "a plus sent raw", sign: signing{key: "a+b"}, tamper: replaced("%2B", "+"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "a longer life", tamper: with("X-Amz-Expires", "901"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "a parameter added", tamper: appended("&response-content-type=text%2Fhtml"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "a meaningless parameter added", tamper: appended("&x=1"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "a parameter repeated", tamper: appended("&X-Amz-Expires=900"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "signed headers repeated", tamper: with("X-Amz-SignedHeaders", "host;host"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "a parameter that does not parse", tamper: appended("&a;b"), status: 400, code: "InvalidURI"},
		{name: "a signed header missing", sign: signing{headers: http.Header{"Range": {"bytes=0-4"}}}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "another host", tamper: replaced("127.0.0.1", "localhost"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "an x-amz header not signed", header: http.Header{"X-Amz-Acl": {"private"}}, status: 403, code: "AccessDenied", message: "not signed"},
		{name: "a bucket not the role's", sign: signing{bucket: "own-files"}, status: 403, code: "AccessDenied"},
		{name: "no such bucket", sign: signing{bucket: "team-none"}, status: 404, code: "NoSuchBucket"},
		{name: "no such key, no list", sign: signing{key: "none"}, status: 403, code: "AccessDenied"},
		{name: "a key of 1,025 bytes", sign: signing{key: strings.Repeat("k", 1025)}, status: 400, code: "KeyTooLongError"},
		{name: "a key that is not UTF-8", sign: signing{key: "\xff"}, status: 400, code: "InvalidURI"},
		{name: "no such version", sign: signing{query: "versionId=none"}, status: 404, code: "NoSuchVersion"},
		{name: "an empty version", sign: signing{query: "versionId="}, status: 400, code: "InvalidArgument"},
		{name: "no such key, told to its user", sign: signing{bucket: "own-files", key: "none", credentials: aws.Credentials{AccessKeyID: userKey, SecretAccessKey: canary}}, status: 404, code: "NoSuchKey"},
		{name: "an endpoint of another region", sign: signing{host: "s3.us-east-1.amazonaws.com"}, status: 301, code: "PermanentRedirect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			target := a.presign(tt.sign)
			if tt.tamper != nil {
				target = tt.tamper(target)
			}
			a.sleep(tt.wait)
			method := tt.method
			if method == "" {
				method = "GET"
			}
			got := a.send(method, target, tt.header)
			if got.status != tt.status || got.code() != tt.code || !strings.Contains(got.body, tt.message) {
				t.Errorf("%d %s, want %d %s with %q", got.status, got.body, tt.status, tt.code, tt.message)
			}
		})
	}
}

func TestS3Serves(t *testing.T) {
	odd := []string{"x//y", "/lead", "trail/", "a b", "a+b", "Grüße + 100%.txt", "per%2Fcent", "q?#&=;", "..", "a/../b", `back\slash'(!)*~`, "日本/語"}
	type test struct {
		name   string
		sign   signing
		header http.Header
		status int
		body   string
		want   map[string]string // headers
	}
	tests := []test{
		{name: "an object", status: 200, body: "hello, world", want: map[string]string{
			"Content-Type": "text/plain", "Etag": `"e4d7f1b4ed2e42d15898f4b27b019da4"`, "Accept-Ranges": "bytes", "Last-Modified": "Sat, 14 Mar 2026 11:00:00 GMT"}},
		{name: "14 minutes ahead", sign: signing{at: noon.Add(14 * time.Minute)}, status: 200, body: "hello, world"},
		{name: "HEAD", sign: signing{method: "HEAD"}, status: 200, want: map[string]string{"Content-Length": "12"}},
		{name: "a range", header: http.Header{"Range": {"bytes=0-4"}}, status: 206, body: "hello", want: map[string]string{"Content-Range": "bytes 0-4/12"}},
		{name: "the last bytes", header: http.Header{"Range": {"bytes=-5"}}, status: 206, body: "world"},
		{name: "two ranges", header: http.Header{"Range": {"bytes=0-1,3-4"}}, status: 200, body: "hello, world"},
		{name: "past the end", header: http.Header{"Range": {"bytes=99-"}}, status: 416},
		{name: "not modified", header: http.Header{"If-None-Match": {`"e4d7f1b4ed2e42d15898f4b27b019da4"`}}, status: 304},
		{name: "overrides", status: 200, body: "hello, world",
			sign: signing{query: "response-content-type=image%2Fpng&response-content-disposition=attachment&response-cache-control=no-cache&response-content-language=de&response-expires=0&response-content-encoding=br"},
			want: map[string]string{"Content-Type": "image/png", "Content-Disposition": "attachment", "Cache-Control": "no-cache", "Content-Language": "de", "Expires": "0", "Content-Encoding": "br"}},
		{name: "a signed header", sign: signing{headers: http.Header{"Range": {"bytes=0-4"}}}, header: http.Header{"Range": {"bytes=0-4"}}, status: 206, body: "hello"},
		{name: "a user's own", sign: signing{bucket: "own-files", credentials: aws.Credentials{AccessKeyID: userKey, SecretAccessKey: canary}}, status: 200, body: "mine"},
		{name: "a page's request", header: http.Header{"Origin": {"https://app.example.com"}}, status: 200, body: "hello, world", want: map[string]string{
			"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Content-Range, Content-Length, Accept-Ranges, ETag"}},
		{name: "no page's request", status: 200, body: "hello, world", want: map[string]string{"Access-Control-Allow-Origin": ""}},
		{name: "the region's endpoint", sign: signing{host: "s3.eu-west-1.amazonaws.com"}, status: 200, body: "hello, world"},
	}
	for _, key := range odd {
		tests = append(tests, test{name: "key " + key, sign: signing{key: key}, status: 200, body: "at " + key})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			for _, key := range odd {
				a.put("photos", key, "at "+key)
			}
			method := tt.sign.method
			if method == "" {
				method = "GET"
			}
			got := a.send(method, a.presign(tt.sign), tt.header)
			if got.status != tt.status || got.body != tt.body && tt.status < 300 {
				t.Errorf("%d %q, want %d %q", got.status, got.body, tt.status, tt.body)
			}
			for name, value := range tt.want {
				if got.header.Get(name) != value {
					t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
				}
			}
		})
	}
}

func TestVirtualHosts(t *testing.T) {
	for _, host := range []string{"photos.s3.localhost:1234", "photos.s3.eu-west-1.amazonaws.com", "photos.s3.dualstack.eu-west-1.amazonaws.com", "photos.s3-eu-west-1.amazonaws.com", "photos.s3.amazonaws.com", "my.s3.dots.s3.localhost"} {
		a := newAccount(t)
		a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}, Buckets: []string{"photos", "my.*"}})
		a.CreateBucket("my.s3.dots", west)
		a.put("my.s3.dots", "/x//y", "deep")
		a.put("photos", "/x//y", "deep")

		u := &url.URL{Scheme: "https", Host: host, Path: "//x//y", RawQuery: "X-Amz-Expires=60"}
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), a.session(""), &http.Request{Method: "GET", URL: u, Header: http.Header{}}, unsignedPayload, "s3", west, noon,
			func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if err != nil {
			t.Fatal(err)
		}
		if got := a.send("GET", signed, nil); got.status != 200 || got.body != "deep" {
			t.Errorf("%s: %d %s", host, got.status, got.body)
		}
	}
}

func TestSDKsPresignerIsServed(t *testing.T) {
	a := newAccount(t)
	client := a.s3Client(a.session(""))
	get, err := client.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("photos"), Key: aws.String("a.txt"), ResponseContentType: aws.String("text/css")})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.send(get.Method, get.URL, nil); got.status != 200 || got.body != "hello, world" || got.header.Get("Content-Type") != "text/css" {
		t.Errorf("GET: %d %s", got.status, got.body)
	}
	head, err := client.PresignHeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("photos"), Key: aws.String("a.txt")})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.send(head.Method, head.URL, nil); got.status != 200 {
		t.Errorf("HEAD: %d", got.status)
	}
}

func TestVersions(t *testing.T) {
	a := newAccount(t)
	first, second := a.put("photos", "v", "one"), a.put("photos", "v", "two")
	for query, want := range map[string]string{"": "two", "versionId=" + first: "one", "versionId=" + second: "two"} {
		got := a.send("GET", a.presign(signing{key: "v", query: query}), nil)
		if got.body != want || got.header.Get("X-Amz-Version-Id") == "" {
			t.Errorf("%q: %d %s", query, got.status, got.body)
		}
	}
	a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}, Buckets: []string{"photos"}})
	if got := a.send("GET", a.presign(signing{key: "v", query: "versionId=" + first}), nil); got.code() != "AccessDenied" {
		t.Errorf("without s3:GetObjectVersion: %d %s", got.status, got.body)
	}
}

func TestBucketsTellTheirRegion(t *testing.T) {
	a := newAccount(t)
	tests := []struct {
		method, target string
		status         int
		region         string
	}{
		{"HEAD", a.s3.URL + "/photos", 403, west},
		{"HEAD", a.s3.URL + "/photos/", 403, west},
		{"HEAD", "http://photos.s3.localhost/", 403, west},
		{"HEAD", "http://photos.s3.us-east-1.amazonaws.com/", 301, west},
		{"GET", "http://photos.s3.us-east-1.amazonaws.com/a.txt", 301, west},
		{"GET", a.s3.URL + "/photos/a.txt", 403, west},
		{"HEAD", a.s3.URL + "/no-such", 404, ""},
		{"GET", a.s3.URL + "/no-such/a.txt", 404, ""},
		{"GET", a.presign(signing{region: "us-east-1"}), 400, west},
	}
	for _, tt := range tests {
		got := a.send(tt.method, tt.target, nil)
		if got.status != tt.status || got.header.Get("X-Amz-Bucket-Region") != tt.region {
			t.Errorf("%s %.60s: %d, region %q", tt.method, tt.target, got.status, got.header.Get("X-Amz-Bucket-Region"))
		}
	}
}

func TestHeadOfABucketNeedsListBucket(t *testing.T) {
	a := newAccount(t)
	// The key is empty: the path is the bucket's, with a slash.
	head := func() answer {
		u := &url.URL{Scheme: "http", Host: strings.TrimPrefix(a.s3.URL, "http://"), Path: "/photos/", RawQuery: "X-Amz-Expires=60"}
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), a.session(""), &http.Request{Method: "HEAD", URL: u, Header: http.Header{}}, unsignedPayload, "s3", west, noon)
		if err != nil {
			t.Fatal(err)
		}
		return a.send("HEAD", signed, nil)
	}
	if got := head(); got.status != 403 || got.header.Get("X-Amz-Bucket-Region") != west {
		t.Errorf("without: %d %v", got.status, got.header)
	}
	a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}, Buckets: []string{"photos"}, List: true})
	if got := head(); got.status != 200 || got.header.Get("X-Amz-Bucket-Region") != west {
		t.Errorf("with: %d %v", got.status, got.header)
	}
}

func TestPreflight(t *testing.T) {
	a := newAccount(t)
	page := func(method string) http.Header {
		return http.Header{"Origin": {"https://app.example.com"}, "Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {"range"}}
	}
	tests := []struct {
		name   string
		target string
		header http.Header
		status int
		origin string
	}{
		{"GET", "/photos/a.txt", page("GET"), 200, "*"},
		{"HEAD", "/photos/a.txt", page("HEAD"), 200, "*"},
		{"PUT", "/photos/a.txt", page("PUT"), 403, ""},
		{"no origin", "/photos/a.txt", nil, 400, ""},
		{"no bucket", "/no-such/a.txt", page("GET"), 404, ""},
	}
	for _, tt := range tests {
		got := a.send("OPTIONS", a.s3.URL+tt.target, tt.header)
		if got.status != tt.status || got.header.Get("Access-Control-Allow-Origin") != tt.origin {
			t.Errorf("%s: %d %v", tt.name, got.status, got.header)
		}
		if got.status == 200 && got.header.Get("Access-Control-Allow-Headers") != "range" {
			t.Errorf("%s: %v", tt.name, got.header)
		}
	}
}
