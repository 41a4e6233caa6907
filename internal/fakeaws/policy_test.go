package fakeaws

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"
)

func allow(resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":%q}]}`, resource)
}

func hexSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestSessionPolicyNarrows(t *testing.T) {
	statement := func(s string) string { return `{"Version":"2012-10-17","Statement":` + s + `}` }
	tests := []struct {
		name, policy, bucket, query string
		status                      int
	}{
		{"none", "", "photos", "", 200},
		{"the bucket", allow("arn:aws:s3:::photos/*"), "photos", "", 200},
		{"everything", allow("*"), "photos", "", 200},
		{"a pattern", allow("arn:aws:s3:::ph?t*/a.*"), "photos", "", 200},
		{"another bucket", allow("arn:aws:s3:::team-a/*"), "photos", "", 403},
		{"the bucket, not its objects", allow("arn:aws:s3:::photos"), "photos", "", 403},
		{"another prefix", allow("arn:aws:s3:::photos/b/*"), "photos", "", 403},
		{"another partition", allow("arn:aws-cn:s3:::photos/*"), "photos", "", 403},
		{"more than the role has", allow("*"), "own-files", "", 403},
		{"a version, without its action", allow("*"), "photos", "version", 403},
		{"lists", statement(`[{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":["arn:aws:s3:::x/*","arn:aws:s3:::photos/*"]}]`), "photos", "version", 200},
		{"an action's pattern", statement(`{"Sid":"a","Effect":"Allow","Action":"S3:get*","Resource":"*"}`), "photos", "version", 200},
		{"another action", statement(`{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}`), "photos", "", 403},
		{"another action beside", statement(`[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*","Condition":{"StringLike":{"kms:ViaService":"s3.*"}}},{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]`), "photos", "", 200},
		{"a condition", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}`), "photos", "", 403},
		{"a denial", statement(`[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/a*"}]`), "photos", "", 403},
		{"another's denial", statement(`[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/b*"}]`), "photos", "", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			s := signing{bucket: tt.bucket, credentials: a.session(tt.policy)}
			if tt.query != "" {
				s.query = "versionId=" + a.put(tt.bucket, "a.txt", "hello, world")
			}
			if got := a.send("GET", a.presign(s), nil); got.status != tt.status {
				t.Errorf("%d %s, want %d", got.status, got.body, tt.status)
			}
		})
	}
}

func TestResourcesAreOfTheRegionsPartition(t *testing.T) {
	for region, want := range map[string]string{west: "arn:aws:s3:::b/k", "cn-north-1": "arn:aws-cn:s3:::b/k", "us-gov-west-1": "arn:aws-us-gov:s3:::b/k"} {
		if got := arn(region, "b", "k"); got != want {
			t.Errorf("in %s it is %s, want %s", region, got, want)
		}
	}
}

func TestMissingKeyIsToldToWhoMayList(t *testing.T) {
	a := newAccount(t)
	a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}, Buckets: []string{"photos"}, List: true})
	for policy, status := range map[string]int{"": 404, allow("arn:aws:s3:::photos/*"): 403} {
		got := a.send("GET", a.presign(signing{key: "none", credentials: a.session(policy)}), nil)
		if got.status != status {
			t.Errorf("policy %q: %d, want %d", policy, got.status, status)
		}
	}
}

func TestRightsChangeAtOnce(t *testing.T) {
	tests := map[string]func(a *account){
		"sessions revoked":      func(a *account) { a.RevokeSessions(readerARN) },
		"role removed":          func(a *account) { a.RemoveRole(readerARN) },
		"role loses the bucket": func(a *account) { a.AddRole(Role{ARN: readerARN, Trusts: []string{userKey}}) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t)
			target := a.presign(signing{})
			if got := a.send("GET", target, nil); got.status != 200 {
				t.Fatalf("before: %d %s", got.status, got.body)
			}
			change(a)
			if got := a.send("GET", target, nil); got.code() != "AccessDenied" {
				t.Errorf("after: %d %s", got.status, got.body)
			}
		})
	}

	a := newAccount(t)
	a.session("")
	a.RevokeSessions(readerARN)
	a.sleep(time.Second)
	if got := a.send("GET", a.presign(signing{}), nil); got.status != 200 {
		t.Errorf("a session issued later: %d %s", got.status, got.body)
	}
}
