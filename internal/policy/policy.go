// Package policy builds the documents that an integration needs: IAM policies, trust policies,
// session policies, and CORS rules.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// Document is an IAM policy document.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
type Document struct {
	Version   string
	Statement []Statement
}

// Statement is one statement of a policy.
type Statement struct {
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string                     `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func document(statements ...Statement) Document {
	return Document{Version: "2012-10-17", Statement: statements}
}

// MaxSession is the maximum length, in characters, of an inline session policy.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const MaxSession = 2048

// Omitted is what a session policy omits because it would be longer than [MaxSession].
type Omitted int

// The values of Omitted.
const (
	OmittedNothing Omitted = iota
	OmittedBlocked         // the blocked prefixes
	OmittedAll             // everything: there is no policy
)

// Session returns the session policy that limits a session to a scope, and what it omits.
func Session(s *Scope) (text string, omitted Omitted) {
	decrypt := s.KMSKeys
	if len(decrypt) == 0 {
		decrypt = []string{"*"}
	}
	whole := *s
	for omitted = OmittedNothing; omitted < OmittedAll; omitted++ {
		d := document(whole.readStatements()...)
		if s.AWS {
			// S3 decrypts SSE-KMS objects with the reader's permissions, and a session has only
			// those permissions that both its role and its session policy allow.
			d.Statement = append(d.Statement, decryptStatement(decrypt))
		}
		if text = d.text(); len(text) <= MaxSession {
			return text, omitted
		}
		whole.BlockedPrefixes = nil
	}
	return "", OmittedAll
}

// Access returns the policy that lets a role read the objects of a scope and decrypt them with its
// KMS keys and further ones. The keys must have passed [CheckKMSKey].
func Access(s *Scope, kmsKeys []string) Document {
	d := document(s.readStatements()...)
	if keys := slices.Concat(s.KMSKeys, kmsKeys); len(keys) > 0 {
		slices.Sort(keys)
		d.Statement = append(d.Statement, decryptStatement(slices.Compact(keys)))
	}
	return d
}

// text returns the document as JSON in [ASCII], without spaces.
func (d Document) text() string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		panic("policy: document cannot be encoded: " + err.Error()) // it consists of strings
	}
	// A space is part of a string, since there are none between the tokens. The query encoding of
	// AssumeRole writes it as a plus sign, which radosgw does not decode.
	return strings.ReplaceAll(ASCII(strings.TrimSuffix(b.String(), "\n")), " ", `\u0020`)
}

// ASCII returns a JSON text with all characters outside ASCII escaped. STS and IAM accept no
// character above U+00FF in a policy.
func ASCII(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < 0x7f:
			b.WriteByte(byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// decryptStatement returns the statement that allows decryption with keys, in requests made through
// S3 only.
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
func decryptStatement(keys []string) Statement {
	return Statement{
		Effect:    "Allow",
		Action:    []string{"kms:Decrypt"},
		Resource:  keys,
		Condition: map[string]map[string]string{"StringLike": {"kms:ViaService": "s3.*"}},
	}
}

// Trust returns the trust policy that lets p assume an integration's role. If externalID is not
// empty, the policy requires it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html
func Trust(p Principal, externalID string) Document {
	s := Statement{
		Effect:    "Allow",
		Principal: map[string]string{"AWS": p.ARN},
		Action:    []string{"sts:AssumeRole"},
	}
	if externalID != "" {
		s.Condition = map[string]map[string]string{"StringEquals": {"sts:ExternalId": externalID}}
	}
	return document(s)
}

// Assume returns the policy that lets the proxy's own principal assume a role. In the role's
// account a trust policy that names the principal is enough; across accounts both are required.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
func Assume(roleARN string) Document {
	return document(Statement{
		Effect:   "Allow",
		Action:   []string{"sts:AssumeRole"},
		Resource: []string{roleARN},
	})
}

// WithTags returns a policy that allows assuming a role, with a further statement that allows the
// session to have tags and a source identity. AssumeRole requires these actions, too, if the
// caller's own session has a source identity or transitive tags, which are passed on. The
// statement has no condition, because the condition keys of AssumeRole, such as sts:ExternalId, are
// not keys of these actions. Without sts:AssumeRole it allows nothing.
//
//   - https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_permissions-required
//   - https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
//   - https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html#pod-id-abac-chaining
func (d Document) WithTags() Document {
	for _, s := range d.Statement {
		s.Action, s.Condition = []string{"sts:TagSession", "sts:SetSourceIdentity"}, nil
		d.Statement = append(d.Statement, s)
	}
	return d
}

// Revoke returns the policy that denies everything to the sessions of a role that were issued
// before an instant. STS issues sessions at whole seconds, so the instant is rounded up: the policy
// then also covers sessions that were issued earlier in the same second.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
func Revoke(before time.Time) Document {
	instant := before.Add(time.Second - 1).Truncate(time.Second).UTC().Format(time.RFC3339)
	return document(Statement{
		Effect:    "Deny",
		Action:    []string{"*"},
		Resource:  []string{"*"},
		Condition: map[string]map[string]string{"DateLessThan": {"aws:TokenIssueTime": instant}},
	})
}

// WebIdentity returns the trust policy of the role that the proxy itself runs as. It lets a subject
// of an OpenID Connect provider, such as a Kubernetes service account (IRSA), assume the role.
// https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html
func WebIdentity(providerARN, subject, audience string) (Document, error) {
	m := providerGrammar.FindStringSubmatch(providerARN)
	switch {
	case m == nil:
		return Document{}, errors.New("invalid provider ARN; " +
			"write it as arn:aws:iam::123456789012:oidc-provider/HOST/PATH")
	case subject == "" || strings.ContainsAny(subject, "*?"):
		return Document{}, errors.New("a subject without * and ? is required, " +
			"such as system:serviceaccount:NAMESPACE:NAME; " +
			"without it, every pod of the cluster could assume the role")
	}
	return document(Statement{
		Effect:    "Allow",
		Principal: map[string]string{"Federated": providerARN},
		Action:    []string{"sts:AssumeRoleWithWebIdentity"},
		Condition: map[string]map[string]string{
			"StringEquals": {m[1] + ":aud": audience, m[1] + ":sub": subject},
		},
	}), nil
}

var (
	providerGrammar = regexp.MustCompile(
		`^arn:aws(?:-[a-z]+)*:iam::[0-9]{12}:oidc-provider/([A-Za-z0-9.-]+(?:/[A-Za-z0-9._/-]+)?)$`)
	kmsKeyGrammar = regexp.MustCompile(
		`^arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$`)
	accountGrammar = regexp.MustCompile(`^[0-9]{12}$`)
	// S3-compatible stores may leave the account empty.
	principalGrammar = regexp.MustCompile(
		`^arn:[a-z0-9-]+:iam::([0-9]{12}|[\w-]*):(root|(user|role)/[!-~]*[\w+=,.@-])$`)
	sessionGrammar = regexp.MustCompile(
		`^arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([\w+=,.@-]+)/[\w+=,.@-]+$`)
)

// CheckKMSKey returns an error if arn is not the ARN of a KMS key. Policies do not accept aliases.
func CheckKMSKey(arn string) error {
	switch {
	case strings.Contains(arn, ":alias/"):
		return errors.New("kms:Decrypt cannot be allowed for an alias; give the key's ARN, " +
			"which `aws kms describe-key --key-id ALIAS` prints")
	case !kmsKeyGrammar.MatchString(arn):
		return errors.New("invalid KMS key ARN; " +
			"write it as arn:aws:kms:eu-central-1:123456789012:key/ID")
	}
	return nil
}

// Principal is the user, role or account that assumes a role.
type Principal struct {
	ARN string
	// Role reports whether the principal is a role, or an account, which may contain roles. A
	// session that a role obtains by role chaining lasts one hour at most.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
	Role bool
	// Warnings are notes to show to the user.
	Warnings []string
}

// ParsePrincipal parses the ARN of a user or role, or an account's 12 digits, which stand for the
// whole account in the given partition. It replaces the ARN of an assumed role, as
// GetCallerIdentity returns it, with the role's ARN, because session names change.
func ParsePrincipal(text, partition string) (Principal, error) {
	const account = "this trusts every principal that the account %s allows to assume the role; " +
		"name a user or a role to trust only that one"
	if accountGrammar.MatchString(text) {
		return Principal{
			ARN:      "arn:" + partition + ":iam::" + text + ":root",
			Role:     true,
			Warnings: []string{fmt.Sprintf(account, text)},
		}, nil
	}
	if m := sessionGrammar.FindStringSubmatch(text); m != nil {
		return roleOfSession(m[1], m[2], m[3]), nil
	}
	m := principalGrammar.FindStringSubmatch(text)
	switch {
	case strings.Contains(text, "*"):
		return Principal{}, errors.New("a principal with * would let others assume the role; " +
			"name a user, a role or an account")
	case m == nil:
		return Principal{}, errors.New("invalid principal; give the ARN of a user or role, " +
			"such as arn:aws:iam::123456789012:role/s3redirect, or an account's 12 digits")
	case m[2] == "root":
		return Principal{
			ARN:      text,
			Role:     true,
			Warnings: []string{fmt.Sprintf(account, m[1])},
		}, nil
	}
	return Principal{ARN: text, Role: m[3] == "role"}, nil
}

// roleOfSession returns the role of an assumed role's ARN, which does not contain the role's path.
func roleOfSession(partition, account, role string) Principal {
	prefix := "arn:" + partition + ":iam::" + account + ":role/"
	if strings.HasPrefix(role, "AWSReservedSSO_") {
		return Principal{
			ARN:  prefix + "aws-reserved/sso.amazonaws.com/" + role,
			Role: true,
			Warnings: []string{"this is a person's sign-in (IAM Identity Center), not the " +
				"proxy's role; set --principal to the role that the proxy will run as. If " +
				"Identity Center is not in us-east-1, the role's path also contains its region"},
		}
	}
	return Principal{
		ARN:  prefix + role,
		Role: true,
		Warnings: []string{"the ARN of an assumed role does not contain the role's path; " +
			"if the role " + role + " has a path, set --principal to its full ARN"},
	}
}
