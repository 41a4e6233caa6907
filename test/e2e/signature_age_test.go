package e2e

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// young is a policy that denies signatures that are older than ten minutes, in milliseconds.
const young = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::young", "arn:aws:s3:::young/*"]},
    {"Effect": "Deny", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::young/*"],
      "Condition": {"NumericGreaterThan": {"s3:signatureAge": 600000}}}
  ]
}`

// addUser adds a user to MinIO and attaches a policy to it.
func (s *store) addUser(t *testing.T, name, secret, policy string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"alias", "set", "minio", s.endpoint, s.owner.AccessKeyID, s.owner.SecretAccessKey},
		{"admin", "user", "add", "minio", name, secret},
		{"admin", "policy", "create", "minio", name, file},
		{"admin", "policy", "attach", "minio", name, "--user", name},
	} {
		out, err := program(t, append([]string{"mcli", "--config-dir", dir}, args...)...)
		if err != nil && !strings.Contains(out, "already") { // from a run with -count
			t.Fatalf("mcli %s %s: %v: %s", args[0], args[1], err, out)
		}
	}
}

// A policy denies signatures that are older than ten minutes. check finds that, and recommends a
// setting with which it succeeds, and with which every URL works until it expires.
func TestSignatureAge(t *testing.T) {
	t.Parallel()
	need(t, "mcli")
	s := minio(t)
	s.createBucket(t, "young")
	s.put(t, "young", "text.txt", []byte("text"))
	const user, secret = "young-user", "canary-young-secret"
	s.addUser(t, user, secret, young)
	env := []string{"ENDPOINT=" + s.endpoint, "ACCESS_KEY=" + user, "SECRET_KEY=" + secret}
	addresses := []string{"LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0"}
	setting := regexp.MustCompile(`Set (max_signature_age: \w+)\.`)
	for name, keys := range map[string]string{"keys": withKeys, "role": withRole} {
		text := "integrations:\n  - name: young\n    bucket: young\n" + keys
		dir := writeConfig(t, text)
		checked := func(dir string) (code int, output string) {
			return command(t, dir, append(addresses, env...), "check", "--config", "config.yaml",
				"--sample", "s3://young/text.txt")
		}
		code, out := checked(dir)
		m := setting.FindStringSubmatch(strings.Join(strings.Fields(out), " "))
		if code != 1 || m == nil || !strings.Contains(out, "failed   signature_age") {
			t.Errorf("%s: check: exit code %d, want 1 and a setting:\n%s", name, code, out)
			continue
		}
		text += "    " + m[1] + "\n"
		if code, out := checked(writeConfig(t, text)); code != 0 {
			t.Errorf("%s: check with %s: exit code %d, want 0:\n%s", name, m[1], code, out)
		}
		p := startProxy(t, text, env...)
		location := p.location(t, http.MethodGet, path("young", "text.txt"))
		a := fetch(t, http.MethodGet, location)
		u, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		expires, err := strconv.Atoi(u.Query().Get("X-Amz-Expires"))
		if a.status != http.StatusOK || err != nil || expires > 600 {
			t.Errorf("%s: status %d and X-Amz-Expires=%d, want 200 and at most 600", name, a.status,
				expires)
		}
	}
}
