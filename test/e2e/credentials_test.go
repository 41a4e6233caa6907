package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
)

// credentialSources are the addresses in docs/deployment from which AWS's platforms serve
// credentials, each with the environment of a process there.
var credentialSources = map[string]struct {
	address string
	env     []string
}{
	"EC2": {"169.254.169.254", nil},
	"EC2, IPv6": {
		"[fd00:ec2::254]", []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6"},
	},
	"ECS": {
		"169.254.170.2", []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/1"},
	},
	"EKS with Pod Identity":       {"169.254.170.23", eksEnv("169.254.170.23")},
	"EKS with Pod Identity, IPv6": {"[fd00:ec2::23]", eksEnv("[fd00:ec2::23]")},
}

// eksEnv returns the environment that EKS gives a pod with Pod Identity. TOKEN stands for a file.
func eksEnv(address string) []string {
	return []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + address + "/v1/credentials",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=TOKEN",
	}
}

// platform serves a user's credentials as EC2, ECS and EKS do, and records the paths of requests.
func platform(paths chan<- string) http.Handler {
	credentials, _ := json.Marshal(map[string]any{
		"Code": "Success", "AccessKeyId": docUser, "SecretAccessKey": docSecret,
		"Expiration": time.Now().Add(6 * time.Hour).UTC(),
	})
	const role = "/latest/meta-data/iam/security-credentials/"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.Method + " " + r.URL.Path
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			fmt.Fprint(w, "token")
		case role:
			fmt.Fprint(w, "instance")
		case "/latest/dynamic/instance-identity/document":
			fmt.Fprint(w, `{"region":"eu-central-1"}`)
		case role + "instance", "/v2/credentials/1", "/v1/credentials":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(credentials)
		default:
			http.NotFound(w, r)
		}
	})
}

// TestPlatformCredentials checks that the proxy assumes roles with the credentials that each
// platform serves, at the platform's own address.
func TestPlatformCredentials(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: docUser, SecretAccessKey: docSecret})
	cloud.AddRole(fakeaws.Role{ARN: docRole, Trusts: []string{docUser}, Buckets: []string{docBucket}})
	for name, c := range credentialSources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := readFile(t, "../../docs/deployment/README.md")
			if !strings.Contains(page, "`"+c.address+"`") {
				t.Errorf("docs/deployment/README.md lacks %s", c.address)
			}
			n := newNetwork(t, assign(strings.Trim(c.address, "[]")))
			paths := make(chan string, 100)
			n.handle(t, c.address+":80", platform(paths))
			n.handle(t, "127.0.0.1:8081", cloud.STS())
			s := startOnPlatform(t, n, c.env)
			a, err := readAnswer(n.client.Get("http://127.0.0.1:8080" + path(docBucket, docKey)))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.checkRedirect(); err != nil {
				t.Errorf("%v\n%s", err, s.output())
			}
			if len(paths) == 0 {
				t.Errorf("no request for credentials reached %s", c.address)
			}
		})
	}
}

// startOnPlatform starts the proxy with a platform's environment and no other credentials.
func startOnPlatform(t *testing.T, n *network, platform []string) *server {
	t.Helper()
	dir := writeConfig(t, "\nintegrations:\n  - name: photos\n    bucket: "+docBucket+
		"\n    region: eu-central-1\n    role_arn: "+docRole+"\n")
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("a token"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"LISTEN=127.0.0.1:8080", "ADMIN_LISTEN=127.0.0.1:9090",
		"AWS_ENDPOINT_URL_STS=http://127.0.0.1:8081",
	}
	for _, variable := range platform {
		env = append(env, strings.Replace(variable, "TOKEN_FILE=TOKEN", "TOKEN_FILE="+token, 1))
	}
	s := n.start(t, dir, env, built(t), "serve", "--config", "config.yaml")
	ready := func() bool { return n.status("http://127.0.0.1:9090/readyz") == http.StatusOK }
	if err := s.await("s3redirect", ready); err != nil {
		t.Fatal(err)
	}
	return s
}
