package document

import (
	"encoding/json"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/awslabs/goformation/v7"
	"github.com/awslabs/goformation/v7/cloudformation"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"s3redirect/internal/policy"
)

func checkJSON(t *testing.T, name, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("%s: %v: %s", name, err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s = %s\nwant %s", name, compact(a), compact(b))
	}
}

// specialRole returns a role whose names contain characters with a meaning in Terraform, YAML or a
// shell, and its policies as JSON.
func specialRole() (r Role, trust, access string) {
	const arn = "arn:aws:iam::123456789012:role/${x}/%{y}/it's/s3redirect"
	t := policy.Trust(policy.Principal{ARN: arn}, "2012-10-17")
	a := policy.Document{Version: "2012-10-17", Statement: []policy.Statement{{
		Effect:    "Allow",
		Action:    []string{"s3:GetObject"},
		Resource:  []string{"arn:aws:s3:::team-*/*", "arn:aws:s3:::on/*"},
		Condition: map[string]map[string]string{"StringLike": {"kms:ViaService": "s3.*"}},
	}}}
	r = Role{
		Name:       "s3redirect-team.a",
		Path:       "/app/",
		MaxSession: 2 * time.Hour,
		Trust:      &t,
		Access:     &a,
	}
	return r, compact(t), compact(a)
}

// attributes returns the attributes of the resources of a kind, as HashiCorp's parser and evaluator
// compute them.
func attributes(t *testing.T, text, kind string) map[string]string {
	t.Helper()
	file, diagnostics := hclsyntax.ParseConfig([]byte(text), "main.tf", hcl.InitialPos)
	if diagnostics.HasErrors() {
		t.Fatalf("%v:\n%s", diagnostics, text)
	}
	if formatted := string(hclwrite.Format([]byte(text))); formatted != text {
		t.Errorf("terraform fmt changes\n%s\nto\n%s", text, formatted)
	}
	values := map[string]string{}
	role := cty.ObjectVal(map[string]cty.Value{
		"name": cty.StringVal("the role's name"),
		"arn":  cty.StringVal("the role's ARN"),
	})
	scope := &hcl.EvalContext{
		Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc},
		Variables: map[string]cty.Value{
			"aws_iam_role": cty.ObjectVal(map[string]cty.Value{"s3redirect_team_a": role}),
		},
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

// checkAttributes compares some of a resource's attributes.
func checkAttributes(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
}

func TestTerraformRole(t *testing.T) {
	r, trust, access := specialRole()
	text, err := Terraform.WriteRole(r)
	if err != nil {
		t.Fatal(err)
	}
	got := attributes(t, text, "aws_iam_role")
	checkJSON(t, "trust", got["assume_role_policy"], trust)
	checkAttributes(t, got, map[string]string{
		"name": "s3redirect-team.a", "path": "/app/", "max_session_duration": "7200",
	})
	got = attributes(t, text, "aws_iam_role_policy")
	checkJSON(t, "access", got["policy"], access)
	checkAttributes(t, got, map[string]string{"role": "the role's name", "name": "read"})

	r.Trust = nil
	if text, err = Terraform.WriteRole(r); err != nil {
		t.Fatal(err)
	}
	checkAttributes(t, attributes(t, text, "aws_iam_role_policy"),
		map[string]string{"role": "s3redirect-team.a"})
	if strings.Contains(text, "aws_iam_role\"") {
		t.Errorf("the access policy alone contains a role:\n%s", text)
	}
}

func TestTerraformPolicy(t *testing.T) {
	assume := policy.Assume("arn:aws:iam::123456789012:role/r")
	text, err := Terraform.WritePolicy("s3redirect-lab", assume)
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "assume", attributes(t, text, "aws_iam_policy")["policy"], compact(assume))
}

