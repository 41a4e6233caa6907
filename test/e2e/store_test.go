package e2e

import (
	"bytes"
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

// store is a real S3-compatible store, its STS at the same address, and the keys of whom owns all that is in it.
type store struct {
	endpoint string
	owner    aws.Credentials
}

// client is the SDK's, for whatever the tests set up: the URLs that they fetch are none of its making.
func (s *store) client(keys aws.Credentials) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint:               &s.endpoint,
		UsePathStyle:               true,
		Region:                     "us-east-1",
		Credentials:                aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// env is what configurations call the store and its owner's keys.
func (s *store) env() []string {
	return []string{"ENDPOINT=" + s.endpoint, "ACCESS_KEY=" + s.owner.AccessKeyID, "SECRET_KEY=" + s.owner.SecretAccessKey}
}

// createBucket makes a bucket and returns its name.
func (s *store) createBucket(t *testing.T, name string) string {
	t.Helper()
	_, err := s.client(s.owner).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	if _, again := errors.AsType[*types.BucketAlreadyOwnedByYou](err); err != nil && !again { // with -count, tests come again
		t.Fatal(err)
	}
	return name
}

func (s *store) keepVersions(t *testing.T, bucket string) {
	t.Helper()
	_, err := s.client(s.owner).PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err != nil {
		t.Fatal(err)
	}
}

// put stores an object and returns its version, "" where the bucket keeps none.
func (s *store) put(t *testing.T, bucket, key string, body []byte) (version string) {
	t.Helper()
	out, err := s.client(s.owner).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body),
		ContentType: aws.String("application/x-test")})
	if err != nil {
		t.Fatalf("storing %q: %v", key, err)
	}
	return aws.ToString(out.VersionId)
}

// randomBytes are an object's content that no other object has.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// iam calls radosgw's IAM API, of which the store's owner has the rights to make roles.
func (s *store) iam(ctx context.Context, action string, params url.Values) error {
	params.Set("Action", action)
	params.Set("Version", "2010-05-08")
	body := strings.ReplaceAll(params.Encode(), "+", "%20") // radosgw takes a plus for a plus
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint+"/", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	digest := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, s.owner, req, hex.EncodeToString(digest[:]), "iam", "us-east-1", time.Now()); err != nil {
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
