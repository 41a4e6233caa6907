package fakeaws

import (
	"strings"
	"testing"

	"s3redirect/internal/locator"
	"s3redirect/internal/policy"
)

// FuzzSessionPolicy checks that the session policy of a prefix allows exactly the keys that begin with
// it and not with the blocked prefix, whatever characters they have.
func FuzzSessionPolicy(f *testing.F) {
	for _, seed := range [][3]string{
		{"tenant-a/", "raw/", "tenant-a/x"},
		{"tenant-a/", "raw/", "tenant-a/raw/x"},
		{"tenant-a/", "raw/", "tenant-ab/x"},
		{"a*/", "?/", "ab/x"},
		{"a*/", "?/", "a*/b/x"},
		{"a?/", "*/", "a?/*/x"},
		{"${aws:username}/", "$/", "${aws:username}/$/x"},
		{"${*}/", "}/", "${anything}/x"},
		{`"ü日🎬\u0041/`, "<&>/", `"ü日🎬\u0041/x`},
		{"a b/", "c d/", "a b/c d/x"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, prefix, blocked, key string) {
		if locator.CheckPrefix(prefix) != nil || locator.CheckPrefix(prefix+blocked) != nil ||
			locator.CheckKey(key) != nil {
			return
		}
		text, omitted := policy.Session(&policy.Scope{
			AWS: true, Partition: "aws", Buckets: []string{"films"}, List: true,
			Prefix: prefix, BlockedPrefixes: []string{prefix + blocked},
		})
		if omitted != policy.OmittedNothing {
			return
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("the policy has spaces or characters outside ASCII: %q", text)
		}
		d, fault := parsePolicy(text)
		if fault != nil {
			t.Fatalf("parsePolicy(%s) = %v", text, fault)
		}
		for _, key := range []string{key, prefix + key, prefix + blocked + key} {
			under := strings.HasPrefix(key, prefix)
			want := under && !strings.HasPrefix(key, prefix+blocked)
			if got := d.allows(getObject, arn(west, "films", key), ""); got != want {
				t.Errorf("reading %q with prefix %q, blocked %q: %v, want %v", key, prefix,
					prefix+blocked, got, want)
			}
			if got := d.allows(listBucket, arn(west, "films", ""), key); got != under {
				t.Errorf("listing %q with prefix %q: %v, want %v", key, prefix, got, under)
			}
			if d.allows(getObject, arn(west, "music", key), "") {
				t.Errorf("reading %q of another bucket is allowed", key)
			}
		}
	})
}
