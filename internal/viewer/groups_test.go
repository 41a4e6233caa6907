package viewer

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
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

// suspended denies a group and allows everyone else.
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
	for name, c := range map[string]*config.Viewers{"groups in rules": suspended(forwarded()), "no rules": forwarded()} {
		g := newGate(t, c, nil)
		for _, header := range [][]string{
			{userHeader, "ann"},
			{userHeader, "ann", "Connection", groupsHeader},
			{userHeader, "ann", groupsHeader, "lab", groupsHeader, "admin"},
			{userHeader, "ann", groupsHeader, "lab", groupsHeader, "lab"},
		} {
			if v, err := g.Identify(request("10.1.2.3:4", header...), now); !errors.Is(err, ErrUnknown) || v.ID != "" {
				t.Errorf("%s: Identify(%q) = %q, %v, want %v", name, header, v.ID, err, ErrUnknown)
			}
		}
	}
	// The request is rejected even if anonymous clients are served: it must not count as one
	// without groups.
	c := suspended(forwarded())
	c.Anonymous = true
	g := newGate(t, c, nil)
	if v, err := g.Identify(request("10.1.2.3:4", userHeader, "ann"), now); !errors.Is(err, ErrUnknown) {
		t.Errorf("with anonymous: Identify = %+v, %v, want %v", v, err, ErrUnknown)
	}
	// Without a user the header says nothing.
	if v, err := g.Identify(request("10.1.2.3:4"), now); err != nil || v.ID != "" {
		t.Errorf("without a user: Identify = %+v, %v, want an anonymous viewer", v, err)
	}
	// From another address neither header is believed.
	if v, err := g.Identify(request("192.0.2.1:4", userHeader, "ann"), now); err != nil || v.ID != "" {
		t.Errorf("from elsewhere: Identify = %+v, %v, want an anonymous viewer", v, err)
	}
}

func TestGroupsHeader(t *testing.T) {
	ruled, unruled := newGate(t, suspended(forwarded()), nil), newGate(t, forwarded(), nil)
	for _, c := range []struct {
		value  string
		groups string // of those below; "?" is unknown
	}{
		{"suspended", "suspended"},
		{"lab, suspended ,staff", "lab suspended staff"},
		{"lab,-", "lab"},
		{"", ""},
		{"-", ""},
		{" - ", ""},
		{" ", ""},
		{",", ""},
		{"lab staff", ""}, // one group, whose name has a space
		{"lab|suspended", "?"},
		{"suspended|", "?"},
		{"lab;suspended", "?"},
		{"lab, staff|suspended", "?"},
		{`["lab","suspended"]`, "?"},
		{`{"lab": "suspended"}`, "?"},
		{`"suspended"`, "?"},
	} {
		r := request("10.1.2.3:4", userHeader, "ann")
		r.Header[groupsHeader] = []string{c.value}
		v, err := ruled.Identify(r, now)
		if unknown := c.groups == "?"; unknown != errors.Is(err, ErrUnknown) || !unknown && err != nil {
			t.Errorf("%q: %v, want unknown groups: %v", c.value, err, unknown)
		}
		for _, group := range []string{"suspended", "lab", "staff"} {
			want := err == nil && strings.Contains(" "+c.groups+" ", " "+group+" ")
			if got := v.in(setOf([]string{group})); got != want {
				t.Errorf("%q: in %q: %v, want %v", c.value, group, got, want)
			}
		}
		if c.groups == "" && v.in(setOf([]string{"-"})) {
			t.Errorf("%q: in a group of that name, want none", c.value)
		}
		want := !strings.Contains(c.groups, "suspended")
		if got := ruled.Allow(&v, object(t, "s3://bucket/x")).Allowed; err == nil && got != want {
			t.Errorf("%q: allowed = %v, want %v", c.value, got, want)
		}
		// Where no rule names groups, those that cannot be read take nothing away.
		if v, err := unruled.Identify(r, now); err != nil || v.ID != "ann" {
			t.Errorf("%q, no rule names groups: Identify = %q, %v, want ann", c.value, v.ID, err)
		}
	}
}

// A proxy that writes "-" for what is missing names no user by it.
func TestNoUser(t *testing.T) {
	g := newGate(t, forwarded(), nil)
	v, err := g.Identify(request("10.1.2.3:4", userHeader, "-", groupsHeader, "-"), now)
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("Identify = %q, %v, want %v", v.ID, err, ErrUnknown)
	}
}

