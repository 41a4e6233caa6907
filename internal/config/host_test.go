package config

import (
	"fmt"
	"testing"
)

func TestPathStyle(t *testing.T) {
	for _, c := range []struct{ keys, bucket, want string }{
		{"endpoint: 'https://s3.example'", "lab", "https://lab.s3.example/"},
		{"endpoint: 'https://s3.example'", "lab.data", "https://s3.example/lab.data/"},
		{
			"endpoint: 'https://s3.example', path_style: false", "lab.data",
			"https://lab.data.s3.example/",
		},
		{"endpoint: 'https://s3.example', path_style: true", "lab", "https://s3.example/lab/"},
		{
			"endpoint: 'http://s3.example', insecure: true", "lab.data",
			"http://lab.data.s3.example/",
		},
		{"endpoint: 'https://s3.example'", "lab_data", "https://s3.example/lab_data/"},
		{
			"endpoint: 'https://s3.example', path_style: false", "lab_data",
			"https://lab_data.s3.example/",
		},
		{
			"endpoint: 'https://s3.example/a/v1', path_style: false", "Lab",
			"https://s3.example/a/v1/Lab/",
		},
		{"endpoint: 'https://s3.example/a/v1/'", "lab", "https://lab.s3.example/a/v1/"},
		{"path_style: false", "lab.data", "https://s3.us-east-1.amazonaws.com/lab.data/"},
	} {
		i := parseIntegration(t, fmt.Sprintf("bucket: %s, %s", c.bucket, c.keys))
		if got := i.BucketEndpoint(c.bucket, "us-east-1").URL(); got != c.want {
			t.Errorf("%s, bucket %s: the URL is %s, want %s", c.keys, c.bucket, got, c.want)
		}
		again, err := i.Draft().Integration()
		if err != nil {
			t.Fatalf("%s: Integration() = %v, want no error", c.keys, err)
		}
		if got := again.BucketEndpoint(c.bucket, "us-east-1").URL(); got != c.want {
			t.Errorf("%s, bucket %s: the URL of the draft is %s, want %s",
				c.keys, c.bucket, got, c.want)
		}
	}
}

// parseIntegration returns an integration with static credentials and the given keys, in YAML's
// flow style.
func parseIntegration(t *testing.T, keys string) *Integration {
	t.Helper()
	c, err := Parse("c", fmt.Appendf(nil, `listen: 127.0.0.1:8080
viewers: {anonymous: true}
integrations:
  - {name: lab, region: us-east-1, access_key_id: a, secret_access_key: b, %s}
`, keys), noEnv)
	if err != nil {
		t.Fatalf("%s: Parse() = %v, want no error", keys, err)
	}
	return c.Integrations[0]
}

func TestHosts(t *testing.T) {
	aws := Integration{Bucket: "lab-data", Region: "eu-west-1"}
	with := func(change func(i *Integration)) *Integration {
		i := aws
		change(&i)
		return &i
	}
	for _, c := range []struct {
		i              *Integration
		bucket, lookup string
	}{
		{
			with(func(i *Integration) { i.DualStack = true }),
			"https://lab-data.s3.dualstack.eu-west-1.amazonaws.com/",
			"https://lab-data.s3.dualstack.eu-west-1.amazonaws.com/",
		},
		{
			with(func(i *Integration) {
				i.FIPS, i.DualStack, i.Region = true, true, "us-gov-west-1"
			}),
			"https://lab-data.s3-fips.dualstack.us-gov-west-1.amazonaws.com/",
			"https://lab-data.s3-fips.dualstack.us-gov-west-1.amazonaws.com/",
		},
		{
			with(func(i *Integration) { i.Accelerate, i.DualStack = true, true }),
			"https://lab-data.s3-accelerate.dualstack.amazonaws.com/",
			"https://lab-data.s3.dualstack.eu-west-1.amazonaws.com/",
		},
	} {
		if got := c.i.BucketEndpoint("lab-data", c.i.Region).URL(); got != c.bucket {
			t.Errorf("%+v.BucketEndpoint() = %s, want %s", c.i, got, c.bucket)
		}
		if got := c.i.LookupEndpoint("lab-data").URL(); got != c.lookup {
			t.Errorf("%+v.LookupEndpoint() = %s, want %s", c.i, got, c.lookup)
		}
	}
}
