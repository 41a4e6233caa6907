package config

import (
	"encoding/json"
	"fmt"
	"reflect"
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

func TestSessionDocument(t *testing.T) {
	const (
		read = `{"Effect":"Allow","Action":["s3:GetObject"],` +
			`"Resource":["arn:aws:s3:::bucket/*"]}`
		list = `{"Effect":"Allow","Action":["s3:ListBucket"],` +
			`"Resource":["arn:aws:s3:::bucket"]}`
		decrypt = `{"Effect":"Allow","Action":["kms:Decrypt"],"Resource":["*"],` +
			`"Condition":{"StringLike":{"kms:ViaService":"s3.*"}}}`
	)
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("some-bucket-with-a-long-name-%d", i)
	}
	for _, c := range []struct {
		name string
		edit func(*Integration)
		want string // the statements
		fits bool
	}{
		{"one bucket", func(*Integration) {}, read + "," + decrypt, true},
		{
			"access point",
			func(c *Integration) {
				c.AccessPoint = "arn:aws:s3:eu-central-1:123456789012:accesspoint/lab"
				c.ListBucket = true
			},
			`{"Effect":"Allow","Action":["s3:GetObject"],"Resource":[` +
				`"arn:aws:s3:eu-central-1:123456789012:accesspoint/lab/object/*"]},` +
				`{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":[` +
				`"arn:aws:s3:eu-central-1:123456789012:accesspoint/lab"]},` + decrypt, true,
		},
		{
			"custom STS endpoint",
			func(c *Integration) { c.STSEndpoint = "http://127.0.0.1" },
			read + "," + decrypt, true,
		},
		{
			"VPC endpoint of S3",
			func(c *Integration) {
				c.Endpoint = "https://bucket.vpce-1-2.s3.eu-central-1.vpce.amazonaws.com"
			},
			read + "," + decrypt, true,
		},
		{
			"S3-compatible store",
			func(c *Integration) {
				c.Endpoint, c.STSEndpoint = "https://s3.example", "https://s3.example"
			},
			read, true,
		},
		{
			"a store whose regions are looked up",
			func(c *Integration) {
				c.Region, c.Endpoint = "auto", "https://store.example"
				c.STSEndpoint = c.Endpoint
			},
			read + `,{"Effect":"Allow","Action":["s3:GetBucketLocation"],` +
				`"Resource":["arn:aws:s3:::bucket"]}`, true,
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
			true,
		},
		{
			"list_bucket",
			func(c *Integration) { c.ListBucket = true },
			read + "," + list + "," + decrypt, true,
		},
		{"session_policy off", func(c *Integration) { c.SessionPolicy = false }, "", true},
		{"static keys", func(c *Integration) { c.RoleARN = "" }, "", true},
		{
			"too many buckets",
			func(c *Integration) { c.Bucket, c.PermittedBuckets = "", many },
			"", false,
		},
	} {
		want := c.want
		if want != "" {
			want = `{"Version":"2012-10-17","Statement":[` + want + `]}`
		}
		if got, fits := role(c.edit).SessionDocument(); got != want || fits != c.fits {
			t.Errorf("%s: SessionDocument = %s, %v\nwant %s, %v", c.name, got, fits, want, c.fits)
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
