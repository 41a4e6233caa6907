package document

import (
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
)

// role returns an integration with a role, changed by edit.
func role(edit func(*config.Integration)) *config.Integration {
	i := &config.Integration{
		Name:            "lab",
		Bucket:          "bucket",
		RoleARN:         "arn:aws:iam::123456789012:role/lab",
		Region:          "eu-central-1",
		SessionPolicy:   true,
		SessionDuration: time.Hour,
	}
	edit(i)
	return i
}

// TestRequest writes every kind of document in every format.
func TestRequest(t *testing.T) {
	lab := role(func(i *config.Integration) { i.ExternalID = "id-1" })
	tagged := role(func(i *config.Integration) { i.SessionTags = map[string]string{"team": "media"} })
	noID := role(func(*config.Integration) {})
	keys := &config.Integration{
		Name:             "keys",
		PermittedBuckets: []string{"team-*"},
		Region:           "eu-central-1",
		AccessKeyID:      "AKIA",
	}
	gov := role(func(i *config.Integration) {
		i.RoleARN, i.Region = "arn:aws-us-gov:iam::123456789012:role/lab", "us-gov-west-1"
	})
	ceph := role(func(i *config.Integration) {
		i.RoleARN = "arn:aws:iam:::role/lab"
		i.Endpoint, i.STSEndpoint = "https://s3.example", "https://s3.example"
	})
	const (
		proxy    = "arn:aws:iam::123456789012:role/proxy"
		provider = "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A"
		govKey   = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k"
	)
	c := &config.Config{PublicURL: "https://media.example.com"}
	for _, q := range []struct {
		name           string
		request        Request // the format is JSON unless set
		needsPrincipal bool
		text           string // part of the document
		note           string // part of the notes
		err            string
	}{
		{
			name:    "access",
			request: Request{Kind: KindAccess, Integration: lab},
			text:    `"arn:aws:s3:::bucket/*"`,
			note:    "without s3:ListBucket",
		},
		{
			name:    "access with keys",
			request: Request{Kind: KindAccess, Integration: keys},
			text:    `"arn:aws:s3:::team-*/*"`,
			note:    "to the user that owns the keys",
		},
		{
			name:    "access with keys in Terraform",
			request: Request{Kind: KindAccess, Integration: keys, Format: Terraform},
			text:    `"aws_iam_policy"`,
		},
		{
			name:    "KMS alias",
			request: Request{Kind: KindAccess, Integration: lab, KMSKeys: []string{"alias/k"}},
			err:     `"alias/k"`,
		},
		{
			name:    "KMS alias with keys",
			request: Request{Kind: KindAccess, Integration: keys, KMSKeys: []string{"alias/k"}},
			err:     `"alias/k"`,
		},
		{
			name:    "KMS key of another partition",
			request: Request{Kind: KindAccess, Integration: lab, KMSKeys: []string{govKey}},
			err:     "in partition aws-us-gov",
		},
		{
			name:    "KMS key in GovCloud",
			request: Request{Kind: KindAccess, Integration: gov, KMSKeys: []string{govKey}},
			text:    `"arn:aws-us-gov:s3:::bucket/*"`,
		},
		{
			name:    "access in CloudFormation",
			request: Request{Kind: KindAccess, Integration: lab, Format: CloudFormation},
			text:    "AWS::IAM::RolePolicy",
			note:    "--stack-name s3redirect-lab",
		},
		{
			name: "role in CloudFormation",
			request: Request{
				Kind: KindRole, Integration: lab, Principal: proxy, Format: CloudFormation,
			},
			needsPrincipal: true,
			text:           "Outputs:",
			note:           "CAPABILITY_NAMED_IAM",
		},
		{
			name:           "principal of another partition",
			request:        Request{Kind: KindTrust, Integration: gov, Principal: proxy},
			needsPrincipal: true,
			err:            "in partition aws,",
		},
		{
			name:           "account in GovCloud",
			request:        Request{Kind: KindTrust, Integration: gov, Principal: "123456789012"},
			needsPrincipal: true,
			text:           "arn:aws-us-gov:iam::123456789012:root",
			note:           "every principal",
		},
		{
			name: "user of an S3-compatible store",
			request: Request{
				Kind: KindTrust, Integration: ceph, Principal: "arn:aws:iam:::user/proxy",
			},
			needsPrincipal: true,
			text:           `"arn:aws:iam:::user/proxy"`,
		},
		{
			name:           "trust",
			request:        Request{Kind: KindTrust, Integration: lab, Principal: proxy},
			needsPrincipal: true,
			text:           `"sts:ExternalId": "id-1"`,
			note:           "role chaining",
		},
		{
			name:           "trust without an external ID",
			request:        Request{Kind: KindTrust, Integration: noID, Principal: "123456789012"},
			needsPrincipal: true,
			text:           ":root",
			note:           "confused deputy",
		},
		{
			name:           "trust without a principal",
			request:        Request{Kind: KindTrust, Integration: lab},
			needsPrincipal: true,
			err:            `principal ""`,
		},
		{
			name:           "trust of everyone",
			request:        Request{Kind: KindTrust, Integration: lab, Principal: "*"},
			needsPrincipal: true,
			err:            "would let others",
		},
		{
			name:    "trust with keys",
			request: Request{Kind: KindTrust, Integration: keys},
			err:     "access keys and no role",
		},
		{
			name: "web identity",
			request: Request{
				Kind: KindTrust, Integration: lab, WebIdentity: &Identity{provider, "s", "a"},
			},
			text: `"oidc.example/id/A:sub": "s"`,
			note: "s3redirect runs as",
		},
		{
			name: "web identity without a subject",
			request: Request{
				Kind: KindTrust, Integration: lab, WebIdentity: &Identity{ProviderARN: provider},
			},
			err: "every pod",
		},
		{
			name:    "role in JSON",
			request: Request{Kind: KindRole, Integration: lab, Principal: proxy},
			err:     "two JSON documents",
		},
		{
			name: "role as commands",
			request: Request{
				Kind: KindRole, Integration: lab, Principal: proxy, Format: CLI,
			},
			needsPrincipal: true,
			text:           "put-role-policy",
			note:           "without s3:ListBucket",
		},
		{
			name: "role in Terraform",
			request: Request{
				Kind: KindRole, Integration: lab, Principal: proxy, Format: Terraform,
			},
			needsPrincipal: true,
			text:           "max_session_duration = 3600",
			note:           "role chaining",
		},
		{
			name:    "role with keys",
			request: Request{Kind: KindRole, Integration: keys, Format: CLI},
			err:     "access keys and no role",
		},
		{
			name: "role with an invalid KMS key",
			request: Request{
				Kind:        KindRole,
				Integration: lab,
				Principal:   proxy,
				KMSKeys:     []string{"k"},
				Format:      CLI,
			},
			needsPrincipal: true,
			err:            `"k"`,
		},
		{
			name:    "assume",
			request: Request{Kind: KindAssume, Integration: lab},
			text:    `"arn:aws:iam::123456789012:role/lab"`,
			note:    "the principal that the proxy runs as",
		},
		{
			name:    "assume with tags",
			request: Request{Kind: KindAssume, Integration: lab, WithTags: true, Format: Terraform},
			text:    `"sts:SetSourceIdentity"`,
			note:    "the principal that the proxy runs as",
		},
		{
			name:           "trust of an integration with session tags",
			request:        Request{Kind: KindTrust, Integration: tagged, Principal: proxy},
			needsPrincipal: true,
			text:           `"sts:TagSession"`,
			note:           "the document assume has both",
		},
		{
			name: "trust with tags",
			request: Request{
				Kind: KindTrust, Integration: lab, Principal: proxy, WithTags: true,
			},
			needsPrincipal: true,
			text:           `"sts:TagSession"`,
			note:           "the document assume has both",
		},
		{
			name: "role with tags in CloudFormation",
			request: Request{
				Kind: KindRole, Integration: lab, Principal: proxy, WithTags: true,
				Format: CloudFormation,
			},
			needsPrincipal: true,
			text:           "- sts:SetSourceIdentity",
			note:           "the document assume has both",
		},
		{
			name: "role with tags as commands",
			request: Request{
				Kind: KindRole, Integration: lab, Principal: proxy, WithTags: true, Format: CLI,
			},
			needsPrincipal: true,
			text:           `["sts:TagSession","sts:SetSourceIdentity"]`,
			note:           "the document assume has both",
		},
		{
			name: "web identity with tags",
			request: Request{
				Kind: KindTrust, Integration: lab, WebIdentity: &Identity{provider, "s", "a"},
				WithTags: true,
			},
			text: `"sts:TagSession"`,
			note: "s3redirect runs as",
		},
		{
			name:    "assume with keys",
			request: Request{Kind: KindAssume, Integration: keys},
			err:     "access keys and no role",
		},
		{
			name:    "revoke",
			request: Request{Kind: KindRevoke, Integration: lab, Before: time.Unix(1e9, 0)},
			text:    `"aws:TokenIssueTime": "2001-09-09T01:46:40Z"`,
			note:    "then purge every replica",
		},
		{
			name:    "revoke in CloudFormation",
			request: Request{Kind: KindRevoke, Integration: lab, Format: CloudFormation},
			text:    "PolicyName: AWSRevokeOlderSessions",
			note:    "--stack-name s3redirect-lab-revoke",
		},
		{
			name:    "revoke at an S3-compatible store",
			request: Request{Kind: KindRevoke, Integration: ceph, Format: CLI},
			text:    "put-role-policy --role-name lab",
			note:    "not every S3-compatible store",
		},
		{
			name:    "revoke with keys",
			request: Request{Kind: KindRevoke, Integration: keys},
			err:     "access keys and no role",
		},
		{
			name:    "CORS for the configuration's origins",
			request: Request{Kind: KindCORS, Integration: lab},
			text:    `"https://media.example.com"`,
			note:    "these origins are sufficient only if",
		},
		{
			name:    "CORS for all origins",
			request: Request{Kind: KindCORS, Integration: lab, Origins: []string{"*"}},
			text:    `"*"`,
			note:    "which only * allows",
		},
		{
			name:    "CORS for an invalid origin",
			request: Request{Kind: KindCORS, Integration: lab, Origins: []string{"app"}},
			err:     "app",
		},
		{
			name:    "CORS in CloudFormation",
			request: Request{Kind: KindCORS, Integration: lab, Format: CloudFormation},
			text:    "BucketName: bucket",
			note:    "CorsConfiguration",
		},
		{
			name:    "CORS of a pattern in JSON",
			request: Request{Kind: KindCORS, Integration: keys},
			text:    `"Content-Range"`,
		},
		{
			name:    "CORS of a pattern as commands",
			request: Request{Kind: KindCORS, Integration: keys, Format: CLI},
			err:     "team-* is a pattern",
		},
		{
			name: "CORS of an access point as commands",
			request: Request{Kind: KindCORS, Format: CLI, Integration: role(
				func(i *config.Integration) {
					i.AccessPoint = "arn:aws:s3:eu-central-1:123456789012:accesspoint/lab"
				})},
			err: "CORS is set on the bucket behind it",
		},
		{
			name:    "unknown kind",
			request: Request{Kind: "acces", Integration: lab},
			err:     `document "acces"`,
		},
		{
			name:    "unknown format",
			request: Request{Kind: KindAccess, Integration: lab, Format: "xml"},
			err:     `format "xml"`,
		},
	} {
		t.Run(q.name, func(t *testing.T) {
			r := q.request
			r.Config = c
			if r.Format == "" {
				r.Format = JSON
			}
			if got := r.NeedsPrincipal(); got != q.needsPrincipal {
				t.Errorf("NeedsPrincipal() = %v, want %v", got, q.needsPrincipal)
			}
			text, notes, err := r.Write()
			if q.err != "" {
				if err == nil || !strings.Contains(err.Error(), q.err) ||
					text != "" || notes != nil {
					t.Errorf("Write() = %q, %q, %v, want an error with %q", text, notes, err, q.err)
				}
				return
			}
			if err != nil || !strings.Contains(text, q.text) {
				t.Errorf("Write() = %v, want a document with %s:\n%s", err, q.text, text)
			}
			if !strings.Contains(strings.Join(notes, "\n"), q.note) {
				t.Errorf("notes = %q, want one with %q", notes, q.note)
			}
		})
	}
}
