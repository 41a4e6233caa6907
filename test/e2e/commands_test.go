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

// apply runs a script that policy printed, as whoever owns the store, with the AWS CLI that it calls sent to the store.
func (g *gateway) apply(t *testing.T, script string) {
	t.Helper()
	program, err := find("aws")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", `aws() { "$AWS" --endpoint-url "$ENDPOINT" "$@"; }`+"\n"+script)
	cmd.Env = append(os.Environ(), "AWS="+program, "ENDPOINT="+g.endpoint, "AWS_ACCESS_KEY_ID="+g.owner.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+g.owner.SecretAccessKey,
		"AWS_DEFAULT_REGION=us-east-1", "AWS_PAGER=", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, script)
	}
}

// printed is what a command of the program prints, without its notes.
func printed(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t), args...)
	var notes strings.Builder
	cmd.Dir, cmd.Env, cmd.Stderr = t.TempDir(), env, &notes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, notes.String())
	}
	return string(out)
}

// The commands that make a role, run as they are printed by a shell and the AWS CLI: radosgw takes both policies, and each right
// is there if it was asked for and is not there if it was not.
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
			// radosgw knows no sts:ExternalId, and refuses whoever is asked for one.
			g.apply(t, printed(t, nil, append([]string{"policy", "role", "--format", "cli", "--name", name, "--bucket", bucket, "--endpoint", g.endpoint, "--path-style", "--region", "us-east-1",
				"--principal", "arn:aws:iam:::user/trusted"}, c.flags...)...))
			integration := func(name, bucket string) string {
				return `
  - name: ` + name + `
    bucket: ` + bucket + `
    role_arn: arn:aws:iam:::role/s3redirect-` + filepath.Base(t.Name()) + `
    session_policy: false # nothing but the role's own policy is to hold it back
    file_versioning: true
    region: us-east-1
    endpoint: ${ENDPOINT}
    sts_endpoint: ${ENDPOINT}
    path_style: true
    access_key_id: ${TRUSTED_KEY}
    secret_access_key: ${TRUSTED_SECRET}
`
			}
			p := startProxy(t, "\nintegrations:"+integration("applied", bucket)+integration("not", other), g.env()...)
			for target, want := range map[string]int{path: http.StatusOK, path + "?versionId=" + old: c.version, "/s3/applied/missing": c.missing, "/s3/applied-not/secret.txt": http.StatusForbidden} {
				if got := fetch(t, http.MethodGet, p.location(t, http.MethodGet, target)); got.status != want {
					t.Errorf("%s: %d, want %d\n%s", target, got.status, want, got.body)
				}
			}
		})
	}

	g.apply(t, printed(t, nil, "policy", "cors", "--format", "cli", "--bucket", bucket, "--endpoint", g.endpoint, "--path-style", "--region", "us-east-1", "--origin", "https://app.example.com"))
	rules, err := g.client(g.owner).GetBucketCors(t.Context(), &s3.GetBucketCorsInput{Bucket: &bucket})
	if err != nil || len(rules.CORSRules) != 1 || strings.Join(rules.CORSRules[0].AllowedOrigins, " ") != "https://app.example.com" {
		t.Errorf("CORS: %v %+v", err, rules)
	}
}
