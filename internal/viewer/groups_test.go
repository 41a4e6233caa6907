package viewer

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

const (
	userHeader   = "X-Auth-Request-Email"
	groupsHeader = "X-Auth-Request-Groups"
)

// suspended adds rules that deny the group suspended and allow every other named viewer.
func suspended(c *config.Viewers) *config.Viewers {
	c.Rules = []config.Rule{
		{Groups: []string{"suspended"}, Locators: []string{"s3://*/*"}, Deny: true},
		{Known: true, Locators: []string{"s3://*/*"}},
	}
	return c
}

// A client can have the reverse proxy drop the groups header by naming it in Connection (RFC 9110,
// section 7.6.1). A request without the header is rejected, whether or not the rules name groups.
func TestMissingGroupsHeader(t *testing.T) {
	for name, c := range map[string]*config.Viewers{
		"groups in rules": suspended(forwarded()),
		"no rules":        forwarded(),
	} {
		g := newGate(t, c, nil)
		for _, header := range [][]string{
			{userHeader, "ann"},
			{userHeader, "ann", "Connection", groupsHeader},
			{userHeader, "ann", groupsHeader, "lab", groupsHeader, "admin"},
			{userHeader, "ann", groupsHeader, "lab", groupsHeader, "lab"},
		} {
			v, err := g.Identify(NewRequest(request("10.1.2.3:4", header...)), now)
			if !errors.Is(err, ErrUnknown) || v.ID != "" {
				t.Errorf("%s: Identify(%q) = %q, %v, want %v", name, header, v.ID, err, ErrUnknown)
			}
		}
	}
	// The request is rejected even if anonymous clients are served: its viewer must not count as
	// one without groups.
	c := suspended(forwarded())
	c.Anonymous = true
	g := newGate(t, c, nil)
	v, err := g.Identify(NewRequest(request("10.1.2.3:4", userHeader, "ann")), now)
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("with anonymous: Identify = %+v, %v, want %v", v, err, ErrUnknown)
	}
	// Without a user, the groups header may be missing.
	if v, err := g.Identify(NewRequest(request("10.1.2.3:4")), now); err != nil || v.ID != "" {
		t.Errorf("without a user: Identify = %+v, %v, want an anonymous viewer", v, err)
	}
	// The headers of other addresses are ignored.
	v, err = g.Identify(NewRequest(request("192.0.2.1:4", userHeader, "ann")), now)
	if err != nil || v.ID != "" {
		t.Errorf("from another address: Identify = %+v, %v, want an anonymous viewer", v, err)
	}
}

