package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// A session may have tags; a role or a user does not.
func TestIntegrateWithTags(t *testing.T) {
	const session = "arn:aws:sts::123456789012:assumed-role/proxy/pod"
	for _, c := range []struct {
		name      string
		agent     string   // of EKS Pod Identity
		principal string   // who assumes the role
		answer    []string // to the question about tags
		args      []string
		want      bool
	}{
		{"answered yes", "", session, []string{"yes"}, nil, true},
		{"by default", "", session, []string{""}, nil, false},
		{"EKS Pod Identity", "http://169.254.170.23/v1/credentials", session, []string{""}, nil, true},
		{"a role", "", "arn:aws:iam::123456789012:role/proxy", nil, nil, false},
		{"by a flag", "", session, nil, []string{"--with-tags"}, true},
	} {
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", c.agent)
		path := filepath.Join(t.TempDir(), "config.yaml")
		input := append([]string{"one", "scans", "", "yes", "", "", "", ""}, c.answer...)
		withInput(t, strings.Join(append(input, "arn:aws:iam::123456789012:role/r"), "\n")+"\n")
		code, stdout, stderr := running(append([]string{"integrate", "--config", path, "--no-try",
			"--principal", c.principal}, c.args...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d, want 0\n%s%s", c.name, code, stdout, stderr)
		}
		if got := strings.Contains(stdout, `"sts:TagSession"`); got != c.want {
			t.Errorf("%s: the trust policy has sts:TagSession: %v, want %v", c.name, got, c.want)
		}
		if got := strings.Contains(stdout, "--format cli --name scans") &&
			strings.Contains(stdout, " --with-tags"); got != c.want {
			t.Errorf("%s: the commands have --with-tags: %v, want %v", c.name, got, c.want)
		}
		wantCommandsRun(t, stdout, 3)
	}
}
