package fakeaws

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"
)

// policyOf returns a session policy with a statement or a list of statements.
func policyOf(statements string) string {
	return `{"Version":"2012-10-17","Statement":` + statements + `}`
}

// allow returns a session policy that allows s3:GetObject on a resource.
func allow(resource string) string {
	return policyOf(fmt.Sprintf(`[{"Effect":"Allow","Action":"s3:GetObject","Resource":%q}]`, resource))
}

func hexSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestSessionPolicyNarrows(t *testing.T) {
	const all = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	tests := []struct {
		name, policy, bucket, query string
		status                      int
	}{
		{"no policy", "", "photos", "", 200},
		{"all objects of the bucket", allow("arn:aws:s3:::photos/*"), "photos", "", 200},
		{"all resources", allow("*"), "photos", "", 200},
		{"resource pattern", allow("arn:aws:s3:::ph?t*/a.*"), "photos", "", 200},
		{"another bucket", allow("arn:aws:s3:::team-a/*"), "photos", "", 403},
		{"the bucket without its objects", allow("arn:aws:s3:::photos"), "photos", "", 403},
		{"another prefix", allow("arn:aws:s3:::photos/b/*"), "photos", "", 403},
		{"another partition", allow("arn:aws-cn:s3:::photos/*"), "photos", "", 403},
		{"more than the role allows", allow("*"), "own-files", "", 403},
		{"version without s3:GetObjectVersion", allow("*"), "photos", "version", 403},
		{
			"lists of actions and resources",
			policyOf(`[{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],` +
				`"Resource":["arn:aws:s3:::x/*","arn:aws:s3:::photos/*"]}]`),
			"photos", "version", 200,
		},
		{
			"action pattern in another case",
			policyOf(`{"Sid":"a","Effect":"Allow","Action":"S3:get*","Resource":"*"}`),
			"photos", "version", 200,
		},
		{
			"another action",
			policyOf(`{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}`),
			"photos", "", 403,
		},
		{
			"two statements",
			policyOf(`[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*",` +
				`"Condition":{"StringLike":{"kms:ViaService":"s3.*"}}},` +
				`{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]`),
			"photos", "", 200,
		},
		{
			"Allow with a condition",
			policyOf(`{"Effect":"Allow","Action":"*","Resource":"*",` +
				`"Condition":{"Bool":{"aws:SecureTransport":"true"}}}`),
			"photos", "", 403,
		},
		{
			"Deny of the object",
			policyOf(`[` + all + `,{"Effect":"Deny","Action":"s3:GetObject",` +
				`"Resource":"arn:aws:s3:::photos/a*"}]`),
			"photos", "", 403,
		},
		{
			"Deny of another object",
			policyOf(`[` + all + `,{"Effect":"Deny","Action":"s3:GetObject",` +
				`"Resource":"arn:aws:s3:::photos/b*"}]`),
			"photos", "", 200,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			s := signing{bucket: tt.bucket, credentials: a.session(tt.policy)}
			if tt.query != "" {
				s.query = "versionId=" + a.put(tt.bucket, "a.txt", "hello, world")
			}
			if got := a.send("GET", a.presign(s), nil); got.status != tt.status {
				t.Errorf("GET = %d %s, want %d", got.status, got.body, tt.status)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"a/*", "a/", true},
		{"a/*", "a/b/c", true},
		{"a/*", "a", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a${*}/*", "a*/b", true},
		{"a${*}/*", "ab/b", false},
		{"a${?}/*", "a?/b", true},
		{"a${?}/*", "ab/b", false},
		{"a${$}{*}/*", "a${x}/b", true},
		{"a${$}{x}/*", "a${x}/b", true},
		{"a$/*", "a$/b", true},
		{"${aws:username}/*", "ann/b", false},
		{"${aws:username}/*", "${aws:username}/b", false},
		{"a${*", "a${*", true},
	} {
		if got := matches(c.pattern, c.text); got != c.want {
			t.Errorf("matches(%q, %q) = %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}

func TestARNPartitionFollowsRegion(t *testing.T) {
	for region, want := range map[string]string{
		west:            "arn:aws:s3:::b/k",
		"cn-north-1":    "arn:aws-cn:s3:::b/k",
		"us-gov-west-1": "arn:aws-us-gov:s3:::b/k",
	} {
		if got := arn(region, "b", "k"); got != want {
			t.Errorf("arn(%q, b, k) = %s, want %s", region, got, want)
		}
	}
}

func TestMissingKeyIs404WithListBucket(t *testing.T) {
	a := newAccount(t)
	a.AddRole(Role{
		ARN:     readerARN,
		Trusts:  []string{userKey},
		Buckets: []string{"photos"},
		List:    true,
	})
	listing := func(condition string) string {
		return policyOf(`[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"},` +
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::photos",` +
			`"Condition":` + condition + `}]`)
	}
	for policy, status := range map[string]int{
		"":                             404,
		allow("arn:aws:s3:::photos/*"): 403,
		listing(`{"StringLike":{"s3:prefix":"no*"}}`):                                    404,
		listing(`{"StringLike":{"s3:prefix":"other/*"}}`):                                403,
		listing(`{"StringEquals":{"s3:prefix":"none"}}`):                                 403,
		listing(`{"StringLike":{"s3:prefix":"no*"},"Bool":{"aws:SecureTransport":"x"}}`): 403,
	} {
		got := a.send("GET", a.presign(signing{key: "none", credentials: a.session(policy)}), nil)
		if got.status != status {
			t.Errorf("policy %q: got %d, want %d", policy, got.status, status)
		}
	}
}

func TestChangesApplyToIssuedURLs(t *testing.T) {
	tests := map[string]func(a *account){
		"sessions revoked": func(a *account) { a.RevokeSessions(readerARN) },
		"role removed":     func(a *account) { a.RemoveRole(readerARN) },
		"role loses the bucket": func(a *account) {
			a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}})
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t)
			target := a.presign(signing{})
			if got := a.send("GET", target, nil); got.status != 200 {
				t.Fatalf("before the change: got %d %s, want 200", got.status, got.body)
			}
			change(a)
			if got := a.send("GET", target, nil); got.code() != "AccessDenied" {
				t.Errorf("after the change: got %d %s, want AccessDenied", got.status, got.body)
			}
		})
	}
}

func TestRevokeSessionsSparesLaterSessions(t *testing.T) {
	a := newAccount(t)
	a.session("")
	a.RevokeSessions(readerARN)
	a.sleep(time.Second)
	if got := a.send("GET", a.presign(signing{}), nil); got.status != 200 {
		t.Errorf("got %d %s, want 200", got.status, got.body)
	}
}
