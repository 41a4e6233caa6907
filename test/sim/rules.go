package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// rule is a rule of viewers.rules.
type rule struct {
	users, groups    []string
	known, anonymous bool
	deny             bool
	bucket           string // or a pattern
	key              string // may contain {user}; a prefix if it ends in *
}

// The names that rules and viewers have.
var (
	userNames  = []string{"ann", "bob", "eve"}
	groupNames = []string{"lab", "ops"}
)

// patterns are the keys of rules. They match some of objectKeys.
var patterns = []string{
	"*", "public/*", "private/*", "private/b.jpg", "users/{user}/*", "//private/*", "lab/c d.txt", "a/*",
}

// randomRules returns some rules, or none: then every viewer may read everything. Only with anonymous
// are there rules for anonymous clients.
func randomRules(r *rand.Rand, anonymous bool) (rules []rule) {
	for range max(0, r.IntN(7)-3) {
		one := rule{bucket: []string{"*", "bucket-*", "bucket-0", "bucket-1", "team-*"}[r.IntN(5)]}
		one.key = patterns[r.IntN(len(patterns))]
		one.deny = r.IntN(3) == 0
		switch r.IntN(5) {
		case 0:
			one.users = []string{userNames[r.IntN(len(userNames))]}
		case 1:
			one.groups = []string{groupNames[r.IntN(len(groupNames))]}
		case 2:
			one.known = true
		case 3:
			one.anonymous = anonymous && !strings.Contains(one.key, "{user}")
			one.known = !one.anonymous
		case 4:
			one.known, one.anonymous = true, anonymous && !strings.Contains(one.key, "{user}")
		}
		rules = append(rules, one)
	}
	if len(rules) > 0 && r.IntN(4) > 0 {
		rules = append(rules, rule{known: true, anonymous: anonymous, bucket: "*", key: "*"})
	}
	return rules
}

// text returns the rule as in the configuration file.
func (r *rule) text() string {
	fields := []string{fmt.Sprintf("locators: [\"s3://%s/%s\"]", r.bucket, r.key)}
	add := func(set bool, format string, a ...any) {
		if set {
			fields = append(fields, fmt.Sprintf(format, a...))
		}
	}
	add(len(r.users) > 0, "users: [%s]", strings.Join(r.users, ", "))
	add(len(r.groups) > 0, "groups: [%s]", strings.Join(r.groups, ", "))
	add(r.known, "known: true")
	add(r.anonymous, "anonymous: true")
	add(r.deny, "deny: true")
	return "{" + strings.Join(fields, ", ") + "}"
}

// viewer is who really sends a request.
type viewer struct {
	user   string // "" for an anonymous client
	groups []string
	link   *link  // the request carries it; nothing else counts
	token  *token // it proves user and groups; nil if the reverse proxy does
}

// link is a signed link to the keys that begin with a prefix.
type link struct {
	bucket, prefix string
	query          string
	expires        time.Time
}

// allows reports whether a viewer may read an object, according to docs/viewers.md, at an instant.
func (s *settings) allows(v *viewer, bucket, key string, at time.Time) bool {
	if s.blocked(bucket, key) {
		return false
	}
	if v.link != nil {
		return bucket == v.link.bucket && strings.HasPrefix(key, v.link.prefix) && at.Before(v.link.expires)
	}
	if v.user == "" && !s.anonymous || v.token != nil && !at.Before(v.token.expires.Add(leeway)) {
		return false
	}
	for n := range s.rules {
		r := &s.rules[n]
		if r.names(v) && r.matches(v, bucket, key) {
			return !r.deny
		}
	}
	return len(s.rules) == 0
}

// names reports whether a rule is about a viewer.
func (r *rule) names(v *viewer) bool {
	if v.user == "" {
		return r.anonymous
	}
	return r.known || slices.Contains(r.users, v.user) ||
		slices.ContainsFunc(v.groups, func(g string) bool { return slices.Contains(r.groups, g) })
}

// matches reports whether a rule is about an object. A deny rule is about all that some store might
// take for it.
func (r *rule) matches(v *viewer, bucket, key string) bool {
	prefix, pattern := strings.CutSuffix(r.bucket, "*")
	if pattern && !strings.HasPrefix(bucket, prefix) || !pattern && bucket != r.bucket {
		return false
	}
	want, open := strings.CutSuffix(strings.ReplaceAll(r.key, "{user}", v.user), "*")
	if !r.deny {
		return key == want || open && strings.HasPrefix(key, want)
	}
	want, key = flatten(want), flatten(key)
	return key == want || strings.HasPrefix(key, want) && (open || key[len(want)] == '/')
}

// flatten drops leading slashes, merges repeated ones, and takes backslashes for slashes.
func flatten(key string) string {
	parts := strings.FieldsFunc(key, func(r rune) bool { return r == '/' || r == '\\' })
	flat := strings.Join(parts, "/")
	if strings.HasSuffix(key, "/") || strings.HasSuffix(key, `\`) {
		flat += "/"
	}
	if flat == "/" {
		return ""
	}
	return flat
}
