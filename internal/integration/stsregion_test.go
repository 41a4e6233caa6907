package integration

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
)

// hostOfSTS calls AssumeRole, and returns the host and the region in the signature.
func hostOfSTS(t *testing.T, i config.Integration) (host, signed string) {
	t.Helper()
	sts := stsOf(roundTripper(func(r *http.Request) (*http.Response, error) {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		if parts := strings.Split(scope, "/"); len(parts) > 2 {
			signed = parts[2]
		}
		host = r.URL.Host
		return nil, errReset
	}))
	_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
	if !errors.Is(err, errReset) {
		t.Fatalf("AssumeRole = %v, want %v", err, errReset)
	}
	if region := sts.Region(&i); region != signed {
		t.Errorf("Region = %s, want %s as signed", region, signed)
	}
	return host, signed
}

func TestRegionOfSTS(t *testing.T) {
	const (
		arn    = "arn:aws:iam::123456789012:role/r"
		arnGov = "arn:aws-us-gov:iam::123456789012:role/r"
		store  = "http://sts.localhost"
	)
	for name, c := range map[string]struct {
		own, shared          string
		region, arn          string
		endpoint, configured string
		host, signed         string
	}{
		"unknown": {"", "", "eu-south-2", arn, "", "",
			"sts.eu-south-2.amazonaws.com", "eu-south-2"},
		"AWS_REGION": {"eu-west-1", "us-east-2", "eu-south-2", arn, "", "",
			"sts.eu-west-1.amazonaws.com", "eu-west-1"},
		"shared file": {"", "us-east-2", "eu-south-2", arn, "", "",
			"sts.us-east-2.amazonaws.com", "us-east-2"},
		"region auto": {"eu-west-1", "", "auto", arn, "", "",
			"sts.eu-west-1.amazonaws.com", "eu-west-1"},
		"interface endpoint": {
			"eu-west-1", "", "eu-south-2", arn, "https://vpce-1a.sts.us-east-1.vpce.amazonaws.com", "",
			"vpce-1a.sts.us-east-1.vpce.amazonaws.com", "us-east-1",
		},
		"another partition": {"eu-west-1", "", "us-gov-east-1", arnGov, "", "",
			"sts.us-gov-east-1.amazonaws.com", "us-gov-east-1"},
		"not a region of AWS": {"auto", "", "eu-south-2", arn, "", "",
			"sts.eu-south-2.amazonaws.com", "eu-south-2"},
		"sts_region": {"eu-west-1", "", "eu-south-2", arn, "", "us-west-2",
			"sts.us-west-2.amazonaws.com", "us-west-2"},
		"endpoint": {"eu-west-1", "", "eu-south-2", arn, store, "", "sts.localhost", "eu-south-2"},
		"endpoint and sts_region": {"eu-west-1", "", "eu-south-2", arn, store, "us-west-2",
			"sts.localhost", "us-west-2"},
	} {
		for _, keys := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				ownEnvironment(t)
				setOwnKey(t, "AKIAOWN")
				t.Setenv("AWS_REGION", c.own)
				if c.shared != "" {
					text := "[default]\nregion = " + c.shared + "\n"
					file := os.Getenv("AWS_CONFIG_FILE")
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				i := role("lab", "bucket")
				i.Region, i.RoleARN, i.STSEndpoint, i.STSRegion = c.region, c.arn, c.endpoint, c.configured
				if keys {
					i.AccessKeyID, i.SecretAccessKey = testKey, testSecret
				}
				if host, signed := hostOfSTS(t, i); host != c.host || signed != c.signed {
					t.Errorf("AssumeRole went to %s, signed for %s, want %s, %s",
						host, signed, c.host, c.signed)
				}
			})
		}
	}
}

// An instance reports its region, if the process's own credentials come from it.
func TestRegionOfTheInstance(t *testing.T) {
	ownEnvironment(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const credentials = "/latest/meta-data/iam/security-credentials/"
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
			_, _ = w.Write([]byte("token"))
		case credentials:
			_, _ = w.Write([]byte("role"))
		case credentials + "role":
			expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
			_, _ = w.Write([]byte(`{"Code": "Success", "AccessKeyId": "ASIA", ` +
				`"SecretAccessKey": "s", "Token": "t", "Expiration": "` + expires + `"}`))
		case "/latest/dynamic/instance-identity/document":
			_, _ = w.Write([]byte(`{"region": "ap-south-1"}`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	const want = "sts.ap-south-1.amazonaws.com"
	if host, _ := hostOfSTS(t, role("lab", "bucket")); host != want {
		t.Errorf("AssumeRole went to %s, want %s", host, want)
	}
}

// Integrations without sts_region keep the identity that earlier versions of the program compute.
func TestIdentityHasTheSTSRegion(t *testing.T) {
	one := role("lab", "bucket")
	two := one
	two.STSRegion = "eu-west-1"
	if identityOf(&one, "") == identityOf(&two, "") {
		t.Error("the identities are equal, want them to differ")
	}
}
