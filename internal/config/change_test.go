package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const layouts = `listen: 127.0.0.1:8080 # ours
viewers: {anonymous: true}
admin: {token: 0123456789abcdef0123456789abcdef}
integrations:
  # The first.
  - name: lines # its name
    # Why this bucket.
    bucket: photos   # the bucket
    role_arn: 'arn:aws:iam::123456789012:role/r'
    external_id: "a-b@c" # made by us
    region: eu-central-1
    # Further down.

  # The second, of keys.
  - bucket: scans
    name: "keys"
    endpoint: https://store.example.com
    access_key_id: ${KEY}
    secret_access_key: written-out

  - name: several
    permitted_buckets:
      - team-one  # the first team
      # the others
      - team-*
    role_arn: arn:aws:iam::123456789012:role/r
    url_lifetime: ${LIFETIME}
    region: auto	# tabbed
log:
  level: info # enough
`

func layoutsEnv(name string) (string, bool) {
	value, ok := map[string]string{"KEY": "AKIA", "LIFETIME": "40m"}[name]
	return value, ok
}

// A change touches the lines that it is about, and no other.
func TestChange(t *testing.T) {
	for name, c := range map[string]struct {
		integration string
		changes     Draft
		old, with   string // what is replaced by what
	}{
		"a text with a comment":      {"lines", Draft{"bucket": "pictures"}, "bucket: photos   # the bucket", "bucket: pictures   # the bucket"},
		"a quoted one":               {"lines", Draft{"external_id": "2026-b"}, `"a-b@c" # made`, `2026-b # made`},
		"a comment after a tab":      {"several", Draft{"region": "us-east-1"}, "region: auto\t# tabbed", "region: us-east-1\t# tabbed"},
		"a name":                     {"lines", Draft{"name": "true"}, "name: lines # its name", `name: "true" # its name`},
		"a new key":                  {"lines", Draft{"file_versioning": "true"}, "    region: eu-central-1\n", "    region: eu-central-1\n    file_versioning: true\n"},
		"a key less":                 {"lines", Draft{"external_id": ""}, "    external_id: \"a-b@c\" # made by us\n", ""},
		"one bucket to several":      {"lines", Draft{"bucket": "", "permitted_buckets": "photos  lab*"}, "    bucket: photos   # the bucket\n    role_arn: 'arn:aws:iam::123456789012:role/r'\n    external_id: \"a-b@c\" # made by us\n    region: eu-central-1\n", "    role_arn: 'arn:aws:iam::123456789012:role/r'\n    external_id: \"a-b@c\" # made by us\n    region: eu-central-1\n    permitted_buckets: [photos, lab*]\n"},
		"the key after the dash":     {"keys", Draft{"bucket": "", "permitted_buckets": "scans"}, "  - bucket: scans\n    name: \"keys\"\n    endpoint: https://store.example.com\n    access_key_id: ${KEY}\n    secret_access_key: written-out\n", "  - name: \"keys\"\n    endpoint: https://store.example.com\n    access_key_id: ${KEY}\n    secret_access_key: written-out\n    permitted_buckets: [scans]\n"},
		"a variable":                 {"keys", Draft{"access_key_id": "$${KEY}"}, "access_key_id: ${KEY}", "access_key_id: $${KEY}"},
		"a secret that nobody sees":  {"keys", Draft{"secret_access_key": "${KEY}"}, "secret_access_key: written-out", "secret_access_key: ${KEY}"},
		"an item more and one less":  {"several", Draft{"permitted_buckets": "team-* lab-*"}, "      - team-one  # the first team\n      # the others\n      - team-*\n", "      # the others\n      - team-*\n      - lab-*\n"},
		"nothing":                    {"lines", Draft{"bucket": "photos", "session_name": ""}, "", ""},
		"a duration from a variable": {"several", Draft{"url_lifetime": "41m"}, "url_lifetime: ${LIFETIME}", "url_lifetime: 41m"},
	} {
		for _, end := range []string{"\n", "\r\n"} {
			crlf := func(s string) string { return strings.ReplaceAll(s, "\n", end) }
			got, err := Change("config.yaml", []byte(crlf(layouts)), c.integration, c.changes, layoutsEnv)
			if want := crlf(strings.Replace(layouts, c.old, c.with, 1)); err != nil || string(got) != want {
				t.Errorf("%s: %v\n%s", name, err, got)
			}
		}
	}
}

