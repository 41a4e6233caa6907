package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// startRegistry starts the container registry "distribution", which redirects to presigned URLs
// too. The registry has one layer, stored in MinIO, and caches its descriptor in memory.
// startRegistry returns the layer's path.
func (b *bench) startRegistry() (*process, string, error) {
	minio, registry := tool("minio"), tool("registry")
	for _, program := range []string{minio, registry} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, "", err
		}
	}
	endpoint, bucket, err := b.startMinIO(minio)
	if err != nil {
		return nil, "", err
	}
	listen := freeAddress()
	conf := filepath.Join(b.dir, "registry.yaml")
	text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  cache: {blobdescriptor: inmemory}
  s3:
    accesskey: key
    secretkey: secretsecret
    region: us-east-1
    regionendpoint: %s
    bucket: %s
    forcepathstyle: true
    secure: false
http: {addr: %s}
`, endpoint, bucket, listen)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	env := []string{"OTEL_TRACES_EXPORTER=none"}
	p, err := b.launch("registry", env, listen, registry, "serve", conf)
	if err != nil {
		return nil, "", err
	}
	path, err := pushLayer("http://" + listen)
	if err != nil {
		return nil, "", err
	}
	_, err = locationOf("http://" + listen + path)
	return p, path, err
}

// startMinIO starts MinIO on the load generator's core, and creates a bucket.
func (b *bench) startMinIO(minio string) (endpoint, bucket string, err error) {
	address := freeAddress()
	cmd := pinned(loadCore, minio, "server", filepath.Join(b.dir, "minio"),
		"--address", address, "--quiet")
	cmd.Env = append(os.Environ(),
		"MINIO_ROOT_USER=key",
		"MINIO_ROOT_PASSWORD=secretsecret",
		"MINIO_BROWSER=off",
		"MINIO_UPDATE=off",
	)
	if err := b.startServer(&process{cmd: cmd, address: address}); err != nil {
		return "", "", err
	}
	endpoint, bucket = "http://"+address, "registry"
	client := s3.New(s3.Options{
		BaseEndpoint:     &endpoint,
		UsePathStyle:     true,
		Region:           "us-east-1",
		RetryMaxAttempts: 20,
		Credentials:      credentials.NewStaticCredentialsProvider("key", "secretsecret", ""),
	})
	if err := eventually(func() error {
		resp, err := http.Get(endpoint + "/minio/health/ready")
		if err != nil || resp.StatusCode != http.StatusOK {
			return errors.Join(err, errors.New("MinIO is not ready"))
		}
		return resp.Body.Close()
	}); err != nil {
		return "", "", err
	}
	_, err = client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &bucket})
	return endpoint, bucket, err
}

// pushLayer pushes a layer in two requests and returns its path.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-monolithically
func pushLayer(registry string) (path string, err error) {
	layer := bytes.Repeat([]byte("layer"), 200_000)
	sum := sha256.Sum256(layer)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	resp, err := http.Post(registry+"/v2/bench/blobs/uploads/", "", nil)
	if err != nil {
		return "", err
	}
	_ = resp.Body.Close()
	location := resp.Header.Get("Location") + "&digest=" + digest
	req, err := http.NewRequest(http.MethodPut, location, bytes.NewReader(layer))
	if err != nil {
		return "", err
	}
	if resp, err = http.DefaultClient.Do(req); err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("push a layer to the registry: %s: %s", resp.Status, body)
	}
	return "/v2/bench/blobs/" + digest, nil
}

// tool returns the path of a program in .tools/bin or, if it is not there, its name, to be found in
// PATH.
func tool(name string) string {
	if path, err := filepath.Abs(filepath.Join(".tools", "bin", name)); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}

// eventually calls try until it succeeds, for 10 seconds at most, and returns its last error.
func eventually(try func() error) (err error) {
	for range 500 {
		if err = try(); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
