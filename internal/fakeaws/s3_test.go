package fakeaws

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestS3Refuses presents one invalid request for each reason that S3 refuses requests. Each differs
// from a valid request in the named respect only.
func TestS3Refuses(t *testing.T) {
	edit := func(change func(q url.Values)) func(string) string {
		return func(target string) string {
			base, query, _ := strings.Cut(target, "?")
			q, _ := url.ParseQuery(query)
			change(q)
			return base + "?" + q.Encode()
		}
	}
	without := func(parameter string) func(string) string {
		return edit(func(q url.Values) { q.Del(parameter) })
	}
	with := func(parameter, value string) func(string) string {
		return edit(func(q url.Values) { q.Set(parameter, value) })
	}
	appended := func(s string) func(string) string {
		return func(target string) string { return target + s }
	}
	replaced := func(from, to string) func(string) string {
		return func(target string) string { return strings.Replace(target, from, to, 1) }
	}
	unsigned := func(target string) string {
		base, _, _ := strings.Cut(target, "?")
		return base
	}
	authorization := func(value string) http.Header { return http.Header{"Authorization": {value}} }
	unknownKey := aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}
	wrongSecret := aws.Credentials{AccessKeyID: userKey, SecretAccessKey: "wrong"}
	withToken := userCredentials
	withToken.SessionToken = "another token"
	const (
		badParameters = "400 AuthorizationQueryParametersError"
		mismatch      = "403 SignatureDoesNotMatch"
		denied        = "403 AccessDenied"
	)

	tests := []struct {
		name    string
		sign    signing
		tamper  func(url string) string
		method  string // of the request; default: GET
		header  http.Header
		wait    time.Duration
		want    string // status and code
		message string // part of the message
	}{
		{name: "unsigned", tamper: unsigned, want: denied},
		{name: "two mechanisms", header: authorization("Bearer x"), want: "400 InvalidArgument",
			message: "Only one auth mechanism allowed"},
		{name: "another mechanism", tamper: unsigned, header: authorization("Bearer x"),
			want: "400 InvalidArgument"},
		{name: "signed in the header", tamper: unsigned, header: authorization(algorithm + " x"),
			want: "501 NotImplemented"},
		{name: "no algorithm", tamper: without("X-Amz-Algorithm"), want: badParameters},
		{name: "no credential", tamper: without("X-Amz-Credential"), want: badParameters},
		{name: "no date", tamper: without("X-Amz-Date"), want: badParameters},
		{name: "no expires", tamper: without("X-Amz-Expires"), want: badParameters},
		{name: "no signed headers", tamper: without("X-Amz-SignedHeaders"), want: badParameters},
		{name: "no signature", tamper: without("X-Amz-Signature"), want: badParameters},
		{name: "another algorithm", tamper: with("X-Amz-Algorithm", "AWS4-HMAC-SHA1"),
			want: badParameters},
		{name: "malformed credential", tamper: with("X-Amz-Credential", "AKIA/us-east-1/s3"),
			want: badParameters, message: "mal-formed"},
		{name: "malformed date", tamper: with("X-Amz-Date", "2026-03-14"),
			want: badParameters, message: "ISO8601"},
		{name: "scope of another day", tamper: with("X-Amz-Date", "20260313T120000Z"),
			want: badParameters, message: "date"},
		{name: "scope of another service", sign: signing{service: "sts"},
			want: badParameters, message: "service"},
		{name: "scope of another region", sign: signing{region: "us-east-1"},
			want: badParameters, message: "is wrong; expecting"},
		{name: "expires after seven days", sign: signing{expires: "604801"},
			want: badParameters, message: "week"},
		{name: "expires is negative", sign: signing{expires: "-1"},
			want: badParameters, message: "non-negative"},
		{name: "expires is not a number", sign: signing{expires: "15m"},
			want: badParameters, message: "number"},
		{name: "host not signed", tamper: with("X-Amz-SignedHeaders", "range"),
			want: badParameters, message: "host"},
		{name: "signed 16 minutes ahead", sign: signing{at: noon.Add(16 * time.Minute)},
			want: denied, message: "not valid yet"},
		{name: "expired", wait: 15 * time.Minute, want: denied, message: "expired"},
		{name: "unknown key", sign: signing{credentials: unknownKey},
			want: "403 InvalidAccessKeyId"},
		{name: "no session token", tamper: without("X-Amz-Security-Token"),
			want: "400 InvalidToken"},
		{name: "wrong session token", tamper: with("X-Amz-Security-Token", "another token"),
			want: "400 InvalidToken"},
		{name: "user with a token", sign: signing{credentials: withToken},
			want: "400 InvalidToken"},
		{name: "session expired", sign: signing{expires: "7200"}, wait: time.Hour,
			want: "400 ExpiredToken"},
		{name: "wrong secret", sign: signing{bucket: "own-files", credentials: wrongSecret},
			want: mismatch},
		{name: "wrong signature", tamper: with("X-Amz-Signature", strings.Repeat("0", 64)),
			want: mismatch},
		{name: "POST", method: "POST", want: "405 MethodNotAllowed"},
		{name: "GET signed for HEAD", sign: signing{method: "HEAD"}, want: mismatch},
		{name: "another key", tamper: replaced("a.txt", "b.txt"), want: mismatch},
		{name: "raw plus", sign: signing{key: "a+b"}, tamper: replaced("%2B", "+"), want: mismatch},
		{name: "longer lifetime", tamper: with("X-Amz-Expires", "901"), want: mismatch},
		{name: "override added", tamper: appended("&response-content-type=text%2Fhtml"),
			want: mismatch},
		{name: "unknown parameter added", tamper: appended("&x=1"), want: mismatch},
		{name: "parameter repeated", tamper: appended("&X-Amz-Expires=900"), want: mismatch},
		{name: "signed headers repeated", tamper: with("X-Amz-SignedHeaders", "host;host"),
			want: mismatch},
		{name: "malformed parameter", tamper: appended("&a;b"), want: "400 InvalidURI"},
		{name: "signed header missing",
			sign: signing{headers: http.Header{"Range": {"bytes=0-4"}}}, want: mismatch},
		{name: "another host", tamper: replaced("127.0.0.1", "localhost"), want: mismatch},
		{name: "unsigned x-amz header", header: http.Header{"X-Amz-Acl": {"private"}},
			want: denied, message: "not signed"},
		{name: "bucket outside the role", sign: signing{bucket: "own-files"}, want: denied},
		{name: "missing bucket", sign: signing{bucket: "team-none"}, want: "404 NoSuchBucket"},
		{name: "missing key without list", sign: signing{key: "none"}, want: denied},
		{name: "key of 1,025 bytes", sign: signing{key: strings.Repeat("k", 1025)},
			want: "400 KeyTooLongError"},
		{name: "key is not UTF-8", sign: signing{key: "\xff"}, want: "400 InvalidURI"},
		{name: "missing version", sign: signing{query: "versionId=none"},
			want: "404 NoSuchVersion"},
		{name: "empty version", sign: signing{query: "versionId="}, want: "400 InvalidArgument"},
		{name: "missing key with list",
			sign: signing{bucket: "own-files", key: "none", credentials: userCredentials},
			want: "404 NoSuchKey"},
		{name: "endpoint of another region", sign: signing{host: "s3.us-east-1.amazonaws.com"},
			want: "301 PermanentRedirect"},
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
			resp := a.send(method, target, tt.header)
			got := fmt.Sprintf("%d %s", resp.status, resp.code())
			if got != tt.want || !strings.Contains(resp.body, tt.message) {
				t.Errorf("got %s: %s; want %s with %q", got, resp.body, tt.want, tt.message)
			}
		})
	}
}