// If rules name groups, a token that does not say which groups its viewer is in is rejected.
func TestGroupsOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		overage := map[string]any{"groups": nil, "_claim_names": map[string]string{"groups": "src1"},
			"_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/getMemberObjects"}}}
		for _, c := range []struct {
			what    string
			claim   string // configured
			changes map[string]any
			groups  string // "?" is unknown
		}{
			{"a list", "groups", nil, "lab"},
			{"two", "groups", map[string]any{"groups": []string{"lab", "suspended"}}, "lab suspended"},
			{"an empty list", "groups", map[string]any{"groups": []string{}}, ""},
			{"a text", "groups", map[string]any{"groups": "suspended"}, "suspended"},
			{"an empty text", "groups", map[string]any{"groups": ""}, ""},
			{"a name with a comma in a list", "groups", map[string]any{"groups": []string{"cn=lab,ou=groups"}}, ""},
			{"no distributed claim for groups", "groups",
				map[string]any{"_claim_names": map[string]string{"address": "src1"}}, "lab"},
			{"no overage", "groups", map[string]any{"hasgroups": false}, "lab"},
			{"overage of another claim", "roles", map[string]any{"roles": []string{"lab"}, "hasgroups": true,
				"_claim_names": map[string]string{"groups": "src1"}}, "lab"},
			{"another claim", "cognito:groups", map[string]any{"cognito:groups": []string{"suspended"}}, "suspended"},
			{"a name with dots", "https://example.com/groups",
				map[string]any{"https://example.com/groups": []string{"lab"}}, "lab"},

			{"missing", "groups", map[string]any{"groups": nil}, "?"},
			{"null", "groups", map[string]any{"groups": json.RawMessage("null")}, "?"},
			{"a list with null", "groups", map[string]any{"groups": json.RawMessage(`["lab", null]`)}, "?"},
			{"a list with a number", "groups", map[string]any{"groups": json.RawMessage(`["lab", 1]`)}, "?"},
			{"an object", "groups", map[string]any{"groups": map[string]bool{"suspended": true}}, "?"},
			{"a list of lists", "groups", map[string]any{"groups": [][]string{{"suspended"}}}, "?"},
			{"a number", "groups", map[string]any{"groups": 1}, "?"},
			{"false", "groups", map[string]any{"groups": false}, "?"},
			{"a text with commas", "groups", map[string]any{"groups": "lab,suspended"}, "?"},
			{"a text with bars", "groups", map[string]any{"groups": "lab|suspended"}, "?"},
			{"a text with semicolons", "groups", map[string]any{"groups": "lab;suspended"}, "?"},
			{"a text with spaces", "groups", map[string]any{"groups": "lab suspended"}, "?"},
			{"overage", "groups", overage, "?"},
			{"overage, and some groups", "groups",
				map[string]any{"_claim_names": map[string]string{"groups": "src1"}}, "?"},
			{"overage of the implicit flow", "groups", map[string]any{"groups": nil, "hasgroups": true}, "?"},
			{"overage of the implicit flow, and some groups", "groups", map[string]any{"hasgroups": true}, "?"},
			{"overage as a text", "groups", map[string]any{"hasgroups": "true"}, "?"},
			{"names of claims that cannot be read", "groups", map[string]any{"_claim_names": "groups"}, "?"},
			{"nested", "realm_access.roles",
				map[string]any{"realm_access": map[string]any{"roles": []string{"suspended"}}}, "?"},
			{"nested, beside groups", "realm_access",
				map[string]any{"realm_access": map[string]any{"roles": []string{"suspended"}}}, "?"},
			{"in capitals", "groups", map[string]any{"groups": nil, "Groups": []string{"lab"}}, "?"},
		} {
			viewers := jwtViewers()
			viewers.JWT.GroupsClaim = c.claim
			unruled := *viewers
			token := sign(t, rs256(nil), claims(c.changes), testRSA)
			ruled := newGate(t, suspended(viewers), newProvider())
			for from, r := range map[string]*http.Request{
				"header": request("192.0.2.1:1", "Authorization", "Bearer "+token),
				"cookie": request("192.0.2.1:1", "Cookie", "session="+token),
			} {
				for range 2 { // the second time a good token comes from the cache
					v, err := ruled.Identify(r, time.Now())
					if unknown := c.groups == "?"; unknown != errors.Is(err, ErrUnknown) || !unknown && err != nil {
						t.Errorf("%s in the %s: %q, %v, want unknown groups: %v", c.what, from, v.ID, err, unknown)
					}
					if err != nil {
						continue
					}
					for _, group := range []string{"lab", "suspended", "cn=lab"} {
						want := strings.Contains(" "+c.groups+" ", " "+group+" ")
						if got := v.in(setOf([]string{group})); got != want {
							t.Errorf("%s: in %q: %v, want %v", c.what, group, got, want)
						}
					}
				}
			}
			// Where no rule names groups, nothing depends on them.
			r := request("192.0.2.1:1", "Authorization", "Bearer "+token)
			if v, err := newGate(t, &unruled, newProvider()).Identify(r, time.Now()); err != nil || v.ID != "ann@example.com" {
				t.Errorf("%s, no rule names groups: Identify = %q, %v, want ann@example.com", c.what, v.ID, err)
			}
		}
	})
}

// Passwords and anonymous clients have no groups; that is known, and rejects nobody.
func TestViewersWithoutGroups(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:"+bcryptOf(t, "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, suspended(&config.Viewers{Anonymous: true, Basic: &config.Basic{HtpasswdFile: file}}), nil)
	if v, err := g.Identify(request("192.0.2.1:1"), now); err != nil || v.ID != "" {
		t.Errorf("anonymous: Identify = %q, %v", v.ID, err)
	}
	v, err := g.Identify(request("192.0.2.1:1", "Authorization", basic("ann", "secret")), now)
	if err != nil || v.ID != "ann" || !g.Allow(&v, object(t, "s3://bucket/x")).Allowed {
		t.Errorf("with a password: Identify = %q, %v, want ann, who may read", v.ID, err)
	}
}
