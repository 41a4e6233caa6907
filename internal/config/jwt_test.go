package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// minimalWith returns a configuration with an integration and some viewers.
func minimalWith(viewers string) []byte {
	return []byte("listen: 127.0.0.1:8080\nviewers: " + viewers + "\nintegrations: [{name: a, " +
		"bucket: aaa, role_arn: 'arn:aws:iam::123456789012:role/r', region: us-east-1}]\n")
}

// One issuer may be written without a list, and so may one audience.
func TestIssuers(t *testing.T) {
	media := JWT{
		Issuer:         "https://id.example.com",
		Audience:       OneOrMore[string]{"media"},
		AudienceClaims: []string{"aud"},
		Algorithms:     []string{"RS256", "ES256"},
		UserClaim:      "email",
		GroupsClaim:    "groups",
		LowercaseUser:  true,
		Leeway:         30 * time.Second,
	}
	with := func(change func(j *JWT)) JWT {
		j := media
		change(&j)
		return j
	}
	const required = "issuer: https://id.example.com, audience: media"
	for text, want := range map[string][]JWT{
		"{" + required + "}":   {media},
		"[{" + required + "}]": {media},
		"{issuer: https://id.example.com, audience: [media, photos]}": {
			with(func(j *JWT) { j.Audience = []string{"media", "photos"} }),
		},
		"[{" + required + "}, {issuer: http://id.test, insecure: true, audience: media}]": {
			media, with(func(j *JWT) { j.Issuer, j.Insecure = "http://id.test", true }),
		},
		"{" + required + ", user_claim: sub}": {
			with(func(j *JWT) { j.UserClaim, j.LowercaseUser = "sub", false }),
		},
		"{" + required + ", user_claim: sub, lowercase_user: true}": {
			with(func(j *JWT) { j.UserClaim = "sub" }),
		},
		"[{" + required + ", lowercase_user: false}]": {
			with(func(j *JWT) { j.LowercaseUser = false }),
		},
		"{" + required + ", header: cf-access-jwt-assertion, audience_claims: [azp]}": {
			with(func(j *JWT) {
				j.Header, j.AudienceClaims = "Cf-Access-Jwt-Assertion", []string{"azp"}
			}),
		},
		"{" + required + ", required_claims: {hd: '${HOURS}', level: 3, 'https://x/y': true}}": {
			with(func(j *JWT) {
				j.RequiredClaims = map[string]string{"hd": "1", "level": "3", "https://x/y": "true"}
			}),
		},
	} {
		c, err := Parse("config.yaml", minimalWith("{jwt: "+text+"}"), testEnvironment)
		if err != nil {
			t.Errorf("%s: Parse = %v, want nil", text, err)
		} else if got := []JWT(c.Viewers.JWT); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: Parse = %+v, want %+v", text, got, want)
		}
	}
}

func TestGroupsSeparator(t *testing.T) {
	const headers = "user_header: x, groups_header: y, trusted_proxies: [10.0.0.1]"
	for text, want := range map[string]string{
		headers:                               ",",
		headers + ", groups_separator: '|'":   "|",
		headers + ", groups_separator: \":\"": ":",
		headers + ", groups_separator: ','":   ",",
	} {
		c, err := Parse("config.yaml", minimalWith("{forwarded: {"+text+"}}"), testEnvironment)
		if err != nil {
			t.Errorf("%s: Parse = %v, want nil", text, err)
		} else if got := c.Viewers.Forwarded.GroupsSeparator; got != want {
			t.Errorf("%s: GroupsSeparator = %q, want %q", text, got, want)
		}
	}
}

// YAML reads ~ as null, and # as the start of a comment. The separator must not silently become a
// comma then: the groups would be read as one group that no rule names.
func TestGroupsSeparatorWithoutQuotes(t *testing.T) {
	const headers = "user_header: x, groups_header: y, trusted_proxies: [10.0.0.1]"
	for _, text := range []string{"~", "#\n", "null", "", "'#,'", "' '"} {
		in := minimalWith("{forwarded: {" + headers + ", groups_separator: " + text + "}}")
		_, err := Parse("config.yaml", in, testEnvironment)
		if err == nil || !strings.Contains(err.Error(), "viewers.forwarded.groups_separator") {
			t.Errorf("groups_separator: %s: Parse = %v, want an error about it", text, err)
		}
	}
	for text, want := range map[string]string{"'~'": "~", "'#'": "#"} {
		in := minimalWith("{forwarded: {" + headers + ", groups_separator: " + text + "}}")
		c, err := Parse("config.yaml", in, testEnvironment)
		if err != nil {
			t.Errorf("groups_separator: %s: Parse = %v, want nil", text, err)
		} else if got := c.Viewers.Forwarded.GroupsSeparator; got != want {
			t.Errorf("groups_separator: %s: GroupsSeparator = %q, want %q", text, got, want)
		}
	}
}

// A token has true and false in lower case, so a claim could never have a value such as True.
func TestRequiredClaimsInCapitals(t *testing.T) {
	const at = "{jwt: {issuer: https://id.example.com, audience: a, required_claims: {x: "
	for text, valid := range map[string]bool{
		"true": true, "false": true, "'True'": true,
		"True": false, "FALSE": false,
	} {
		_, err := Parse("config.yaml", minimalWith(at+text+"}}}"), testEnvironment)
		named := err != nil && strings.Contains(err.Error(), "viewers.jwt.required_claims")
		if valid && err != nil || !valid && !named {
			t.Errorf("%s: Parse = %v, want valid: %v", text, err, valid)
		}
	}
}

// The name of a variable is not shown if the value may contain a secret because of a typo.
func TestRequiredClaimsHideVariables(t *testing.T) {
	const at = "{jwt: {issuer: https://id.example.com, audience: a, required_claims: {x: "
	in := minimalWith(at + "'lab,secret_access_key:${hunter2}'}}}")
	if _, err := Parse("config.yaml", in, testEnvironment); err == nil ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Parse = %v, want an error without the variable's name", err)
	}
}
