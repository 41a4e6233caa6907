package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/policy"
)

// role returns an integration with a role, changed by edit.
func role(edit func(*Integration)) *Integration {
	i := &Integration{
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

const someKey = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

func TestSessionDocument(t *testing.T) {
	const (
		read = `{"Effect":"Allow","Action":["s3:GetObject"],` +
			`"Resource":["arn:aws:s3:::bucket/*"]}`
		list = `{"Effect":"Allow","Action":["s3:ListBucket"],` +
			`"Resource":["arn:aws:s3:::bucket"]}`
		decrypt = `{"Effect":"Allow","Action":["kms:Decrypt"],"Resource":["*"],` +
			`"Condition":{"StringLike":{"kms:ViaService":"s3.*"}}}`
	)
	readA := strings.Replace(read, "bucket/*", "bucket/tenant-a/*", 1)
	blocked := make([]string, 100)
	for i := range blocked {
		blocked[i] = fmt.Sprintf("tenant-a/blocked-%d/", i)
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("some-bucket-with-a-long-name-%d", i)
	}
	for _, c := range []struct {
		name string
		edit func(*Integration)
		want string // the statements
		omit policy.Omitted
	}{
		{"one bucket", func(*Integration) {}, read + "," + decrypt, policy.OmittedNothing},
		{
			"access point",
			func(c *Integration) {
				c.AccessPoint = "arn:aws:s3:eu-central-1:123456789012:accesspoint/lab"
				c.ListBucket = true
			},
			`{"Effect":"Allow","Action":["s3:GetObject"],"Resource":[` +
				`"arn:aws:s3:eu-central-1:123456789012:accesspoint/lab/object/*"]},` +
				`{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":[` +
				`"arn:aws:s3:eu-central-1:123456789012:accesspoint/lab"]},` + decrypt, policy.OmittedNothing,
		},
		{
			"custom STS endpoint",
			func(c *Integration) { c.STSEndpoint = "http://127.0.0.1" },
			read + "," + decrypt, policy.OmittedNothing,
		},
		{
			"VPC endpoint of S3",
			func(c *Integration) {
				c.Endpoint = "https://bucket.vpce-1-2.s3.eu-central-1.vpce.amazonaws.com"
			},
			read + "," + decrypt, policy.OmittedNothing,
		},
		{
			"S3-compatible store",
			func(c *Integration) {
				c.Endpoint, c.STSEndpoint = "https://s3.example", "https://s3.example"
			},
			read, policy.OmittedNothing,
		},
		{
			"a store whose regions are looked up",
			func(c *Integration) {
				c.Region, c.Endpoint = "auto", "https://store.example"
				c.STSEndpoint = c.Endpoint
			},
			read + `,{"Effect":"Allow","Action":["s3:GetBucketLocation"],` +
				`"Resource":["arn:aws:s3:::bucket"]}`, policy.OmittedNothing,
		},
		{
			"versions and patterns in China",
			func(c *Integration) {
				c.Bucket, c.PermittedBuckets = "", []string{"photos", "team-*"}
				c.FileVersioning, c.Region = true, "cn-north-1"
				c.RoleARN = "arn:aws-cn:iam::123456789012:role/lab"
			},
			`{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],` +
				`"Resource":["arn:aws-cn:s3:::photos/*","arn:aws-cn:s3:::team-*/*"]},` + decrypt,
			policy.OmittedNothing,
		},
		{
			"list_bucket",
			func(c *Integration) { c.ListBucket = true },
			read + "," + list + "," + decrypt, policy.OmittedNothing,
		},
		{
			"prefix",
			func(c *Integration) { c.Prefix = "tenant-a/" },
			readA + "," + decrypt, policy.OmittedNothing,
		},
		{
			"prefix with list_bucket and blocked prefixes",
			func(c *Integration) {
				c.Prefix, c.ListBucket, c.FileVersioning = "tenant-a/", true, true
				c.BlockedPrefixes = []string{"tenant-a/raw/", "tenant-a/x/"}
			},
			`{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],` +
				`"Resource":["arn:aws:s3:::bucket/tenant-a/*"]},` +
				`{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::bucket"],` +
				`"Condition":{"StringLike":{"s3:prefix":"tenant-a/*"}}},` +
				`{"Effect":"Deny","Action":["s3:GetObject","s3:GetObjectVersion"],` +
				`"Resource":["arn:aws:s3:::bucket/tenant-a/raw/*","arn:aws:s3:::bucket/tenant-a/x/*"]},` +
				decrypt, policy.OmittedNothing,
		},
		{
			"blocked prefixes of a whole bucket",
			func(c *Integration) { c.BlockedPrefixes = []string{"raw/"} },
			read + `,{"Effect":"Deny","Action":["s3:GetObject"],` +
				`"Resource":["arn:aws:s3:::bucket/raw/*"]},` + decrypt, policy.OmittedNothing,
		},
		{
			"wildcards, variables and UTF-8 at AWS",
			func(c *Integration) { c.Prefix, c.ListBucket = `a*b?${aws:username}<"ü日🎬/`, true },
			`{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/` +
				`a${*}b${?}${$}{aws:username}<\"\u00fc\u65e5\ud83c\udfac/*"]},` +
				`{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::bucket"],` +
				`"Condition":{"StringLike":{"s3:prefix":` +
				`"a${*}b${?}${$}{aws:username}<\"\u00fc\u65e5\ud83c\udfac/*"}}},` + decrypt,
			policy.OmittedNothing,
		},
		{
			"a dollar sign and a space at another store",
			func(c *Integration) {
				c.Endpoint, c.STSEndpoint = "https://s3.example", "https://s3.example"
				c.Prefix = "a$ $/"
			},
			`{"Effect":"Allow","Action":["s3:GetObject"],` +
				`"Resource":["arn:aws:s3:::bucket/a$\u0020$/*"]}`, policy.OmittedNothing,
		},
		{
			"prefix of an access point",
			func(c *Integration) {
				c.AccessPoint = "arn:aws:s3:eu-central-1:123456789012:accesspoint/lab"
				c.Prefix = "tenant-a/"
			},
			`{"Effect":"Allow","Action":["s3:GetObject"],"Resource":[` +
				`"arn:aws:s3:eu-central-1:123456789012:accesspoint/lab/object/tenant-a/*"]},` +
				decrypt, policy.OmittedNothing,
		},
		{
			"KMS keys",
			func(c *Integration) { c.KMSKeys = []string{someKey} },
			read + `,{"Effect":"Allow","Action":["kms:Decrypt"],"Resource":["` + someKey + `"],` +
				`"Condition":{"StringLike":{"kms:ViaService":"s3.*"}}}`, policy.OmittedNothing,
		},
		{
			"too many blocked prefixes",
			func(c *Integration) { c.Prefix, c.BlockedPrefixes = "tenant-a/", blocked },
			readA + "," + decrypt, policy.OmittedBlocked,
		},
		{
			"too long a prefix",
			func(c *Integration) { c.Prefix = strings.Repeat("日", 330) + "/" },
			"", policy.OmittedAll,
		},
		{"session_policy off", func(c *Integration) { c.SessionPolicy = false }, "", policy.OmittedNothing},
		{"static keys", func(c *Integration) { c.RoleARN = "" }, "", policy.OmittedNothing},
		{
			"too many buckets",
			func(c *Integration) { c.Bucket, c.PermittedBuckets = "", many },
			"", policy.OmittedAll,
		},
	} {
		want := c.want
		if want != "" {
			want = `{"Version":"2012-10-17","Statement":[` + want + `]}`
		}
		if got, omitted := role(c.edit).SessionDocument(); got != want || omitted != c.omit {
			t.Errorf("%s: SessionDocument = %s, %d\nwant %s, %d", c.name, got, omitted, want, c.omit)
		}
	}
}

func TestAccessDocument(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Integration)
		keys []string
		want string // the statements
	}{
		{
			"one bucket", func(*Integration) {}, nil,
			`{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/*"]}`,
		},
		{
			"all options in GovCloud",
			func(c *Integration) {
				c.Bucket, c.PermittedBuckets = "", []string{"photos", "team-*"}
				c.FileVersioning, c.ListBucket = true, true
				c.Region, c.RoleARN = "auto", "arn:aws-us-gov:iam::123456789012:role/lab"
			},
			[]string{"arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k1"},
			`{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],
				"Resource":["arn:aws-us-gov:s3:::photos/*","arn:aws-us-gov:s3:::team-*/*"]},
			{"Effect":"Allow","Action":["s3:ListBucket"],
				"Resource":["arn:aws-us-gov:s3:::photos","arn:aws-us-gov:s3:::team-*"]},
			{"Effect":"Allow","Action":["kms:Decrypt"],
				"Resource":["arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/k1"],
				"Condition":{"StringLike":{"kms:ViaService":"s3.*"}}}`,
		},
		{
			"FIPS endpoints in GovCloud",
			func(c *Integration) {
				c.Region, c.RoleARN = "us-gov-west-1", "arn:aws-us-gov:iam::123456789012:role/lab"
				c.Endpoint = "https://s3-fips.us-gov-west-1.amazonaws.com"
				c.STSEndpoint = "https://sts.us-gov-west-1.amazonaws.com"
			}, nil,
			`{"Effect":"Allow","Action":["s3:GetObject"],
				"Resource":["arn:aws-us-gov:s3:::bucket/*"]}`,
		},
		{
			"STS of another host in China",
			func(c *Integration) {
				c.Region, c.RoleARN = "cn-north-1", "arn:aws-cn:iam::123456789012:role/lab"
				c.STSEndpoint = "https://sts.internal"
			}, nil,
			`{"Effect":"Allow","Action":["s3:GetObject"],
				"Resource":["arn:aws-cn:s3:::bucket/*"]}`,
		},
		{
			"region without a role",
			func(c *Integration) { c.Region, c.RoleARN = "cn-northwest-1", "" }, nil,
			`{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws-cn:s3:::bucket/*"]}`,
		},
		{
			"S3-compatible store",
			func(c *Integration) {
				c.Endpoint, c.Region = "https://s3.example", "cn-north-1"
			}, nil,
			`{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/*"]}`,
		},
	} {
		checkDocument(t, c.name, policy.Access(role(c.edit).Scope(), c.keys), c.want)
	}
}

// checkDocument compares a policy's JSON with the JSON of the wanted statements.
func checkDocument(t *testing.T, name string, d policy.Document, statements string) {
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