func TestS3Serves(t *testing.T) {
	oddKeys := []string{
		"x//y", "/lead", "trail/", "a b", "a+b", "Grüße + 100%.txt", "per%2Fcent", "q?#&=;", "..",
		"a/../b", `back\slash'(!)*~`, "日本/語",
	}
	const etag = `"e4d7f1b4ed2e42d15898f4b27b019da4"`
	type test struct {
		name   string
		sign   signing
		header http.Header
		status int
		body   string
		want   map[string]string // headers
	}
	tests := []test{
		{name: "object", status: 200, body: "hello, world", want: map[string]string{
			"Content-Type":  "text/plain",
			"Etag":          etag,
			"Accept-Ranges": "bytes",
			"Last-Modified": "Sat, 14 Mar 2026 11:00:00 GMT",
		}},
		{name: "signed 14 minutes ahead", sign: signing{at: noon.Add(14 * time.Minute)},
			status: 200, body: "hello, world"},
		{name: "HEAD", sign: signing{method: "HEAD"},
			status: 200, want: map[string]string{"Content-Length": "12"}},
		{name: "range", header: http.Header{"Range": {"bytes=0-4"}},
			status: 206, body: "hello", want: map[string]string{"Content-Range": "bytes 0-4/12"}},
		{name: "last bytes", header: http.Header{"Range": {"bytes=-5"}},
			status: 206, body: "world"},
		{name: "two ranges", header: http.Header{"Range": {"bytes=0-1,3-4"}},
			status: 200, body: "hello, world"},
		{name: "range past the end", header: http.Header{"Range": {"bytes=99-"}}, status: 416},
		{name: "not modified", header: http.Header{"If-None-Match": {etag}}, status: 304},
		{
			name: "overrides",
			sign: signing{query: "response-content-type=image%2Fpng" +
				"&response-content-disposition=attachment&response-cache-control=no-cache" +
				"&response-content-language=de&response-expires=0&response-content-encoding=br"},
			status: 200, body: "hello, world",
			want: map[string]string{
				"Content-Type":        "image/png",
				"Content-Disposition": "attachment",
				"Cache-Control":       "no-cache",
				"Content-Language":    "de",
				"Expires":             "0",
				"Content-Encoding":    "br",
			},
		},
		{name: "signed header", sign: signing{headers: http.Header{"Range": {"bytes=0-4"}}},
			header: http.Header{"Range": {"bytes=0-4"}}, status: 206, body: "hello"},
		{name: "user", sign: signing{bucket: "own-files", credentials: userCredentials},
			status: 200, body: "mine"},
		{
			name:   "with Origin",
			header: http.Header{"Origin": {"https://app.example.com"}},
			status: 200, body: "hello, world",
			want: map[string]string{
				"Access-Control-Allow-Origin":   "*",
				"Access-Control-Expose-Headers": "Content-Range, Content-Length, Accept-Ranges, ETag",
			},
		},
		{name: "without Origin", status: 200, body: "hello, world",
			want: map[string]string{"Access-Control-Allow-Origin": ""}},
		{name: "endpoint of the region", sign: signing{host: "s3.eu-west-1.amazonaws.com"},
			status: 200, body: "hello, world"},
	}
	for _, key := range oddKeys {
		tests = append(tests,
			test{name: "key " + key, sign: signing{key: key}, status: 200, body: "at " + key})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			for _, key := range oddKeys {
				a.put("photos", key, "at "+key)
			}
			method := tt.sign.method
			if method == "" {
				method = "GET"
			}
			got := a.send(method, a.presign(tt.sign), tt.header)
			if got.status != tt.status || got.body != tt.body && tt.status < 300 {
				t.Errorf("got %d %q, want %d %q", got.status, got.body, tt.status, tt.body)
			}
			for name, value := range tt.want {
				if got.header.Get(name) != value {
					t.Errorf("%s = %q, want %q", name, got.header.Get(name), value)
				}
			}
		})
	}
}

