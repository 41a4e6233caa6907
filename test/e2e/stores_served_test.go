package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
)

// The buckets of a suite.
const (
	suiteBucket   = "suite"
	otherBucket   = "suite-other"
	versionBucket = "suite-versions"
	corsBucket    = "suite-cors"
	publicBucket  = "suite-cors-any"
	keyBucket     = "suite-keys"
)

// suiteKey is the key of an object in suiteBucket and otherBucket.
const suiteKey = "folder/photo ü+1.jpg"

// suite examines one store.
type suite struct {
	*candidate
	t     *testing.T
	proxy *proxy
	body  []byte // of the object with suiteKey
}

// newSuite starts a proxy for the store and stores its objects.
func newSuite(t *testing.T, c *candidate) *suite {
	t.Helper()
	s := &suite{candidate: c, t: t, body: randomBytes(1000)}
	s.proxy = startProxy(t, `
integrations:
  - name: suite
    permitted_buckets: [suite, "suite-*"]
`+c.settings+`
  - name: versions
    bucket: suite-versions
    file_versioning: true
`+withKeys, c.env...)
	for _, b := range []string{
		suiteBucket, otherBucket, versionBucket, corsBucket, publicBucket, keyBucket,
	} {
		s.createBucket(t, b)
	}
	s.put(t, suiteBucket, suiteKey, s.body)
	s.put(t, otherBucket, suiteKey, s.body)
	return s
}

// follow requests a redirect of the proxy and follows it.
func (s *suite) follow(method, path string, header ...string) *answer {
	s.t.Helper()
	return fetch(s.t, method, s.proxy.location(s.t, method, path), header...)
}

// served are the rows about requests that a store should serve. They are tried in this order:
// PutBucketCors before the requests that depend on it.
var served = []behavior{
	{"GET", "yes", func(s *suite) string {
		a := s.follow(http.MethodGet, path(suiteBucket, suiteKey))
		return yes(a.status == http.StatusOK && bytes.Equal(a.body, s.body), a.status)
	}},
	{"HEAD", "yes", func(s *suite) string {
		a := s.follow(http.MethodHead, path(suiteBucket, suiteKey))
		return yes(a.status == http.StatusOK && a.length == int64(len(s.body)), a.status)
	}},
	{"`Range: bytes=2-4`", "206", func(s *suite) string { return s.ranged("2-4", s.body[2:5]) }},
	{"`Range: bytes=-4`", "206", func(s *suite) string {
		return s.ranged("-4", s.body[len(s.body)-4:])
	}},
	{"`Range` past the end", "416", func(s *suite) string { return s.ranged("1000-", nil) }},
	{"`If-None-Match` with the ETag", "304", func(s *suite) string {
		etag := s.follow(http.MethodHead, path(suiteBucket, suiteKey)).header.Get("ETag")
		a := s.follow(http.MethodGet, path(suiteBucket, suiteKey), "If-None-Match: "+etag)
		return strconv.Itoa(a.status)
	}},
	{"a missing key", "", func(s *suite) string {
		return strconv.Itoa(s.follow(http.MethodGet, path(suiteBucket, "missing")).status)
	}},
	{"a URL signed six days ago for seven", "", func(s *suite) string {
		const day = 24 * time.Hour
		a := fetch(s.t, http.MethodGet, s.sign(request{signed: -6 * day, expires: 7 * day}))
		return yes(a.status == http.StatusOK, a.status)
	}},
	{"`versionId`", "", (*suite).versions},
	{"`response-*` parameters", "", (*suite).overrides},
	{"AssumeRole", "", (*suite).assumesRole},
	{"`PutBucketCors`", "", (*suite).putCORS},
	{"CORS: preflight of a presigned URL", "", func(s *suite) string {
		return s.allowedOrigin(http.MethodOptions, corsBucket, "https://app.example.com",
			"Access-Control-Request-Method: GET", "Access-Control-Request-Headers: range")
	}},
	{"CORS: GET from an allowed origin", "", func(s *suite) string {
		return s.allowedOrigin(http.MethodGet, corsBucket, "https://app.example.com")
	}},
	{"CORS: GET from another origin", "", func(s *suite) string {
		return s.allowedOrigin(http.MethodGet, corsBucket, "https://other.example.com")
	}},
	{"CORS: GET from `null` if the bucket allows `*`", "", func(s *suite) string {
		return s.allowedOrigin(http.MethodGet, publicBucket, "null")
	}},
}

// yes returns "yes", or "no" and the status.
func yes(ok bool, status int) string {
	if ok {
		return "yes"
	}
	return fmt.Sprintf("no (%d)", status)
}

// ranged requests a range and returns the status, or "wrong bytes".
func (s *suite) ranged(spec string, want []byte) string {
	a := s.follow(http.MethodGet, path(suiteBucket, suiteKey), "Range: bytes="+spec)
	if a.status == http.StatusPartialContent && !bytes.Equal(a.body, want) {
		return "wrong bytes"
	}
	return strconv.Itoa(a.status)
}

// failure returns the status of the response that an error of the SDK reports.
func failure(err error) string {
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return strconv.Itoa(e.HTTPStatusCode())
	}
	return err.Error()
}

// versions reads the older version of an object.
func (s *suite) versions() string {
	_, err := s.client(s.owner).PutBucketVersioning(s.t.Context(), &s3.PutBucketVersioningInput{
		Bucket: aws.String(versionBucket),
		VersioningConfiguration: &types.VersioningConfiguration{
			Status: types.BucketVersioningStatusEnabled,
		},
	}, once)
	if err != nil {
		return "no (" + failure(err) + ")"
	}
	version := s.put(s.t, versionBucket, "k", []byte("old"))
	s.put(s.t, versionBucket, "k", []byte("new"))
	a := s.follow(http.MethodGet, path(versionBucket, "k")+"?versionId="+url.QueryEscape(version))
	return yes(version != "" && string(a.body) == "old", a.status)
}