// Where the lines are not of a form that is known, comments and order stay all the same, or nothing is changed.
func TestChangeOfOtherLayouts(t *testing.T) {
	const flow = "listen: :8080 # ours\nviewers: {anonymous: true}\nintegrations: # here\n  - {name: lab, bucket: photos, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}\n  - name: two\n    bucket: >-\n      lab-two\n    region: auto\n    access_key_id: AKIA\n    secret_access_key: s\n"
	for name, c := range map[string]struct {
		text, integration string
		changes           Draft
		has               []string
	}{
		"braces":          {flow, "lab", Draft{"bucket": "pictures"}, []string{"{name: lab, bucket: pictures, region", "# ours", "# here"}},
		"a folded text":   {flow, "two", Draft{"bucket": "pictures"}, []string{"bucket: pictures\n", "# ours", "# here"}},
		"a list's order":  {layouts, "several", Draft{"permitted_buckets": "team-* team-one"}, []string{layouts}},
		"a key in braces": {flow, "lab", Draft{"file_versioning": "true", "region": ""}, nil},
	} {
		got, err := Change("config.yaml", []byte(c.text), c.integration, c.changes, layoutsEnv)
		if c.has == nil {
			if err == nil {
				t.Errorf("%s: %s", name, got)
			}
			continue
		}
		for _, part := range c.has {
			if err != nil || !strings.Contains(string(got), part) {
				t.Errorf("%s: without %q: %v\n%s", name, part, err, got)
			}
		}
	}
	const comments = "listen: :8080\nviewers: {anonymous: true}\nintegrations: [ # a\n  {name: lab, bucket: photos, # b\n  region: eu-central-1, access_key_id: AKIA, secret_access_key: s}]\n"
	if got, err := Change("config.yaml", []byte(comments), "lab", Draft{"bucket": "pictures"}, noEnv); err == nil || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("comments in brackets: %v\n%s", err, got)
	}
}

func TestChangeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		integration string
		changes     Draft
		says        string
	}{
		"another's bucket":  {"lines", Draft{"bucket": "scans"}, "is a bucket of integration"},
		"another's name":    {"lines", Draft{"name": "keys"}, "name of the integration on line"},
		"no such key":       {"lines", Draft{"buckets": "a"}, "there is no such key"},
		"no bucket":         {"lines", Draft{"bucket": ""}, "a bucket is needed"},
		"no bucket's name":  {"lines", Draft{"bucket": "No Bucket"}, "bucket"},
		"a line's end":      {"lines", Draft{"external_id": "a\nname: b"}, "external_id"},
		"gone meanwhile":    {"other", Draft{}, "there is no integration other any more"},
		"an unset variable": {"lines", Draft{"external_id": "${UNSET}"}, "UNSET is not set"},
	} {
		if got, err := Change("config.yaml", []byte(layouts), c.integration, c.changes, layoutsEnv); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

// An integration goes with its comments, and all else stays.
func TestRemove(t *testing.T) {
	first, second, third := strings.Index(layouts, "  # The first"), strings.Index(layouts, "  # The second"), strings.Index(layouts, "\n  - name: several")
	log := strings.Index(layouts, "log:")
	for integration, want := range map[string]string{
		"lines":   layouts[:first] + layouts[second:],
		"keys":    layouts[:second-1] + layouts[third:],
		"several": layouts[:third+1] + layouts[log:],
	} {
		got, err := Remove("config.yaml", []byte(layouts), integration, layoutsEnv)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s", integration, err, got)
		}
	}
	text := []byte(layouts)
	for _, integration := range []string{"keys", "several", "lines"} {
		var err error
		if text, err = Remove("config.yaml", text, integration, layoutsEnv); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := Parse("config.yaml", text, layoutsEnv); err != nil || len(c.Integrations) != 0 || len(c.Warnings) != 1 {
		t.Errorf("%v: %+v\n%s", err, c, text)
	}
	if text, err := Append("config.yaml", text, lab(), layoutsEnv); err != nil || !strings.Contains(string(text), "- name: lab\n") {
		t.Errorf("nothing can be added to an empty list: %v\n%s", err, text)
	}
	const last = "listen: :1\nviewers: {anonymous: true}\nintegrations:\n  - {name: lab, bucket: photos, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}\n"
	if got, err := Remove("config.yaml", []byte(last), "lab", noEnv); err == nil || !strings.Contains(err.Error(), "at least one integration") {
		t.Errorf("the last one, without a console: %v\n%s", err, got)
	}
	const flow = "listen: :1 # ours\nviewers: {anonymous: true}\nintegrations: [{name: a, bucket: photos, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}, {name: b, bucket: scans, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}]\n"
	if got, err := Remove("config.yaml", []byte(flow), "a", noEnv); err != nil || strings.Contains(string(got), "photos") || !strings.Contains(string(got), "# ours") {
		t.Errorf("in brackets: %v\n%s", err, got)
	}
}

// A draft is what the file says, and never a secret.
func TestDraftOf(t *testing.T) {
	for integration, want := range map[string]Draft{
		"keys":    {"bucket": "scans", "name": "keys", "endpoint": "https://store.example.com", "access_key_id": "${KEY}"},
		"several": {"name": "several", "permitted_buckets": "team-one team-*", "role_arn": "arn:aws:iam::123456789012:role/r", "url_lifetime": "${LIFETIME}", "region": "auto"},
	} {
		if got, err := DraftOf("config.yaml", []byte(layouts), integration, layoutsEnv); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v %v", integration, err, got)
		}
	}
	i, err := Draft{"name": "a", "permitted_buckets": " b  c ", "session_policy": "false", "url_lifetime": "30m", "region": ""}.Integration()
	if err != nil || i.Name != "a" || strings.Join(i.PermittedBuckets, ",") != "b,c" || i.SessionPolicy || Short(i.URLLifetime) != "30m" {
		t.Errorf("%v: %+v", err, i)
	}
	if _, err := (Draft{"name": "a", "url_lifetime": "soon", "path_style": "perhaps", "nothing": "x"}).Integration(); err == nil ||
		!strings.Contains(err.Error(), "url_lifetime: this is no duration") || !strings.Contains(err.Error(), "path_style: this is neither") || !strings.Contains(err.Error(), "nothing: there is no such key") {
		t.Error(err)
	}
}

