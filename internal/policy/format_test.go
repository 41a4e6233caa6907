package policy

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/awslabs/goformation/v7"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/hashicorp/hcl/v2"
)

// odd is a role whose names hold what has a meaning in Terraform, YAML or a shell.
func odd() (Role, string, string) {
	trust := Trust(Principal{ARN: "arn:aws:iam::123456789012:role/${x}/%{y}/it's/s3redirect"}, "2012-10-17")
	access := document(Statement{Effect: "Allow", Action: []string{"s3:GetObject"}, Resource: []string{"arn:aws:s3:::team-*/*", "arn:aws:s3:::on/*"},
		Condition: map[string]map[string]string{"StringLike": {"kms:ViaService": "s3.*"}}})
	return Role{Name: "s3redirect-team.a", Path: "/app/", MaxSession: 2 * time.Hour, Trust: &trust, Access: &access}, compact(trust), compact(access)
}

// attributes are the values of a resource's attributes, as HashiCorp's own parser and evaluator have them.
func attributes(t *testing.T, text, kind string) map[string]string {
	t.Helper()
	file, diagnostics := hclsyntax.ParseConfig([]byte(text), "main.tf", hcl.InitialPos)
	if diagnostics.HasErrors() {
		t.Fatalf("%v:\n%s", diagnostics, text)
	}
	if formatted := string(hclwrite.Format([]byte(text))); formatted != text {
		t.Errorf("terraform fmt would write\n%s\nand not\n%s", formatted, text)
	}
	values := map[string]string{}
	scope := &hcl.EvalContext{
		Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc},
		Variables: map[string]cty.Value{"aws_iam_role": cty.ObjectVal(map[string]cty.Value{"s3redirect_team_a": cty.ObjectVal(map[string]cty.Value{
			"name": cty.StringVal("the role's"), "arn": cty.StringVal("the ARN")})})},
	}
	var read func(prefix string, body *hclsyntax.Body)
	read = func(prefix string, body *hclsyntax.Body) {
		for name, a := range body.Attributes {
			v, diagnostics := a.Expr.Value(scope)
			if diagnostics.HasErrors() {
				t.Fatalf("%s: %v", name, diagnostics)
			}
			if v.Type() != cty.String {
				b, err := stdlib.JSONEncode(v)
				if err != nil {
					t.Fatal(err)
				}
				v = b
			}
			values[prefix+name] = v.AsString()
		}
		for _, b := range body.Blocks {
			read(prefix+b.Type+".", b.Body)
		}
	}
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		if slices.Contains(b.Labels, kind) {
			read("", b.Body)
		}
	}
	return values
}

func TestTerraform(t *testing.T) {
	r, trust, access := odd()
	text, err := Terraform.WriteRole(r)
	if err != nil {
		t.Fatal(err)
	}
	got := attributes(t, text, "aws_iam_role")
	checkJSON(t, "trust", got["assume_role_policy"], trust)
	if got["name"] != "s3redirect-team.a" || got["path"] != "/app/" || got["max_session_duration"] != "7200" {
		t.Errorf("the role: %q", got)
	}
	got = attributes(t, text, "aws_iam_role_policy")
	checkJSON(t, "access", got["policy"], access)
	if got["role"] != "the role's" || got["name"] != "read" {
		t.Errorf("the policy: %q", got)
	}

	r.Trust = nil
	if text, err = Terraform.WriteRole(r); err != nil {
		t.Fatal(err)
	}
	if got := attributes(t, text, "aws_iam_role_policy"); got["role"] != "s3redirect-team.a" || strings.Contains(text, "aws_iam_role\"") {
		t.Errorf("access alone: %s", text)
	}
	if text, err = Terraform.WritePolicy("s3redirect-lab", Assume("arn:aws:iam::123456789012:role/r")); err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "assume", attributes(t, text, "aws_iam_policy")["policy"], compact(Assume("arn:aws:iam::123456789012:role/r")))

	if text, err = Terraform.WriteCORS([]string{"a.b", "photos"}, CORS([]string{"https://a.example", "https://b.example"}), ""); err != nil {
		t.Fatal(err)
	}
	got = attributes(t, text, "s3redirect_a_b")
	if got["bucket"] != "a.b" || got["cors_rule.allowed_methods"] != `["GET","HEAD"]` || got["cors_rule.allowed_origins"] != `["https://a.example","https://b.example"]` ||
		got["cors_rule.expose_headers"] != `["Accept-Ranges","Content-Length","Content-Range","ETag"]` || got["cors_rule.allowed_headers"] != `["*"]` || got["cors_rule.max_age_seconds"] != "3600" {
		t.Errorf("CORS: %q", got)
	}
	if got := attributes(t, text, "s3redirect_photos"); got["bucket"] != "photos" {
		t.Errorf("the second bucket: %q", got)
	}
}

