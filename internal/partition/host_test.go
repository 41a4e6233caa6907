package partition

import (
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		host    string
		s3, sts bool
	}{
		{"s3.amazonaws.com", true, false},
		{"s3.eu-central-1.amazonaws.com", true, false},
		{"photos.s3.eu-central-1.amazonaws.com", true, false},
		{"S3.EU-Central-1.AmazonAWS.com.", true, false},
		{"s3-eu-west-1.amazonaws.com", true, false},
		{"s3-external-1.amazonaws.com", true, false},
		{"s3-fips.us-gov-west-1.amazonaws.com", true, false},
		{"s3-fips-us-gov-west-1.amazonaws.com", true, false},
		{"s3.dualstack.us-west-2.amazonaws.com", true, false},
		{"s3-fips.dualstack.us-gov-east-1.amazonaws.com", true, false},
		{"s3-accelerate.amazonaws.com", true, false},
		{"s3-accelerate.dualstack.amazonaws.com", true, false},
		{"s3.cn-north-1.amazonaws.com.cn", true, false},
		{"s3.dualstack.cn-northwest-1.amazonaws.com.cn", true, false},
		{"s3.eusc-de-east-1.amazonaws.eu", true, false},
		{"s3.us-iso-east-1.c2s.ic.gov", true, false},
		{"s3-fips.us-isob-east-1.sc2s.sgov.gov", true, false},
		{"s3.eu-isoe-west-1.cloud.adc-e.uk", true, false},
		{"s3.us-isof-south-1.csp.hci.ic.gov", true, false},
		{"bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com", true, false},
		{"accesspoint.vpce-1a2b-us-east-1a.s3.us-east-1.vpce.amazonaws.com", true, false},
		{"vpce-1a2b-5e6f.s3.cn-north-1.vpce.amazonaws.com.cn", true, false},
		{"media-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", true, false},
		{"media-123456789012.s3-accesspoint-fips.dualstack.us-east-1.amazonaws.com", true, false},

		{"sts.amazonaws.com", false, true},
		{"sts.us-gov-west-1.amazonaws.com", false, true},
		{"sts-fips.us-east-1.amazonaws.com", false, true},
		{"sts.cn-north-1.amazonaws.com.cn", false, true},
		{"sts.us-east-1.api.aws", false, true},
		{"sts-fips.us-gov-west-1.api.aws", false, true},
		{"sts.cn-north-1.api.amazonwebservices.com.cn", false, true},
		{"vpce-1a2b-5e6f.sts.us-east-1.vpce.amazonaws.com", false, true},
		{"vpce-1a2b-5e6f-us-east-1a.sts.us-gov-west-1.vpce.amazonaws.com", false, true},

		// Other stores, which may run on AWS.
		{"", false, false},
		{"amazonaws.com", false, false},
		{"minio.internal", false, false},
		{"s3.example.com", false, false},
		{"s3.amazonaws.com.example", false, false},
		{"s3.eu-central-1.notamazonaws.com", false, false},
		{"s3.eu-central-1.wasabisys.com", false, false},
		{"account.r2.cloudflarestorage.com", false, false},
		{"ec2-192-0-2-1.compute-1.amazonaws.com", false, false},
		{"s3-fips-1234567890.us-east-1.elb.amazonaws.com", false, false},
		{"sts-1234567890.us-east-1.elb.amazonaws.com", false, false},
		{"s3-minio.us-east-1.amazonaws.com", false, false},
		{"vpce-1a2b-5e6f.vpce-svc-0f1e.us-east-1.vpce.amazonaws.com", false, false},
		{"s3minio.us-east-1.amazonaws.com", false, false},
	} {
		if got := IsS3Host(c.host); got != c.s3 {
			t.Errorf("IsS3Host(%q) = %v, want %v", c.host, got, c.s3)
		}
		if got := IsSTSHost(c.host); got != c.sts {
			t.Errorf("IsSTSHost(%q) = %v, want %v", c.host, got, c.sts)
		}
	}
}

// TestHostsOfEachPartition tests the forms of hosts in the home regions of all partitions.
func TestHostsOfEachPartition(t *testing.T) {
	for _, p := range partitions {
		for _, form := range []string{
			"s3.REGION.SUFFIX",
			"s3-fips.REGION.SUFFIX",
			"s3.dualstack.REGION.SUFFIX",
			"s3-fips.dualstack.REGION.SUFFIX",
			"bucket.s3.REGION.SUFFIX",
			"alias.s3-accesspoint.REGION.SUFFIX",
			"bucket.vpce-1-2.s3.REGION.vpce.SUFFIX",
		} {
			host := strings.NewReplacer("REGION", p.Home, "SUFFIX", p.DNSSuffix).Replace(form)
			if !IsS3Host(host) {
				t.Errorf("IsS3Host(%q) = false, want true", host)
			}
			if got := S3Region(host); got != p.Home {
				t.Errorf("S3Region(%q) = %q, want %q", host, got, p.Home)
			}
		}
		for _, form := range []string{
			"sts.REGION.SUFFIX",
			"sts-fips.REGION.SUFFIX",
			"sts.REGION.DUALSTACK",
			"vpce-1-2.sts.REGION.vpce.SUFFIX",
		} {
			host := strings.NewReplacer("REGION", p.Home, "SUFFIX", p.DNSSuffix,
				"DUALSTACK", p.dualStackSuffix).Replace(form)
			if !IsSTSHost(host) {
				t.Errorf("IsSTSHost(%q) = false, want true", host)
			}
		}
	}
}

func TestS3Region(t *testing.T) {
	for host, want := range map[string]string{
		"s3-us-west-2.amazonaws.com":          "us-west-2",
		"s3-fips-us-gov-west-1.amazonaws.com": "us-gov-west-1",
		"s3.amazonaws.com":                    "",
		"s3-accelerate.amazonaws.com":         "",
		"s3-external-1.amazonaws.com":         "",
		"s3.eu-central-1.example.com":         "",
	} {
		if got := S3Region(host); got != want {
			t.Errorf("S3Region(%q) = %q, want %q", host, got, want)
		}
	}
}