// overrides requests each header that a response-* parameter can set, and returns those that the
// store ignored.
func (s *suite) overrides() string {
	var ignored []string
	for _, c := range [][2]string{
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Disposition", "attachment; filename=\"a b.txt\""},
		{"Content-Language", "fr"},
		{"Content-Encoding", "br"},
		{"Cache-Control", "private, max-age=3600"},
		{"Expires", "Thu, 01 Dec 2033 16:00:00 GMT"},
	} {
		param := "response-" + strings.ToLower(c[0])
		a := s.follow(http.MethodGet,
			path(suiteBucket, suiteKey)+"?"+param+"="+url.QueryEscape(c[1]))
		if a.status != http.StatusOK || a.header.Get(c[0]) != c[1] {
			ignored = append(ignored, "`"+param+"`")
		}
	}
	if ignored == nil {
		return "yes"
	}
	return "not " + strings.Join(ignored, ", ")
}

// session calls AssumeRole with a session policy that allows reading suiteBucket.
func (s *suite) session() (aws.Credentials, error) {
	return s.assume(s.t.Context(), document(map[string]any{
		"Effect":   "Allow",
		"Action":   []string{"s3:GetObject"},
		"Resource": "arn:aws:s3:::" + suiteBucket + "/*",
	}))
}

// assume calls AssumeRole with a session policy.
func (c *candidate) assume(ctx context.Context, policy string) (aws.Credentials, error) {
	service := awssts.New(awssts.Options{
		BaseEndpoint: &c.endpoint,
		Region:       "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(
			c.caller.AccessKeyID, c.caller.SecretAccessKey, ""),
		// The SDK closes a request's body when the answer arrives. If radosgw answers before net/http
		// has noticed that the body ends there, net/http closes the connection.
		RetryMaxAttempts: 5,
	})
	out, err := service.AssumeRole(ctx, &awssts.AssumeRoleInput{
		RoleArn:         &c.roleARN,
		RoleSessionName: aws.String("suite"),
		Policy:          &policy,
	})
	if err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{
		AccessKeyID:     *out.Credentials.AccessKeyId,
		SecretAccessKey: *out.Credentials.SecretAccessKey,
		SessionToken:    *out.Credentials.SessionToken,
	}, nil
}

func (s *suite) assumesRole() string {
	keys, err := s.session()
	if err != nil {
		return "no (" + failure(err) + ")"
	}
	a := fetch(s.t, http.MethodGet, s.signWith(keys, request{}))
	return yes(a.status == http.StatusOK, a.status)
}

// putCORS sets the rules that allowedOrigin tests.
func (s *suite) putCORS() string {
	var err error
	for bucket, origin := range map[string]string{
		corsBucket:   "https://app.example.com",
		publicBucket: "*",
	} {
		s.put(s.t, bucket, "k", []byte("text"))
		_, err = s.client(s.owner).PutBucketCors(s.t.Context(), &s3.PutBucketCorsInput{
			Bucket: &bucket,
			CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{
				AllowedHeaders: []string{"*"},
				AllowedMethods: []string{"GET", "HEAD"},
				AllowedOrigins: []string{origin},
				ExposeHeaders:  []string{"ETag", "Content-Range"},
				MaxAgeSeconds:  aws.Int32(3000),
			}}},
		}, once)
	}
	if err != nil {
		return "no (" + failure(err) + ")"
	}
	return "yes"
}

// allowedOrigin returns the Access-Control-Allow-Origin of a response to a presigned URL.
func (s *suite) allowedOrigin(method, bucket, origin string, header ...string) string {
	a := fetch(s.t, method, s.sign(request{bucket: bucket, key: "k"}),
		append(header, "Origin: "+origin)...)
	switch allowed := a.header.Get("Access-Control-Allow-Origin"); allowed {
	case "":
		return "refused"
	case origin:
		return "allowed"
	default:
		return "allowed (`" + allowed + "`)"
	}
}

// request is what a URL is signed for. Zero values mean a GET request of the object with suiteKey,
// signed now for an hour in the store's region.
type request struct {
	method, bucket, key, region string
	query                       url.Values
	signed                      time.Duration // from now
	expires                     time.Duration
}

// sign presigns a URL with the owner's keys and the SDK.
func (s *suite) sign(r request) string { return s.signWith(s.owner, r) }

func (s *suite) signWith(keys aws.Credentials, r request) string {
	s.t.Helper()
	if r.bucket == "" {
		r.bucket, r.key = suiteBucket, cmp.Or(r.key, suiteKey)
	}
	return s.presign(s.t, keys, r)
}

// presign presigns a URL with the SDK. The request must have a bucket and a key.
func (s *store) presign(t *testing.T, keys aws.Credentials, r request) string {
	t.Helper()
	req, err := http.NewRequest(cmp.Or(r.method, http.MethodGet), s.endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Path = "/" + r.bucket + "/" + r.key
	req.URL.RawPath = "/" + r.bucket + "/" + escapeKey(r.key)
	query := url.Values{}
	for name, values := range r.query {
		query[name] = values
	}
	expires := r.expires
	if expires == 0 {
		expires = time.Hour
	}
	query.Set("X-Amz-Expires", strconv.Itoa(int(expires/time.Second)))
	req.URL.RawQuery = query.Encode()
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	signed, _, err := signer.PresignHTTP(t.Context(), keys, req, "UNSIGNED-PAYLOAD",
		"s3", cmp.Or(r.region, "us-east-1"), time.Now().Add(r.signed))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
