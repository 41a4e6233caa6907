package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// apply runs a script that the policy command printed. The AWS CLI in it talks to the store, with
// the store owner's credentials.
func (g *gateway) apply(t *testing.T, script string) {
	t.Helper()
	program, err := find("aws")
	if err != nil {
		t.Fatal(err)
	}
	const aws = `aws() { "$AWS" --endpoint-url "$ENDPOINT" "$@"; }` + "\n"
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", aws+script)
	cmd.Env = append(os.Environ(),
		"AWS="+program,
		"ENDPOINT="+g.endpoint,
		"AWS_ACCESS_KEY_ID="+g.owner.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY="+g.owner.SecretAccessKey,
		"AWS_DEFAULT_REGION=us-east-1",
		"AWS_PAGER=",
		"AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
	)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("script failed: %v\n%s\n%s", err, out, script)
	}
}

// printed runs s3redirect and returns its standard output.
func printed(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t), args...)
	var stderr strings.Builder
	cmd.Dir, cmd.Env, cmd.Stderr = t.TempDir(), env, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("s3redirect %q: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// TestPrintedCommands runs the commands that the policy command prints, with a shell and the AWS
// CLI. radosgw accepts both of a role's policies, and the role has exactly the rights that the
// flags ask for.
func TestPrintedCommands(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	g := radosgw(t)
	bucket := g.createBucket(t, "applied")
	g.keepVersions(t, bucket)
	old := g.put(t, bucket, "a b.txt", []byte("old"))
	g.put(t, bucket, "a b.txt", []byte("new"))
	other := g.createBucket(t, "applied-not")
	g.put(t, other, "secret.txt", []byte("secret"))

	const path = "/s3/applied/a%20b.txt"
	for name, c := range map[string]struct {
		flags            []string
		version, missing int
	}{
		"plain":    {nil, http.StatusForbidden, http.StatusForbidden},
		"versions": {[]string{"--file-versioning"}, http.StatusOK, http.StatusForbidden},
		"list":     {[]string{"--list-bucket"}, http.StatusForbidden, http.StatusNotFound},
		"both":     {[]string{"--file-versioning", "--list-bucket"}, http.StatusOK, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			// There is no --external-id: radosgw does not support sts:ExternalId and would deny
			// AssumeRole.
			g.apply(t, printed(t, nil, append([]string{
				"policy", "role", "--format", "cli", "--name", name, "--bucket", bucket,
				"--endpoint", g.endpoint, "--path-style", "--region", "us-east-1",
				"--principal", "arn:aws:iam:::user/trusted",
			}, c.flags...)...))
			integration := func(name, bucket string) string {
				return `
  - name: ` + name + `
    bucket: ` + bucket + `
    role_arn: arn:aws:iam:::role/s3redirect-` + filepath.Base(t.Name()) + `
    session_policy: false # only the role's policy limits the session
    file_versioning: true
    region: us-east-1
    endpoint: ${ENDPOINT}
    sts_endpoint: ${ENDPOINT}
    path_style: true
    access_key_id: ${TRUSTED_KEY}
    secret_access_key: ${TRUSTED_SECRET}
`
			}
			integrations := integration("applied", bucket) + integration("not", other)
			p := startProxy(t, "\nintegrations:"+integrations, g.env()...)
			for target, want := range map[string]int{
				path:                         http.StatusOK,
				path + "?versionId=" + old:   c.version,
				"/s3/applied/missing":        c.missing,
				"/s3/applied-not/secret.txt": http.StatusForbidden,
			} {
				got := fetch(t, http.MethodGet, p.location(t, http.MethodGet, target))
				if got.status != want {
					t.Errorf("%s: status %d, want %d\n%s", target, got.status, want, got.body)
				}
			}
		})
	}

	const origin = "https://app.example.com"
	g.apply(t, printed(t, nil, "policy", "cors", "--format", "cli", "--bucket", bucket,
		"--endpoint", g.endpoint, "--path-style", "--region", "us-east-1", "--origin", origin))
	rules, err := g.client(g.owner).GetBucketCors(t.Context(),
		&s3.GetBucketCorsInput{Bucket: &bucket})
	if err != nil || len(rules.CORSRules) != 1 ||
		strings.Join(rules.CORSRules[0].AllowedOrigins, " ") != origin {
		t.Errorf("CORS rules = %+v, error %v; want one rule that allows %s", rules, err, origin)
	}
}
