package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// brokenByFiles are mistakes that loading the configuration's own text does not find.
var brokenByFiles = map[string]string{
	"a missing htpasswd file":     "viewers: {basic: {htpasswd_file: missing}}",
	"an empty htpasswd file":      "viewers: {basic: {htpasswd_file: empty}}",
	"an admin token in no file":   "viewers: {anonymous: true}\nadmin: {token: '${file:missing}'}",
	"an include of a broken file": "viewers: {anonymous: true}\ninclude: [broken/*.yaml]",
	"an audit log in no folder":   "viewers: {anonymous: true}\nlog: {audit: /missing/audit.log}",
	"an empty certificate":        "viewers: {anonymous: true}\ntls: {cert_file: empty, key_file: empty}",
	"a Redis password with a /":   brokenRedis + "url: 'redis://u:canary/b@127.0.0.1:6379/0'}}",
	"a Redis URL of a path":       brokenRedis + "url: 'redis://127.0.0.1:6379/0/1'}}",
	"IAM of Redis without TLS": brokenRedis + "url: 'redis://h', elasticache_iam: {cache: c, user: u, " +
		"region: us-east-1}}}",
	"TLS files of Redis, no TLS":  brokenRedis + "url: 'redis://h', tls: {ca_file: empty}}}",
	"a Redis CA without a file":   brokenRedis + "url: 'rediss://h', tls: {ca_file: missing}}}",
	"a Redis password in no file": brokenRedis + "url: 'rediss://h', password: '${file:missing}'}}",
	"a Redis prefix with a space": brokenRedis + "url: 'rediss://h', key_prefix: 'a b'}}",
	"PROXY protocol, no proxies":  "viewers: {anonymous: true}\nproxy_protocol: true",
}

const brokenRedis = "viewers: {anonymous: true}\ncache: {redis: {" +
	"encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=, "

// TestOfflineCheckEqualsServe runs the binary on broken configurations: those of the configuration
// package's table and brokenByFiles. Check --offline prints the same errors as serve and exits with
// the same code.
func TestOfflineCheckEqualsServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("empty", "")
	write("broken/a.yaml", "name: [")
	broken := map[string]string{}
	for name, text := range brokenByFiles {
		broken[name] = `listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
integrations: [{name: lab, bucket: photos, region: us-east-1, role_arn: "arn:aws:iam::123456789012:role/r"}]
` + text + "\n"
	}
	table := strings.Split(readFile(t, "../../internal/config/testdata/mistakes.txt"), "\n== ")
	for _, c := range table[1:] {
		name, body, _ := strings.Cut(c, "\n")
		if at := strings.LastIndex("\n"+body, "\n--\n"); !strings.HasPrefix(body[at+3:], "ok\n") {
			broken["mistakes.txt: "+name] = body[:at]
		}
	}
	if len(broken) < 60 {
		t.Errorf("there are %d broken configurations, want at least 60", len(broken))
	}
	env := []string{"ID=id-from-the-environment", "HOURS=1", "SECRET=canary", "BLANK= canary",
		"BREAK=" + strings.Repeat("canary-", 6) + "\n"}
	for name, text := range broken {
		write("config.yaml", text)
		code, check := command(t, dir, env, "check", "--offline", "--config", "config.yaml")
		served, serve := command(t, dir, env, "serve", "--config", "config.yaml")
		if code != 2 || served != 2 || check != serve || check == "" {
			t.Errorf("%s: check --offline exits with %d and says\n%s\nserve exits with %d and says\n%s\n"+
				"want 2 and the same errors\n%s", name, code, check, served, serve, text)
		}
		if strings.Contains(check+serve, "canary") {
			t.Errorf("%s: the messages contain a secret: %s %s", name, check, serve)
		}
	}
	t.Logf("%d broken configurations were tried", len(broken))
}
