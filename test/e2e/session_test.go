package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// asTrusted holds settings of an integration that reads radosgw as the principal that the role
// trusts.
const asTrusted = `
    endpoint: ${ENDPOINT}
    path_style: true
    region: us-east-1
    role_arn: ${ROLE}
    sts_endpoint: ${ENDPOINT}
    access_key_id: ${TRUSTED_KEY}
    secret_access_key: ${TRUSTED_SECRET}
`

// If the role's trust policy denies AssumeRole, requests get a problem. The proxy never falls back
// to another integration.
func TestTrustPolicyDenies(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	asStranger := strings.NewReplacer(
		"TRUSTED_KEY", "STRANGER_KEY",
		"TRUSTED_SECRET", "STRANGER_SECRET",
	).Replace(asTrusted)
	p := startProxy(t, `
integrations:
  - name: default
    permitted_buckets: ["trust-*"]
`+asTrusted+`
  - name: stranger
    bucket: trust-stranger
`+asStranger+`
  - name: no-role
    bucket: trust-no-role
`+strings.ReplaceAll(asTrusted, "${ROLE}", "arn:aws:iam:::role/no-such-role")+`
  - name: wrong-secret
    bucket: trust-wrong-secret
`+strings.ReplaceAll(asTrusted, "${TRUSTED_SECRET}", "${STRANGER_SECRET}"), g.env()...)
	for _, bucket := range []string{
		"trust-default", "trust-stranger", "trust-no-role", "trust-wrong-secret",
	} {
		g.createBucket(t, bucket)
		g.put(t, bucket, "key", []byte(bucket))
	}
	a := fetch(t, http.MethodGet, p.location(t, http.MethodGet, path("trust-default", "key")))
	if string(a.body) != "trust-default" {
		t.Errorf("trusted principal: status %d, body %s, want 200 and trust-default",
			a.status, a.body)
	}
	for _, name := range []string{"stranger", "no-role", "wrong-secret"} {
		for range 3 {
			p.wantProblem(t, path("trust-"+name, "key"),
				http.StatusBadGateway, "assume_role_denied")
		}
		series := fmt.Sprintf(
			`s3redirect_assume_role_total{integration="%s",result="denied"}`, name)
		if n := p.scrape(t)[series]; n != 1 {
			t.Errorf("%s = %v, want 1, as denials are cached", series, n)
		}
	}
}

// The session policy restricts a session to reading the integration's buckets, whatever else the
// role allows.
func TestSessionPolicyRestrictsSession(t *testing.T) {
	t.Parallel()
	s := minio(t)
	narrow, wide := s.sts(t), s.sts(t)
	p := startProxy(t, `
integrations:
  - name: narrow
    permitted_buckets: [narrow, "narrow-*"]
    external_id: 9d0c3a53-6d1f-4f0e-9f55-1f1f1f1f1f1f
    session_name: media
    session_duration: 2h
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${NARROW}")+`
  - name: wide
    bucket: wide
    session_policy: false
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${WIDE}"),
		append(s.env(), "NARROW="+narrow.url, "WIDE="+wide.url)...)
	for _, bucket := range []string{"narrow", "narrow-2", "wide", "elsewhere"} {
		s.createBucket(t, bucket)
		s.put(t, bucket, "key", []byte(bucket))
	}
	for _, bucket := range []string{"narrow", "narrow-2", "wide"} {
		a := fetch(t, http.MethodGet, p.location(t, http.MethodGet, path(bucket, "key")))
		if string(a.body) != bucket {
			t.Errorf("%s: status %d, body %s, want 200 and the bucket's name",
				bucket, a.status, a.body)
		}
	}

	asked := narrow.question(t)
	for param, want := range map[string]string{
		"ExternalId":      "9d0c3a53-6d1f-4f0e-9f55-1f1f1f1f1f1f",
		"RoleSessionName": "media",
		"DurationSeconds": "7200",
		"RoleArn":         "arn:minio:iam:::role/reader",
	} {
		if got := asked.Get(param); got != want {
			t.Errorf("parameter %s of AssumeRole = %q, want %q", param, got, want)
		}
	}
	if asked := wide.question(t); asked.Has("Policy") || asked.Has("ExternalId") {
		t.Errorf("parameters of AssumeRole = %v, want neither Policy nor ExternalId", asked)
	}

	// Use the sessions that STS issued for requests that the session policy should deny.
	attempts := map[string]func(context.Context, *s3.Client) error{
		"read another bucket": func(ctx context.Context, c *s3.Client) error {
			return done(c.GetObject(ctx,
				&s3.GetObjectInput{Bucket: new("elsewhere"), Key: new("key")}))
		},
		"write": func(ctx context.Context, c *s3.Client) error {
			return done(c.PutObject(ctx, &s3.PutObjectInput{
				Bucket: new("narrow"),
				Key:    new("new"),
				Body:   strings.NewReader("x"),
			}))
		},
		"list": func(ctx context.Context, c *s3.Client) error {
			return done(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: new("narrow")}))
		},
		"delete": func(ctx context.Context, c *s3.Client) error {
			return done(c.DeleteObject(ctx,
				&s3.DeleteObjectInput{Bucket: new("narrow-2"), Key: new("key")}))
		},
	}
	for name, attempt := range attempts {
		err := attempt(t.Context(), s.client(narrow.session(t)))
		if api, ok := errors.AsType[interface {
			error
			ErrorCode() string
		}](err); !ok || api.ErrorCode() != "AccessDenied" {
			t.Errorf("%s with the narrow session: %v, want AccessDenied", name, err)
		}
		if err := attempt(t.Context(), s.client(wide.session(t))); err != nil {
			t.Errorf("%s with the wide session: %v, want no error", name, err)
		}
	}
}

