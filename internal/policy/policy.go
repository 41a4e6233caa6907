// Package policy writes the documents that an integration needs: what its role may do, who may assume it, and which pages
// may read its buckets.
package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"s3redirect/internal/config"
)

// Document is an IAM policy.
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

// MaxSession is STS's limit of an inline session policy, in characters.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const MaxSession = 2048

// Session narrows a session to reading the objects of the integration's own buckets; it is "" where it is switched off. It
// does not fit where there are too many buckets; then it is "" too, and fits is false.
func Session(i *config.Integration) (text string, fits bool) {
	if i.RoleARN == "" || !i.SessionPolicy {
		return "", true
	}
	d := document(reading(i)...)
	if i.STSEndpoint == "" {
		// A session may do no more than its policy says, and an object under SSE-KMS is decrypted with the reader's rights.
		d.Statement = append(d.Statement, decrypting([]string{"*"}))
	}
	b, err := json.Marshal(d)
	if err != nil || utf8.RuneCount(b) > MaxSession {
		return "", false
	}
	return string(b), true
}

// Access is what an integration's role must be allowed: to read the objects of its buckets, with the KMS keys that they are
// encrypted with. The keys must have passed [CheckKMSKey].
func Access(i *config.Integration, kmsKeys []string) Document {
	d := document(reading(i)...)
	if len(kmsKeys) > 0 {
		d.Statement = append(d.Statement, decrypting(kmsKeys))
	}
	return d
}

// reading are the statements that let objects be read. HeadObject needs s3:GetObject too.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func reading(i *config.Integration) []Statement {
	get := Statement{Effect: "Allow", Action: []string{"s3:GetObject"}}
	if i.FileVersioning {
		get.Action = append(get.Action, "s3:GetObjectVersion")
	}
	list := Statement{Effect: "Allow", Action: []string{"s3:ListBucket"}}
	for _, bucket := range i.Buckets() {
		arn := "arn:" + i.Partition() + ":s3:::" + bucket
		get.Resource = append(get.Resource, arn+"/*")
		list.Resource = append(list.Resource, arn)
	}
	if i.ListBucket {
		return []Statement{get, list}
	}
	return []Statement{get}
}

// decrypting lets S3 decrypt objects, and nobody else anything.
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
func decrypting(keys []string) Statement {
	return Statement{Effect: "Allow", Action: []string{"kms:Decrypt"}, Resource: keys,
		Condition: map[string]map[string]string{"StringLike": {"kms:ViaService": "s3.*"}}}
}

// Trust is who may assume an integration's role: the principal, and only with the external ID, if there is one.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html
func Trust(p Principal, externalID string) Document {
	s := Statement{Effect: "Allow", Principal: map[string]string{"AWS": p.ARN}, Action: []string{"sts:AssumeRole"}}
	if externalID != "" {
		s.Condition = map[string]map[string]string{"StringEquals": {"sts:ExternalId": externalID}}
	}
	return document(s)
}

// Assume is what our own principal must be allowed: to assume a role. In the role's own account the trust policy that names
// us is enough; in every other account both are needed.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
func Assume(roleARN string) Document {
	return document(Statement{Effect: "Allow", Action: []string{"sts:AssumeRole"}, Resource: []string{roleARN}})
}

// WebIdentity is who may become the role that we ourselves run as: a subject of an OpenID Connect provider, such as a
// Kubernetes service account (IRSA).
// https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html
func WebIdentity(providerARN, subject, audience string) (Document, error) {
	m := providerGrammar.FindStringSubmatch(providerARN)
	switch {
	case m == nil:
		return Document{}, errors.New("that is no provider's ARN; write it as arn:aws:iam::123456789012:oidc-provider/HOST/PATH")
	case subject == "" || strings.ContainsAny(subject, "*?"):
		return Document{}, errors.New("a subject is needed, without * and ?, such as system:serviceaccount:NAMESPACE:NAME: without one every pod of the cluster could be us")
	}
	return document(Statement{Effect: "Allow", Principal: map[string]string{"Federated": providerARN}, Action: []string{"sts:AssumeRoleWithWebIdentity"},
		Condition: map[string]map[string]string{"StringEquals": {m[1] + ":aud": audience, m[1] + ":sub": subject}}}), nil
}

