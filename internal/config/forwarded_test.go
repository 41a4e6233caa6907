package config

import (
	"strings"
	"testing"
)

func TestForwardedHeaders(t *testing.T) {
	const proxies = ", trusted_proxies: [10.0.0.1]"
	const deny = "rules: [{groups: [\"suspended\"], locators: ['s3://*/*'], deny: true}]"
	for text, want := range map[string]string{
		"{forwarded: {user_header: X-U, groups_header: X-G" + proxies + "}, " + deny + "}": "",
		"{forwarded: {user_header: X-U" + proxies + "}}":                                   "",
		// The user's name would count as a group.
		"{forwarded: {user_header: X-U, groups_header: x-u" + proxies + "}}": "viewers.forwarded.groups_header: ",
		// The client sets these headers, and some of them contain credentials.
		"{forwarded: {user_header: authorization" + proxies + "}}":            "viewers.forwarded.user_header: ",
		"{forwarded: {user_header: Cookie" + proxies + "}}":                   "viewers.forwarded.user_header: ",
		"{forwarded: {user_header: X-Forwarded-For" + proxies + "}}":          "viewers.forwarded.user_header: ",
		"{forwarded: {user_header: X-U, groups_header: Host" + proxies + "}}": "viewers.forwarded.groups_header: ",
	} {
		_, err := Parse("config.yaml", minimalWith(text), testEnvironment)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: Parse = %v, want %q", text, err, want)
		}
	}
}

// The groups that package viewer refuses in a groups header cannot be named by rules.
func TestGroupsThatNoHeaderHas(t *testing.T) {
	for _, group := range []string{"'x", "=?utf-8?q?x?=", "a\ufffd"} {
		text := "{forwarded: {user_header: X-U, groups_header: X-G, trusted_proxies: [10.0.0.1]}, " +
			"rules: [{groups: [\"" + group + "\"], locators: ['s3://*/*'], deny: true}]}"
		_, err := Parse("config.yaml", minimalWith(text), testEnvironment)
		if err == nil || !strings.Contains(err.Error(), "viewers.rules[0].groups[0]: ") {
			t.Errorf("%q: Parse = %v, want an error about the group", group, err)
		}
	}
}
