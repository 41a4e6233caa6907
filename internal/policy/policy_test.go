package policy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// checkDocument compares a policy's JSON with the JSON of the wanted statements.
func checkDocument(t *testing.T, name string, d Document, statements string) {
	t.Helper()
	want := `{"Version":"2012-10-17","Statement":[` + statements + `]}`
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s: policy = %s\nwant %s", name, text, want)
	}
}

func TestTrust(t *testing.T) {
	p, err := ParsePrincipal("arn:aws:iam::123456789012:role/app/s3redirect", "aws")
	if err != nil {
		t.Fatal(err)
	}
	checkDocument(t, "with an external ID", Trust(p, "id-1"), `{"Effect":"Allow",
		"Principal":{"AWS":"arn:aws:iam::123456789012:role/app/s3redirect"},
		"Action":["sts:AssumeRole"],"Condition":{"StringEquals":{"sts:ExternalId":"id-1"}}}`)
	checkDocument(t, "without an external ID", Trust(p, ""), `{"Effect":"Allow",
		"Principal":{"AWS":"arn:aws:iam::123456789012:role/app/s3redirect"},
		"Action":["sts:AssumeRole"]}`)
}

func TestAssume(t *testing.T) {
	checkDocument(t, "role", Assume("arn:aws:iam::210987654321:role/r"), `{"Effect":"Allow",
		"Action":["sts:AssumeRole"],"Resource":["arn:aws:iam::210987654321:role/r"]}`)
}

func TestWithTags(t *testing.T) {
	const (
		principal = "arn:aws:iam::123456789012:role/proxy"
		target    = "arn:aws:iam::210987654321:role/r"
	)
	checkDocument(t, "trust", Trust(Principal{ARN: principal}, "id-1").WithTags(),
		`{"Effect":"Allow","Principal":{"AWS":"`+principal+`"},"Action":["sts:AssumeRole"],
			"Condition":{"StringEquals":{"sts:ExternalId":"id-1"}}},
		{"Effect":"Allow","Principal":{"AWS":"`+principal+`"},
			"Action":["sts:TagSession","sts:SetSourceIdentity"]}`)
	checkDocument(t, "assume", Assume(target).WithTags(),
		`{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":["`+target+`"]},
		{"Effect":"Allow","Action":["sts:TagSession","sts:SetSourceIdentity"],
			"Resource":["`+target+`"]}`)
}

func TestRevoke(t *testing.T) {
	zone := time.FixedZone("east", 2*60*60)
	for _, c := range []struct {
		before time.Time
		want   string
	}{
		{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), "2026-05-01T12:00:00Z"},
		{time.Date(2026, 5, 1, 12, 0, 0, 1, time.UTC), "2026-05-01T12:00:01Z"},
		{time.Date(2026, 5, 1, 12, 0, 0, 999_999_999, zone), "2026-05-01T10:00:01Z"},
	} {
		checkDocument(t, c.before.String(), Revoke(c.before), `{"Effect":"Deny","Action":["*"],
			"Resource":["*"],"Condition":{"DateLessThan":{"aws:TokenIssueTime":"`+c.want+`"}}}`)
	}
}

func TestWebIdentity(t *testing.T) {
	const (
		host     = "oidc.eks.eu-central-1.amazonaws.com/id/ABC"
		provider = "arn:aws:iam::123456789012:oidc-provider/" + host
		subject  = "system:serviceaccount:media:s3redirect"
	)
	d, err := WebIdentity(provider, subject, "sts.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	checkDocument(t, "service account", d, `{"Effect":"Allow",
		"Principal":{"Federated":"`+provider+`"},
		"Action":["sts:AssumeRoleWithWebIdentity"],
		"Condition":{"StringEquals":{
			"`+host+`:aud":"sts.amazonaws.com","`+host+`:sub":"`+subject+`"}}}`)
	for _, c := range []struct{ provider, subject string }{
		{provider, ""},
		{provider, "system:serviceaccount:*:*"},
		{"arn:aws:iam::1:oidc-provider/x", "s"},
		{"https://oidc.example", "s"},
	} {
		if d, err := WebIdentity(c.provider, c.subject, "a"); err == nil {
			t.Errorf("WebIdentity(%q, %q) = %+v, want an error", c.provider, c.subject, d)
		}
	}
}

func TestParsePrincipal(t *testing.T) {
	const account = "every principal"
	for _, c := range []struct {
		text    string
		arn     string // "" means an error
		role    bool
		warning string
	}{
		{"arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/ann", false, ""},
		{"arn:aws:iam::123456789012:role/path/r", "arn:aws:iam::123456789012:role/path/r", true, ""},
		{"123456789012", "arn:aws-cn:iam::123456789012:root", true, account},
		{"arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root", true, account},
		{
			"arn:aws:sts::123456789012:assumed-role/r/i-0abc",
			"arn:aws:iam::123456789012:role/r", true, "path",
		},
		{
			"arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0123/ann",
			"arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123",
			true, "sign-in",
		},
		{"arn:aws:iam:::user/trusted", "arn:aws:iam:::user/trusted", false, ""}, // Ceph
		{"*", "", false, ""},
		{"arn:aws:iam::123456789012:role/*", "", false, ""},
		{"", "", false, ""},
		{"ann", "", false, ""},
		{"12345678901", "", false, ""},
		{"arn:aws:s3:::bucket", "", false, ""},
		{"arn:aws:iam::123456789012:group/g", "", false, ""},
		{"arn:aws:iam::123456789012:role/r\n", "", false, ""},
		{"arn:aws:sts::123456789012:federated-user/x", "", false, ""},
	} {
		p, err := ParsePrincipal(c.text, "aws-cn")
		if (err != nil) != (c.arn == "") || p.ARN != c.arn || p.Role != c.role {
			t.Errorf("ParsePrincipal(%q) = %+v, %v, want ARN %q, Role %v",
				c.text, p, err, c.arn, c.role)
		}
		warned := strings.Join(p.Warnings, " ")
		if !strings.Contains(warned, c.warning) || (c.warning == "") != (warned == "") {
			t.Errorf("ParsePrincipal(%q) warns %q, want %q", c.text, warned, c.warning)
		}
	}
}

func TestCheckKMSKey(t *testing.T) {
	const key = "arn:aws-cn:kms:cn-north-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	if err := CheckKMSKey(key); err != nil {
		t.Errorf("CheckKMSKey(%q) = %v, want nil", key, err)
	}
	const alias = "arn:aws:kms:eu-central-1:123456789012:alias/media"
	if err := CheckKMSKey(alias); err == nil || !strings.Contains(err.Error(), "describe-key") {
		t.Errorf("CheckKMSKey(%q) = %v, want an error that mentions describe-key", alias, err)
	}
	for _, arn := range []string{
		"",
		"*",
		"1234abcd",
		"arn:aws:kms:eu-central-1:123456789012:key/*",
		"arn:aws:kms:*:123456789012:key/x",
	} {
		if CheckKMSKey(arn) == nil {
			t.Errorf("CheckKMSKey(%q) = nil, want an error", arn)
		}
	}
}
