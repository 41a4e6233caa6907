package fakeaws

import (
	"encoding/json"
	"slices"
	"strings"

	"s3redirect/internal/locator"
)

// The S3 actions that the stand-in evaluates. It ignores all others in a policy.
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

// oneOrMany is a list that may also be written as a single element, as in IAM's policy grammar.
type oneOrMany[T any] []T

// UnmarshalJSON implements [json.Unmarshaler].
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

// parsePolicy parses a session policy. Unlike AWS, it refuses NotAction and NotResource.
func parsePolicy(text string) (*policyDocument, *Fault) {
	malformed := badRequest("MalformedPolicyDocument",
		"This policy contains invalid Json or elements that are not allowed in a session policy")
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
				return nil, badRequest("MalformedPolicyDocument",
					"Resource %s must be in ARN format or \"*\".", r)
			}
		}
	}
	return &doc, nil
}

// allows reports whether the policy allows an action on a resource. key is the s3:prefix of
// s3:ListBucket. No other conditions are evaluated: an Allow with one never matches, and a Deny with
// one always does.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func (d *policyDocument) allows(action, resource, key string) bool {
	allowed := false
	for _, s := range d.Statement {
		if !s.covers(action, resource) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = allowed || s.Condition == nil || action == listBucket && s.allowsPrefix(key)
	}
	return allowed
}

func (s *statement) covers(action, resource string) bool {
	action = strings.ToLower(action)
	return slices.ContainsFunc(s.Action, func(p string) bool { return matches(strings.ToLower(p), action) }) &&
		slices.ContainsFunc(s.Resource, func(p string) bool { return matches(p, resource) })
}

// allowsPrefix reports whether the only condition is a StringLike of s3:prefix that key matches.
func (s *statement) allowsPrefix(key string) bool {
	var condition struct {
		StringLike struct {
			Prefix oneOrMany[string] `json:"s3:prefix"`
		}
	}
	return decodeStrictly(string(s.Condition), &condition) == nil &&
		slices.ContainsFunc(condition.StringLike.Prefix,
			func(p string) bool { return matches(p, key) })
}

// The wildcards of a parsed pattern, besides bytes.
const (
	anySequence = -1 - iota
	anyByte
	unknownVariable // matches nothing
)

// parsePattern parses an IAM pattern, in which * stands for any sequence of characters, ? for any
// one character, and ${*}, ${?} and ${$} for the characters *, ? and $. No other variables are
// known.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func parsePattern(text string) (pattern []int) {
	for len(text) > 0 {
		c, rest := int(text[0]), text[1:]
		switch variable, after, closed := strings.Cut(rest, "}"); {
		case c == '*':
			c = anySequence
		case c == '?':
			c = anyByte
		case c == '$' && closed && strings.HasPrefix(variable, "{"):
			c, rest = unknownVariable, after
			if len(variable) == 2 && strings.Contains("*?$", variable[1:]) {
				c = int(variable[1])
			}
		}
		pattern, text = append(pattern, c), rest
	}
	return pattern
}

// matches reports whether s matches an IAM pattern.
func matches(text, s string) bool {
	pattern := parsePattern(text)
	p, n, star, mark := 0, 0, -1, 0
	for n < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == anySequence:
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == anyByte || pattern[p] == int(s[n])):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return !slices.ContainsFunc(pattern[p:], func(c int) bool { return c != anySequence })
}

// arn returns the ARN of an object, or of the bucket if key is empty.
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

// allows reports whether a caller is allowed an action on an object, or on the bucket if key is
// empty. For s3:ListBucket, key is the prefix that is listed: S3 answers 404 for a missing key if the
// caller may list it. A user has the permissions of its User. A session has its role's current
// permissions, narrowed by its session policy.
func (c *Cloud) allows(caller *principal, action, region, bucket, key string) bool {
	matchesBucket := func(pattern string) bool { return locator.MatchBucket(pattern, bucket) }
	s := caller.session
	if s == nil {
		return slices.ContainsFunc(caller.user.Buckets, matchesBucket)
	}
	c.mu.Lock()
	role, exists := c.roles[s.roleARN]
	c.mu.Unlock()
	if !exists || s.revoked || !slices.ContainsFunc(role.Buckets, matchesBucket) {
		return false
	}
	if action == getObjectVersion && !role.Versions || action == listBucket && !role.List {
		return false
	}
	resource := arn(region, bucket, key)
	if action == listBucket {
		resource = arn(region, bucket, "")
	}
	return s.policy == nil || s.policy.allows(action, resource, key)
}

// allowsDecrypt reports whether a caller is allowed kms:Decrypt with a key. Users never are.
func (c *Cloud) allowsDecrypt(caller *principal, key string) bool {
	if caller.session == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.roles[caller.session.roleARN].KMSKeys, key)
}
