package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
)

func role(mend func(*config.Integration)) *config.Integration {
	i := &config.Integration{Name: "lab", Bucket: "bucket", RoleARN: "arn:aws:iam::123456789012:role/lab", Region: "eu-central-1", SessionPolicy: true, SessionDuration: time.Hour}
	mend(i)
	return i
}

func TestSession(t *testing.T) {
	const read = `{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/*"]}`
	const decrypt = `{"Effect":"Allow","Action":["kms:Decrypt"],"Resource":["*"],"Condition":{"StringLike":{"kms:ViaService":"s3.*"}}}`
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("some-bucket-with-a-long-name-%d", i)
	}
	for _, c := range []struct {
		name string
		mend func(*config.Integration)
		want string
		fits bool
	}{
		{"scoped", func(*config.Integration) {}, `{"Version":"2012-10-17","Statement":[` + read + "," + decrypt + `]}`, true},
		{"own STS", func(c *config.Integration) { c.STSEndpoint = "http://127.0.0.1" }, `{"Version":"2012-10-17","Statement":[` + read + `]}`, true},
		{"versions and patterns, China", func(c *config.Integration) {
			c.Bucket, c.PermittedBuckets, c.FileVersioning, c.Region = "", []string{"photos", "team-*"}, true, "cn-north-1"
		}, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":["arn:aws-cn:s3:::photos/*","arn:aws-cn:s3:::team-*/*"]},` + decrypt + `]}`, true},
		{"missing keys are to be 404", func(c *config.Integration) { c.ListBucket = true },
			`{"Version":"2012-10-17","Statement":[` + read + `,{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::bucket"]},` + decrypt + `]}`, true},
		{"switched off", func(c *config.Integration) { c.SessionPolicy = false }, "", true},
		{"static keys", func(c *config.Integration) { c.RoleARN = "" }, "", true},
		{"too many buckets", func(c *config.Integration) { c.Bucket, c.PermittedBuckets = "", many }, "", false},
	} {
		if got, fits := Session(role(c.mend)); got != c.want || fits != c.fits {
			t.Errorf("%s: fits %v,\n got %s\nwant %s", c.name, fits, got, c.want)
		}
	}
}

func TestAccess(t *testing.T) {
	for _, c := range []struct {
		name string
		mend func(*config.Integration)
		keys []string
		want string
	}{
		{"scoped", func(*config.Integration) {}, nil, `[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/*"]}]`},
		{"all of it, GovCloud", func(c *config.Integration) {
			c.Bucket, c.PermittedBuckets, c.FileVersioning, c.ListBucket = "", []string{"photos", "team-*"}, true, true
			c.Region, c.RoleARN = "auto", "arn:aws-us-gov:iam::123456789012:role/lab"
		}, []string{"arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k1"},
			`[{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":["arn:aws-us-gov:s3:::photos/*","arn:aws-us-gov:s3:::team-*/*"]},` +
				`{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws-us-gov:s3:::photos","arn:aws-us-gov:s3:::team-*"]},` +
				`{"Effect":"Allow","Action":["kms:Decrypt"],"Resource":["arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k1"],"Condition":{"StringLike":{"kms:ViaService":"s3.*"}}}]`},
		{"a region and no role yet", func(c *config.Integration) { c.Region, c.RoleARN = "cn-northwest-1", "" }, nil,
			`[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws-cn:s3:::bucket/*"]}]`},
		{"another store", func(c *config.Integration) { c.Endpoint, c.Region = "https://s3.example", "cn-north-1" }, nil,
			`[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/*"]}]`},
	} {
		got, err := JSON.WriteRole(Role{Access: new(Access(role(c.mend), c.keys))})
		if err != nil {
			t.Fatal(err)
		}
		checkJSON(t, c.name, got, `{"Version":"2012-10-17","Statement":`+c.want+`}`)
	}
}

