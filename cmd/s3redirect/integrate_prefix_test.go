package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// Answering with a folder of a bucket makes an integration with a prefix, also in a bucket that
// another integration serves.
func TestIntegrateFolder(t *testing.T) {
	for _, c := range []struct {
		first          []string
		prefix, name   string
		refused        string // part of the output
		object, policy string
	}{
		{
			[]string{"scans/tenant-a/"}, "tenant-a/", "scans-tenant-a", "",
			"/s3/scans/tenant-a/KEY", `"arn:aws:s3:::scans/tenant-a/*"`,
		},
		{
			[]string{"s3://scans/my films/"}, "my films/", "scans-my-films", "",
			"/s3/scans/my%20films/KEY", `"arn:aws:s3:::scans/my films/*"`,
		},
		{
			[]string{"one", "scans", "scans/b", "scans/b/"}, "b/", "scans-b", "must end in a slash",
			"/s3/scans/b/KEY", `"arn:aws:s3:::scans/b/*"`,
		},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "s3redirect.yaml"), []byte(existing), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "integrations.d"), 0o700); err != nil {
			t.Fatal(err)
		}
		stdout, loaded := integrateIn(t, dir, append(c.first, "", "", "", "", "", someRole)...)
		i := loaded.Integrations[1]
		if i.Bucket != "scans" || i.Prefix != c.prefix || i.Name != c.name {
			t.Errorf("after %q: %s with bucket %q and prefix %q, want %s with scans and %q",
				c.first, i.Name, i.Bucket, i.Prefix, c.name, c.prefix)
		}
		for _, want := range []string{c.refused, c.object, c.policy, "belongs to the whole bucket"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("after %q: the output lacks %q:\n%s", c.first, want, stdout)
			}
		}
	}
}

// The flags do the same, and the commands that integrate prints have them.
func TestIntegrateFlagsOfPrefix(t *testing.T) {
	const key = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	t.Chdir(t.TempDir())
	args := []string{"integrate", "--yes", "--no-try", "--bucket", "films", "--region", "eu-central-1",
		"--principal", somePrincipal, "--role-arn", someRole, "--prefix", "tenant a/",
		"--blocked-prefix", "tenant a/raw/", "--blocked-prefix", "tenant a/x y/", "--kms-key", key}
	code, stdout, stderr := running(args...)
	if code != 0 || stderr != "" {
		t.Fatalf("integrate: exit code %d, want 0\n%s%s", code, stdout, stderr)
	}
	loaded, err := config.Load("s3redirect.yaml")
	if err != nil {
		t.Fatal(err)
	}
	i := loaded.Integrations[0]
	if i.Prefix != "tenant a/" || !slices.Equal(i.KMSKeys, []string{key}) ||
		!slices.Equal(i.BlockedPrefixes, []string{"tenant a/raw/", "tenant a/x y/"}) {
		t.Errorf("prefix %q, blocked prefixes %q, KMS keys %q", i.Prefix, i.BlockedPrefixes, i.KMSKeys)
	}
	if !strings.Contains(stdout, "--prefix 'tenant a/' --blocked-prefix 'tenant a/raw/'") ||
		!strings.Contains(stdout, "--kms-key "+key) {
		t.Errorf("no command has the flags:\n%s", stdout)
	}
	wantCommandsRun(t, stdout, 2)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--prefix", "a"}, "--prefix: a is not a prefix: it must end in a slash"},
		{[]string{"--prefix", ""}, "--prefix is empty"},
		{[]string{"--prefix", "a/", "--blocked-prefix", "b/"}, "--blocked-prefix: b/ is not under"},
		{[]string{"--kms-key", "alias/x"}, "--kms-key: invalid KMS key ARN"},
		{[]string{"--bucket", "two", "--prefix", "a/"}, "--prefix: a prefix belongs to one bucket"},
	} {
		t.Chdir(t.TempDir())
		args := append([]string{"integrate", "--yes", "--no-try", "--bucket", "films", "--principal",
			somePrincipal, "--role-arn", someRole}, c.args...)
		if code, _, stderr := running(args...); code != 2 || !strings.Contains(stderr, c.want) {
			t.Errorf("integrate %q: exit code %d, %s, want 2 and %q", c.args, code, stderr, c.want)
		}
	}
}

func TestPolicyOfPrefix(t *testing.T) {
	args := []string{"--bucket", "films", "--region", "eu-central-1", "--prefix", "a*/",
		"--blocked-prefix", "a*/raw/", "--list-bucket"}
	code, stdout, stderr := running(append([]string{"policy", "access"}, args...)...)
	for _, want := range []string{
		`"arn:aws:s3:::films/a${*}/*"`, `"s3:prefix": "a${*}/*"`, `"Effect": "Deny"`,
		`"arn:aws:s3:::films/a${*}/raw/*"`,
	} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("policy access: exit code %d, %s, want %s in\n%s", code, stderr, want, stdout)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--prefix", "a"}, "--prefix: a is not a prefix"},
		{[]string{"--blocked-prefix", "a"}, "--blocked-prefix: a is not a prefix"},
		{[]string{"--prefix", "a*/", "--endpoint", "https://s3.example.com"}, "have no escape for *"},
	} {
		args := append([]string{"policy", "access", "--bucket", "films", "--region", "us-east-1"}, c.args...)
		if code, _, stderr := running(args...); code != 2 || !strings.Contains(stderr, c.want) {
			t.Errorf("policy access %q: exit code %d, %s, want 2 and %q", c.args, code, stderr, c.want)
		}
	}
}

// A link that leads to nothing is made, with a note: the configuration may change.
func TestLinkOutsidePrefixes(t *testing.T) {
	path := writeConfig(t, strings.Replace(viewersConfig, "integrations:\n", `integrations:
  - {name: tenant, bucket: films, prefix: a/b/, blocked_prefixes: [a/b/raw/], region: us-east-1,
     access_key_id: AKIA, secret_access_key: s}
`, 1))
	const blocked = ": it is under blocked_prefixes of integration tenant\n"
	for target, note := range map[string]string{
		"s3://films/a/b/x":     "",
		"s3://films/a/*":       "",
		"s3://films/*":         "",
		"s3://films/c/x":       "note: no integration serves s3://films/c/x\n",
		"s3://films/a/x":       "note: no integration serves s3://films/a/x\n",
		"s3://none/x":          "note: no integration serves s3://none/x\n",
		"s3://films/a/b/raw/x": "note: no viewer may read s3://films/a/b/raw/x" + blocked,
		"s3://films/a/b/raw/*": "note: no viewer may read s3://films/a/b/raw/" + blocked,
	} {
		code, stdout, stderr := running("link", "--config", path, "--lifetime", "1h", target)
		if code != 0 || stdout == "" || stderr != note {
			t.Errorf("link %s: exit code %d, %q, %q, want 0, a link and %q", target, code, stdout, stderr, note)
		}
	}
}
