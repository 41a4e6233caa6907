package config

import (
	"testing"

	"s3redirect/internal/locator"
)

func TestAccessPoint(t *testing.T) {
	const arn = "arn:aws-us-gov:s3:us-gov-west-1:123456789012:accesspoint/lab"
	c, err := Parse("c", []byte(`listen: 127.0.0.1:8080
viewers: {anonymous: true}
integrations:
  - name: lab
    bucket: photos
    access_point: `+arn+`
    role_arn: arn:aws-us-gov:iam::123456789012:role/r
    fips: true
`), noEnv)
	if err != nil {
		t.Fatalf("Parse() = %v, want no error", err)
	}
	i := c.Integrations[0]
	if i.Region != "us-gov-west-1" || i.Partition() != "aws-us-gov" || !i.HasAccessPoint() {
		t.Errorf("Parse() = region %s, partition %s, HasAccessPoint %v, want us-gov-west-1, "+
			"aws-us-gov, true", i.Region, i.Partition(), i.HasAccessPoint())
	}
	const want = "https://lab-123456789012.s3-accesspoint-fips.us-gov-west-1.amazonaws.com/"
	for _, e := range []string{
		i.BucketEndpoint("photos", i.Region).URL(), i.LookupEndpoint("photos").URL(),
	} {
		if e != want {
			t.Errorf("the URL is %s, want %s", e, want)
		}
	}
	if found, ok := c.ServedBy(locator.Locator{Bucket: "photos"}); !ok || found != i {
		t.Errorf("ServedBy(photos) = %v, %v, want the integration", found, ok)
	}
	// A draft has no defaults from other keys.
	draft, err := Draft{"access_point": arn, "bucket": "photos"}.Integration()
	if err != nil || draft.HomeRegion() != "us-gov-west-1" {
		t.Errorf("Integration() = %+v, %v, want the home region us-gov-west-1", draft, err)
	}
}

func TestAliasIsABucket(t *testing.T) {
	const alias = "lab-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias"
	i := parseIntegration(t, "bucket: "+alias)
	const want = "https://" + alias + ".s3.us-east-1.amazonaws.com/"
	if got := i.BucketEndpoint(alias, i.Region).URL(); got != want || !i.HasAccessPoint() {
		t.Errorf("the URL is %s, HasAccessPoint %v, want %s, true", got, i.HasAccessPoint(), want)
	}
}
