package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// running runs a command line until it exits.
func running(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(context.Background(), args, &out, &err)
	return code, out.String(), err.String()
}

// A flag that a script sets from an unset variable must not remove a condition from a policy or
// name another principal.
func TestPolicyRejectsEmptyFlags(t *testing.T) {
	for _, kind := range []string{"trust", "role"} {
		for _, name := range []string{"--external-id", "--principal", "--role-arn", "--access-point"} {
			code, stdout, stderr := running("policy", kind, "--bucket", "photos",
				"--region", "eu-central-1", "--principal", "123456789012", name, "")
			want := "s3redirect policy: " + name + " is empty; if it comes from a variable, set that"
			if code != 2 || stdout != "" || !strings.Contains(stderr, want) {
				t.Errorf("policy %s with an empty %s: exit code %d, output %q, %q, want 2 and %q",
					kind, name, code, stdout, stderr, want)
			}
		}
	}
}

func TestPolicy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	const text = `
listen: 127.0.0.1:0
public_url: https://media.example.com
viewers: {anonymous: true}
integrations:
  - name: lab
    bucket: photos
    region: cn-north-1
    role_arn: arn:aws-cn:iam::123456789012:role/app/lab
    external_id: id-1
    session_duration: 2h
    file_versioning: true
  - name: keys
    permitted_buckets: ["team-*"]
    region: eu-central-1
    access_key_id: AKIA
    secret_access_key: canary
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		proxy    = "arn:aws-cn:iam::210987654321:role/proxy"
		user     = "arn:aws-cn:iam::123456789012:user/u"
		provider = "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A"
		subject  = "system:serviceaccount:a:b"
		keyCN    = "arn:aws-cn:kms:cn-north-1:123456789012:key/k"
		keyAWS   = "arn:aws:kms:us-gov-west-1:123456789012:key/k"
	)
	lab := func(args ...string) []string {
		return append(args, "--config", path, "--integration", "lab")
	}
	keys := func(args ...string) []string {
		return append(args, "--config", path, "--integration", "keys")
	}
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string // parts of them
	}{
		// Integrations of the configuration.
		{lab("access"), 0, `"arn:aws-cn:s3:::photos/*"`, "without s3:ListBucket"},
		{lab("access", "--kms-key", keyCN), 0, `"kms:Decrypt"`, ""},
		{lab("access", "--kms-key", "alias/k"), 2, "", "--kms-key"},
		{lab("trust", "--principal", proxy), 0, `"sts:ExternalId": "id-1"`, "role chaining"},
		{lab("trust", "--principal", "*"), 2, "", "would let others"},
		{lab("role", "--principal", proxy), 2, "", "two JSON documents"},
		{
			lab("role", "--principal", proxy, "--format", "terraform"),
			0, "max_session_duration = 7200", "",
		},
		{
			lab("role", "--principal", proxy, "--format", "cli"),
			0, "--role-name lab --path /app/ ", "",
		},
		{lab("cors"), 0, `"https://media.example.com"`, "Origin: null"},
		{lab("cors", "--origin", "https://app.example.com/x"), 2, "", "more than a host"},
		{lab("cors", "--format", "cloudformation"), 0, "BucketName: photos", "CorsConfiguration"},
		{
			lab("assume"),
			0, `"arn:aws-cn:iam::123456789012:role/app/lab"`,
			"the principal that the proxy runs as",
		},
		{
			lab("access", "--format", "xml"),
			2, "", "use json, terraform, cloudformation or cli",
		},
		{lab("access", "--bucket", "b"), 2, "", "cannot be combined"},
		{
			[]string{"access", "--config", path, "--integration", "lad"},
			2, "", "has no integration lad; it has lab, keys",
		},
		{
			[]string{"access", "--config", path + ".none", "--integration", "lab"},
			2, "", "the file does not exist",
		},
		{keys("access"), 0, `"arn:aws:s3:::team-*/*"`, "to the user that owns the keys"},
		{keys("trust"), 2, "", "access keys and no role"},
		{keys("cors", "--format", "cli"), 2, "", "is a pattern"},

		// Integrations that flags describe.
		{
			[]string{
				"access", "--bucket", "a-bucket", "--bucket", "b-*", "--region", "us-gov-west-1",
			},
			0, `"arn:aws-us-gov:s3:::b-*/*"`, "",
		},
		{
			[]string{"trust", "--bucket", "a-bucket", "--principal", "123456789012"},
			0, `"arn:aws:iam::123456789012:root"`, "there is no external ID",
		},
		{
			[]string{
				"trust", "--web-identity-provider", provider, "--web-identity-subject", subject,
			},
			0, `"oidc.example/id/A:sub": "` + subject + `"`, "s3redirect runs as",
		},
		{[]string{"trust", "--web-identity-provider", provider}, 2, "", "every pod"},
		{
			[]string{
				"role", "--bucket", "a-bucket", "--principal", user,
				"--session-duration", "2h", "--format", "cli",
			},
			0, "--max-session-duration 7200", "without s3:ListBucket",
		},
		{
			[]string{"role", "--bucket", "a-bucket", "--principal", user, "--format", "cli"},
			0, `"arn:aws-cn:s3:::a-bucket/*"`, "without s3:ListBucket",
		},
		{
			[]string{
				"role", "--bucket", "a-bucket", "--region", "eu-central-1",
				"--principal", user, "--format", "cli",
			},
			2, "", "in partition aws-cn",
		},
		{
			[]string{
				"role", "--bucket", "a-bucket", "--region", "us-gov-west-1", "--format", "cli",
				"--endpoint", "https://s3-fips.us-gov-west-1.amazonaws.com",
				"--sts-endpoint", "https://sts.us-gov-west-1.amazonaws.com",
				"--principal", "arn:aws-us-gov:iam::123456789012:role/proxy",
			},
			0, `"arn:aws-us-gov:s3:::a-bucket/*"`, "role chaining",
		},
		{
			lab("revoke", "--before", "2026-05-01T14:00:00+02:00"),
			0, `"aws:TokenIssueTime": "2026-05-01T12:00:00Z"`, "then purge every replica",
		},
		{
			lab("revoke", "--format", "cli"),
			0, "--role-name lab --policy-name AWSRevokeOlderSessions", "",
		},
		{lab("revoke", "--before", "yesterday"), 2, "", "yesterday is not a time"},
		{lab("revoke", "--before", "2999-01-01T00:00:00Z"), 2, "", "in the future"},
		{keys("revoke"), 2, "", "access keys and no role"},
		{[]string{"revoke", "--bucket", "a-bucket"}, 2, "", "--role-arn"},
		{
			[]string{"revoke", "--role-arn", "arn:aws:iam::123456789012:role/a/r", "--format", "cli"},
			0, "--role-name r ", "all sessions of the role",
		},
		{lab("assume", "--with-tags"), 0, `"sts:SetSourceIdentity"`, ""},
		{
			lab("trust", "--with-tags", "--principal", proxy),
			0, `"sts:TagSession"`, "the document assume has both",
		},
		{lab("trust", "--principal", proxy), 0, `"sts:AssumeRole"`, "role chaining"},
		{
			lab("role", "--with-tags", "--principal", proxy, "--format", "terraform"),
			0, `"sts:TagSession"`, "the document assume has both",
		},
		// The error is about the format, not about STS.
		{[]string{"role", "--bucket", "a-bucket"}, 2, "", "two JSON documents"},
		{[]string{"assume", "--bucket", "a-bucket"}, 2, "", "--role-arn"},
		{
			[]string{"assume", "--role-arn", "arn:aws:iam::123456789012:role/r"},
			0, `"arn:aws:iam::123456789012:role/r"`, "the principal that the proxy runs as",
		},
		{
			[]string{
				"access", "--bucket", "a-bucket", "--region", "us-gov-west-1", "--kms-key", keyAWS,
			},
			2, "", "in partition aws, but the integration is in aws-us-gov",
		},
		{
			[]string{"access", "--bucket", "Nope", "--region", "nowhere"},
			2, "", "--bucket: Nope is not a bucket name",
		},
		{
			[]string{"access", "--bucket", "photos", "--secret-access-key", "canary"},
			2, "", "name an environment variable",
		},

		// Missing arguments.
		{[]string{"access"}, 2, "", "--integration"},
		{[]string{"nothing"}, 2, "", "the first argument must be one of"},
		{nil, 2, "", "the first argument must be one of"},
		{[]string{"--help"}, 0, "", "lets the proxy assume the role"},
	} {
		code, stdout, stderr := running(append([]string{"policy"}, c.args...)...)
		if code != c.code ||
			!strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("policy %q: exit code %d, want %d; stdout %s, want %s; stderr %s, want %s",
				c.args, code, c.code, stdout, c.stdout, stderr, c.stderr)
		}
		if strings.Contains(stdout+stderr, "canary") {
			t.Errorf("policy %q prints the secret key:\n%s\n%s", c.args, stdout, stderr)
		}
		help := len(c.args) == 0 || c.args[0] == "--help"
		if got, want := stdout != "", code == 0; got != want && !help {
			t.Errorf("policy %q: exit code %d with the document %q", c.args, code, stdout)
		}
	}
}

// TestCheck checks the demo's integrations, and then an integration with a wrong external ID.
func TestCheck(t *testing.T) {
	cloud := demoWorld(t)
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(cloud), 0o600); err != nil {
		t.Fatal(err)
	}
	const sample = "s3://demo-media/images/sunset.jpg"
	code, stdout, stderr := running("check", "--config", path,
		"--sample", sample, "--origin", "https://app.example.com")
	if code != 0 || stderr != "" || strings.Contains(stdout, "\x1b") ||
		!strings.Contains(stdout, "ok       get           "+sample) {
		t.Errorf("check: exit code %d, want 0 and a plain table with get ok:\n%s%s",
			code, stdout, stderr)
	}
	broken := strings.Replace(cloud, demoTeamID, "another", 1)
	if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = running("check", "--config", path, "--json")
	var got struct {
		OK    bool
		Steps []struct{ Integration, Step, Verdict, Reason, Remedy string }
	}
	err := json.Unmarshal([]byte(stdout), &got)
	if err != nil || code != 1 || got.OK || stderr != "" {
		t.Fatalf("check --json: exit code %d, %v, want 1 and ok false:\n%s%s",
			code, err, stdout, stderr)
	}
	found := false
	for _, s := range got.Steps {
		found = found || s.Integration == "teams" && s.Step == "assume_role" &&
			s.Verdict == "failed" && s.Remedy != ""
	}
	if !found {
		t.Errorf("steps = %+v, want a failed assume_role of teams with a remedy", got.Steps)
	}
	for _, c := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"--integration", "none"}, "there is no integration none"},
		{[]string{"--sample", "demo-media/x"}, "must begin with s3://"},
		{[]string{"--sample", "s3://elsewhere/x"}, "none of these integrations serves"},
		{[]string{"--origin", "app.example.com"}, "--origin"},
		{[]string{"s3://demo-media/x"}, "got 1 arguments, want 0"},
	} {
		code, stdout, stderr := running(append([]string{"check", "--config", path}, c.args...)...)
		if code != 2 || !strings.Contains(stderr, c.stderr) {
			t.Errorf("check %q: exit code %d, stderr %q, want 2, %q\n%s",
				c.args, code, stderr, c.stderr, stdout)
		}
	}
}