func checkJSON(t *testing.T, name, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("%s: %v: %s", name, err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if compact(a) != compact(b) {
		t.Errorf("%s:\n got %s\nwant %s", name, compact(a), compact(b))
	}
}

func TestTrust(t *testing.T) {
	p, err := ParsePrincipal("arn:aws:iam::123456789012:role/app/s3redirect", "aws")
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "with an external ID", compact(Trust(p, "id-1")), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/app/s3redirect"},
		"Action":["sts:AssumeRole"],"Condition":{"StringEquals":{"sts:ExternalId":"id-1"}}}]}`)
	checkJSON(t, "without", compact(Trust(p, "")), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/app/s3redirect"},"Action":["sts:AssumeRole"]}]}`)
	checkJSON(t, "our own", compact(Assume("arn:aws:iam::210987654321:role/r")), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":["arn:aws:iam::210987654321:role/r"]}]}`)

	const provider = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC"
	d, err := WebIdentity(provider, "system:serviceaccount:media:s3redirect", "sts.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "web identity", compact(d), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"`+provider+`"},"Action":["sts:AssumeRoleWithWebIdentity"],
		"Condition":{"StringEquals":{"oidc.eks.eu-central-1.amazonaws.com/id/ABC:aud":"sts.amazonaws.com","oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub":"system:serviceaccount:media:s3redirect"}}}]}`)
	for _, wrong := range [][2]string{{provider, ""}, {provider, "system:serviceaccount:*:*"}, {"arn:aws:iam::1:oidc-provider/x", "s"}, {"https://oidc.example", "s"}} {
		if d, err := WebIdentity(wrong[0], wrong[1], "a"); err == nil {
			t.Errorf("%q: %s", wrong, compact(d))
		}
	}
}

func TestParsePrincipal(t *testing.T) {
	for _, c := range []struct {
		text, arn string
		role      bool
		warning   string
	}{
		{"arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/ann", false, ""},
		{"arn:aws:iam::123456789012:role/path/r", "arn:aws:iam::123456789012:role/path/r", true, ""},
		{"123456789012", "arn:aws-cn:iam::123456789012:root", true, "everyone"},
		{"arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root", true, "everyone"},
		{"arn:aws:sts::123456789012:assumed-role/r/i-0abc", "arn:aws:iam::123456789012:role/r", true, "path"},
		{"arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0123/ann", "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123", true, "sign-in"},
		{"arn:aws:iam:::user/trusted", "arn:aws:iam:::user/trusted", false, ""}, // Ceph's
		{"*", "", false, ""}, {"arn:aws:iam::123456789012:role/*", "", false, ""}, {"", "", false, ""}, {"ann", "", false, ""}, {"12345678901", "", false, ""},
		{"arn:aws:s3:::bucket", "", false, ""}, {"arn:aws:iam::123456789012:group/g", "", false, ""}, {"arn:aws:iam::123456789012:role/r\n", "", false, ""},
		{"arn:aws:sts::123456789012:federated-user/x", "", false, ""},
	} {
		p, err := ParsePrincipal(c.text, "aws-cn")
		if (err != nil) != (c.arn == "") || p.ARN != c.arn || p.Role != c.role || !strings.Contains(strings.Join(p.Warnings, " "), c.warning) || (c.warning == "") != (len(p.Warnings) == 0) {
			t.Errorf("%q: %+v, %v", c.text, p, err)
		}
	}
}

func TestCheckKMSKey(t *testing.T) {
	if err := CheckKMSKey("arn:aws-cn:kms:cn-north-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"); err != nil {
		t.Error(err)
	}
	if err := CheckKMSKey("arn:aws:kms:eu-central-1:123456789012:alias/media"); err == nil || !strings.Contains(err.Error(), "describe-key") {
		t.Errorf("an alias: %v", err)
	}
	for _, wrong := range []string{"", "*", "1234abcd", "arn:aws:kms:eu-central-1:123456789012:key/*", "arn:aws:kms:*:123456789012:key/x"} {
		if CheckKMSKey(wrong) == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestCORSOrigins(t *testing.T) {
	for _, c := range []struct {
		public  string
		allowed []string
		want    []string
		why     string
	}{
		{"https://media.example", nil, []string{"https://media.example"}, sameOrigin},
		{"https://media.example/", []string{"https://media.example"}, []string{"https://media.example"}, sameOrigin},
		{"https://media.example", []string{"https://media.example", "https://app.example"}, []string{"*"}, nullOrigin},
		{"https://media.example", []string{"*"}, []string{"*"}, nullOrigin},
		{"", nil, []string{"*"}, nullOrigin},
	} {
		cfg := &config.Config{PublicURL: c.public}
		if c.allowed != nil {
			cfg.CORS = &config.CORS{AllowedOrigins: c.allowed}
		}
		if got, why := CORSOrigins(cfg); !slices.Equal(got, c.want) || why != c.why {
			t.Errorf("%q, %q: %q, %s", c.public, c.allowed, got, why)
		}
	}
}
