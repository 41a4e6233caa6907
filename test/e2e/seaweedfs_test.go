package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// seaweedfs returns the SeaweedFS server that all tests share. Its one user has all permissions and
// may assume seaweedRole.
func seaweedfs(t *testing.T) *store {
	t.Helper()
	s, err := startedSeaweedFS()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var startedSeaweedFS = sync.OnceValues(func() (*store, error) {
	dir := filepath.Join(workDir, "seaweedfs")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return nil, err
	}
	ports, err := freePorts(8)
	if err != nil {
		return nil, err
	}
	s := &store{
		endpoint: fmt.Sprintf("http://127.0.0.1:%d", ports[6]),
		owner: aws.Credentials{
			AccessKeyID:     "seaweedfs-owner",
			SecretAccessKey: "canary/seaweedfs+owner=secret&$%41",
		},
	}
	users := filepath.Join(dir, "s3.json")
	roles := filepath.Join(dir, "iam.json")
	if err := s.writeIdentities(users, roles); err != nil {
		return nil, err
	}
	args := []string{
		"weed", "server", "-dir=" + filepath.Join(dir, "data"), "-ip=127.0.0.1", "-filer", "-s3",
		"-s3.config=" + users, "-s3.iam.config=" + roles, "-s3.port.iceberg=0", "-s3.port.lance=0",
		"-filer.localSocket=" + filepath.Join(dir, "filer.sock"),
		"-master.telemetry=false", "-master.volumeSizeLimitMB=100", "-volume.max=100",
	}
	for i, server := range []string{"master", "volume", "filer", "s3"} {
		args = append(args,
			fmt.Sprintf("-%s.port=%d", server, ports[2*i]),
			fmt.Sprintf("-%s.port.grpc=%d", server, ports[2*i+1]))
	}
	process, err := startServer(dir, "seaweedfs", nil, args...)
	if err != nil {
		return nil, err
	}
	// The gateway listens before the filer can store anything.
	return s, process.await("SeaweedFS", func() bool {
		_, err := s.client(s.owner).ListBuckets(context.Background(), &s3.ListBucketsInput{})
		return err == nil
	})
})

// seaweedRole is the role that the owner of SeaweedFS may assume. It may read all buckets.
const seaweedRole = "arn:aws:iam::000000000000:role/reader"

// writeIdentities writes the configuration of SeaweedFS's user and role.
func (s *store) writeIdentities(users, roles string) error {
	type object map[string]any
	policy := func(statement object) object {
		return object{"Version": "2012-10-17", "Statement": []object{statement}}
	}
	for path, content := range map[string]object{
		users: {"identities": []object{{
			"name": "owner",
			"credentials": []object{{
				"accessKey": s.owner.AccessKeyID,
				"secretKey": s.owner.SecretAccessKey,
			}},
			"actions": []string{"Admin", "Read", "Write", "List", "Tagging"},
		}}},
		roles: {
			"sts": object{
				"issuer":     "seaweedfs",
				"signingKey": []byte("0123456789abcdef0123456789abcdef"),
			},
			"policies": []object{{"name": "read", "document": policy(object{
				"Effect":   "Allow",
				"Action":   []string{"s3:GetObject", "s3:ListBucket"},
				"Resource": []string{"arn:aws:s3:::*"},
			})}},
			"roles": []object{{
				"roleName":         "reader",
				"roleArn":          seaweedRole,
				"attachedPolicies": []string{"read"},
				"trustPolicy": policy(object{
					"Effect":    "Allow",
					"Principal": object{"AWS": "arn:aws:iam::000000000000:user/owner"},
					"Action":    []string{"sts:AssumeRole"},
				}),
			}},
		},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