func TestVirtualHostedStyle(t *testing.T) {
	for _, host := range []string{
		"photos.s3.localhost:1234",
		"photos.s3.eu-west-1.amazonaws.com",
		"photos.s3.dualstack.eu-west-1.amazonaws.com",
		"photos.s3-eu-west-1.amazonaws.com",
		"photos.s3.amazonaws.com",
		"my.s3.dots.s3.localhost",
	} {
		a := newAccount(t)
		a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}, Buckets: []string{"photos", "my.*"}})
		a.CreateBucket("my.s3.dots", west)
		a.put("my.s3.dots", "/x//y", "deep")
		a.put("photos", "/x//y", "deep")

		u := &url.URL{Scheme: "https", Host: host, Path: "//x//y", RawQuery: "X-Amz-Expires=60"}
		r := &http.Request{Method: "GET", URL: u, Header: http.Header{}}
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), a.session(""), r, unsignedPayload,
			"s3", west, noon, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if err != nil {
			t.Fatal(err)
		}
		if got := a.send("GET", signed, nil); got.status != 200 || got.body != "deep" {
			t.Errorf("GET https://%s//x//y = %d %s, want 200 deep", host, got.status, got.body)
		}
	}
}

func TestURLsOfSDKPresigner(t *testing.T) {
	a := newAccount(t)
	presigner := a.presigner(a.session(""))
	get, err := presigner.PresignGetObject(t.Context(), &s3.GetObjectInput{
		Bucket:              aws.String("photos"),
		Key:                 aws.String("a.txt"),
		ResponseContentType: aws.String("text/css"),
	})
	if err != nil {
		t.Fatal(err)
	}
	got := a.send(get.Method, get.URL, nil)
	contentType := got.header.Get("Content-Type")
	if got.status != 200 || got.body != "hello, world" || contentType != "text/css" {
		t.Errorf("GET = %d, %s, %q; want 200, text/css, \"hello, world\"",
			got.status, contentType, got.body)
	}
	head, err := presigner.PresignHeadObject(t.Context(), &s3.HeadObjectInput{
		Bucket: aws.String("photos"),
		Key:    aws.String("a.txt"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.send(head.Method, head.URL, nil); got.status != 200 {
		t.Errorf("HEAD = %d, want 200", got.status)
	}
}

func TestVersions(t *testing.T) {
	a := newAccount(t)
	first, second := a.put("photos", "v", "one"), a.put("photos", "v", "two")
	for query, want := range map[string]string{
		"":                    "two",
		"versionId=" + first:  "one",
		"versionId=" + second: "two",
	} {
		got := a.send("GET", a.presign(signing{key: "v", query: query}), nil)
		if got.body != want || got.header.Get("X-Amz-Version-Id") == "" {
			t.Errorf("query %q: got %d %q, version %q; want %q with a version",
				query, got.status, got.body, got.header.Get("X-Amz-Version-Id"), want)
		}
	}
	a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}, Buckets: []string{"photos"}})
	got := a.send("GET", a.presign(signing{key: "v", query: "versionId=" + first}), nil)
	if got.code() != "AccessDenied" {
		t.Errorf("without s3:GetObjectVersion: got %d %s, want AccessDenied", got.status, got.body)
	}
}

