// Package document writes an integration's documents as JSON, Terraform, CloudFormation templates
// or AWS CLI commands.
package document

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"s3redirect/internal/policy"
)

// Format is the format of a document.
type Format string

// The formats. JSON is the bare document, as the IAM and S3 consoles take it. The other formats
// create the resource that the document belongs to.
const (
	JSON           Format = "json"
	Terraform      Format = "terraform"
	CloudFormation Format = "cloudformation"
	CLI            Format = "cli" // commands of the AWS CLI
)

// Formats returns all formats.
func Formats() []Format { return []Format{JSON, Terraform, CloudFormation, CLI} }

// Role is an IAM role with its policies.
type Role struct {
	Name string
	Path string // begins and ends with /
	// MaxSession is the role's maximum session duration.
	MaxSession time.Duration
	// Trust is the trust policy; nil means that the role exists already.
	Trust *policy.Document
	// Access is the access policy; nil omits it.
	Access *policy.Document
	// AccessName is the name of the access policy within the role. The default is read.
	AccessName string
}

// accessName is the default name of an access policy within its role.
const accessName = "read"

// accessName returns the name of the access policy within the role.
func (r *Role) accessName() string { return cmp.Or(r.AccessName, accessName) }

// accessID returns the name that identifies the access policy among the resources of all roles.
func (r *Role) accessID() string {
	if r.AccessName == "" {
		return r.Name
	}
	return r.Name + "-" + r.AccessName
}

// WriteRole writes a role's trust policy, its access policy, or both. In JSON it writes only one of
// them, and returns an error if both are set.
func (f Format) WriteRole(role Role) (string, error) {
	switch f {
	case Terraform:
		return role.terraform(), nil
	case CloudFormation:
		return role.cloudFormation()
	case CLI:
		return role.cli(), nil
	}
	if role.Trust != nil && role.Access != nil {
		return "", errors.New("policy: a role consists of two JSON documents")
	}
	if role.Trust != nil {
		return indented(role.Trust, ""), nil
	}
	return indented(role.Access, ""), nil
}

// WritePolicy writes a policy that does not belong to a role.
func (f Format) WritePolicy(name string, d policy.Document) (string, error) {
	switch f {
	case Terraform:
		return terraformPolicy(name, d), nil
	case CloudFormation:
		return cloudFormationPolicy(name, d)
	case CLI:
		return cliPolicy(name, d), nil
	}
	return indented(d, ""), nil
}

// WriteCORS writes the rules for each of the buckets. JSON does not contain the buckets. Only CLI
// uses endpoint, the URL of an S3-compatible store; "" means AWS.
func (f Format) WriteCORS(
	buckets []string, rules []policy.CORSRule, endpoint string,
) (string, error) {
	switch f {
	case Terraform:
		return terraformCORS(buckets, rules), nil
	case CloudFormation:
		return cloudFormationCORS(buckets, rules)
	case CLI:
		return cliCORS(buckets, rules, endpoint), nil
	}
	return indented(rules, ""), nil
}

// marshal returns v as JSON without escaping <, > and &.
func marshal(v any, prefix, indent string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, indent)
	if err := e.Encode(v); err != nil {
		// Documents consist of strings and numbers, which can always be encoded.
		panic("policy: document cannot be encoded: " + err.Error())
	}
	return b.String()
}

// compact and indented return v as JSON in ASCII.
func compact(v any) string                 { return strings.TrimSuffix(policy.ASCII(marshal(v, "", "")), "\n") }
func indented(v any, prefix string) string { return policy.ASCII(marshal(v, prefix, "  ")) }
