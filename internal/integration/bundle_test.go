package integration

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// privateStore starts a TLS server whose certificate the system does not trust. It returns the
// server and a file with its certificate.
func privateStore(t *testing.T, handler http.Handler) (server *httptest.Server, bundle string) {
	t.Helper()
	server = httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	bundle = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(bundle, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return server, bundle
}

// setBundles calls test with each way to configure a bundle, and with none.
func setBundles(t *testing.T, bundle string, test func(t *testing.T, trusted bool)) {
	t.Run("none", func(t *testing.T) {
		ownEnvironment(t)
		test(t, false)
	})
	t.Run("AWS_CA_BUNDLE", func(t *testing.T) {
		ownEnvironment(t)
		t.Setenv("AWS_CA_BUNDLE", bundle)
		test(t, true)
	})
	t.Run("ca_bundle", func(t *testing.T) {
		ownEnvironment(t)
		text := "[default]\nca_bundle = " + bundle + "\n"
		if err := os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		test(t, true)
	})
}

func TestSTSTrustsTheBundle(t *testing.T) {
	server, bundle := privateStore(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := (&keyedSTS{}).RoundTrip(r)
		if err == nil {
			_, err = io.Copy(w, resp.Body)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	setBundles(t, bundle, func(t *testing.T, trusted bool) {
		withKeys := viaSTS("lab", "bucket")
		withKeys.STSEndpoint = server.URL
		setOwnKey(t, "AKIAOWN")
		withoutKeys := withKeys
		withoutKeys.AccessKeyID, withoutKeys.SecretAccessKey = "", ""
		sts := &AWSSTS{}
		_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &withKeys})
		if (err == nil) != trusted {
			t.Errorf("AssumeRole with the integration's keys = %v, want success %v", err, trusted)
		}
		_, _, err = sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &withoutKeys})
		if (err == nil) != trusted {
			t.Errorf("AssumeRole with own credentials = %v, want success %v", err, trusted)
		}
	})
}

func TestRegionRequestsTrustTheBundle(t *testing.T) {
	server, bundle := privateStore(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
	}))
	setBundles(t, bundle, func(t *testing.T, trusted bool) {
		r, err := newRegions(nil)
		if err != nil {
			t.Fatal(err)
		}
		if region, err := BucketRegion(context.Background(), r.client, server.URL); (err == nil) != trusted {
			t.Errorf("BucketRegion = %q, %v, want success %v", region, err, trusted)
		}
	})
}

// A bundle that cannot be used fails the requests; the system's authorities do not replace it. A
// corrected file is used at once.
func TestBrokenBundle(t *testing.T) {
	server, bundle := privateStore(t, http.NotFoundHandler())
	ownEnvironment(t)
	broken := filepath.Join(t.TempDir(), "broken.pem")
	t.Setenv("AWS_CA_BUNDLE", broken)
	client := &http.Client{Transport: NewTransport(http.DefaultTransport.(*http.Transport))}
	get := func() error {
		resp, err := client.Get(server.URL)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := get(); err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") {
		t.Errorf("with a missing file: %v, want an error that names AWS_CA_BUNDLE", err)
	}
	if err := os.WriteFile(broken, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := get(); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("with a file without certificates: %v, want an error that says so", err)
	}
	text, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Errorf("with the corrected file: %v, want no error", err)
	}
}
