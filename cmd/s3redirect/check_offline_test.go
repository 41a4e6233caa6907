package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// stopAt is a writer that cancels a context when a text has been written.
type stopAt struct {
	text   string
	cancel context.CancelFunc

	mu  sync.Mutex
	all bytes.Buffer
}

func (s *stopAt) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.Contains(p, []byte(s.text)) {
		s.cancel()
	}
	return s.all.Write(p)
}

// verdicts returns what check --offline and serve say about a configuration file. Serve is stopped
// as soon as it listens.
func verdicts(path string) (check, serve string) {
	code, stdout, stderr := running("check", "--offline", "--config", path)
	check = fmt.Sprintf("%d %s", code, stderr)
	if code == 0 {
		check = "0 " + stdout
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := &stopAt{text: `"msg":"serving"`, cancel: cancel}
	code = run(ctx, []string{"serve", "--config", path}, &bytes.Buffer{}, log)
	serve = fmt.Sprintf("%d %s", code, log.all.String())
	return check, serve
}

// offlineHead is a valid configuration without viewers.
const offlineHead = `listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
integrations: [{name: lab, bucket: photos, region: us-east-1, role_arn: "arn:aws:iam::123456789012:role/r"}]
`

// brokenByFiles are mistakes in the files that a configuration names, and in values that only their
// users parse. DIR is a directory with the files of offlineFiles.
var brokenByFiles = map[string]string{
	"a missing htpasswd file":    "viewers: {basic: {htpasswd_file: DIR/missing}}",
	"an htpasswd directory":      "viewers: {basic: {htpasswd_file: DIR}}",
	"an empty htpasswd file":     "viewers: {basic: {htpasswd_file: DIR/empty}}",
	"an htpasswd file with MD5":  "viewers: {basic: {htpasswd_file: DIR/md5}}",
	"an htpasswd file, UTF-16":   "viewers: {basic: {htpasswd_file: DIR/utf16}}",
	"an htpasswd user twice":     "viewers: {basic: {htpasswd_file: DIR/twice}}",
	"a slow htpasswd hash":       "viewers: {basic: {htpasswd_file: DIR/slow}}",
	"an unset htpasswd variable": "viewers: {basic: {htpasswd_file: '${NOT_SET}'}}",
	"an htpasswd file and a mistake elsewhere": "log: {format: xml}\n" +
		"viewers: {basic: {htpasswd_file: DIR/missing}}",
	"a missing certificate":      "viewers: {anonymous: true}\ntls: {cert_file: DIR/missing, key_file: DIR/key.pem}",
	"a missing key":              "viewers: {anonymous: true}\ntls: {cert_file: DIR/cert.pem, key_file: DIR/missing}",
	"a certificate that is none": "viewers: {anonymous: true}\ntls: {cert_file: DIR/md5, key_file: DIR/md5}",
	"a certificate directory":    "viewers: {anonymous: true}\nadmin: {tls: {cert_file: DIR, key_file: DIR}}",
	"an admin certificate missing": "viewers: {anonymous: true}\n" +
		"admin: {tls: {cert_file: DIR/missing, key_file: DIR/missing}}",
	"a short admin token": "viewers: {anonymous: true}\nadmin: {token: short}",
	"an admin token in an empty file": "viewers: {anonymous: true}\n" +
		"admin: {token: '${file:DIR/empty}'}",
	"an admin token in a missing file": "viewers: {anonymous: true}\n" +
		"admin: {token: '${file:DIR/missing}'}",
	"an admin token in a large file": "viewers: {anonymous: true}\n" +
		"admin: {token: '${file:DIR/large}'}",
	"a credential without a directory": "viewers: {anonymous: true}\nadmin: {token: '${credential:token}'}",
	"a link key that is too short":     "viewers: {links: {keys: [{id: k, secret: short}]}}",
	"an include of a missing folder":   "viewers: {anonymous: true}\ninclude: [missing/*.yaml]",
	"an include of a broken file":      "viewers: {anonymous: true}\ninclude: [broken/*.yaml]",
	"an include of a loose link":       "viewers: {anonymous: true}\ninclude: [loose/*.yaml]",
	"an include that is no pattern":    "viewers: {anonymous: true}\ninclude: ['[']",
	"a Redis URL with a path":          redisURL("redis://127.0.0.1:6379/0/1"),
	"a Redis URL with a database name": redisURL("redis://127.0.0.1:6379/main"),
	"a Redis URL with a huge database": redisURL("redis://127.0.0.1:6379/99999999999999999999"),
	"a Redis URL with a huge port":     redisURL("redis://127.0.0.1:99999"),
	"a Redis URL without a host":       redisURL("redis:///0"),
	"a Redis URL of another scheme":    redisURL("http://127.0.0.1:6379"),
	"a Redis URL with a parameter":     redisURL("redis://127.0.0.1:6379/0?db=x"),
	"a Redis password with a slash":    redisURL("redis://u:a/b@127.0.0.1:6379/0"),
	"an audit log in a missing folder": "viewers: {anonymous: true}\nlog: {audit: DIR/missing/a.log}",
	"an audit log that is a folder":    "viewers: {anonymous: true}\nlog: {audit: DIR}",
	"an audit log below a file":        "viewers: {anonymous: true}\nlog: {audit: DIR/md5/a.log}",
	"an audit log in a relative path":  "viewers: {anonymous: true}\nlog: {audit: audit.log}",
	"a listener at a mistyped address": "viewers: {anonymous: true}\nlog: {level: loud}",
}

func redisURL(url string) string {
	return "viewers: {anonymous: true}\ncache: {redis: {url: '" + url +
		"', encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=}}"
}

// offlineFiles writes the files of brokenByFiles, and returns their directory.
func offlineFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const hash = "$2y$05$ZVCxJt1bUo8gJUGwyrNhP.Q3DGyYgB8xwqQGZxkGq7JrL1bnSmBZi"
	for name, text := range map[string]string{
		"empty": "", "md5": "ann:$apr1$x$y\n", "utf16": "\xff\xfea\x00", "users": "ann:" + hash + "\n",
		"twice": "ann:" + hash + "\nann:" + hash + "\n", "large": strings.Repeat("x", 1<<17),
		"slow": "ann:" + strings.Replace(hash, "$05$", "$31$", 1) + "\n", "key.pem": "x", "cert.pem": "x",
		"broken/a.yaml": "name: [", "token": strings.Repeat("t", 40) + "\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "loose"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nothing", filepath.Join(dir, "loose", "a.yaml")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Check --offline refuses what serve refuses, with the same messages and the same exit code.
func TestOfflineCheckRefusesWhatServeRefuses(t *testing.T) {
	for name, value := range map[string]string{
		"ID": "id-from-the-environment", "HOURS": "1", "SECRET": "canary",
		"BREAK": strings.Repeat("canary-", 6) + "\n", "BLANK": " canary",
	} {
		t.Setenv(name, value)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	dir := offlineFiles(t)
	broken := map[string]string{}
	for name, text := range brokenByFiles {
		broken[name] = offlineHead + strings.ReplaceAll(text, "DIR", dir) + "\n"
	}
	for _, listen := range []string{"127.0.0.256:80", "10.0.0:80", "a b:80", "[::1:80", "host:http:80", ":99999"} {
		broken["listen: "+listen] = strings.Replace(offlineHead, "127.0.0.1:0", "'"+listen+"'", 1) +
			"viewers: {anonymous: true}\n"
	}
	table, err := os.ReadFile("../../internal/config/testdata/mistakes.txt")
	if err != nil {
		t.Fatal(err)
	}
	for n, c := range strings.Split(string(table), "\n== ") {
		name, body, _ := strings.Cut(c, "\n")
		if at := strings.LastIndex("\n"+body, "\n--\n"); n > 0 && !strings.HasPrefix(body[at+3:], "ok\n") {
			broken["mistakes.txt: "+name] = body[:at]
		}
	}
	if len(broken) < 100 {
		t.Errorf("there are %d broken configurations, want at least 100", len(broken))
	}
	path := filepath.Join(dir, "config.yaml")
	for name, text := range broken {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		check, serve := verdicts(path)
		if check != serve || !strings.HasPrefix(check, "2 "+path+":") && !strings.HasPrefix(check, "2 "+dir) {
			t.Errorf("%s: check --offline says\n%s\nserve says\n%s\nwant the same errors, and exit code 2\n%s",
				name, check, serve, text)
		}
		if strings.Contains(check+serve, "canary") {
			t.Errorf("%s: the messages contain a secret: %s %s", name, check, serve)
		}
	}
}

// Check --offline accepts what serve accepts, also what needs a network later.
func TestOfflineCheckAcceptsWhatServeAccepts(t *testing.T) {
	dir := offlineFiles(t)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for name, text := range map[string]string{
		"anonymous":                        "viewers: {anonymous: true}",
		"users":                            "viewers: {basic: {htpasswd_file: DIR/users}}",
		"an audit log":                     "viewers: {anonymous: true}\nlog: {audit: DIR/audit.log}",
		"a Redis URL with a final slash":   redisURL("redis://127.0.0.1:1/"),
		"a Redis URL without a database":   redisURL("redis://127.0.0.1:1"),
		"Sentinels":                        redisURL("redis://127.0.0.1:1/?addr=127.0.0.1:2&master_set=m"),
		"an issuer that does not exist":    "viewers: {jwt: {issuer: 'https://id.invalid', audience: a}}",
		"an admin token in a file":         "viewers: {anonymous: true}\nadmin: {token: '${file:DIR/token}'}",
		"an admin token in a credential":   "viewers: {anonymous: true}\nadmin: {token: '${credential:token}'}",
		"an included folder without files": "viewers: {anonymous: true}\ninclude: ['broken/*.yml']",
		"a boolean of the core schema":     "viewers: {anonymous: TRUE}",
	} {
		path := filepath.Join(dir, "config.yaml")
		text = offlineHead + strings.ReplaceAll(text, "DIR", dir) + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		check, serve := verdicts(path)
		if !strings.HasPrefix(check, "0 ") || !strings.Contains(check, "loaded without warnings") {
			t.Errorf("%s: check --offline says %s, want exit code 0 and no warnings", name, check)
		}
		if !strings.HasPrefix(serve, "0 ") || !strings.Contains(serve, `"msg":"stopped"`) {
			t.Errorf("%s: serve says %s, want exit code 0 after it was stopped", name, serve)
		}
	}
}

// Check --offline connects to nothing and resolves no name.
func TestOfflineCheckUsesNoNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var contacts atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			contacts.Add(1)
			_ = conn.Close()
		}
	}()
	resolver := net.DefaultResolver
	defer func() { net.DefaultResolver = resolver }()
	net.DefaultResolver = &net.Resolver{PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			contacts.Add(1)
			return nil, net.ErrClosed
		}}
	at := listener.Addr().String()
	t.Setenv("HTTPS_PROXY", "http://"+at)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+at)
	path := writeConfig(t, strings.ReplaceAll(`listen: media.example.invalid:8080
admin_listen: 127.0.0.1:0
viewers: {jwt: {issuer: "http://AT", audience: a, jwks_url: "http://AT/keys"}}
cache: {redis: {url: "redis://AT", encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=}}
integrations:
  - {name: a, bucket: aaa, endpoint: "http://AT", sts_endpoint: "http://AT", path_style: true,
     role_arn: "arn:aws:iam:::role/r", access_key_id: a, secret_access_key: b}
  - {name: own, bucket: bbb, region: auto, own_credentials: true}
  - {name: c, bucket: ccc, region: auto, endpoint: "https://store.example.invalid", access_key_id: a,
     secret_access_key: b}
`, "AT", at))
	for _, flag := range []string{"--offline", "--config-only"} {
		synctest.Test(t, func(t *testing.T) { // waits for what runs in the background
			code, stdout, stderr := running("check", flag, "--json", "--config", path)
			var answer struct{ OK bool }
			if err := json.Unmarshal([]byte(stdout), &answer); code != 0 || err != nil || !answer.OK {
				t.Errorf("check %s: exit code %d, %s, %s, want 0 and ok", flag, code, stdout, stderr)
			}
		})
	}
	if got := contacts.Load(); got != 0 {
		t.Errorf("check --offline made %d connections and look-ups, want 0", got)
	}
}

func TestOfflineCheckFlags(t *testing.T) {
	path := writeConfig(t, offlineHead+"viewers: {anonymous: true}\n")
	for _, args := range [][]string{{"--sample", "s3://photos/x"}, {"--origin", "https://a.example"},
		{"--as", "ann", "s3://photos/x"}, {"--anonymous", "s3://photos/x"}, {"--token", "-"}} {
		all := append([]string{"check", "--config", path, "--offline"}, args...)
		if code, _, stderr := running(all...); code != 2 || !strings.Contains(stderr, "--offline") {
			t.Errorf("%q: exit code %d, %s, want 2 and an error about --offline", all, code, stderr)
		}
	}
}
