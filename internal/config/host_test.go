package config

import "testing"

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
			with(func(i *Integration) { i.FIPS, i.DualStack, i.Region = true, true, "us-gov-west-1" }),
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
