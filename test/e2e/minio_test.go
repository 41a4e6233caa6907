package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// minio returns the MinIO server that all tests share. Its AssumeRole accepts the owner's keys and
// ignores the role and the external ID. A session has the owner's permissions, restricted by the
// session policy.
func minio(t *testing.T) *store {
	t.Helper()
	need(t, "minio")
	s, err := startedMinIO()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var startedMinIO = sync.OnceValues(func() (*store, error) {
	return startMinIO("minio", "us-east-1")
})

// startMinIO starts a MinIO in a region, with its files in a directory of workDir. Without a region
// it is in us-east-1 but does not report that to an unsigned HeadBucket.
func startMinIO(name, region string) (*store, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	return startMinIOAt(name, region, fmt.Sprintf("127.0.0.1:%d", ports[0]))
}

// startMinIOAt is startMinIO at an address.
func startMinIOAt(name, region, address string) (*store, error) {
	dir := filepath.Join(workDir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	s := &store{
		endpoint: "http://" + address,
		region:   region,
		// The secret has characters that are special in YAML, URLs or logs.
		owner: aws.Credentials{
			AccessKeyID:     "minio-owner",
			SecretAccessKey: "canary/minio+owner=secret&$%41",
		},
	}
	process, err := startServer(dir, "minio", []string{
		"MINIO_ROOT_USER=" + s.owner.AccessKeyID,
		"MINIO_ROOT_PASSWORD=" + s.owner.SecretAccessKey,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_SITE_REGION=" + region,
	}, "minio", "server", filepath.Join(dir, "data"), "--address", address, "--quiet")
	if err != nil {
		return nil, err
	}
	// The health check succeeds before MinIO has loaded its users; until then, requests get 503.
	return s, process.await("MinIO", func() bool {
		if !answersOK(s.endpoint + "/minio/health/ready") {
			return false
		}
		_, err := s.client(s.owner).ListBuckets(context.Background(), &s3.ListBucketsInput{})
		return err == nil
	})
}
