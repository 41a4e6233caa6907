package fakeaws

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"s3redirect/internal/locator"
)

const (
	readerARN = "arn:aws:iam::111122223333:role/reader"
	userKey   = "AKIAEXAMPLE"
	canary    = "canary/secret+key=" // must not appear in any response
	west      = "eu-west-1"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// account is a Cloud with a user, a role that trusts the user, and two buckets, served over HTTP.
// The test advances its clock.
type account struct {
	*Cloud
	t       *testing.T
	s3, sts *httptest.Server
	drift   time.Duration // of the clients' clocks

	mu  sync.Mutex
	now time.Time
}

func newAccount(t *testing.T) *account {
	a := &account{t: t, now: noon}
	a.Cloud = NewCloud(a.time)
	a.AddUser(User{AccessKeyID: userKey, SecretAccessKey: canary, Buckets: []string{"own-*"}})
	a.AddRole(Role{
		ARN:        readerARN,
		ExternalID: "ext-1",
		Trusts:     []string{userKey},
		Buckets:    []string{"photos", "team-*"},
		Versions:   true,
	})
	a.CreateBucket("photos", west)
	a.CreateBucket("own-files", west)
	a.put("photos", "a.txt", "hello, world")
	a.put("own-files", "a.txt", "mine")
	a.s3, a.sts = httptest.NewServer(a.S3()), httptest.NewServer(a.STS())
	t.Cleanup(a.s3.Close)
	t.Cleanup(a.sts.Close)
	return a
}

func (a *account) time() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

func (a *account) sleep(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

func (a *account) put(bucket, key, data string) string {
	return a.Put(locator.Locator{Bucket: bucket, Key: key}, Object{
		ContentType: "text/plain",
		Data:        []byte(data),
		Modified:    noon.Add(-time.Hour),
	})
}

// stsClient returns an SDK client that signs with the account's clock.
func (a *account) stsClient(key, secret, token string) *sts.Client {
	return sts.New(sts.Options{
		Region:       west,
		BaseEndpoint: &a.sts.URL,
		Credentials:  credentials.NewStaticCredentialsProvider(key, secret, token),
		Retryer:      aws.NopRetryer{},
		HTTPSignerV4: clockedSigner{
			v4.NewSigner(),
			func() time.Time { return a.time().Add(a.drift) },
		},
	})
}

// clockedSigner is the SDK's signer with an injected clock.
type clockedSigner struct {
	*v4.Signer
	clock func() time.Time
}

func (s clockedSigner) SignHTTP(
	ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string,
	_ time.Time, o ...func(*v4.SignerOptions),
) error {
	return s.Signer.SignHTTP(ctx, c, r, hash, service, region, s.clock(), o...)
}

func (s clockedSigner) PresignHTTP(
	ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string,
	_ time.Time, o ...func(*v4.SignerOptions),
) (string, http.Header, error) {
	return s.Signer.PresignHTTP(ctx, c, r, hash, service, region, s.clock(), o...)
}

// session assumes the reader's role, with a session policy unless policy is "".
func (a *account) session(policy string) aws.Credentials {
	a.t.Helper()
	in := assumeReader()
	if policy != "" {
		in.Policy = &policy
	}
	out, err := a.stsClient(userKey, canary, "").AssumeRole(a.t.Context(), in)
	if err != nil {
		a.t.Fatal(err)
	}
	c := out.Credentials
	return aws.Credentials{
		AccessKeyID:     *c.AccessKeyId,
		SecretAccessKey: *c.SecretAccessKey,
		SessionToken:    *c.SessionToken,
	}
}

// userCredentials are the long-lived credentials of the user.
var userCredentials = aws.Credentials{AccessKeyID: userKey, SecretAccessKey: canary}

// assumeReader returns a valid call for the reader's role.
func assumeReader() *sts.AssumeRoleInput {
	return &sts.AssumeRoleInput{
		RoleArn:         aws.String(readerARN),
		RoleSessionName: aws.String("test"),
		ExternalId:      aws.String("ext-1"),
	}
}

// signing holds the inputs of a presigned URL. presign fills in defaults for zero fields.
type signing struct {
	credentials aws.Credentials // default: a session of the reader's role
	method      string          // default: GET
	bucket      string          // default: photos
	key         string          // default: a.txt
	query       string          // parameters besides the signature's
	expires     string          // default: 900
	region      string          // default: the bucket's
	service     string          // default: s3
	at          time.Time       // default: now
	headers     http.Header     // signed headers
	host        string          // default: the server's
}

// presign presigns a URL with the SDK's signer.
func (a *account) presign(s signing) string {
	a.t.Helper()
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&s.method, "GET")
	fill(&s.bucket, "photos")
	fill(&s.key, "a.txt")
	fill(&s.expires, "900")
	fill(&s.region, west)
	fill(&s.service, "s3")
	fill(&s.host, strings.TrimPrefix(a.s3.URL, "http://"))
	if s.at.IsZero() {
		s.at = a.time()
	}
	if s.credentials.AccessKeyID == "" {
		s.credentials = a.session("")
	}
	path := "/" + s.bucket + "/" + s.key
	u := &url.URL{
		Scheme:   "http",
		Host:     s.host,
		Path:     path,
		RawPath:  httpbinding.EscapePath(path, false),
		RawQuery: "X-Amz-Expires=" + url.QueryEscape(s.expires),
	}
	if s.query != "" {
		u.RawQuery += "&" + s.query
	}
	r := &http.Request{Method: s.method, URL: u, Host: s.host, Header: s.headers.Clone()}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	signed, _, err := v4.NewSigner().PresignHTTP(a.t.Context(), s.credentials, r, unsignedPayload,
		s.service, s.region, s.at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

// response is a response whose body was read.
type response struct {
	status int
	header http.Header
	body   string
}

// send sends a request to the S3 endpoint, whatever host target names, and checks that the response
// contains no secret.
func (a *account) send(method, target string, header http.Header) response {
	a.t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		a.t.Fatal(err)
	}
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}}
	maps.Copy(r.Header, header)
	u.Scheme, u.Host = "http", strings.TrimPrefix(a.s3.URL, "http://")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	got := response{resp.StatusCode, resp.Header, string(body)}
	a.checkNoSecrets(u.Query(), fmt.Sprint(got))
	return got
}

