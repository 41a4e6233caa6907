package document

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"s3redirect/internal/policy"
)

// The CloudFormation resources that templates contain, with the properties that they use.
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
		AssumeRolePolicyDocument *policy.Document
		Policies                 []namedPolicy `json:",omitempty"`
	}
	namedPolicy struct {
		PolicyName     string
		PolicyDocument *policy.Document
	}
	rolePolicy struct {
		PolicyName     string
		RoleName       string
		PolicyDocument *policy.Document
	}
	managedPolicy struct {
		ManagedPolicyName string
		PolicyDocument    policy.Document
	}
	bucketCORS struct {
		BucketName        string
		CorsConfiguration struct{ CorsRules []bucketCORSRule }
	}
	bucketCORSRule struct {
		AllowedHeaders []string
		AllowedMethods []string
		AllowedOrigins []string
		ExposedHeaders []string
		MaxAge         int
	}
)

func (r *Role) cloudFormation() (string, error) {
	id := logicalID(r.Name)
	if r.Trust == nil {
		return template(map[string]resource{logicalID(r.accessID()): {
			Type: "AWS::IAM::RolePolicy",
			Properties: rolePolicy{
				PolicyName:     r.accessName(),
				RoleName:       r.Name,
				PolicyDocument: r.Access,
			},
		}}, nil)
	}
	role := iamRole{
		RoleName:                 r.Name,
		Path:                     r.Path,
		MaxSessionDuration:       int(r.MaxSession.Seconds()),
		AssumeRolePolicyDocument: r.Trust,
	}
	if r.Access != nil {
		role.Policies = []namedPolicy{{PolicyName: r.accessName(), PolicyDocument: r.Access}}
	}
	arn := output{Description: "For role_arn in the configuration"}
	arn.Value.GetAtt = []string{id, "Arn"}
	return template(
		map[string]resource{id: {Type: "AWS::IAM::Role", Properties: role}},
		map[string]output{id + "Arn": arn},
	)
}

func cloudFormationPolicy(name string, d policy.Document) (string, error) {
	return template(map[string]resource{logicalID(name): {
		Type:       "AWS::IAM::ManagedPolicy",
		Properties: managedPolicy{ManagedPolicyName: name, PolicyDocument: d},
	}}, nil)
}

func cloudFormationCORS(buckets []string, rules []policy.CORSRule) (string, error) {
	resources := map[string]resource{}
	for n, name := range buckets {
		b := bucketCORS{BucketName: name}
		for _, r := range rules {
			b.CorsConfiguration.CorsRules = append(b.CorsConfiguration.CorsRules, bucketCORSRule{
				AllowedHeaders: r.AllowedHeaders,
				AllowedMethods: r.AllowedMethods,
				AllowedOrigins: r.AllowedOrigins,
				ExposedHeaders: r.ExposeHeaders,
				MaxAge:         r.MaxAgeSeconds,
			})
		}
		id := logicalID(name)
		if _, taken := resources[id]; taken { // a-b and a.b have the same ID, for example
			id += strconv.Itoa(n + 1)
		}
		resources[id] = resource{
			Type:           "AWS::S3::Bucket",
			DeletionPolicy: "Retain",
			Properties:     b,
		}
	}
	return template(resources, nil)
}

// template returns a template in YAML. It encodes the template as JSON, which is valid YAML, and
// writes that again in YAML's block style, so that the structs define the names and their order.
// YAML has no escape for a pair of surrogates, so the JSON is not in ASCII.
func template(resources map[string]resource, outputs map[string]output) (string, error) {
	text := marshal(struct {
		AWSTemplateFormatVersion string
		Resources                map[string]resource
		Outputs                  map[string]output `json:",omitempty"`
	}{"2010-09-09", resources, outputs}, "", "")
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		return "", err
	}
	clearStyle(&n)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return "", err
	}
	return b.String(), e.Close()
}

// clearStyle removes JSON's brackets and quotes from n and its children.
func clearStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		clearStyle(c)
	}
}

var notLogicalID = regexp.MustCompile(`[^A-Za-z0-9]`)

// logicalID returns name as a CloudFormation logical ID, which consists of letters and digits.
func logicalID(name string) string {
	id := "S3Redirect"
	for _, part := range notLogicalID.Split(strings.TrimPrefix(name, "s3redirect-"), -1) {
		if part != "" {
			id += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return id
}