// done returns the error of a call with two results.
func done[T any](_ T, err error) error { return err }

// A session policy with many buckets makes a session token of 3.6 kB, and each URL contains the
// token. Such long URLs work.
func TestLongURLWorks(t *testing.T) {
	t.Parallel()
	s := minio(t)
	var buckets []string
	for i := range 23 {
		buckets = append(buckets, fmt.Sprintf("long-%02d-%s", i, strings.Repeat("x", 52)))
	}
	p := startProxy(t, `
integrations:
  - name: many
    permitted_buckets: [`+strings.Join(buckets, ", ")+`]
`+withRole, s.env()...)
	bucket := s.createBucket(t, buckets[len(buckets)-1])
	body := randomBytes(1000)
	s.put(t, bucket, "key", body)
	url := p.location(t, http.MethodGet, path(bucket, "key"))
	if a := fetch(t, http.MethodGet, url); !bytes.Equal(a.body, body) {
		t.Errorf("GET: status %d, body %s, want 200 and the stored bytes", a.status, a.body)
	}
	a := fetch(t, http.MethodHead, p.location(t, http.MethodHead, path(bucket, "key")))
	if a.length != int64(len(body)) {
		t.Errorf("HEAD: status %d, length %d, want 200 and %d", a.status, a.length, len(body))
	}
	series := p.scrape(t)
	t.Logf("a URL of %d bytes", len(url))
	if len(url) < 3500 {
		t.Errorf("the URL has %d bytes, want at least 3500", len(url))
	}
	sum, count := series["s3redirect_url_bytes_sum"], series["s3redirect_url_bytes_count"]
	if sum != float64(2*len(url)) || count != 2 {
		t.Errorf("url_bytes counts %v bytes in %v URLs, want %d in 2", sum, count, 2*len(url))
	}
}

// Requests that wait for the same session share one call to STS. A slow STS does not delay requests
// of other integrations.
func TestSlowSTSDelaysOneIntegrationOnly(t *testing.T) {
	t.Parallel()
	s := minio(t)
	slow := s.sts(t)
	p := startProxy(t, `
integrations:
  - name: slow
    bucket: slow
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: ${STS}")+`
  - name: role
    bucket: swift-role
`+withRole+`
  - name: keys
    bucket: swift-keys
`+withKeys, append(s.env(), "STS="+slow.url)...)
	release := slow.hold(t)
	var waiting sync.WaitGroup
	for i := range 200 {
		waiting.Go(func() {
			a, err := try(t, http.MethodGet, p.url(path("slow", strconv.Itoa(i))))
			if err == nil {
				err = a.checkRedirect()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	arrived := func() bool { return slow.arrived.Load() > 0 }
	if err := p.await("a request to STS", arrived); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"swift-role", "swift-keys"} {
		p.location(t, http.MethodGet, path(bucket, "key")) // while the slow STS is still blocked
	}
	if n := slow.arrived.Load(); n != 1 {
		t.Errorf("200 waiting requests made %d calls to STS, want 1", n)
	}
	release()
	waiting.Wait()
	if n := slow.arrived.Load(); n > 2 { // the proxy may have prefetched the next window's session
		t.Errorf("%d calls to STS, want at most 2", n)
	}
}

// If STS is unreachable and no session is cached, requests get a problem with Retry-After.
func TestUnreachableSTS(t *testing.T) {
	t.Parallel()
	s := minio(t)
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, `
integrations:
  - name: down
    bucket: down
`+strings.ReplaceAll(withRole, "sts_endpoint: ${ENDPOINT}",
		fmt.Sprintf("sts_endpoint: http://127.0.0.1:%d", ports[0])), s.env()...)
	a := p.wantProblem(t, path("down", "key"), http.StatusServiceUnavailable, "sts_unavailable")
	retry := a.header.Get("Retry-After")
	if seconds, err := strconv.Atoi(retry); err != nil || seconds < 1 {
		t.Errorf("Retry-After = %q, want at least 1", retry)
	}
	// A failing role does not make the whole proxy unready.
	if !answersOK(p.admin+"/readyz") || !answersOK(p.admin+"/healthz") {
		t.Error("/readyz or /healthz fails while STS is unreachable")
	}
}