func TestBucketRegionHeader(t *testing.T) {
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
		region := got.header.Get("X-Amz-Bucket-Region")
		if got.status != tt.status || region != tt.region {
			t.Errorf("%s %.60s = %d, region %q; want %d, region %q",
				tt.method, tt.target, got.status, region, tt.status, tt.region)
		}
	}
}

func TestHeadBucketNeedsListBucket(t *testing.T) {
	a := newAccount(t)
	head := func() response {
		u := &url.URL{
			Scheme:   "http",
			Host:     strings.TrimPrefix(a.s3.URL, "http://"),
			Path:     "/photos/", // the bucket and an empty key
			RawQuery: "X-Amz-Expires=60",
		}
		r := &http.Request{Method: "HEAD", URL: u, Header: http.Header{}}
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), a.session(""), r, unsignedPayload,
			"s3", west, noon)
		if err != nil {
			t.Fatal(err)
		}
		return a.send("HEAD", signed, nil)
	}
	if got := head(); got.status != 403 || got.header.Get("X-Amz-Bucket-Region") != west {
		t.Errorf("without s3:ListBucket: got %d %v, want 403, region %s", got.status, got.header, west)
	}
	a.AddRole(Role{
		ARN:     readerARN,
		Trusts:  []string{userKey},
		Buckets: []string{"photos"},
		List:    true,
	})
	if got := head(); got.status != 200 || got.header.Get("X-Amz-Bucket-Region") != west {
		t.Errorf("with s3:ListBucket: got %d %v, want 200, region %s", got.status, got.header, west)
	}
}

func TestPreflight(t *testing.T) {
	a := newAccount(t)
	preflight := func(method string) http.Header {
		return http.Header{
			"Origin":                         {"https://app.example.com"},
			"Access-Control-Request-Method":  {method},
			"Access-Control-Request-Headers": {"range"},
		}
	}
	tests := []struct {
		name   string
		target string
		header http.Header
		status int
		origin string
	}{
		{"GET", "/photos/a.txt", preflight("GET"), 200, "*"},
		{"HEAD", "/photos/a.txt", preflight("HEAD"), 200, "*"},
		{"PUT", "/photos/a.txt", preflight("PUT"), 403, ""},
		{"no origin", "/photos/a.txt", nil, 400, ""},
		{"missing bucket", "/no-such/a.txt", preflight("GET"), 404, ""},
	}
	for _, tt := range tests {
		got := a.send("OPTIONS", a.s3.URL+tt.target, tt.header)
		origin := got.header.Get("Access-Control-Allow-Origin")
		if got.status != tt.status || origin != tt.origin {
			t.Errorf("%s: got %d, origin %q; want %d, %q",
				tt.name, got.status, origin, tt.status, tt.origin)
		}
		headers := got.header.Get("Access-Control-Allow-Headers")
		if got.status == 200 && headers != "range" {
			t.Errorf("%s: Access-Control-Allow-Headers = %q, want range", tt.name, headers)
		}
	}
}
