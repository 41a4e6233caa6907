package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPortInUseIsReported(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, key := range []string{"listen", "admin_listen"} {
		addresses := map[string]string{"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
		addresses[key] = taken.Addr().String()
		code, out := serve(t, fmt.Sprintf(`
listen: %s
admin_listen: %s
viewers: {anonymous: true}
integrations:
  - name: keys
    bucket: photos
%s`, addresses["listen"], addresses["admin_listen"], withKeys),
			"ENDPOINT=http://127.0.0.1:1", "ACCESS_KEY=key", "SECRET_KEY=secret")
		if want := "serve: " + key + ": address already in use"; code != 1 || !strings.Contains(out, want) {
			t.Errorf("%s in use: exit code %d, output:\n%s\nwant 1, and %q", key, code, out, want)
		}
	}
}

// serve runs the serve command with a configuration that must prevent a start.
func serve(t *testing.T, config string, env ...string) (code int, output string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return command(t, dir, env, "serve", "--config", "config.yaml")
}

// All errors of a configuration are reported together, each with its line.
func TestInvalidConfigReportsAllErrors(t *testing.T) {
	t.Parallel()
	code, out := serve(t, `listen: 127.0.0.1:0
admin_lisen: 127.0.0.1:0
url_lifetime: 45 minutes
integrations:
  - name: a
    bucket: Photos
    region: us-east-1
    role_arn: arn:aws:iam::123:role/reader
  - name: b
    bucket: scans
    region: us-east-1
    role_arn: arn:aws:iam::123456789012:role/reader
    session_duration: 13h
    session_policy: perhaps
  - name: c
    bucket: scans
    region: us-east-1
    url_lifetime: 30m
    min_remaining: 30m
    role_arn: arn:aws:iam::123456789012:role/reader
    external_id: ${NOT_SET_ANYWHERE}
`)
	if code != 2 {
		t.Errorf("exit code = %d, want 2", code)
	}
	for line, want := range map[int]string{
		2:  "admin_listen", // the nearest known key
		3:  "url_lifetime",
		6:  "Photos",
		8:  "role_arn",
		13: "session_duration",
		14: "session_policy",
		16: "scans",
		19: "min_remaining",
		21: "NOT_SET_ANYWHERE",
	} {
		at := fmt.Sprintf("config.yaml:%d:", line)
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(s string) bool {
			return strings.Contains(s, at) && strings.Contains(s, want)
		}) {
			t.Errorf("no error at %s contains %q", at, want)
		}
	}
	if !strings.Contains(out, "viewers") {
		t.Error("no error about the missing viewers")
	}
	if t.Failed() {
		t.Logf("output:\n%s", out)
	}
}

func TestUnreadableConfigAndWrongArguments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"empty.yaml":   "empty",
		"folder.yaml":  "directory",
		"missing.yaml": "does not exist",
	} {
		code, out := command(t, dir, nil, "serve", "--config", file)
		if code != 2 || !strings.Contains(out, file) || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d, output:\n%s\nwant 2, the file's name and %q",
				file, code, out, want)
		}
	}
	for _, args := range [][]string{{}, {"srve"}, {"serve", "--confg", "x"}, {"serve", "x"}} {
		code, out := command(t, dir, nil, args...)
		if code != 2 || !strings.Contains(out, "serve") {
			t.Errorf("s3redirect %v: exit code %d, output:\n%s\nwant 2 and the usage",
				args, code, out)
		}
	}
	code, out := command(t, dir, nil, "version")
	if code != 0 || !strings.HasPrefix(out, "s3redirect ") {
		t.Errorf("version: exit code %d, output %q, want 0 and \"s3redirect \" first", code, out)
	}
}
