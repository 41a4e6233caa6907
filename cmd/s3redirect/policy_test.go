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

// running runs a command line to its end.
func running(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(context.Background(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestPolicy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	const text = `
listen: 127.0.0.1:0
public_url: https://media.example.com
viewers: {anonymous: true}
integrations:
  - {name: lab, bucket: photos, region: cn-north-1, role_arn: "arn:aws-cn:iam::123456789012:role/app/lab", external_id: id-1, session_duration: 2h, file_versioning: true}
  - {name: keys, permitted_buckets: ["team-*"], region: eu-central-1, access_key_id: AKIA, secret_access_key: canary}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lab := []string{"--config", path, "--integration", "lab"}
	const principal = "arn:aws-cn:iam::210987654321:role/proxy"
	for _, c := range []struct {
		args         []string
		code         int
		says, advice string
	}{
		{append([]string{"access"}, lab...), 0, `"arn:aws-cn:s3:::photos/*"`, "without s3:ListBucket"},
		{append([]string{"access", "--kms-key", "arn:aws-cn:kms:cn-north-1:123456789012:key/k"}, lab...), 0, `"kms:Decrypt"`, ""},
		{append([]string{"access", "--kms-key", "alias/k"}, lab...), 2, "", "--kms-key"},
		{append([]string{"trust", "--principal", principal}, lab...), 0, `"sts:ExternalId": "id-1"`, "role chaining"},
		{append([]string{"trust", "--principal", "*"}, lab...), 2, "", "would let others"},
		{append([]string{"role", "--principal", principal}, lab...), 2, "", "two JSON documents"},
		{append([]string{"role", "--principal", principal, "--format", "terraform"}, lab...), 0, "max_session_duration = 7200", ""},
		{append([]string{"role", "--principal", principal, "--format", "cli"}, lab...), 0, "--role-name lab --path /app/ ", ""},
		{append([]string{"cors"}, lab...), 0, `"https://media.example.com"`, "Origin: null"},
		{append([]string{"cors", "--origin", "https://app.example.com/x"}, lab...), 2, "", "more than a host"},
		{append([]string{"cors", "--format", "cloudformation"}, lab...), 0, "BucketName: photos", "CorsConfiguration"},
		{append([]string{"assume"}, lab...), 0, `"arn:aws-cn:iam::123456789012:role/app/lab"`, "for the principal that we run as"},
		{append([]string{"access", "--format", "xml"}, lab...), 2, "", "there are json, terraform, cloudformation and cli"},
		{append([]string{"access", "--bucket", "b"}, lab...), 2, "", "exclude each other"},
		{[]string{"access", "--config", path, "--integration", "lad"}, 2, "", "has no integration lad; it has lab, keys"},
		{[]string{"access", "--config", path + ".none", "--integration", "lab"}, 2, "", "there is no such file"},
		{[]string{"access", "--config", path, "--integration", "keys"}, 0, `"arn:aws:s3:::team-*/*"`, "for the user whose keys they are"},
		{[]string{"trust", "--config", path, "--integration", "keys"}, 2, "", "nobody is to be trusted"},
		{[]string{"cors", "--config", path, "--integration", "keys", "--format", "cli"}, 2, "", "is a pattern"},
		{[]string{"access", "--bucket", "a-bucket", "--bucket", "b-*", "--region", "us-gov-west-1"}, 0, `"arn:aws-us-gov:s3:::b-*/*"`, ""},
		{[]string{"trust", "--bucket", "a-bucket", "--principal", "123456789012"}, 0, `"arn:aws:iam::123456789012:root"`, "there is no external ID"},
		{[]string{"trust", "--web-identity-provider", "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A", "--web-identity-subject", "system:serviceaccount:a:b"}, 0, `"oidc.example/id/A:sub": "system:serviceaccount:a:b"`, "s3redirect runs as"},
		{[]string{"trust", "--web-identity-provider", "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A"}, 2, "", "every pod"},
		{[]string{"role", "--bucket", "a-bucket", "--principal", "arn:aws-cn:iam::123456789012:user/u", "--session-duration", "2h", "--format", "cli"}, 0, "--max-session-duration 7200", "without s3:ListBucket"},
		{[]string{"role", "--bucket", "a-bucket", "--principal", "arn:aws-cn:iam::123456789012:user/u", "--format", "cli"}, 0, `"arn:aws-cn:s3:::a-bucket/*"`, "without s3:ListBucket"},
		{[]string{"role", "--bucket", "a-bucket", "--region", "eu-central-1", "--principal", "arn:aws-cn:iam::123456789012:user/u", "--format", "cli"}, 2, "", "of the partition aws-cn"},
		{[]string{"role", "--bucket", "a-bucket"}, 2, "", "two JSON documents"}, // and not that STS could not be asked
		{[]string{"assume", "--bucket", "a-bucket"}, 2, "", "--role-arn"},
		{[]string{"assume", "--role-arn", "arn:aws:iam::123456789012:role/r"}, 0, `"arn:aws:iam::123456789012:role/r"`, "the principal that we run as"},
		{[]string{"access", "--bucket", "a-bucket", "--region", "us-gov-west-1", "--kms-key", "arn:aws:kms:us-gov-west-1:123456789012:key/k"}, 2, "", "of the partition aws, and the integration is of aws-us-gov"},
		{[]string{"access", "--bucket", "Nope", "--region", "nowhere"}, 2, "", "--bucket: Nope is not a bucket name"},
		{[]string{"access", "--bucket", "photos", "--secret-access-key", "canary"}, 2, "", "name an environment variable"},
		{[]string{"access"}, 2, "", "--integration"},
		{[]string{"nothing"}, 2, "", "say which"},
		{nil, 2, "", "say which"},
		{[]string{"--help"}, 0, "", "who may assume the role"},
	} {
		code, stdout, stderr := running(append([]string{"policy"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout, c.says) || !strings.Contains(stderr, c.advice) || strings.Contains(stdout+stderr, "canary") {
			t.Errorf("%q: exit %d\n%s\n%s", c.args, code, stdout, stderr)
		}
		if (code == 0) != (stdout != "") && len(c.args) > 0 && c.args[0] != "--help" {
			t.Errorf("%q: a document with success, and nothing else on standard output: exit %d\n%s", c.args, code, stdout)
		}
	}
}

// The configuration that the demo runs with is in order, once it runs.
func TestCheck(t *testing.T) {
	cloud := demoWorld(t)
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(cloud), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := running("check", "--config", path, "--sample", "s3://demo-media/images/sunset.jpg", "--origin", "https://app.example.com")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "ok       get           s3://demo-media/images/sunset.jpg") || strings.Contains(stdout, "\x1b") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
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
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 1 || got.OK || stderr != "" {
		t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	found := false
	for _, s := range got.Steps {
		found = found || s.Integration == "teams" && s.Step == "assume_role" && s.Verdict == "failed" && s.Remedy != ""
	}
	if !found {
		t.Errorf("%+v", got.Steps)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--integration", "none"}, "there is no integration none"},
		{[]string{"--sample", "demo-media/x"}, "must begin with s3://"},
		{[]string{"--sample", "s3://elsewhere/x"}, "none of these integrations serves"},
		{[]string{"--origin", "app.example.com"}, "--origin"},
		{[]string{"s3://demo-media/x"}, "1 arguments given, 0 wanted"},
	} {
		if code, stdout, stderr := running(append([]string{"check", "--config", path}, c.args...)...); code != 2 || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: exit %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
}