// checkNoSecrets checks that text contains no secret of the query q or of the account.
func (a *account) checkNoSecrets(q url.Values, text string) {
	a.t.Helper()
	for _, secret := range []string{
		canary,
		q.Get("X-Amz-Signature"),
		q.Get("X-Amz-Security-Token"),
	} {
		if secret != "" && strings.Contains(text, secret) {
			a.t.Errorf("response contains a secret: %.300s", text)
		}
	}
	a.Cloud.mu.Lock()
	defer a.Cloud.mu.Unlock()
	for _, s := range a.sessions {
		if strings.Contains(text, s.secret) || strings.Contains(text, s.token) {
			a.t.Errorf("response contains the secret of a session: %.300s", text)
		}
	}
}

// code returns the error code, or "" if the response is not an error.
func (r response) code() string {
	_, rest, _ := strings.Cut(r.body, "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

// presigner returns the SDK's presigner, signing with the account's clock.
func (a *account) presigner(c aws.Credentials) *s3.PresignClient {
	return s3.NewPresignClient(s3.New(s3.Options{
		Region:       west,
		BaseEndpoint: &a.s3.URL,
		UsePathStyle: true,
		Credentials:  credentials.StaticCredentialsProvider{Value: c},
	}), func(o *s3.PresignOptions) { o.Presigner = clockedSigner{v4.NewSigner(), a.time} })
}

func TestCallsAreCounted(t *testing.T) {
	a := newAccount(t)
	good := a.presign(signing{})
	a.send("GET", good, nil)
	a.send("GET", good, http.Header{"Range": {"bytes=0-4"}})
	a.send("GET", good, http.Header{"If-None-Match": {`"e4d7f1b4ed2e42d15898f4b27b019da4"`}})
	a.send("HEAD", good, nil)
	a.send("OPTIONS", good, nil)
	missing := assumeReader()
	missing.RoleArn = aws.String(readerARN + "s")
	_, _ = a.stsClient(userKey, canary, "").AssumeRole(t.Context(), missing)

	want := Calls{
		AssumeRole:       2,
		AssumeRoleByRole: map[string]uint64{readerARN: 1},
		Sessions:         1,
		S3Served:         3,
		S3Refused:        1,
	}
	if got := a.Calls(); !reflect.DeepEqual(got, want) {
		t.Errorf("Calls() = %+v, want %+v", got, want)
	}
}

func TestPutPanicsWithoutBucket(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Put into a missing bucket did not panic")
		}
	}()
	NewCloud(time.Now).Put(locator.Locator{Bucket: "missing", Key: "k"}, Object{})
}
