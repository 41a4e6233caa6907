package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Format is what a document is written for.
type Format string

// The formats. JSON is the bare document, as the consoles of IAM and S3 take it; the others create what it is for.
const (
	JSON           Format = "json"
	Terraform      Format = "terraform"
	CloudFormation Format = "cloudformation"
	CLI            Format = "cli" // commands of the AWS CLI
)

// Formats are all of them.
func Formats() []Format { return []Format{JSON, Terraform, CloudFormation, CLI} }

// Role is a role, or a part of it.
type Role struct {
	Name string
	Path string // with a / at both ends
	// MaxSession is the longest session that may be asked for.
	MaxSession time.Duration
	Trust      *Document // nil: the role is there already
	Access     *Document // nil: it is given elsewhere
}

// RoleOf splits a role's ARN into its path and its name.
func RoleOf(roleARN string) (path, name string) {
	_, rest, _ := strings.Cut(roleARN, ":role")
	i := strings.LastIndexByte(rest, '/')
	return rest[:i+1], rest[i+1:]
}

const accessName = "read" // of the policy within the role

// WriteRole writes a role's trust policy, its access policy, or both. As JSON it is one of them.
func (f Format) WriteRole(role Role) (string, error) {
	switch f {
	case Terraform:
		return role.terraform(), nil
	case CloudFormation:
		return role.cloudFormation()
	case CLI:
		return role.commands(), nil
	}
	if role.Trust != nil && role.Access != nil {
		return "", fmt.Errorf("policy: a role is two JSON documents")
	}
	if role.Trust != nil {
		return indented(role.Trust, ""), nil
	}
	return indented(role.Access, ""), nil
}

// WritePolicy writes a policy that is there for itself.
func (f Format) WritePolicy(name string, d Document) (string, error) {
	switch f {
	case Terraform:
		return fmt.Sprintf("resource \"aws_iam_policy\" %q {\n  name = %s\n  policy = %s\n}\n", label(name), literal(name), encoded(d)), nil
	case CloudFormation:
		return template(logicalID(name), resource{Type: "AWS::IAM::ManagedPolicy", Properties: managedPolicy{ManagedPolicyName: name, PolicyDocument: d}})
	case CLI:
		return "aws iam create-policy --policy-name " + quoted(name) + " \\\n  --policy-document " + quoted(compact(d)) + "\n", nil
	}
	return indented(d, ""), nil
}

// WriteCORS writes the rules for each of the buckets. As JSON they are of no bucket in particular. The endpoint is for the
// CLI's commands: "" is AWS.
func (f Format) WriteCORS(buckets []string, rules []CORSRule, endpoint string) (string, error) {
	var b strings.Builder
	switch f {
	case JSON:
		return indented(rules, ""), nil
	case CloudFormation:
		return corsTemplate(buckets, rules)
	case Terraform:
		for n, bucket := range buckets {
			if n > 0 {
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "resource \"aws_s3_bucket_cors_configuration\" %q {\n  bucket = %s\n", label(bucket), literal(bucket))
			for _, r := range rules {
				fmt.Fprintf(&b, "\n  cors_rule {\n    allowed_headers = %s\n    allowed_methods = %s\n    allowed_origins = %s\n    expose_headers  = %s\n    max_age_seconds = %d\n  }\n",
					literal(r.AllowedHeaders), literal(r.AllowedMethods), literal(r.AllowedOrigins), literal(r.ExposeHeaders), r.MaxAgeSeconds)
			}
			b.WriteString("}\n")
		}
	case CLI:
		at := ""
		if endpoint != "" {
			at = " --endpoint-url " + quoted(endpoint)
		}
		for _, bucket := range buckets {
			fmt.Fprintf(&b, "aws s3api put-bucket-cors%s --bucket %s \\\n  --cors-configuration %s\n", at, quoted(bucket), quoted(compact(map[string]any{"CORSRules": rules})))
		}
	}
	return b.String(), nil
}

func (r *Role) terraform() string {
	var b strings.Builder
	name := label(r.Name)
	role := literal(r.Name)
	if r.Trust != nil {
		fmt.Fprintf(&b, "resource \"aws_iam_role\" %q {\n  name                 = %s\n  path                 = %s\n  max_session_duration = %d\n  assume_role_policy = %s\n}\n",
			name, literal(r.Name), literal(r.Path), int(r.MaxSession.Seconds()), encoded(r.Trust))
		role = "aws_iam_role." + name + ".name"
	}
	if r.Trust != nil && r.Access != nil {
		b.WriteString("\n")
	}
	if r.Access != nil {
		fmt.Fprintf(&b, "resource \"aws_iam_role_policy\" %q {\n  name = %q\n  role = %s\n  policy = %s\n}\n", name, accessName, role, encoded(r.Access))
	}
	if r.Trust != nil {
		fmt.Fprintf(&b, "\noutput \"%s_arn\" {\n  value = aws_iam_role.%s.arn\n}\n", name, name)
	}
	return b.String()
}

func (r *Role) commands() string {
	var b strings.Builder
	if r.Trust != nil {
		fmt.Fprintf(&b, "aws iam create-role --role-name %s --path %s --max-session-duration %d \\\n  --assume-role-policy-document %s\n",
			quoted(r.Name), quoted(r.Path), int(r.MaxSession.Seconds()), quoted(compact(r.Trust)))
	}
	if r.Access != nil {
		fmt.Fprintf(&b, "aws iam put-role-policy --role-name %s --policy-name %s \\\n  --policy-document %s\n", quoted(r.Name), accessName, quoted(compact(r.Access)))
	}
	return b.String()
}

