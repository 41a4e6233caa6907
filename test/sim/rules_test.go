package sim

import (
	"testing"
	"time"
)

// TestRules checks the model's own evaluation of rules against docs/viewers.md.
func TestRules(t *testing.T) {
	ann, anonymous := &viewer{user: "ann", groups: []string{"lab"}}, &viewer{}
	denied := rule{known: true, bucket: "b*", key: "//secret/*", deny: true}
	file := rule{known: true, bucket: "*", key: "x.zip", deny: true}
	all := rule{known: true, anonymous: true, bucket: "*", key: "*"}
	for _, c := range []struct {
		name      string
		anonymous bool
		rules     []rule
		viewer    *viewer
		key       string
		want      bool
	}{
		{"no rules", true, nil, anonymous, "x", true},
		{"anonymous is off", false, nil, anonymous, "x", false},
		{"no rule matches", true, []rule{{users: []string{"bob"}, bucket: "*", key: "*"}}, ann, "x", false},
		{"a group", true, []rule{{groups: []string{"lab"}, bucket: "bucket", key: "x"}}, ann, "x", true},
		{"one object", true, []rule{{known: true, bucket: "bucket", key: "x"}}, ann, "xy", false},
		{"own folder", true, []rule{{known: true, bucket: "*", key: "{user}/*"}}, ann, "ann/x", true},
		{"another's folder", true, []rule{{known: true, bucket: "*", key: "{user}/*"}}, ann, "bob/x", false},
		{"denied", true, []rule{denied, all}, ann, "secret/x", false},
		{"denied with another spelling", true, []rule{denied, all}, ann, `/secret\/x`, false},
		{"denied to others", true, []rule{denied, all}, anonymous, "secret/x", true},
		{"member of a denied archive", true, []rule{file, all}, ann, "x.zip/y", false},
		{"neighbour of a denied archive", true, []rule{file, all}, ann, "x.zipper", true},
		{"allowed before it is denied", true, []rule{all, denied}, ann, "secret/x", true},
	} {
		s := &settings{anonymous: c.anonymous, rules: c.rules}
		if got := s.allows(c.viewer, "bucket", c.key, time.Now()); got != c.want {
			t.Errorf("%s: allows(%q, %q) = %v, want %v", c.name, c.viewer.user, c.key, got, c.want)
		}
	}
}

// TestExpiredCredentials checks links and tokens around their expiry.
func TestExpiredCredentials(t *testing.T) {
	s, until := &settings{anonymous: true}, time.Unix(1e9, 0)
	linked := &viewer{link: &link{bucket: "bucket", prefix: "public/", expires: until}}
	token := &viewer{user: "ann", token: &token{expires: until}}
	for _, c := range []struct {
		viewer *viewer
		key    string
		at     time.Time
		want   bool
	}{
		{linked, "public/x", until.Add(-time.Second), true},
		{linked, "public/x", until, false},
		{linked, "private/x", until.Add(-time.Second), false},
		{token, "x", until, true},
		{token, "x", until.Add(leeway), false},
	} {
		if got := s.allows(c.viewer, "bucket", c.key, c.at); got != c.want {
			t.Errorf("allows(%+v, %q, %v) = %v, want %v", *c.viewer, c.key, c.at, got, c.want)
		}
	}
}

// TestScopes checks the model's own resolution of prefixes against docs/integrations.md.
func TestScopes(t *testing.T) {
	s := &settings{integrations: []role{
		{number: 0, buckets: []string{"team-*"}},
		{number: 1, scope: scope{on: true, prefix: "users/", blocked: []string{"users/bob/"}}},
		{number: 2, scope: scope{on: true, prefix: "users/ann/"}},
		{number: 3, scope: scope{on: true, prefix: "private/", blocked: []string{"private/"}}, absent: true},
	}}
	const none = -1
	for _, c := range []struct {
		bucket, key string
		want        int
		blocked     bool
	}{
		{"team-a", "x", 0, false},
		{"team-a", "users", 0, false},
		{"team-a", "users/", 1, false},
		{"team-a", "users/ann", 1, false},
		{"team-a", "users/ann/x", 2, false},
		{"team-a", "users//ann/x", none, false},
		{"team-a", "users//eve/x", 1, false},
		{"team-a", "/users/eve/x", none, false},
		{"team-a", `users\eve`, none, false},
		{"team-a", "users__XLDIR__", none, false},
		{"team-a", "users/ann__XLDIR__", none, false},
		{"team-a", "users/bob/x", 1, true},
		{"team-a", "//users//bob/x", none, true},
		{"team-a", "private/x", 0, false},
		{"team-b", "users/bob/x", 0, false},
		{"other", "users/bob/x", none, false},
	} {
		got := none
		if r := s.servedBy(c.bucket, c.key); r != nil {
			got = r.number
		}
		if blocked := s.blocked(c.bucket, c.key); got != c.want || blocked != c.blocked {
			t.Errorf("%s/%s is served by %d, blocked %v, want %d, %v",
				c.bucket, c.key, got, blocked, c.want, c.blocked)
		}
	}
}
