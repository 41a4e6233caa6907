package presign

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"s3redirect/internal/partition"
)

// TestAccessPointsMatchSDK compares the endpoints of access points with those of the SDK, for every
// combination of options.
func TestAccessPointsMatchSDK(t *testing.T) {
	resolver := s3.NewDefaultEndpointResolverV2()
	compared := 0
	for _, region := range oracleRegions {
		arn := "arn:" + partition.Of(region).Name + ":s3:" + region +
			":123456789012:accesspoint/my-point"
		p, err := ParseAccessPoint(arn)
		if err != nil {
			t.Fatalf("ParseAccessPoint(%q) = %v, want no error", arn, err)
		}
		for _, h := range oracleHosts() {
			sdk, err := resolver.ResolveEndpoint(context.Background(), s3.EndpointParameters{
				Region:         aws.String(region),
				Bucket:         aws.String(arn),
				ForcePathStyle: aws.Bool(h.PathStyle),
				UseDualStack:   aws.Bool(h.DualStack),
				UseFIPS:        aws.Bool(h.FIPS),
				Accelerate:     aws.Bool(h.Accelerate),
			})
			problem := h.CheckAccessPoint(p)
			if (problem == nil) != (err == nil) {
				t.Errorf("%+v.CheckAccessPoint(%s) = %v, want an error for %v", h, arn, problem, err)
			}
			if problem != nil || err != nil {
				continue
			}
			compared++
			want := strings.TrimSuffix(sdk.URI.String(), "/") + "/"
			if got := p.Endpoint(h).URL(); got != want {
				t.Errorf("%+v.Endpoint(%+v) = %s, want %s", p, h, got, want)
			}
		}
	}
	if compared < 120 {
		t.Errorf("compared %d combinations, want at least 120", compared)
	}
}

func TestParseAccessPoint(t *testing.T) {
	for arn, want := range map[string]string{ // part of the error
		"arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-1/accesspoint/a":   "Outposts",
		"arn:aws:s3express:us-west-2:123456789012:accesspoint/a--usw2-az1--xa-s3": "S3 Express",
		"arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/abc":         "Object Lambda",
		"arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap":                 "SigV4A",
		"arn:aws:s3:us-west-2:123456789012:accesspoint/abc.mrap":                  "SigV4A",
		"arn:aws:s3:cn-north-1:123456789012:accesspoint/abc":                      "aws-cn",
		"arn:aws:s3:us-west-2:123456789012:accesspoint/ab":                        "write it as",
		"arn:aws:s3:us-west-2:123456789012:accesspoint/-abc":                      "write it as",
		"arn:aws:s3:us-west-2:123456789012:accesspoint/a*c":                       "write it as",
		"arn:aws:s3:us-west-2:123456789012:accesspoint/abc/object/*":              "write it as",
		"arn:aws:s3:us-west-2:1234:accesspoint/abc":                               "write it as",
		"arn:aws:s3:us/west:123456789012:accesspoint/abc":                         "write it as",
		"arn:aws:s3:::bucket":  "write it as",
		"my-point":             "write it as",
		"arn:aws:s3:us-west-2": "write it as",
	} {
		if p, err := ParseAccessPoint(arn); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAccessPoint(%q) = %+v, %v, want an error with %q", arn, p, err, want)
		}
	}
}
