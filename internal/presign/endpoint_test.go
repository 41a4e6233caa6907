package presign

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestEndpointsMatchSDK compares endpoints with those of the SDK.
func TestEndpointsMatchSDK(t *testing.T) {
	resolver := s3.NewDefaultEndpointResolverV2()
	for _, region := range []string{
		"us-east-1", "eu-central-1", "ap-southeast-5", "me-central-1", "il-central-1",
		"mx-central-1", "af-south-1", "cn-north-1", "cn-northwest-1", "us-gov-west-1",
		"us-gov-east-1", "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1",
		"eusc-de-east-1",
	} {
		for _, bucket := range []string{"my-bucket", "my.dotted.bucket", "abc"} {
			for _, pathStyle := range []bool{false, true} {
				sdk, err := resolver.ResolveEndpoint(context.Background(), s3.EndpointParameters{
					Region:         aws.String(region),
					Bucket:         aws.String(bucket),
					ForcePathStyle: aws.Bool(pathStyle),
				})
				if err != nil {
					t.Fatal(region, bucket, err)
				}
				want := strings.TrimSuffix(sdk.URI.String(), "/") + "/"
				if got := NewEndpoint(region, bucket, pathStyle).URL(); got != want {
					t.Errorf("NewEndpoint(%q, %q, %v) = %s, want %s",
						region, bucket, pathStyle, got, want)
				}
			}
		}
	}
}

func TestCustomEndpoints(t *testing.T) {
	for _, c := range []struct {
		store     string
		pathStyle bool
		url, host string
	}{
		{
			"https://minio.internal:9000", true,
			"https://minio.internal:9000/scans/", "minio.internal:9000",
		},
		{
			"https://minio.internal:9000", false,
			"https://scans.minio.internal:9000/", "scans.minio.internal:9000",
		},
		{"https://Store.Example:443", true, "https://store.example/scans/", "store.example"},
		{"http://127.0.0.1:80", true, "http://127.0.0.1/scans/", "127.0.0.1"},
		{"http://[::1]:9000", true, "http://[::1]:9000/scans/", "[::1]:9000"},
	} {
		store, err := url.Parse(c.store)
		if err != nil {
			t.Fatal(err)
		}
		e := NewCustomEndpoint(store, "scans", c.pathStyle)
		if e.URL() != c.url || e.Host != c.host {
			t.Errorf("NewCustomEndpoint(%q): URL %s, Host %s, want %s, %s",
				c.store, e.URL(), e.Host, c.url, c.host)
		}
	}
}
