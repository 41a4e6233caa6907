package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"s3redirect/internal/config"
	"s3redirect/internal/policy"
)

// eachNarrowing runs f for each of the stores whose STS limits a session to a prefix.
func eachNarrowing(t *testing.T, f func(t *testing.T, name string, c *candidate)) {
	t.Helper()
	for _, c := range candidates {
		if c.name == "MinIO" || c.name == "Ceph" {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				f(t, c.name, c.start(t))
			})
		}
	}
}

// scoped returns an integration of a prefix of a bucket at the candidate, which has a role.
func (c *candidate) scoped(bucket, prefix string) *config.Integration {
	return &config.Integration{
		Name: "tenant", Bucket: bucket, Prefix: prefix, Region: "us-east-1",
		Endpoint: c.endpoint, STSEndpoint: c.endpoint, RoleARN: c.roleARN, SessionPolicy: true,
		ListBucket: true,
	}
}

// sessionOf assumes the role with the session policy that the proxy would send.
func (c *candidate) sessionOf(t *testing.T, i *config.Integration) aws.Credentials {
	t.Helper()
	text, omitted := i.SessionDocument()
	if text == "" || omitted != policy.OmittedNothing {
		t.Fatalf("SessionDocument() of %q = %q, %d, want a policy", i.Prefix, text, omitted)
	}
	keys, err := c.assume(t.Context(), text)
	if err != nil {
		t.Fatalf("AssumeRole with %s: %v", text, err)
	}
	return keys
}

// status returns the status of a request that is signed with keys.
func (c *candidate) status(t *testing.T, keys aws.Credentials, method, bucket, key string) int {
	t.Helper()
	return fetch(t, method,
		c.presign(t, keys, request{method: method, bucket: bucket, key: key})).status
}

// lists returns the status of listing a prefix.
func (c *candidate) lists(t *testing.T, keys aws.Credentials, bucket, prefix string) string {
	t.Helper()
	_, err := c.client(keys).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{
		Bucket: &bucket,
		Prefix: aws.String(prefix),
	}, once)
	if err != nil {
		return failure(err)
	}
	return "200"
}

// TestSessionsOfPrefixes signs URLs by hand with the session of each prefix. The stores serve what is
// under the prefix and refuse everything else, and what is under a blocked prefix.
func TestSessionsOfPrefixes(t *testing.T) {
	t.Parallel()
	eachNarrowing(t, func(t *testing.T, name string, c *candidate) {
		const bucket, elsewhere = "scopes", "scopes-elsewhere"
		c.createBucket(t, bucket)
		c.createBucket(t, elsewhere)
		put := func(bucket, key string) { c.put(t, bucket, key, []byte(key)) }
		outside := []string{
			"tenant-b/x", "tenant-ab/x", "tenant-a-2/x", "Tenant-A/x", "x", "other/tenant-a/x",
		}
		for _, key := range outside {
			put(bucket, key)
		}
		colon := c.scoped(bucket, "a:b/")
		text, _ := colon.SessionDocument()
		if _, err := c.assume(t.Context(), text); (err != nil) != (name == "Ceph") {
			t.Errorf("AssumeRole with a colon in the prefix: %v, want an error of Ceph only", err)
		}
		for _, prefix := range []string{
			"tenant-a/",
			"tenant-a/deep er/",
			"a$ $b $/",
			"100%/a+b&c=d/",
			`it's "quoted"<>/`,
			"日本 \u00fc 🎬/",
			strings.Repeat("l", 200) + "/" + strings.Repeat("ong", 66) + "/",
		} {
			i := c.scoped(bucket, prefix)
			i.BlockedPrefixes = []string{prefix + "raw/"}
			keys := c.sessionOf(t, i)
			own, blocked := prefix+"own.txt", prefix+"raw/secret.txt"
			near := strings.TrimSuffix(prefix, "/") + "-near/x"
			for _, key := range []string{own, blocked, prefix + "rawer.txt", near} {
				put(bucket, key)
			}
			put(elsewhere, own)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				want := func(want int, bucket, key string) {
					t.Helper()
					if got := c.status(t, keys, method, bucket, key); got != want {
						t.Errorf("%q: %s %s/%s = %d, want %d", prefix, method, bucket, key, got, want)
					}
				}
				want(200, bucket, own)
				want(200, bucket, prefix+"rawer.txt")
				want(403, bucket, blocked)
				want(403, bucket, near)
				want(403, elsewhere, own)
				for _, key := range outside {
					want(403, bucket, key)
				}
			}
			for listed, want := range map[string]string{
				prefix: "200", prefix + "own": "200",
				"": "403", "tenant": "403", "tenant-b/": "403", strings.TrimSuffix(prefix, "/"): "403",
			} {
				if got := c.lists(t, keys, bucket, listed); got != want {
					t.Errorf("%q: listing %q = %s, want %s", prefix, listed, got, want)
				}
			}
			missing := c.status(t, keys, http.MethodGet, bucket, prefix+"missing")
			if missing != 404 {
				t.Errorf("%q: a missing key = %d, want 404", prefix, missing)
			}
		}
	})
}