// goformation refuses properties that CloudFormation's schema does not have.
func TestCloudFormation(t *testing.T) {
	r, trust, access := odd()
	text, err := CloudFormation.WriteRole(r)
	if err != nil {
		t.Fatal(err)
	}
	template, err := goformation.ParseYAML([]byte(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	role, err := template.GetIAMRoleWithName("S3RedirectTeamA")
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if _, ok := template.Outputs["S3RedirectTeamAArn"]; !ok || !strings.Contains(text, "Fn::GetAtt:\n        - S3RedirectTeamA\n        - Arn\n") {
		t.Errorf("the role's ARN is no output: %s", text)
	}
	checkJSON(t, "trust", compact(role.AssumeRolePolicyDocument), trust)
	checkJSON(t, "access", compact(role.Policies[0].PolicyDocument), access)
	if *role.RoleName != "s3redirect-team.a" || *role.Path != "/app/" || *role.MaxSessionDuration != 7200 || role.Policies[0].PolicyName != "read" {
		t.Errorf("the role: %s", text)
	}

	r.Trust = nil
	if text, err = CloudFormation.WriteRole(r); err != nil {
		t.Fatal(err)
	}
	if template, err = goformation.ParseYAML([]byte(text)); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if alone := template.GetAllIAMRolePolicyResources()["S3RedirectTeamA"]; alone == nil || alone.RoleName != "s3redirect-team.a" {
		t.Errorf("access alone: %s", text)
	} else {
		checkJSON(t, "access alone", compact(alone.PolicyDocument), access)
	}

	if text, err = CloudFormation.WritePolicy("s3redirect-lab", Assume("arn:aws:iam::123456789012:role/r")); err != nil {
		t.Fatal(err)
	}
	if template, err = goformation.ParseYAML([]byte(text)); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if assume := template.GetAllIAMManagedPolicyResources()["S3RedirectLab"]; assume == nil || *assume.ManagedPolicyName != "s3redirect-lab" {
		t.Errorf("no policy: %s", text)
	}

	if text, err = CloudFormation.WriteCORS([]string{"a.b", "a-b"}, CORS([]string{"*"}), ""); err != nil {
		t.Fatal(err)
	}
	if template, err = goformation.ParseYAML([]byte(text)); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	buckets := template.GetAllS3BucketResources()
	if len(buckets) != 2 {
		t.Fatalf("%d buckets: %s", len(buckets), text)
	}
	for _, b := range buckets {
		rule := b.CorsConfiguration.CorsRules[0]
		if b.AWSCloudFormationDeletionPolicy != "Retain" || !slices.Equal(rule.AllowedMethods, []string{"GET", "HEAD"}) || !slices.Equal(rule.AllowedOrigins, []string{"*"}) ||
			!slices.Equal(rule.ExposedHeaders, ExposedHeaders()) || *rule.MaxAge != 3600 {
			t.Errorf("CORS: %s", text)
		}
	}
}

// arguments are what a shell gives to each aws command of a script.
func arguments(t *testing.T, script string) (commands [][]string) {
	t.Helper()
	out, err := exec.Command("sh", "-euc", `aws() { for a; do printf '%s\001' "$a"; done; printf '\002'; }
`+script).Output()
	if err != nil {
		t.Fatalf("%v:\n%s", err, script)
	}
	for c := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x02"), "\x02") {
		commands = append(commands, strings.Split(strings.TrimSuffix(c, "\x01"), "\x01"))
	}
	return commands
}

func TestCommands(t *testing.T) {
	r, trust, access := odd()
	text, err := CLI.WriteRole(r)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"iam", "create-role", "--role-name", "s3redirect-team.a", "--path", "/app/", "--max-session-duration", "7200", "--assume-role-policy-document", trust},
		{"iam", "put-role-policy", "--role-name", "s3redirect-team.a", "--policy-name", "read", "--policy-document", access},
	}
	if got := arguments(t, text); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if text, err = CLI.WriteCORS([]string{"one", "two"}, CORS([]string{"*"}), "https://s3.example:9000"); err != nil {
		t.Fatal(err)
	}
	rules := compact(map[string]any{"CORSRules": CORS([]string{"*"})})
	want = [][]string{
		{"s3api", "put-bucket-cors", "--endpoint-url", "https://s3.example:9000", "--bucket", "one", "--cors-configuration", rules},
		{"s3api", "put-bucket-cors", "--endpoint-url", "https://s3.example:9000", "--bucket", "two", "--cors-configuration", rules},
	}
	if got := arguments(t, text); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if text, err = CLI.WritePolicy("s3redirect-lab", Assume("arn:aws:iam::123456789012:role/r")); err != nil {
		t.Fatal(err)
	}
	if got := arguments(t, text); len(got) != 1 || got[0][1] != "create-policy" || got[0][3] != "s3redirect-lab" || got[0][5] != compact(Assume("arn:aws:iam::123456789012:role/r")) {
		t.Errorf("%q", got)
	}
}

func TestJSONIsWhatTheConsolesTake(t *testing.T) {
	r, trust, access := odd()
	if _, err := JSON.WriteRole(r); err == nil {
		t.Error("two documents were one JSON")
	}
	r.Access = nil
	text, err := JSON.WriteRole(r)
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "trust", text, trust)
	r, _, _ = odd()
	r.Trust = nil
	if text, err = JSON.WriteRole(r); err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "access", text, access)
	if text, err = JSON.WriteCORS(nil, CORS([]string{"*"}), ""); err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "CORS", text, `[{"AllowedHeaders":["*"],"AllowedMethods":["GET","HEAD"],"AllowedOrigins":["*"],"ExposeHeaders":["Accept-Ranges","Content-Length","Content-Range","ETag"],"MaxAgeSeconds":3600}]`)
}

func TestRoleOf(t *testing.T) {
	for arn, want := range map[string][2]string{
		"arn:aws:iam::123456789012:role/r":       {"/", "r"},
		"arn:aws:iam::123456789012:role/a/b/r.1": {"/a/b/", "r.1"},
		"arn:aws:iam:::role/reader":              {"/", "reader"},
	} {
		if path, name := RoleOf(arn); path != want[0] || name != want[1] {
			t.Errorf("%s: %q %q", arn, path, name)
		}
	}
}