// Whatever is put into whichever key: the new text is refused, or it says that and nothing else is different.
func FuzzChange(f *testing.F) {
	example, err := os.ReadFile("../../config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(layouts), "bucket", "pictures")
	f.Add([]byte(layouts), "external_id", "a # b: 'c\n- d")
	f.Add(example, "permitted_buckets", "photos x-* y")
	f.Add([]byte("listen: :1\nviewers: {anonymous: true}\nintegrations: [{name: lab, bucket: photos, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}]"), "region", "")
	env := func(name string) (string, bool) {
		if value, ok := layoutsEnv(name); ok {
			return value, true
		}
		return "value", true
	}
	f.Fuzz(func(t *testing.T, text []byte, key, value string) {
		before, err := Parse("x", text, env)
		if err != nil || len(before.Integrations) == 0 {
			return
		}
		name := before.Integrations[0].Name
		changed, err := Change("x", text, name, Draft{key: value}, env)
		if err == nil {
			after, err := Parse("x", changed, env)
			if err != nil {
				t.Fatal(err)
			}
			if draftAt(changed, 0)[key] != (Draft{key: value}).plain()[key] {
				t.Errorf("%q: %q became %q", key, value, draftAt(changed, 0)[key])
			}
			after.Integrations[0] = before.Integrations[0]
			if !same(before, after) {
				t.Errorf("more was changed:\n%s", changed)
			}
		}
		if removed, err := Remove("x", text, name, env); err == nil {
			if after, err := Parse("x", removed, env); err != nil || len(after.Integrations) != len(before.Integrations)-1 {
				t.Errorf("%v\n%s", err, removed)
			}
		}
	})
}

// Whoever sees a file's text sees no secret that is written out in it, however it is written.
func TestMasked(t *testing.T) {
	const text = `listen: 127.0.0.1:8080 # seen-1
admin: {token: canary-1, hosts: [seen-2]}
viewers:
  links: {keys: [{id: k1, secret: "canary-2"}, {id: k2, secret: 'canary''3'}]} # canary-comment
integrations:
  - name: keys
    bucket: scans # seen-3
    access_key_id: seen-4
    secret_access_key: |
      canary-4
      canary-5
    # between
    region: eu-central-1 # seen-5
  - name: two
    secret_access_key: "canary-6
      canary-7"
    bucket: seen-6
  - {name: three, secret_access_key: "${SEEN_7}", bucket: seen-8}
  - {name: five, secret_access_key: "canary-11 \" canary", bucket: seen-12, region: 'seen-13'} # canary-12
  - {name: six, secret_access_key: "canary-13
      canary-14", bucket: seen-14}
  - name: four
    secret_access_key: ${A}canary-8
cache:
  redis:
    url: redis://user:canary-9@localhost
    encryption_key: ${SEEN_9}
    old_encryption_keys:
      - canary-10 # seen-no-more
      - ${SEEN_10}
log: {level: info} # seen-11
`
	got := string(Masked([]byte(text)))
	if i := strings.Index(got, "canary"); i >= 0 {
		t.Errorf("a secret shows: %s", got[i:])
	}
	for _, seen := range []string{"seen-1", "seen-3", "seen-4", "seen-5", "seen-6", "SEEN_7", "seen-8", "SEEN_9", "SEEN_10", "seen-11", "bucket: seen-12, region: 'seen-13'}", "bucket: seen-14}", "token: [redacted], hosts: [seen-2]}", "token: [redacted]", "url: [redacted]"} {
		if !strings.Contains(got, seen) {
			t.Errorf("%s does not show:\n%s", seen, got)
		}
	}
	for _, odd := range []string{"\r", "\u0085", "\u2028", "\u2029"} {
		text := "listen: :1 # a" + odd + "# b\nadmin: {token: canary}\n"
		if got := string(Masked([]byte(text))); strings.Contains(got, "canary") {
			t.Errorf("%q: %s", odd, got)
		}
		if _, err := Parse("x", []byte(text), noEnv); err == nil || !strings.Contains(err.Error(), "x:1: this line holds a character") {
			t.Errorf("%q: %v", odd, err)
		}
	}
	if got := string(Masked([]byte("secret: [canary"))); strings.Contains(got, "canary") {
		t.Error(got)
	}
}

// Of many who save at once for the same text one does, and all others are told.
func TestSaveAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var saved atomic.Int64
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() {
				switch err := Save(t.Context(), path, old, fmt.Appendf(nil, "round %d, writer %d", round, n)); {
				case err == nil:
					saved.Add(1)
				case !errors.Is(err, ErrChanged):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if saved.Load() != 1 {
			t.Fatalf("%d saved", saved.Load())
		}
	}
}
