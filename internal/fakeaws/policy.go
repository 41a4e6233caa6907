package fakeaws

import (
	"encoding/json"
	"slices"
	"strings"

	"s3redirect/internal/locator"
)

// The actions that the stand-in knows, and the only ones it looks for in a policy.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
const (
	getObject        = "s3:GetObject"
	getObjectVersion = "s3:GetObjectVersion"
	listBucket       = "s3:ListBucket"
)

// policyDocument is a session policy.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policyDocument struct {
	Version   string
	ID        string `json:"Id"`
	Statement oneOrMany[statement]
}

type statement struct {
	Sid       string
	Effect    string
	Action    oneOrMany[string]
	Resource  oneOrMany[string]
	Condition json.RawMessage
}

// oneOrMany is a list in which a single element may stand without brackets, as IAM's grammar has it.
type oneOrMany[T any] []T

func (l *oneOrMany[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return decodeStrictly(string(data), (*[]T)(l))
	}
	var one T
	if err := decodeStrictly(string(data), &one); err != nil {
		return err
	}
	*l = oneOrMany[T]{one}
	return nil
}

func decodeStrictly(data string, into any) error {
	d := json.NewDecoder(strings.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// parsePolicy reads a session policy. NotAction and NotResource are refused, though AWS has them: nobody here should need them.
func parsePolicy(text string) (*policyDocument, *Fault) {
	malformed := badRequest("MalformedPolicyDocument", "This policy contains invalid Json or elements that are not a session policy's")
	var doc policyDocument
	if !json.Valid([]byte(text)) || decodeStrictly(text, &doc) != nil {
		return nil, malformed
	}
	if doc.Version != "2012-10-17" && doc.Version != "2008-10-17" || len(doc.Statement) == 0 {
		return nil, malformed
	}
	for _, s := range doc.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || len(s.Resource) == 0 {
			return nil, malformed
		}
		for _, r := range s.Resource {
			if r != "*" && strings.Count(r, ":") < 5 {
				return nil, badRequest("MalformedPolicyDocument", "Resource %s must be in ARN format or \"*\".", r)
			}
		}
	}
	return &doc, nil
}

// allows evaluates the policy. The stand-in evaluates no conditions: a statement that has one allows nothing, and denies always.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func (d *policyDocument) allows(action, resource string) bool {
	allowed := false
	for _, s := range d.Statement {
		if !s.covers(action, resource) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = allowed || s.Condition == nil
	}
	return allowed
}

func (s *statement) covers(action, resource string) bool {
	return slices.ContainsFunc(s.Action, func(p string) bool { return matches(strings.ToLower(p), strings.ToLower(action)) }) &&
		slices.ContainsFunc(s.Resource, func(p string) bool { return matches(p, resource) })
}

// matches tells whether a pattern of IAM's, in which * is any run of characters and ? any one, is a string's.
func matches(pattern, s string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// arn is the resource that a policy must name: an object, or without a key its bucket.
func arn(region, bucket, key string) string {
	partition := "aws"
	switch {
	case strings.HasPrefix(region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		partition = "aws-us-gov"
	}
	resource := "arn:" + partition + ":s3:::" + bucket
	if key != "" {
		resource += "/" + key
	}
	return resource
}

// may tells whether a caller is allowed an action on an object, or without a key on its bucket: a user by what it was
// given, a session by its role's rights as they are now and, where it has one, by its policy too.
func (c *Cloud) may(who *caller, action, region, bucket, key string) bool {
	serves := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return locator.MatchBucket(p, bucket) })
	}
	s := who.session
	if s == nil {
		return serves(who.user.Buckets)
	}
	c.mu.Lock()
	role, exists := c.roles[s.roleARN]
	c.mu.Unlock()
	if !exists || s.revoked || !serves(role.Buckets) {
		return false
	}
	if action == getObjectVersion && !role.Versions || action == listBucket && !role.List {
		return false
	}
	return s.policy == nil || s.policy.allows(action, arn(region, bucket, key))
}

// mayDecrypt tells whether S3 may decrypt with a key for a caller: only roles have such rights here.
func (c *Cloud) mayDecrypt(who *caller, key string) bool {
	if who.session == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.roles[who.session.roleARN].KMSKeys, key)
}
