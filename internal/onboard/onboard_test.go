package onboard

import (
	"slices"
	"strings"
	"testing"

	"s3redirect/internal/config"
	"s3redirect/internal/policy/document"
)

func noEnv(string) (string, bool) { return "", false }

// Every key of an integration has one question with a label, and every text occurs once.
func TestEveryKeyHasOneQuestion(t *testing.T) {
	count := map[string]int{}
	texts := map[string]string{}
	for _, q := range Questions() {
		count[q.Key]++
		for _, text := range []string{q.Label, q.Hint} {
			if other, twice := texts[text]; twice && text != "" {
				t.Errorf("%s and %s share the text %q", q.Key, other, text)
			}
			texts[text] = q.Key
		}
		if q.Label == "" || q.Group == "" || q.YesNo && q.Default == "" || !q.YesNo && q.Hint == "" {
			t.Errorf("the question about %s is incomplete: %+v", q.Key, q)
		}
		if isKey := slices.Contains(config.DraftKeys(), q.Key); isKey == (q.Group == GroupTry) {
			t.Errorf("%s is in group %s; it is a key of an integration: %v", q.Key, q.Group, isKey)
		}
	}
	for _, key := range append(config.DraftKeys(), Several, Principal, Sample, Origin, WithTags) {
		if count[key] != 1 || Ask(key).Key != key {
			t.Errorf("%d questions about %s, want 1", count[key], key)
		}
	}
}

// The default of a yes-or-no question is what the configuration takes without the key. Without
// path_style, it depends on the bucket's name.
func TestDefaultsAreTheConfigurations(t *testing.T) {
	for _, q := range Questions() {
		if !q.YesNo || q.Group == GroupTry || q.Key == "path_style" {
			continue
		}
		with, err := config.Draft{q.Key: q.Default}.Integration()
		if err != nil {
			t.Fatal(err)
		}
		if d := with.Draft(); len(d) != 0 {
			t.Errorf("%s = %s is not the default of the configuration: %v", q.Key, q.Default, d)
		}
	}
}

func TestDocumentsHaveTitles(t *testing.T) {
	for _, kind := range []document.Kind{document.KindRole, document.KindAccess, document.KindTrust,
		document.KindCORS, document.KindAssume} {
		if d := Describe(kind); d.Kind != kind || d.Title == "" || d.Hint == "" {
			t.Errorf("Describe(%s) = %+v, want a title and a hint", kind, d)
		}
	}
	if d := Describe("other"); d.Title != "" {
		t.Errorf("Describe(other) = %+v, want no title", d)
	}
}

func TestNewIntegrationsHaveDifferentExternalIDs(t *testing.T) {
	one, two := New(), New()
	if one["region"] != config.RegionAuto || len(one["external_id"]) < 20 || one["external_id"] == two["external_id"] {
		t.Errorf("New() = %v, then %v", one, two)
	}
}

func TestDefaultName(t *testing.T) {
	for _, c := range []struct{ buckets, prefix, want string }{
		{"", "", ""},
		{"photos", "", "photos"},
		{"team-* photos", "", "team"},
		{"*.example", "", "example"},
		{"films", "tenant-a/", "films-tenant-a"},
		{"films", "a b/ü 日/", "films-a-b"},
		{"films", strings.Repeat("long/", 20), "films-" + strings.Repeat("long-", 11) + "lon"},
	} {
		if got := DefaultName(strings.Fields(c.buckets), c.prefix); got != c.want {
			t.Errorf("DefaultName(%s, %s) = %s, want %s", c.buckets, c.prefix, got, c.want)
		}
	}
}

func TestParseScope(t *testing.T) {
	for _, c := range []struct {
		answer  string
		buckets []string
		prefix  string
	}{
		{"films", []string{"films"}, ""},
		{"films team-*", []string{"films", "team-*"}, ""},
		{"films/", []string{"films"}, ""},
		{"films/tenant-a/", []string{"films"}, "tenant-a/"},
		{"films/tenant a/", []string{"films"}, "tenant a/"},
		{"s3://films/tenant-a/x/", []string{"films"}, "tenant-a/x/"},
		{"", nil, ""},
	} {
		buckets, prefix := ParseScope(c.answer)
		if !slices.Equal(buckets, c.buckets) || prefix != c.prefix {
			t.Errorf("ParseScope(%q) = %q, %q, want %q, %q", c.answer, buckets, prefix, c.buckets, c.prefix)
		}
	}
}

// A check is about its own key, whatever is missing elsewhere.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		answers           config.Draft
		key, answer, says string
	}{
		{config.Draft{}, "bucket", "photos", ""},
		{config.Draft{}, "bucket", "No_Bucket", "is not a bucket name"},
		{config.Draft{}, "permitted_buckets", "photos team-*", ""},
		{config.Draft{}, "permitted_buckets", "photos B!", "is"},
		{config.Draft{"bucket": "photos"}, "name", "a b", "not a valid name"},
		{config.Draft{"bucket": "photos"}, "endpoint", "http://127.0.0.1:9000", ""},
		{config.Draft{"bucket": "photos"}, "endpoint", "http://far.example", "over http://"},
		{config.Draft{"bucket": "photos"}, "region", "moon", "not a region"},
		{config.Draft{"bucket": "photos", "endpoint": "https://store.example.com"}, "region", "moon", ""},
		{config.Draft{"bucket": "photos"}, "role_arn", "arn:x", "not the ARN of a role"},
		{config.Draft{"bucket": "photos"}, "external_id", "${UNSET}", "UNSET is not set"},
	} {
		err := Check(c.answers, c.key, c.answer, noEnv)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("Check(%v, %s, %q) = %v, want %q", c.answers, c.key, c.answer, err, c.says)
		}
	}
}

func TestCheckUnused(t *testing.T) {
	source := config.New("config.yaml",
		[]byte("listen: :0\nviewers: {anonymous: true}\ninclude: "+
			"[none.d/*.yaml]\nintegrations: [{name: lab, bucket: photos, region: auto, role_arn: "+
			"'arn:aws:iam::123456789012:role/r'}, {name: tenant, bucket: films, prefix: b/, region: auto, "+
			"role_arn: 'arn:aws:iam::123456789012:role/r'}]\n"))
	for _, c := range []struct {
		answers           config.Draft
		key, answer, says string
	}{
		{config.Draft{}, "bucket", "scans", ""},
		{config.Draft{}, "bucket", "photos", "is a bucket of integration lab"},
		{config.Draft{}, "bucket", "No_Bucket", "is not a bucket name"},
		{config.Draft{}, "permitted_buckets", "scans photos", "is a bucket of integration lab"},
		{config.Draft{"bucket": "scans"}, "name", "lab", "is the name of the integration"},
		{config.Draft{"bucket": "scans"}, "name", "new", ""},
		{config.Draft{"prefix": "a/"}, "bucket", "photos", ""},
		{config.Draft{"bucket": "photos"}, "prefix", "a/", ""},
		{config.Draft{"bucket": "films"}, "prefix", "b/", "is the prefix of integration tenant"},
		{config.Draft{"bucket": "films"}, "prefix", "b", "must end in a slash"},
	} {
		err := CheckUnused(source, c.answers, c.key, c.answer, noEnv)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("CheckUnused(%v, %s, %q) = %v, want %q", c.answers, c.key, c.answer, err, c.says)
		}
	}
}