// The resources of CloudFormation, as far as they are needed here.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_IAM.html
type (
	resource struct {
		Type           string
		DeletionPolicy string `json:",omitempty"`
		Properties     any
	}
	output struct {
		Description string
		Value       struct {
			GetAtt []string `json:"Fn::GetAtt"`
		}
	}
	iamRole struct {
		RoleName                 string
		Path                     string
		MaxSessionDuration       int
		AssumeRolePolicyDocument *Document
		Policies                 []namedPolicy `json:",omitempty"`
	}
	namedPolicy struct {
		PolicyName     string
		PolicyDocument *Document
	}
	rolePolicy struct {
		PolicyName     string
		RoleName       string
		PolicyDocument *Document
	}
	managedPolicy struct {
		ManagedPolicyName string
		PolicyDocument    Document
	}
	bucketCORS struct {
		BucketName        string
		CorsConfiguration struct{ CorsRules []bucketCORSRule }
	}
	bucketCORSRule struct {
		AllowedHeaders, AllowedMethods, AllowedOrigins, ExposedHeaders []string
		MaxAge                                                         int
	}
)

func (r *Role) cloudFormation() (string, error) {
	id := logicalID(r.Name)
	if r.Trust == nil {
		return template(id, resource{Type: "AWS::IAM::RolePolicy", Properties: rolePolicy{PolicyName: accessName, RoleName: r.Name, PolicyDocument: r.Access}})
	}
	role := iamRole{RoleName: r.Name, Path: r.Path, MaxSessionDuration: int(r.MaxSession.Seconds()), AssumeRolePolicyDocument: r.Trust}
	if r.Access != nil {
		role.Policies = []namedPolicy{{PolicyName: accessName, PolicyDocument: r.Access}}
	}
	arn := output{Description: "For role_arn in the configuration"}
	arn.Value.GetAtt = []string{id, "Arn"}
	return templateOf(map[string]resource{id: {Type: "AWS::IAM::Role", Properties: role}}, map[string]output{id + "Arn": arn})
}

func corsTemplate(buckets []string, rules []CORSRule) (string, error) {
	resources := map[string]resource{}
	for n, name := range buckets {
		b := bucketCORS{BucketName: name}
		for _, r := range rules {
			b.CorsConfiguration.CorsRules = append(b.CorsConfiguration.CorsRules, bucketCORSRule{
				r.AllowedHeaders, r.AllowedMethods, r.AllowedOrigins, r.ExposeHeaders, r.MaxAgeSeconds})
		}
		id := logicalID(name)
		if _, taken := resources[id]; taken { // of a-b and a.b, for instance
			id += strconv.Itoa(n + 1)
		}
		resources[id] = resource{Type: "AWS::S3::Bucket", DeletionPolicy: "Retain", Properties: b}
	}
	return templateOf(resources, nil)
}

func template(id string, r resource) (string, error) {
	return templateOf(map[string]resource{id: r}, nil)
}

// templateOf is a template in YAML. It is written as JSON, read as the YAML that JSON is, and written again without its
// brackets: so names and their order are the structs'.
func templateOf(resources map[string]resource, outputs map[string]output) (string, error) {
	text := compact(struct {
		AWSTemplateFormatVersion string
		Resources                map[string]resource
		Outputs                  map[string]output `json:",omitempty"`
	}{"2010-09-09", resources, outputs})
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		return "", err
	}
	var plain func(*yaml.Node)
	plain = func(n *yaml.Node) {
		n.Style = 0
		for _, c := range n.Content {
			plain(c)
		}
	}
	plain(&n)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return "", err
	}
	return b.String(), e.Close()
}

// marshal is JSON in which <, > and & stay what they are.
func marshal(v any, prefix, indent string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, indent)
	if err := e.Encode(v); err != nil {
		panic("policy: a document that is no JSON: " + err.Error()) // they are strings and numbers
	}
	return b.String()
}

func compact(v any) string                 { return strings.TrimSuffix(marshal(v, "", ""), "\n") }
func indented(v any, prefix string) string { return marshal(v, prefix, "  ") }

// In Terraform's strings ${ and %{ begin an expression.
var templates = strings.NewReplacer("${", "$${", "%{", "%%{")

// jsonKey is a key at the beginning of a line.
var jsonKey = regexp.MustCompile(`(?m)^( *"[^"\\]*"): `)

// encoded is a document as an expression of Terraform's, of whose syntax JSON is a part. Blanks are where terraform fmt puts them.
func encoded(v any) string {
	return "jsonencode(" + jsonKey.ReplaceAllString(strings.TrimSuffix(templates.Replace(indented(v, "  ")), "\n"), "$1 : ") + ")"
}

// literal is a string, or a list of strings, of Terraform's.
func literal(v any) string { return strings.ReplaceAll(templates.Replace(compact(v)), `","`, `", "`) }

var (
	notLabel = regexp.MustCompile(`[^A-Za-z0-9_-]`)
	notID    = regexp.MustCompile(`[^A-Za-z0-9]`)
)

// label is a name as Terraform's resources may be called: it begins with a letter.
func label(name string) string {
	return "s3redirect_" + notLabel.ReplaceAllString(strings.TrimPrefix(name, "s3redirect-"), "_")
}

// logicalID is a name as CloudFormation's resources may be called: letters and digits.
func logicalID(name string) string {
	id := "S3Redirect"
	for _, part := range notID.Split(strings.TrimPrefix(name, "s3redirect-"), -1) {
		if part != "" {
			id += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return id
}

// quoted is a word for a POSIX shell.
func quoted(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)
