package config

import (
	"strings"
	"testing"

	"s3redirect/internal/locator"
)

func TestMatchBucket(t *testing.T) {
	aws, store := &Integration{}, &Integration{Endpoint: "https://s3.example"}
	for _, c := range []struct {
		i               *Integration
		pattern, bucket string
		want            bool
	}{
		{aws, "team-*", "team-a", true},
		{aws, "team-*", "team-A", false},
		{aws, "team-*", "team-a_b", false},
		{aws, "*", strings.Repeat("a", 64), false},
		{aws, "*", "abc--x-s3", false},
		{store, "*", "abc--x-s3", false},
		// It is another name of a bucket that a rule may deny.
		{aws, "*", "secret-a1b2-s3alias", false},
		{store, "*", "secret-a1b2-s3alias", false},
		{store, "team-*", "team-a_b", true},
		{store, "*", strings.Repeat("a", 64), true},
		{store, "Team-*", "Team-A", true},
		{store, "Team-*", "team-a", false},
		// A store that ignores case would serve the bucket secret.
		{store, "*", "SECRET", false},
		{store, "se*", "seCRET", false},
	} {
		if got := c.i.MatchBucket(c.pattern, c.bucket); got != c.want {
			t.Errorf("MatchBucket(%q, %q) with the endpoint %q = %v, want %v",
				c.pattern, c.bucket, c.i.Endpoint, got, c.want)
		}
	}
}

func TestServedByStore(t *testing.T) {
	c := &Config{Integrations: []*Integration{
		{Name: "aws", PermittedBuckets: []string{"*"}},
		{Name: "store", PermittedBuckets: []string{"My_Bucket", "lab_*"}, Endpoint: "https://s3.example"},
	}}
	for bucket, want := range map[string]string{
		"photos": "aws", "My_Bucket": "store", "lab_1": "store", "my_bucket": "", "Photos": "",
	} {
		got := ""
		if i, ok := c.ServedBy(locator.Locator{Bucket: bucket}); ok {
			got = i.Name
		}
		if got != want {
			t.Errorf("ServedBy(%q) = %q, want %q", bucket, got, want)
		}
	}
}