func TestTerraformCORS(t *testing.T) {
	rules := policy.CORS([]string{"https://a.example", "https://b.example"})
	text, err := Terraform.WriteCORS([]string{"a.b", "photos"}, rules, "")
	if err != nil {
		t.Fatal(err)
	}
	checkAttributes(t, attributes(t, text, "s3redirect_a_b"), map[string]string{
		"bucket":                    "a.b",
		"cors_rule.allowed_methods": `["GET","HEAD"]`,
		"cors_rule.allowed_origins": `["https://a.example","https://b.example"]`,
		"cors_rule.expose_headers":  `["Accept-Ranges","Content-Length","Content-Range","ETag"]`,
		"cors_rule.allowed_headers": `["*"]`,
		"cors_rule.max_age_seconds": "3600",
	})
	checkAttributes(t, attributes(t, text, "s3redirect_photos"),
		map[string]string{"bucket": "photos"})
}

// parseTemplate parses a template with goformation, which rejects properties that are not in
// CloudFormation's schema.
func parseTemplate(t *testing.T, text string, err error) *cloudformation.Template {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	template, err := goformation.ParseYAML([]byte(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return template
}

func TestCloudFormationRole(t *testing.T) {
	r, trust, access := specialRole()
	text, err := CloudFormation.WriteRole(r)
	template := parseTemplate(t, text, err)
	role, err := template.GetIAMRoleWithName("S3RedirectTeamA")
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	const arn = "Fn::GetAtt:\n        - S3RedirectTeamA\n        - Arn\n"
	if _, ok := template.Outputs["S3RedirectTeamAArn"]; !ok || !strings.Contains(text, arn) {
		t.Errorf("the role's ARN is not an output:\n%s", text)
	}
	checkJSON(t, "trust", compact(role.AssumeRolePolicyDocument), trust)
	checkJSON(t, "access", compact(role.Policies[0].PolicyDocument), access)
	if *role.RoleName != "s3redirect-team.a" || *role.Path != "/app/" ||
		*role.MaxSessionDuration != 7200 || role.Policies[0].PolicyName != "read" {
		t.Errorf("role = %s, want s3redirect-team.a in /app/ with 7200 s and the policy read", text)
	}

	r.Trust = nil
	text, err = CloudFormation.WriteRole(r)
	template = parseTemplate(t, text, err)
	alone := template.GetAllIAMRolePolicyResources()["S3RedirectTeamA"]
	if alone == nil || alone.RoleName != "s3redirect-team.a" {
		t.Fatalf("the access policy alone is not a policy of s3redirect-team.a:\n%s", text)
	}
	checkJSON(t, "access alone", compact(alone.PolicyDocument), access)
}

func TestCloudFormationPolicy(t *testing.T) {
	assume := policy.Assume("arn:aws:iam::123456789012:role/r")
	text, err := CloudFormation.WritePolicy("s3redirect-lab", assume)
	got := parseTemplate(t, text, err).GetAllIAMManagedPolicyResources()["S3RedirectLab"]
	if got == nil || *got.ManagedPolicyName != "s3redirect-lab" {
		t.Errorf("template = %s, want the policy s3redirect-lab", text)
	}
}

func TestCloudFormationCORS(t *testing.T) {
	text, err := CloudFormation.WriteCORS([]string{"a.b", "a-b"}, policy.CORS([]string{"*"}), "")
	buckets := parseTemplate(t, text, err).GetAllS3BucketResources()
	if len(buckets) != 2 {
		t.Fatalf("%d buckets, want 2:\n%s", len(buckets), text)
	}
	for _, b := range buckets {
		rule := b.CorsConfiguration.CorsRules[0]
		if b.AWSCloudFormationDeletionPolicy != "Retain" ||
			!slices.Equal(rule.AllowedMethods, []string{"GET", "HEAD"}) ||
			!slices.Equal(rule.AllowedOrigins, []string{"*"}) ||
			!slices.Equal(rule.ExposedHeaders, policy.ExposedHeaders()) ||
			*rule.MaxAge != 3600 {
			t.Errorf("bucket %s has other rules than policy.CORS, or is not retained:\n%s",
				*b.BucketName, text)
		}
	}
}

// arguments returns the arguments that a shell passes to each aws command of a script.
func arguments(t *testing.T, script string) (commands [][]string) {
	t.Helper()
	const aws = `aws() { for a; do printf '%s\001' "$a"; done; printf '\002'; }` + "\n"
	out, err := exec.Command("sh", "-euc", aws+script).Output()
	if err != nil {
		t.Fatalf("%v:\n%s", err, script)
	}
	for c := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x02"), "\x02") {
		commands = append(commands, strings.Split(strings.TrimSuffix(c, "\x01"), "\x01"))
	}
	return commands
}

func checkArguments(t *testing.T, script string, want [][]string) {
	t.Helper()
	if got := arguments(t, script); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("commands = %q\nwant %q", got, want)
	}
}

