package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// lab returns a valid integration.
func lab() *Integration {
	return &Integration{Name: "lab", PermittedBuckets: []string{"lab-one", "lab-*"},
		RoleARN:    "arn:aws:iam::210987654321:role/path/reader",
		ExternalID: "0123456789", SessionDuration: 2 * time.Hour, Region: "us-east-1",
		FileVersioning: true}
}

// noEnv is an environment without variables.
func noEnv(string) (string, bool) { return "", false }

// Parse reads back what Text writes, including values that look like other YAML types.
func TestParseReadsDraftText(t *testing.T) {
	for _, i := range []*Integration{lab(), {
		Name: "0123", Bucket: "1e3", SessionPolicy: true, Region: "us-east-1",
		RoleARN: "arn:aws:iam::123456789012:role/r", ExternalID: "null", SessionName: "true",
		URLLifetime: 90 * time.Second, MinRemaining: 30 * time.Second, SessionDuration: time.Hour,
		ListBucket: true, RequesterPays: true,
	}, {
		Name: "on-prem", Bucket: "scans", SessionPolicy: true, Region: "default",
		Endpoint: "https://[::1]:9000", PathStyle: true, Insecure: true, AccessKeyID: "yes",
		SecretAccessKey: "# no: 'comment",
		URLLifetime:     45 * time.Minute, MinRemaining: 15 * time.Minute,
	}} {
		if errs := i.Check(noEnv); errs != nil {
			t.Errorf("Check(%s) = %v, want no errors", i.Name, errs)
		}
		text := i.Draft().Text()
		s := New("x", []byte("listen: :0\nviewers: {anonymous: true}\n"))
		s.files = []*file{{path: "y", text: []byte(text)}}
		c, err := s.Parse(noEnv)
		if err != nil {
			t.Fatalf("Parse() = %v for the text\n%s", err, text)
		}
		got := c.Integrations[0]
		for _, f := range []struct{ got, want any }{
			{got.Name, i.Name}, {got.Bucket, i.Bucket},
			{got.PermittedBuckets, i.PermittedBuckets}, {got.ExternalID, i.ExternalID},
			{got.AccessKeyID, i.AccessKeyID},
			{string(got.SecretAccessKey),
				string(i.SecretAccessKey)}, {got.SessionPolicy, i.SessionPolicy},
			{got.SessionDuration, i.SessionDuration},
			{got.ListBucket, i.ListBucket}, {got.RequesterPays, i.RequesterPays},
			{got.PathStyle, i.PathStyle}, {got.Insecure, i.Insecure},
		} {
			if !reflect.DeepEqual(f.got, f.want) {
				t.Errorf("%s: Parse() reads %v, want %v", i.Name, f.got, f.want)
			}
		}
	}
}

func TestCheckReportsOwnKeys(t *testing.T) {
	i := lab()
	i.PermittedBuckets, i.Region, i.ExternalID = []string{"ok-bucket", "Not_OK"}, "nowhere", "${UNSET}"
	var got []string
	for _, e := range i.Check(noEnv) {
		got = append(got, e.Key)
		if e.Line != 0 || e.File != "" || e.Problem == "" {
			t.Errorf("Check() reports %+v, want a problem without file and line", e)
		}
	}
	if want := "[permitted_buckets[1] external_id region]"; fmt.Sprint(got) != want {
		t.Errorf("Check() reports the keys %v, want %s", got, want)
	}
}

func TestDraftText(t *testing.T) {
	d := Draft{"permitted_buckets": " lab-one  lab-* ", "name": "1e3", "session_policy": "false",
		"external_id": "a # b: 'c\n- d", "path_style": "${YES}", "url_lifetime": "45m",
		"secret_access_key": "${SECRET}", "session_tags": "{team: 'a  b', env: '${ENV}', n: 1}",
		"region": "", "endpoint": "null", "access_key_id": "${KEY}", "sts_endpoint": "true"}
	const want = `# Written by s3redirect.
name: "1e3"
permitted_buckets: [lab-one, lab-*]
external_id: "a # b: 'c\n- d"
session_tags: {team: 'a  b', env: '${ENV}', n: 1}
session_policy: false
endpoint: "null"
path_style: ${YES}
sts_endpoint: "true"
access_key_id: ${KEY}
secret_access_key: ${SECRET}
url_lifetime: 45m
`
	if got := d.Text(); got != want {
		t.Errorf("Text() =\n%s\nwant\n%s", got, want)
	}
	root, err := parseYAML("x", []byte(want))
	if err != nil {
		t.Fatal(err)
	}
	d["permitted_buckets"] = "lab-one lab-*"
	d["session_tags"] = `{env: '${ENV}', "n": "1", team: a  b}`
	if got := draftOf(root); !sameDraft(got, d) {
		t.Errorf("draftOf(Text()) = %v, want %v", got, d)
	}
}

func TestDraftIntegration(t *testing.T) {
	i, err := Draft{"name": "a", "permitted_buckets": " b  c ", "session_policy": "false",
		"url_lifetime": "30m", "region": "", "session_tags": "{a: b  c, d: e}"}.Integration()
	if err != nil || len(i.SessionTags) != 2 ||
		i.SessionTags["a"] != "b  c" || i.Name != "a" || strings.Join(i.PermittedBuckets, ",") != "b,c" ||
		i.SessionPolicy || Short(i.URLLifetime) != "30m" {
		t.Errorf("Integration() = %+v, %v, want name a, buckets b and c, no session policy and 30m",
			i, err)
	}
	if got, err := i.Draft().Integration(); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("Draft().Integration() = %+v, %v, want %+v", got, err, i)
	}
	if _, err := (Draft{"name": "a", "session_tags": "a=b", "url_lifetime": "soon", "path_style": "perhaps",
		"nothing": "x"}).Integration(); err == nil ||
		!strings.Contains(err.Error(), "url_lifetime: invalid duration") ||
		!strings.Contains(err.Error(), "path_style: write true or false") ||
		!strings.Contains(err.Error(), "nothing: unknown key") {
		t.Errorf("Integration() = %v, want errors about url_lifetime, path_style and nothing", err)
	}
}

// Prefixes may contain blanks, which must not make two prefixes of one.
func TestDraftOfListWithBlanks(t *testing.T) {
	for _, want := range [][]string{{"a/"}, {"a/", "b/c/"}, {"a b/", "c/"}, {"[a/"}, {"a, b/", "'/"}, {"${A}/"}} {
		i := &Integration{Name: "a", Bucket: "films", BlockedPrefixes: want}
		d := i.Draft()
		again, err := d.Integration()
		if err != nil || !slices.Equal(again.BlockedPrefixes, want) {
			t.Errorf("%q: the draft %q holds %q, %v", want, d["blocked_prefixes"], again.BlockedPrefixes, err)
		}
		root, err := parseYAML("x", []byte(d.Text()))
		if err != nil {
			t.Fatal(err)
		}
		if got := draftOf(root); got["blocked_prefixes"] != d["blocked_prefixes"] {
			t.Errorf("%q: the file holds %q, want %q", want, got["blocked_prefixes"], d["blocked_prefixes"])
		}
	}
	if i, err := (Draft{"blocked_prefixes": "[a/, b"}).Integration(); err == nil {
		t.Errorf("a list that does not end is %q, want an error", i.BlockedPrefixes)
	}
}
