package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// store is a real S3-compatible store with its STS at the same address. owner holds the keys of the
// user that owns all buckets.
type store struct {
	endpoint string
	owner    aws.Credentials
	region   string // "" is us-east-1
}

// client returns an SDK client for the setup of tests. It does not sign the URLs that tests fetch.
func (s *store) client(keys aws.Credentials) *s3.Client {
	provider := func(context.Context) (aws.Credentials, error) { return keys, nil }
	return s3.New(s3.Options{
		BaseEndpoint:               &s.endpoint,
		UsePathStyle:               true,
		Region:                     cmp.Or(s.region, "us-east-1"),
		Credentials:                aws.CredentialsProviderFunc(provider),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// env returns the environment with the store's endpoint and its owner's keys for configurations.
func (s *store) env() []string {
	return []string{
		"ENDPOINT=" + s.endpoint,
		"ACCESS_KEY=" + s.owner.AccessKeyID,
		"SECRET_KEY=" + s.owner.SecretAccessKey,
	}
}

// createBucket creates a bucket, unless a run with -count already has, and returns its name.
func (s *store) createBucket(t *testing.T, name string) string {
	t.Helper()
	_, err := s.client(s.owner).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	if _, exists := errors.AsType[*types.BucketAlreadyOwnedByYou](err); err != nil && !exists {
		t.Fatal(err)
	}
	return name
}

// keepVersions enables the versioning of a bucket.
func (s *store) keepVersions(t *testing.T, bucket string) {
	t.Helper()
	_, err := s.client(s.owner).PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{
			Status: types.BucketVersioningStatusEnabled,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// put stores an object and returns its version, or "" if the bucket keeps no versions.
func (s *store) put(t *testing.T, bucket, key string, body []byte) (version string) {
	t.Helper()
	out, err := s.client(s.owner).PutObject(t.Context(), &s3.PutObjectInput{
		Bucket:      &bucket,
		Key:         &key,
		Body:        bytes.NewReader(body),
		ContentType: aws.String("application/x-test"),
	})
	if err != nil {
		t.Fatalf("PutObject(%q): %v", key, err)
	}
	return aws.ToString(out.VersionId)
}

// randomBytes returns n random bytes.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// iam calls an action of radosgw's IAM API with the owner's keys.
func (s *store) iam(ctx context.Context, action string, params url.Values) error {
	params.Set("Action", action)
	params.Set("Version", "2010-05-08")
	body := strings.ReplaceAll(params.Encode(), "+", "%20") // radosgw does not decode + as a space
	req, err := http.NewRequestWithContext(
		ctx, http.MethodPost, s.endpoint+"/", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	digest := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(ctx, s.owner, req,
		hex.EncodeToString(digest[:]), "iam", "us-east-1", time.Now())
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", action, resp.Status, answer)
	}
	return nil
}