func TestCLIRole(t *testing.T) {
	r, trust, access := specialRole()
	text, err := CLI.WriteRole(r)
	if err != nil {
		t.Fatal(err)
	}
	checkArguments(t, text, [][]string{
		{
			"iam", "create-role", "--role-name", "s3redirect-team.a", "--path", "/app/",
			"--max-session-duration", "7200", "--assume-role-policy-document", trust,
		},
		{
			"iam", "put-role-policy", "--role-name", "s3redirect-team.a",
			"--policy-name", "read", "--policy-document", access,
		},
	})
}

func TestCLICORS(t *testing.T) {
	const endpoint = "https://s3.example:9000"
	text, err := CLI.WriteCORS([]string{"one", "two"}, policy.CORS([]string{"*"}), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	rules := compact(map[string]any{"CORSRules": policy.CORS([]string{"*"})})
	checkArguments(t, text, [][]string{
		{
			"s3api", "put-bucket-cors", "--endpoint-url", endpoint,
			"--bucket", "one", "--cors-configuration", rules,
		},
		{
			"s3api", "put-bucket-cors", "--endpoint-url", endpoint,
			"--bucket", "two", "--cors-configuration", rules,
		},
	})
}

func TestCLIPolicy(t *testing.T) {
	assume := policy.Assume("arn:aws:iam::123456789012:role/r")
	text, err := CLI.WritePolicy("s3redirect-lab", assume)
	if err != nil {
		t.Fatal(err)
	}
	checkArguments(t, text, [][]string{{
		"iam", "create-policy", "--policy-name", "s3redirect-lab",
		"--policy-document", compact(assume),
	}})
}

// TestJSON checks that JSON is the bare document that the IAM and S3 consoles take.
func TestRevoke(t *testing.T) {
	const name, resource = "s3redirect-team.a", "S3RedirectTeamARevoke"
	d := policy.Revoke(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	texts := map[Format]string{}
	for _, f := range Formats() {
		text, err := f.writeRevoke(name, d)
		if err != nil {
			t.Fatal(err)
		}
		texts[f] = text
	}
	checkJSON(t, "JSON", texts[JSON], compact(d))
	got := attributes(t, texts[Terraform], "aws_iam_role_policy")
	checkJSON(t, "Terraform", got["policy"], compact(d))
	checkAttributes(t, got, map[string]string{"role": name, "name": revokeName})
	template := parseTemplate(t, texts[CloudFormation], nil)
	if p := template.GetAllIAMRolePolicyResources()[resource]; p == nil ||
		p.RoleName != name || p.PolicyName != revokeName {
		t.Errorf("template = %s, want the policy %s of %s", texts[CloudFormation], revokeName, name)
	} else {
		checkJSON(t, "CloudFormation", compact(p.PolicyDocument), compact(d))
	}
	checkArguments(t, texts[CLI], [][]string{{
		"iam", "put-role-policy", "--role-name", name,
		"--policy-name", revokeName, "--policy-document", compact(d),
	}})
}

func TestJSON(t *testing.T) {
	r, trust, access := specialRole()
	if text, err := JSON.WriteRole(r); err == nil {
		t.Errorf("WriteRole with two policies = %s, want an error", text)
	}
	r.Access = nil
	text, err := JSON.WriteRole(r)
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "trust", text, trust)
	r, _, _ = specialRole()
	r.Trust = nil
	if text, err = JSON.WriteRole(r); err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "access", text, access)
	if text, err = JSON.WriteCORS(nil, policy.CORS([]string{"*"}), ""); err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "CORS", text, `[{"AllowedHeaders":["*"],"AllowedMethods":["GET","HEAD"],
		"AllowedOrigins":["*"],"MaxAgeSeconds":3600,
		"ExposeHeaders":["Accept-Ranges","Content-Length","Content-Range","ETag"]}]`)
}