// TestSessionsOfOneForm checks that a session of a prefix in one Unicode form does not open objects
// in the other.
func TestSessionsOfOneForm(t *testing.T) {
	t.Parallel()
	eachNarrowing(t, func(t *testing.T, _ string, c *candidate) {
		const bucket, composed, decomposed = "scopes-forms", "\u00fc/", "u\u0308/"
		c.createBucket(t, bucket)
		c.put(t, bucket, composed+"x", []byte("composed"))
		c.put(t, bucket, decomposed+"x", []byte("decomposed"))
		for own, other := range map[string]string{composed: decomposed, decomposed: composed} {
			keys := c.sessionOf(t, c.scoped(bucket, own))
			if got := c.status(t, keys, http.MethodGet, bucket, own+"x"); got != 200 {
				t.Errorf("%+q: the own object = %d, want 200", own, got)
			}
			if got := c.status(t, keys, http.MethodGet, bucket, other+"x"); got != 403 {
				t.Errorf("%+q: the other form's object = %d, want 403", own, got)
			}
		}
	})
}

// TestPoliciesWithoutEscapes shows why prefixes with * and ? are refused at stores other than AWS if
// there is a session policy: the stores have no escape for them.
func TestPoliciesWithoutEscapes(t *testing.T) {
	t.Parallel()
	eachNarrowing(t, func(t *testing.T, _ string, c *candidate) {
		const bucket = "scopes-wildcards"
		c.createBucket(t, bucket)
		for _, key := range []string{"a*/x", "ab/x", "a?/x"} {
			c.put(t, bucket, key, []byte(key))
		}
		for _, wildcard := range []string{"*", "?"} {
			i := c.scoped(bucket, "a"+wildcard+"/")
			if i.Scope().CanName(i.Prefix) {
				t.Errorf("CanName(%q) = true, want false", i.Prefix)
			}
			raw := c.sessionOf(t, i)
			if got := c.status(t, raw, http.MethodGet, bucket, "ab/x"); got != 200 {
				t.Errorf("with %s in the policy, ab/x = %d, want 200: it is a wildcard", wildcard, got)
			}
			scope := i.Scope()
			scope.AWS, scope.List = true, false
			text, err := json.Marshal(policy.Access(scope, nil))
			if err != nil || !bytes.Contains(text, []byte("${"+wildcard+"}")) {
				t.Fatalf("AWS's policy = %s, %v, want ${%s} in it", text, err, wildcard)
			}
			escaped, err := c.assume(t.Context(), string(text))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.status(t, escaped, http.MethodGet, bucket, "a"+wildcard+"/x"); got != 403 {
				t.Errorf("with ${%s} in the policy, a%s/x = %d, want 403: the store has the escape "+
					"now, so use it", wildcard, wildcard, got)
			}
		}
	})
}