func TestGroupsHeader(t *testing.T) {
	ruled := newGate(t, suspended(forwarded()), nil)
	unruled := newGate(t, forwarded(), nil)
	for _, c := range []struct {
		value  string
		groups string // separated by spaces; "?" means unknown
	}{
		{"suspended", "suspended"},
		{"lab, suspended ,staff", "lab suspended staff"},
		{"lab,-", "lab"},
		{"", ""},
		{"-", ""},
		{" - ", ""},
		{" ", ""},
		{",", ""},
		{"lab suspended", "?"},
		{"lab,suspended staff", "?"},
		{"lab\tsuspended", "?"},
		{"lab\u00a0suspended", "?"},
		{`staff,"suspended"`, "staff suspended"},
		{`"staff" , " suspended "`, "staff suspended"},
		{`staff,"suspended`, "?"},
		{`staff,suspended"`, "?"},
		{`"staff,suspended"`, "?"},
		{`"staff" suspended`, "?"},
		{`"staff suspended"`, "?"},
		{`'suspended'`, "?"},
		{`staff,'suspended`, "?"},
		{"d'artagnan,suspended", "d'artagnan suspended"},
		{"staff%2Csuspended", "?"},
		{"(suspended)", "?"},
		{"lab,[suspended]", "?"},
		{"lab,{suspended}", "?"},
		{"lab,<suspended>", "?"},
		{"lab|suspended", "?"},
		{"suspended|", "?"},
		{"lab;suspended", "?"},
		{"lab, staff|suspended", "?"},
		{`["lab","suspended"]`, "?"},
		{`{"lab": "suspended"}`, "?"},
		{`"suspended"`, "suspended"},
		{`"`, "?"},
		{`""`, ""},
		{`"'suspended'"`, "?"},
		{"suspended\xe9", "?"},         // ISO 8859-1
		{"lab,suspend\ufffdd", "?"},    // a decoder's replacement for invalid text
		{"=?utf-8?q?suspended?=", "?"}, // RFC 2047
		{"lab,=?utf-8?b?c3VzcGVuZGVk?=", "?"},
	} {
		r := request("10.1.2.3:4", userHeader, "ann")
		r.Header[groupsHeader] = []string{c.value}
		v, err := ruled.Identify(NewRequest(r), now)
		unknown := c.groups == "?"
		if unknown != errors.Is(err, ErrUnknown) || !unknown && err != nil {
			t.Errorf("%q: Identify = %v, want unknown groups: %v", c.value, err, unknown)
		}
		for _, group := range []string{"suspended", "lab", "staff"} {
			want := err == nil && strings.Contains(" "+c.groups+" ", " "+group+" ")
			if got := v.in(setOf([]string{group})); got != want {
				t.Errorf("%q: in(%q) = %v, want %v", c.value, group, got, want)
			}
		}
		if c.groups == "" && v.in(setOf([]string{"-"})) {
			t.Errorf("%q: in(\"-\") = true, want false", c.value)
		}
		want := !strings.Contains(c.groups, "suspended")
		if got := ruled.Allow(&v, object(t, "s3://bucket/x")).Allowed; err == nil && got != want {
			t.Errorf("%q: Allow = %v, want %v", c.value, got, want)
		}
		// If no rule names groups, a list in another format is accepted.
		if v, err := unruled.Identify(NewRequest(r), now); err != nil || v.ID != "ann" {
			t.Errorf("%q, no rules with groups: Identify = %q, %v, want ann", c.value, v.ID, err)
		}
	}
}

// If a rule names a group with a space, spaces do not separate groups.
func TestGroupsHeaderWithSpaces(t *testing.T) {
	c := suspended(forwarded())
	c.Rules[0].Groups = append(c.Rules[0].Groups, "domain users")
	g := newGate(t, c, nil)
	for value, want := range map[string]bool{
		"lab staff":        true,
		"lab,domain users": false,
		"lab, suspended":   false,
	} {
		r := request("10.1.2.3:4", userHeader, "ann", groupsHeader, value)
		v, err := g.Identify(NewRequest(r), now)
		if err != nil {
			t.Errorf("%q: Identify = %v, want nil", value, err)
		}
		if got := g.Allow(&v, object(t, "s3://bucket/x")).Allowed; got != want {
			t.Errorf("%q: Allow = %v, want %v", value, got, want)
		}
	}
	for _, value := range []string{`lab "domain users"`, "domain%20users", "(domain users)"} {
		r := request("10.1.2.3:4", userHeader, "ann", groupsHeader, value)
		if _, err := g.Identify(NewRequest(r), now); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: Identify = %v, want %v", value, err, ErrUnknown)
		}
	}
}

// A proxy that writes "-" for a missing value names no user.
func TestUserHeaderWithDash(t *testing.T) {
	g := newGate(t, forwarded(), nil)
	v, err := g.Identify(NewRequest(request("10.1.2.3:4", userHeader, "-", groupsHeader, "-")), now)
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("Identify = %q, %v, want %v", v.ID, err, ErrUnknown)
	}
}

