package presign

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"s3redirect/internal/partition"
)

// oracleRegions are regions of all partitions.
var oracleRegions = []string{
	"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "ca-west-1", "mx-central-1",
	"sa-east-1", "eu-central-1", "eu-central-2", "eu-west-1", "eu-west-2", "eu-west-3",
	"eu-north-1", "eu-south-1", "eu-south-2", "ap-east-1", "ap-south-1", "ap-northeast-1",
	"ap-northeast-3", "ap-southeast-1", "ap-southeast-5", "me-central-1", "me-south-1",
	"il-central-1", "af-south-1", "cn-north-1", "cn-northwest-1", "us-gov-west-1",
	"us-gov-east-1", "us-iso-east-1", "us-iso-west-1", "us-isob-east-1", "eu-isoe-west-1",
	"us-isof-south-1", "us-isof-east-1", "eusc-de-east-1",
}

// oracleHosts are all combinations of the fields of [Host].
func oracleHosts() (all []Host) {
	for bits := range 16 {
		all = append(all, Host{
			PathStyle:  bits&1 != 0,
			DualStack:  bits&2 != 0,
			FIPS:       bits&4 != 0,
			Accelerate: bits&8 != 0,
		})
	}
	return all
}

// TestEndpointsMatchSDK compares endpoints with those of the SDK, for every combination of options.
// A combination that [Host.Check] rejects is one that the SDK rejects, or acceleration in a
// partition without it.
func TestEndpointsMatchSDK(t *testing.T) {
	resolver := s3.NewDefaultEndpointResolverV2()
	compared, rejected := 0, 0
	for _, region := range oracleRegions {
		for _, bucket := range []string{
			"my-bucket", "my.dotted.bucket", "abc", "ap-1a4n8yjrb3kda96f67zwrwiiuse1a-s3alias",
		} {
			for _, h := range oracleHosts() {
				sdk, err := resolver.ResolveEndpoint(context.Background(), s3.EndpointParameters{
					Region:         aws.String(region),
					Bucket:         aws.String(bucket),
					ForcePathStyle: aws.Bool(h.PathStyle),
					UseDualStack:   aws.Bool(h.DualStack),
					UseFIPS:        aws.Bool(h.FIPS),
					Accelerate:     aws.Bool(h.Accelerate),
				})
				problem := h.Check(region, bucket)
				switch {
				case problem != nil:
					rejected++
					if err == nil && (!h.Accelerate || partition.Of(region).Name == "aws") {
						t.Errorf("%+v.Check(%q, %q) = %v, want nil", h, region, bucket, problem)
					}
				case err != nil:
					t.Errorf("%+v.Check(%q, %q) = nil, want an error for %v",
						h, region, bucket, err)
				default:
					compared++
					want := strings.TrimSuffix(sdk.URI.String(), "/") + "/"
					if got := NewEndpoint(region, bucket, h).URL(); got != want {
						t.Errorf("NewEndpoint(%q, %q, %+v) = %s, want %s",
							region, bucket, h, got, want)
					}
				}
			}
		}
	}
	if compared < 1000 || rejected < 500 {
		t.Errorf("compared %d and rejected %d combinations, want at least 1000 and 500",
			compared, rejected)
	}
}

// TestAccelerateByPattern checks that buckets with dots, which a pattern may match, are served by
// the region's endpoint.
func TestAccelerateByPattern(t *testing.T) {
	h := Host{Accelerate: true, DualStack: true}
	const want = "https://s3.dualstack.eu-west-1.amazonaws.com/my.bucket/"
	if got := NewEndpoint("eu-west-1", "my.bucket", h).URL(); got != want {
		t.Errorf("NewEndpoint(eu-west-1, my.bucket, %+v) = %s, want %s", h, got, want)
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
		{"https://minio.internal/", true, "https://minio.internal/scans/", "minio.internal"},
		{
			"https://x.storage.example.co/storage/v1/s3", true,
			"https://x.storage.example.co/storage/v1/s3/scans/", "x.storage.example.co",
		},
		{
			"https://x.storage.example.co/storage/v1/s3/", false,
			"https://scans.x.storage.example.co/storage/v1/s3/", "scans.x.storage.example.co",
		},
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
		if strings.Contains(c.store, "example.co/") {
			sdk, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(
				context.Background(), s3.EndpointParameters{
					Region:         aws.String("us-east-1"),
					Bucket:         aws.String("scans"),
					Endpoint:       aws.String(c.store),
					ForcePathStyle: aws.Bool(c.pathStyle),
				})
			if err != nil || strings.TrimSuffix(sdk.URI.String(), "/")+"/" != c.url {
				t.Errorf("the SDK resolves %s to %s, %v, want %s", c.store, &sdk.URI, err, c.url)
			}
		}
	}
}