var (
	providerGrammar = regexp.MustCompile(`^arn:aws(?:-[a-z]+)*:iam::[0-9]{12}:oidc-provider/([A-Za-z0-9.-]+(?:/[A-Za-z0-9._/-]+)?)$`)
	kmsKeyGrammar   = regexp.MustCompile(`^arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$`)
	accountGrammar  = regexp.MustCompile(`^[0-9]{12}$`)
	// The account is empty in stores other than AWS.
	principalGrammar = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::([0-9]{12}|[\w-]*):(root|(user|role)/[!-~]*[\w+=,.@-])$`)
	sessionGrammar   = regexp.MustCompile(`^arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([\w+=,.@-]+)/[\w+=,.@-]+$`)
)

// CheckKMSKey says why a text is not a KMS key's ARN as a policy's resource must have it.
func CheckKMSKey(arn string) error {
	switch {
	case strings.Contains(arn, ":alias/"):
		return errors.New("kms:Decrypt is allowed for keys, not for aliases: give the key's own ARN, which `aws kms describe-key --key-id ALIAS` prints")
	case !kmsKeyGrammar.MatchString(arn):
		return errors.New("that is no KMS key's ARN; write it as arn:aws:kms:eu-central-1:123456789012:key/ID")
	}
	return nil
}

// Principal is who assumes a role.
type Principal struct {
	ARN string
	// Role tells that it is a role, or an account, among whose principals may be roles. What a role assumes lasts an hour at most (role chaining).
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
	Role bool
	// Warnings are what to know about the principal.
	Warnings []string
}

// ParsePrincipal reads an ARN, or an account's 12 digits. The ARN of an assumed role, as GetCallerIdentity tells it, stands for the role: policies
// name roles, and sessions come and go.
func ParsePrincipal(text, partition string) (Principal, error) {
	const account = "this trusts everyone whom the account %s lets assume the role; name a user or a role to trust nobody else"
	if accountGrammar.MatchString(text) {
		return Principal{ARN: "arn:" + partition + ":iam::" + text + ":root", Role: true, Warnings: []string{fmt.Sprintf(account, text)}}, nil
	}
	if m := sessionGrammar.FindStringSubmatch(text); m != nil {
		p := Principal{ARN: "arn:" + m[1] + ":iam::" + m[2] + ":role/" + m[3], Role: true}
		if strings.HasPrefix(m[3], "AWSReservedSSO_") {
			p.ARN = "arn:" + m[1] + ":iam::" + m[2] + ":role/aws-reserved/sso.amazonaws.com/" + m[3]
			p.Warnings = append(p.Warnings, "this is a person's sign-in (IAM Identity Center), not the proxy's own role: give --principal the role that the proxy will run as. Where Identity Center is not in us-east-1, the role's path has its region too")
		} else {
			p.Warnings = append(p.Warnings, "an assumed role's ARN does not show the role's path: if the role "+m[3]+" has one, give --principal its full ARN")
		}
		return p, nil
	}
	m := principalGrammar.FindStringSubmatch(text)
	switch {
	case strings.Contains(text, "*"):
		return Principal{}, errors.New("a principal with * would let others than us assume the role; name a user, a role or an account")
	case m == nil:
		return Principal{}, errors.New("that is no principal; give a user's or role's ARN, such as arn:aws:iam::123456789012:role/s3redirect, or an account's 12 digits")
	case m[2] == "root":
		return Principal{ARN: text, Role: true, Warnings: []string{fmt.Sprintf(account, m[1])}}, nil
	}
	return Principal{ARN: text, Role: m[3] == "role"}, nil
}
