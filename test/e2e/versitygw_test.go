package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// versitygw returns the Versity gateway that all tests share. It stores objects as files, and it
// has no AssumeRole.
func versitygw(t *testing.T) *store {
	t.Helper()
	need(t, "versitygw")
	s, err := startedVersity()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var startedVersity = sync.OnceValues(func() (*store, error) {
	dir := filepath.Join(workDir, "versitygw")
	for _, d := range []string{"", "data", "metadata", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	s := &store{
		endpoint: "http://" + address,
		owner: aws.Credentials{
			AccessKeyID:     "versity-owner",
			SecretAccessKey: "canary/versity+owner=secret&$%41",
		},
	}
	// The metadata is beside the data, since not every file system has extended attributes.
	process, err := startServer(dir, "versitygw", []string{
		"ROOT_ACCESS_KEY_ID=" + s.owner.AccessKeyID,
		"ROOT_SECRET_ACCESS_KEY=" + s.owner.SecretAccessKey,
	}, "versitygw", "--port", address, "--health", "/health", "--quiet", "posix",
		"--sidecar", filepath.Join(dir, "metadata"),
		"--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	return s, process.await("versitygw", func() bool { return answersOK(s.endpoint + "/health") })
})