// If rules name groups, a token that does not state its viewer's groups is rejected.
func TestGroupsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type claim = map[string]any
		overage := claim{
			"groups":       nil,
			"_claim_names": claim{"groups": "src1"},
			"_claim_sources": claim{
				"src1": claim{"endpoint": "https://graph.example/getMemberObjects"},
			},
		}
		nested := claim{"realm_access": claim{"roles": []string{"suspended"}}}
		someNames := claim{"_claim_names": claim{"groups": "src1"}}
		for _, c := range []struct {
			name    string
			claim   string // groups_claim
			changes claim
			groups  string // separated by spaces; "?" means unknown
		}{
			{"a list", "groups", nil, "lab"},
			{
				"two",
				"groups",
				claim{"groups": []string{"lab", "suspended"}},
				"lab suspended",
			},
			{"an empty list", "groups", claim{"groups": []string{}}, ""},
			{"a string", "groups", claim{"groups": "suspended"}, "suspended"},
			{"an empty string", "groups", claim{"groups": ""}, ""},
			{
				"a name with a comma in a list",
				"groups",
				claim{"groups": []string{"cn=lab,ou=groups"}},
				"",
			},
			{
				"a distributed claim other than groups",
				"groups",
				claim{"_claim_names": claim{"address": "src1"}},
				"lab",
			},
			{"no overage", "groups", claim{"hasgroups": false}, "lab"},
			{
				"overage of another claim",
				"roles",
				claim{
					"roles":        []string{"lab"},
					"hasgroups":    true,
					"_claim_names": claim{"groups": "src1"},
				},
				"lab",
			},
			{
				"another claim",
				"cognito:groups",
				claim{"cognito:groups": []string{"suspended"}},
				"suspended",
			},
			{
				"a claim whose name has dots",
				"https://example.com/groups",
				claim{"https://example.com/groups": []string{"lab"}},
				"lab",
			},

			{"missing", "groups", claim{"groups": nil}, "?"},
			{"null", "groups", claim{"groups": json.RawMessage("null")}, "?"},
			{"a list with null", "groups", claim{"groups": json.RawMessage(`["lab", null]`)}, "?"},
			{"a list with a number", "groups", claim{"groups": json.RawMessage(`["lab", 1]`)}, "?"},
			{"an object", "groups", claim{"groups": claim{"suspended": true}}, "?"},
			{"a list of lists", "groups", claim{"groups": [][]string{{"suspended"}}}, "?"},
			{"a number", "groups", claim{"groups": 1}, "?"},
			{"false", "groups", claim{"groups": false}, "?"},
			{"a string with commas", "groups", claim{"groups": "lab,suspended"}, "?"},
			{"a string with bars", "groups", claim{"groups": "lab|suspended"}, "?"},
			{"a string with semicolons", "groups", claim{"groups": "lab;suspended"}, "?"},
			{"a string with spaces", "groups", claim{"groups": "lab suspended"}, "?"},
			{"a string with a tab", "groups", claim{"groups": "lab\tsuspended"}, "?"},
			{"a string with quotes", "groups", claim{"groups": `"suspended"`}, "?"},
			{"a string with JSON", "groups", claim{"groups": `["suspended"]`}, "?"},
			{"an encoded string", "groups", claim{"groups": "lab%2Csuspended"}, "?"},
			{"overage", "groups", overage, "?"},
			{"overage, and some groups", "groups", someNames, "?"},
			{"implicit flow overage", "groups", claim{"groups": nil, "hasgroups": true}, "?"},
			{"implicit flow overage, and some groups", "groups", claim{"hasgroups": true}, "?"},
			{"implicit flow overage as a string", "groups", claim{"hasgroups": "true"}, "?"},
			{"_claim_names is a string", "groups", claim{"_claim_names": "groups"}, "?"},
			{"a path to a nested claim", "realm_access.roles", nested, "suspended"},
			{
				"a claim with the name of a path", "realm_access.roles",
				claim{"realm_access.roles": "lab", "realm_access": nested["realm_access"]}, "lab",
			},
			{"an object with a nested claim", "realm_access", nested, "?"},
			{"a path to a missing claim", "realm_access.groups", nested, "?"},
			{"a path that starts nowhere", "resource_access.media.roles", nested, "?"},
			{"a path through a list", "realm_access.roles.x", nested, "?"},
			{"a path through a text", "email.x", nested, "?"},
			{"a path through null", "a.b", claim{"a": json.RawMessage("null")}, "?"},
			{"a path to null", "a.b", claim{"a": json.RawMessage(`{"b": null}`)}, "?"},
			{
				"overage of a path's first claim", "realm_access.roles",
				claim{
					"realm_access": nested["realm_access"],
					"_claim_names": claim{"realm_access": "src1"},
				}, "?",
			},
			{
				"a list with invalid text", "groups",
				claim{"groups": json.RawMessage(`["lab", "suspend\ud800ed"]`)}, "?",
			},
			{
				"a string with invalid text", "groups",
				claim{"groups": json.RawMessage(`"suspend\ud800ed"`)}, "?",
			},
			{
				"a path through an object with a name twice", "a.b",
				claim{"a": json.RawMessage(`{"b": ["suspended"], "b": []}`)}, "?",
			},
			{
				"_claim_names with a name twice", "groups",
				claim{"_claim_names": json.RawMessage(`{"x": "src1", "x": "src2"}`)}, "?",
			},
			{"in capitals", "groups", claim{"groups": nil, "Groups": []string{"lab"}}, "?"},
		} {
			viewers := jwtViewers()
			viewers.JWT[0].GroupsClaim = c.claim
			unruled := *viewers
			token := sign(t, rs256(nil), claims(c.changes), testRSA)
			ruled := newGate(t, suspended(viewers), newProvider())
			for from, r := range map[string]*http.Request{
				"header": withToken(token),
				"cookie": request("192.0.2.1:1", "Cookie", "session="+token),
			} {
				for range 2 { // the second time, a valid token comes from the cache
					v, err := ruled.Identify(NewRequest(r), time.Now())
					unknown := c.groups == "?"
					if unknown != errors.Is(err, ErrUnknown) || !unknown && err != nil {
						t.Errorf("%s in the %s: Identify = %q, %v, want unknown groups: %v",
							c.name, from, v.ID, err, unknown)
					}
					if err != nil {
						continue
					}
					for _, group := range []string{"lab", "suspended", "cn=lab"} {
						want := strings.Contains(" "+c.groups+" ", " "+group+" ")
						if got := v.in(setOf([]string{group})); got != want {
							t.Errorf("%s: in(%q) = %v, want %v", c.name, group, got, want)
						}
					}
				}
			}
			// If no rule names groups, the claim does not matter.
			v, err := newGate(t, &unruled, newProvider()).Identify(NewRequest(withToken(token)), time.Now())
			if err != nil || v.ID != "ann@example.com" {
				t.Errorf("%s, no rules with groups: Identify = %q, %v, want ann@example.com",
					c.name, v.ID, err)
			}
		}
	})
}

// Users with passwords and anonymous clients are known to be in no group, so they are accepted.
func TestViewersWithoutGroups(t *testing.T) {
	c := suspended(basicViewers(htpasswdOf(t, "ann")))
	c.Anonymous = true
	g := newGate(t, c, nil)
	if v, err := g.Identify(NewRequest(request("192.0.2.1:1")), now); err != nil || v.ID != "" {
		t.Errorf("anonymous: Identify = %q, %v, want an anonymous viewer", v.ID, err)
	}
	v, err := g.Identify(NewRequest(withPassword("192.0.2.1:1", "ann", "ann")), now)
	if err != nil || v.ID != "ann" {
		t.Errorf("with a password: Identify = %q, %v, want ann", v.ID, err)
	}
	if got := g.Allow(&v, object(t, "s3://bucket/x")).Allowed; !got {
		t.Error("with a password: Allow = false, want true")
	}
}
