package viewer

import (
	"math/rand/v2"
	"strings"
	"testing"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// rulesOf returns the given rules.
func rulesOf(rules ...config.Rule) *Rules { return NewRules(rules) }

// denied returns a deny rule for all named viewers.
func denied(locators ...string) config.Rule {
	return config.Rule{Known: true, Locators: locators, Deny: true}
}

// allowed returns an allow rule for all named viewers.
func allowed(locators ...string) config.Rule {
	return config.Rule{Known: true, Locators: locators}
}

// Some stores serve one object under several keys. A deny rule applies to all of them.
func TestDenyRulesMatchAnySlashes(t *testing.T) {
	rules := rulesOf(
		denied("s3://bucket/secret/*", "s3://bucket/one", "s3://bucket/folder/",
			"s3://bucket/part-*", "s3://team-*/a//b/*", `s3://bucket/c\d/*`),
		allowed("s3://*/*"),
	)
	for _, c := range []struct {
		locator string
		want    bool
	}{
		{"s3://bucket/secret/x", false},
		{"s3://bucket//secret/x", false},
		{"s3://bucket///secret/x", false},
		{"s3://bucket/secret//x", false},
		{"s3://bucket//secret///x//y", false},
		{"s3://bucket/secret/", false},
		{"s3://bucket/secret//", false},
		{"s3://bucket//secret/", false},
		{`s3://bucket/secret\x`, false},
		{`s3://bucket/\secret/x`, false},
		{`s3://bucket/\/secret\/\x`, false},
		{"s3://bucket//one", false},
		{`s3://bucket/\one`, false},
		{"s3://bucket/one/two", false},
		{`s3://bucket//one\two`, false},
		{"s3://bucket/one/", false},
		{"s3://bucket/one__XLDIR__", false},
		{"s3://bucket//folder//", false},
		{`s3://bucket/folder\`, false},
		{"s3://bucket//part-2/x", false},
		{"s3://bucket/secret__XLDIR__", false},
		{"s3://bucket//secret__XLDIR__", false},
		{"s3://bucket/folder__XLDIR__", false},
		{"s3://bucket/part-__XLDIR__", false},
		{"s3://team-a/a//b/x", false},
		{"s3://team-a/a/b/x", false},
		{"s3://team-a/a///b/x", false},
		{`s3://bucket/c\d/x`, false},
		{"s3://bucket/c/d/x", false},

		{"s3://bucket/secret", true},
		{"s3://bucket/secrets/x", true},
		{"s3://bucket/a/secret/x", true},
		{"s3://bucket/a//secret/x", true},
		{"s3://bucket/ones/two", true},
		{"s3://bucket/one.zip/two", true},
		{"s3://bucket/folder/x", true},
		{"s3://bucket/folder", true},
		{"s3://bucket/par/t-2", true},
		{"s3://bucket//", true},
		{"s3://other//secret/x", true},
		{"s3://team-a/ab/x", true},
	} {
		v := As("ann")
		l := object(t, c.locator)
		if got := rules.Decide(&v, l).Allowed; got != c.want {
			t.Errorf("Decide(%s) = %v, want %v", c.locator, got, c.want)
		}
		if got := rules.AllowTarget(&v, Target{Locator: l}); got != c.want {
			t.Errorf("AllowTarget(%s) = %v, want %v", c.locator, got, c.want)
		}
	}
}

// MinIO serves the members of an archive under the archive's key and a slash. A deny rule for the
// archive denies its members, to links of folders too. An allow rule does not allow them.
func TestDenyRulesIncludeArchiveMembers(t *testing.T) {
	denying := rulesOf(
		denied("s3://scans/x.zip", "s3://scans/mail/{user}.zip"),
		allowed("s3://scans/*"),
	)
	allowing := rulesOf(allowed("s3://scans/x.zip"))
	for _, c := range []struct {
		rules  *Rules
		target string
		want   bool
	}{
		{denying, "s3://scans/x.zip", false},
		{denying, "s3://scans/x.zip/inner.txt", false},
		{denying, `s3://scans//x.zip\a//inner.txt`, false},
		{denying, "s3://scans/x.zip/*", false},
		{denying, "s3://scans//x.zip//a/*", false},
		{denying, "s3://scans/mail/ann.zip/inner.txt", false},
		{denying, "s3://scans/mail/ann.zip/*", false},
		{denying, "s3://scans/mail/bob.zip/inner.txt", true},
		{denying, "s3://scans/mail/bob.zip/*", true},
		{denying, "s3://scans/x.zip2/inner.txt", true},
		{denying, "s3://scans/x.zip2/*", true},
		{denying, "s3://scans/a/x.zip/inner.txt", true},
		{allowing, "s3://scans/x.zip", true},
		{allowing, "s3://scans/x.zip/inner.txt", false},
		{allowing, "s3://scans/x.zip/*", false},
	} {
		target, err := ParseTarget(c.target)
		if err != nil {
			t.Fatal(err)
		}
		v := As("ann")
		if got := c.rules.AllowTarget(&v, target); got != c.want {
			t.Errorf("AllowTarget(%s) = %v, want %v", c.target, got, c.want)
		}
		if target.Prefix {
			continue
		}
		if got := c.rules.Decide(&v, target.Locator).Allowed; got != c.want {
			t.Errorf("Decide(%s) = %v, want %v", c.target, got, c.want)
		}
	}
}

// A deny rule for keys with a leading slash applies to the whole bucket, since some stores drop the
// slash.
func TestDenyRuleForLeadingSlash(t *testing.T) {
	rules := rulesOf(denied("s3://bucket//*"), allowed("s3://bucket/*"))
	v := As("ann")
	for _, text := range []string{"s3://bucket//x", "s3://bucket/x"} {
		if got := rules.Decide(&v, object(t, text)).Allowed; got {
			t.Errorf("Decide(%s) = %v, want false", text, got)
		}
	}
}

// An allow rule compares the key as the client sent it, byte by byte.
func TestAllowRulesAreExact(t *testing.T) {
	rules := rulesOf(allowed("s3://bucket/public/*", "s3://bucket//rooted/*", "s3://bucket/a//b",
		"s3://bucket/users/{user}/*", "s3://bucket/dir/"))
	for text, want := range map[string]bool{
		"s3://bucket/public/x":     true,
		"s3://bucket/public//x":    true,
		"s3://bucket//rooted/x":    true,
		"s3://bucket/a//b":         true,
		"s3://bucket/users/ann//x": true,

		"s3://bucket//public/x":    false,
		"s3://bucket/rooted/x":     false,
		"s3://bucket/a/b":          false,
		"s3://bucket/a///b":        false,
		`s3://bucket/public\x`:     false,
		"s3://bucket//users/ann/x": false,
		"s3://bucket/users//ann/x": false,
		"s3://bucket/dir__XLDIR__": false,
	} {
		v := As("ann")
		if got := rules.Decide(&v, object(t, text)).Allowed; got != want {
			t.Errorf("Decide(%s) = %v, want %v", text, got, want)
		}
	}
}

// A link to a folder is not allowed if any spelling of a key in the folder is denied.
// Buckets whose names differ in case are different buckets.
func TestRulesCompareBucketsExactly(t *testing.T) {
	rules := rulesOf(
		denied("s3://Secret/*", "s3://Team_*/*"),
		allowed("s3://Photos/*", "s3://secret/*", "s3://team_*/*"),
	)
	for text, want := range map[string]bool{
		"s3://Photos/x": true, "s3://photos/x": false, "s3://PHOTOS/x": false,
		"s3://Secret/x": false, "s3://secret/x": true, "s3://SECRET/x": false,
		"s3://Team_a/x": false, "s3://team_a/x": true, "s3://team_A/x": true,
	} {
		l, err := locator.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := rules.Decide(&Viewer{ID: "ann"}, l).Allowed; got != want {
			t.Errorf("Decide(%s) = %v, want %v", text, got, want)
		}
	}
}

func TestDenyRulesForFolderLinks(t *testing.T) {
	rules := rulesOf(
		denied("s3://bucket/secret/*", "s3://bucket/a//b/c", "s3://bucket/users/{user}/diary"),
		allowed("s3://bucket/*"),
	)
	for _, c := range []struct {
		name, target string
		want         bool
	}{
		{"ann", "s3://bucket/*", false},
		{"ann", "s3://bucket//*", false},
		{"ann", "s3://bucket///*", false},
		{"ann", `s3://bucket/\/*`, false},
		{"ann", "s3://bucket/secret/*", false},
		{"ann", "s3://bucket//secret/*", false},
		{"ann", "s3://bucket///secret///*", false},
		{"ann", `s3://bucket/secret\x/*`, false},
		{"ann", "s3://bucket/secret//x/*", false},
		{"ann", "s3://bucket/a/*", false},
		{"ann", "s3://bucket/a/b/*", false},
		{"ann", "s3://bucket//a///b/*", false},
		{"ann", "s3://bucket/a/b/c/*", false},
		{"ann", `s3://bucket//a\b/c//d/*`, false},
		{"ann", "s3://bucket/users/ann/diary/*", false},
		{"ann", "s3://bucket/users//ann/*", false},
		{"ann", "s3://bucket//users/*", false},
		{"a/b", "s3://bucket/users/x/*", false},
		{"a/b", "s3://bucket//users/*", false},
		{`dom\ann`, `s3://bucket/users/dom\ann/*`, false},
		{`dom\ann`, "s3://bucket/users/bob/*", false},
		{`dom\ann`, "s3://bucket/users/dom/*", false},

		{"ann", "s3://bucket/secrets/*", true},
		{"ann", "s3://bucket//secrets/*", true},
		{"ann", "s3://bucket/a/bc/*", true},
		{"ann", "s3://bucket/a/b/cd/*", true},
		{"ann", "s3://bucket/users/bob/*", true},
		{"ann", "s3://bucket//users//ann//trip/*", true},
		{"a/b", "s3://bucket/trips/*", true},
	} {
		target, err := ParseTarget(c.target)
		if err != nil {
			t.Fatal(err)
		}
		v := As(c.name)
		if got := rules.AllowTarget(&v, target); got != c.want {
			t.Errorf("AllowTarget(%q, %s) = %v, want %v", c.name, c.target, got, c.want)
		}
	}
}

// A rule for one object whose key ends in a slash does not allow a link to the folder of that name.
func TestFolderLinksNeedAnOpenPattern(t *testing.T) {
	rules := rulesOf(allowed("s3://bucket/album/", "s3://bucket/open/*"))
	for text, want := range map[string]bool{
		"s3://bucket/album/*": false,
		"s3://bucket/open/*":  true,
	} {
		target, err := ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		v := As("ann")
		if got := rules.AllowTarget(&v, target); got != want {
			t.Errorf("AllowTarget(%s) = %v, want %v", text, got, want)
		}
	}
	v := As("ann")
	if got := rules.Decide(&v, object(t, "s3://bucket/album/")).Allowed; !got {
		t.Errorf("Decide(s3://bucket/album/) = %v, want true", got)
	}
}

// A name with a slash or a backslash has no folder: SeaweedFS reads users/\ann/x as users/ann/x,
// which is another viewer's.
func TestNamesWithSlashesHaveNoFolder(t *testing.T) {
	rules := rulesOf(allowed("s3://scans/users/{user}/*", "s3://scans/mail/{user}"))
	for name, want := range map[string]bool{
		"ann": true, `\ann`: false, `ann\`: false, `dom\ann`: false, "/ann": false, "dom/ann": false,
	} {
		v := As(name)
		for _, key := range []string{"users/" + name + "/x", "mail/" + name} {
			got := rules.Decide(&v, locator.Locator{Bucket: "scans", Key: key}).Allowed
			if got != want {
				t.Errorf("Decide(%q, %q) = %v, want %v", name, key, got, want)
			}
		}
		folder := Target{Locator: locator.Locator{Bucket: "scans", Key: "users/" + name + "/"}}
		folder.Prefix = true
		if got := rules.AllowTarget(&v, folder); got != want {
			t.Errorf("AllowTarget(%q, %s*) = %v, want %v", name, folder.Key, got, want)
		}
	}
}

func TestDenyRulesWithUser(t *testing.T) {
	deny := denied("s3://bucket/users/{user}/diary/*", "s3://bucket/mail/{user}.mbox")
	rules := rulesOf(deny, allowed("s3://bucket/*"))
	for _, c := range []struct {
		name, locator string
		want          bool
	}{
		{"ann", "s3://bucket/users/ann/diary/x", false},
		{"ann", "s3://bucket//users//ann//diary/x", false},
		{"ann", "s3://bucket/mail/ann.mbox", false},
		{"ann", `s3://bucket/mail\ann.mbox`, false},
		{"ann", "s3://bucket/users/bob/diary/x", true},
		{"ann", "s3://bucket/users/ann/trip/x", true},
		{"ann", "s3://bucket/mail/bob.mbox", true},
		{"an", "s3://bucket/users/ann/diary/x", true},
		// It is unknown which folder belongs to a name with a slash or a backslash, so the rule
		// denies all of them.
		{"ann/x", "s3://bucket/users/ann/x/diary/x", false},
		{"ann/x", "s3://bucket//users/ann/diary/x", false},
		{"ann/x", "s3://bucket/users/bob", false},
		{"ann/x", "s3://bucket/mail/", false},
		{"/", "s3://bucket/users/x", false},
		{"ann/x", "s3://bucket/trips/x", true},
		{"ann/x", "s3://bucket/users", true},
		{"ann/x", "s3://other/users/x", false}, // no rule matches
		{`dom\ann`, `s3://bucket/users/dom\ann/diary/x`, false},
		{`dom\ann`, "s3://bucket/users/dom/ann/diary/x", false},
		{`dom\ann\`, "s3://bucket/users/dom/ann/diary/x", false},
		{`dom\ann`, "s3://bucket/users/dom/diary/x", false},
		{`\ann`, "s3://bucket/users/bob", false},
		{`dom\ann`, "s3://bucket/trips/x", true},
	} {
		v := As(c.name)
		if got := rules.Decide(&v, object(t, c.locator)).Allowed; got != c.want {
			t.Errorf("Decide(%q, %s) = %v, want %v", c.name, c.locator, got, c.want)
		}
	}
	// The deny rule names only known viewers, so it does not apply to an anonymous one.
	rules = rulesOf(deny, config.Rule{Anonymous: true, Locators: []string{"s3://bucket/*"}})
	got := rules.Decide(&Viewer{}, object(t, "s3://bucket/users/ann/diary/x"))
	if want := (Decision{Allowed: true, Rule: 2}); got != want {
		t.Errorf("Decide(anonymous) = %+v, want %+v", got, want)
	}
}

// R2 stores the Kelvin sign in a key as K.
func TestDenyRulesHoldForComposedForms(t *testing.T) {
	rules, v := rulesOf(denied("s3://bucket/Keys/*"), allowed("s3://bucket/*")), As("ann")
	for key, want := range map[string]bool{"Keys/x": false, "\u212aeys/x": false, "keys/x": true} {
		if got := rules.Decide(&v, locator.Locator{Bucket: "bucket", Key: key}).Allowed; got != want {
			t.Errorf("Decide(%q) = %v, want %v", key, got, want)
		}
	}
}

// A key is denied if and only if the normalized pattern matches the normalized key.
func TestDenyRulesMatchRandomSpellings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	slashes := []string{"/", "//", "///", `\`, `/\`, `\\/`}
	patterns := []string{"secret/*", "a//b*", "/c/*", "a/{user}/*", "a/b", "*"}
	normalized := map[string]string{
		"secret/*":   "secret/*",
		"a//b*":      "a/b*",
		"/c/*":       "c/*",
		"a/{user}/*": "a/ann/*",
		"a/b":        "a/b",
		"*":          "*",
	}
	for range 20_000 {
		var written, clean []string
		for range 1 + r.IntN(4) {
			segment := []string{"secret", "a", "b", "bc", "c", "ann"}[r.IntN(6)]
			written = append(written, segment, slashes[r.IntN(len(slashes))])
			clean = append(clean, segment)
		}
		key := strings.Join(written[:len(written)-1], "")
		if r.IntN(2) == 0 {
			key = slashes[r.IntN(len(slashes))] + key
		}
		canonical, pattern := strings.Join(clean, "/"), patterns[r.IntN(len(patterns))]
		literal, open := strings.CutSuffix(normalized[pattern], "*")
		want := canonical == literal || strings.HasPrefix(canonical, literal+"/")
		if open {
			want = strings.HasPrefix(canonical, literal)
		}
		rules, v := rulesOf(denied("s3://bucket/"+pattern), allowed("s3://bucket/*")), As("ann")
		got := rules.Decide(&v, locator.Locator{Bucket: "bucket", Key: key})
		if got.Allowed == want {
			t.Fatalf("deny %s: Decide(%q) = %+v, want denied: %v", pattern, key, got, want)
		}
	}
}

// No valid pattern gives one key to two viewers, however similar their names are.
func TestOneViewerPerKey(t *testing.T) {
	names := []string{
		"a", "an", "ann", "an-x", "ann-x", "an.png", "an-an", "x-an", "-", ".", "n", `a\n`,
		"{user}", "*",
	}
	for _, text := range []string{
		"{user}/*", "users/{user}/*", "users/{user}/x*", "users/{user}-x/*", "users/x-{user}/*",
		"{user}.png", "x-{user}", "{user}", "by-{user}-of-{user}/x", "{user}{user}/*",
	} {
		rules := rulesOf(allowed("s3://bucket/" + text))
		for _, owner := range names {
			key := strings.Replace(text, "*", "photo.jpg", 1)
			key = strings.ReplaceAll(key, config.UserPlaceholder, owner)
			for _, name := range names {
				v := As(name)
				want := name == owner && !strings.Contains(name, `\`) // which some stores read as /
				got := rules.Decide(&v, locator.Locator{Bucket: "bucket", Key: key}).Allowed
				if got != want {
					t.Errorf("%s: Decide(%q, %q) = %v, want %v", text, name, key, got, want)
				}
			}
		}
	}
}
