package policy

import (
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// Every document in every format, with what is to know about it.
func TestRequest(t *testing.T) {
	lab := role(func(i *config.Integration) { i.ExternalID = "id-1" })
	keys := &config.Integration{Name: "keys", PermittedBuckets: []string{"team-*"}, Region: "eu-central-1", AccessKeyID: "AKIA"}
	gov := role(func(i *config.Integration) {
		i.RoleARN, i.Region = "arn:aws-us-gov:iam::123456789012:role/lab", "us-gov-west-1"
	})
	ceph := role(func(i *config.Integration) {
		i.RoleARN, i.Endpoint, i.STSEndpoint = "arn:aws:iam:::role/lab", "https://s3.example", "https://s3.example"
	})
	const proxy, provider = "arn:aws:iam::123456789012:role/proxy", "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A"
	c := &config.Config{PublicURL: "https://media.example.com"}
	for _, q := range []struct {
		request Request
		asks    bool   // for the principal
		says    string // in the document
		note    string
		err     string
	}{
		{Request{Kind: KindAccess, Integration: lab}, false, `"arn:aws:s3:::bucket/*"`, "without s3:ListBucket", ""},
		{Request{Kind: KindAccess, Integration: keys}, false, `"arn:aws:s3:::team-*/*"`, "for the user whose keys they are", ""},
		{Request{Kind: KindAccess, Integration: keys, Format: Terraform}, false, `"aws_iam_policy"`, "", ""},
		{Request{Kind: KindAccess, Integration: lab, KMSKeys: []string{"alias/k"}}, false, "", "", `"alias/k"`},
		{Request{Kind: KindAccess, Integration: keys, KMSKeys: []string{"alias/k"}}, false, "", "", `"alias/k"`},
		{Request{Kind: KindAccess, Integration: lab, KMSKeys: []string{"arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k"}}, false, "", "", "of the partition aws-us-gov"},
		{Request{Kind: KindAccess, Integration: gov, KMSKeys: []string{"arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k"}}, false, `"arn:aws-us-gov:s3:::bucket/*"`, "", ""},
		{Request{Kind: KindAccess, Integration: lab, Format: CloudFormation}, false, "AWS::IAM::RolePolicy", "--stack-name s3redirect-lab", ""},
		{Request{Kind: KindRole, Integration: lab, Principal: proxy, Format: CloudFormation}, true, "Outputs:", "CAPABILITY_NAMED_IAM", ""},
		{Request{Kind: KindTrust, Integration: gov, Principal: proxy}, true, "", "", "of the partition aws,"},
		{Request{Kind: KindTrust, Integration: gov, Principal: "123456789012"}, true, "arn:aws-us-gov:iam::123456789012:root", "everyone", ""},
		{Request{Kind: KindTrust, Integration: ceph, Principal: "arn:aws:iam:::user/proxy"}, true, `"arn:aws:iam:::user/proxy"`, "", ""},
		{Request{Kind: KindTrust, Integration: lab, Principal: proxy}, true, `"sts:ExternalId": "id-1"`, "role chaining", ""},
		{Request{Kind: KindTrust, Integration: role(func(*config.Integration) {}), Principal: "123456789012"}, true, ":root", "confused deputy", ""},
		{Request{Kind: KindTrust, Integration: lab}, true, "", "", `the principal ""`},
		{Request{Kind: KindTrust, Integration: lab, Principal: "*"}, true, "", "", "would let others"},
		{Request{Kind: KindTrust, Integration: keys}, false, "", "", "nobody is to be trusted"},
		{Request{Kind: KindTrust, Integration: lab, WebIdentity: &Identity{provider, "s", "a"}}, false, `"oidc.example/id/A:sub": "s"`, "s3redirect runs as", ""},
		{Request{Kind: KindTrust, Integration: lab, WebIdentity: &Identity{ProviderARN: provider}}, false, "", "", "every pod"},
		{Request{Kind: KindRole, Integration: lab, Principal: proxy}, false, "", "", "two JSON documents"},
		{Request{Kind: KindRole, Integration: lab, Principal: proxy, Format: CLI}, true, "put-role-policy", "without s3:ListBucket", ""},
		{Request{Kind: KindRole, Integration: lab, Principal: proxy, Format: Terraform}, true, "max_session_duration = 3600", "role chaining", ""},
		{Request{Kind: KindRole, Integration: keys, Format: CLI}, false, "", "", "nobody is to be trusted"},
		{Request{Kind: KindRole, Integration: lab, Principal: proxy, KMSKeys: []string{"k"}, Format: CLI}, true, "", "", `"k"`},
		{Request{Kind: KindAssume, Integration: lab}, false, `"arn:aws:iam::123456789012:role/lab"`, "the principal that we run as", ""},
		{Request{Kind: KindAssume, Integration: keys}, false, "", "", "keys and no role"},
		{Request{Kind: KindCORS, Integration: lab}, false, `"https://media.example.com"`, sameOrigin, ""},
		{Request{Kind: KindCORS, Integration: lab, Origins: []string{"*"}}, false, `"*"`, nullOrigin, ""},
		{Request{Kind: KindCORS, Integration: lab, Origins: []string{"app"}}, false, "", "", "app"},
		{Request{Kind: KindCORS, Integration: lab, Format: CloudFormation}, false, "BucketName: bucket", "CorsConfiguration", ""},
		{Request{Kind: KindCORS, Integration: keys}, false, `"Content-Range"`, "", ""},
		{Request{Kind: KindCORS, Integration: keys, Format: CLI}, false, "", "", "team-* is a pattern"},
		{Request{Kind: "acces", Integration: lab}, false, "", "", `the document "acces"`},
		{Request{Kind: KindAccess, Integration: lab, Format: "xml"}, false, "", "", `the format "xml"`},
	} {
		r := q.request
		r.Config = c
		if r.Format == "" {
			r.Format = JSON
		}
		name := string(r.Kind) + " " + string(r.Format) + " of " + r.Integration.Name
		if asks := r.NeedsPrincipal(); asks != q.asks {
			t.Errorf("%s: it asks for the principal: %v", name, asks)
		}
		text, notes, err := r.Write()
		if q.err != "" {
			if err == nil || !strings.Contains(err.Error(), q.err) || text != "" || notes != nil {
				t.Errorf("%s: %q, %q, %v; want %s", name, text, notes, err, q.err)
			}
			continue
		}
		if err != nil || !strings.Contains(text, q.says) || !strings.Contains(strings.Join(notes, "\n"), q.note) {
			t.Errorf("%s: %v\n%s\n%q", name, err, text, notes)
		}
	}
}
