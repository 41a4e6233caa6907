package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

const viewersConfig = `
listen: 127.0.0.1:0
public_url: https://media.example.com
viewers:
  anonymous: true
  links: {keys: [{id: k1, secret: canary-of-a-link-with-32-bytes!!}], max_lifetime: 2d}
  rules:
    - {groups: [suspended], locators: ["s3://*/*"], deny: true}
    - {users: [ann], locators: ["s3://team-a/*", "s3://team-films/*"]}
    - {known: true, locators: ["s3://photos/users/{user}/*", "s3://nobodys/*"]}
integrations:
  - name: teams
    permitted_buckets: ["team-*"]
    role_arn: arn:aws:iam::123456789012:role/teams
    region: us-east-1
  - name: special
    bucket: team-a
    role_arn: arn:aws:iam::123456789012:role/special
    region: us-east-1
  - name: photos
    bucket: photos
    role_arn: arn:aws:iam::123456789012:role/photos
    region: us-east-1
  - name: tenant-a
    bucket: team-films
    prefix: tenant-a/
    blocked_prefixes: [tenant-a/raw/]
    role_arn: arn:aws:iam::123456789012:role/tenant-a
    region: us-east-1
`

// writeConfig writes a configuration file and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCheckPrintsTheDecidingRule checks the output of check --as and check --anonymous.
func TestCheckPrintsTheDecidingRule(t *testing.T) {
	path := writeConfig(t, viewersConfig)
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
	}{
		{
			[]string{"--as", "ann", "s3://team-a/x"},
			0, "allowed by viewers.rules[1]: ann may read s3://team-a/x, " +
				"which integration special serves\n",
		},
		{
			[]string{"--as", "bob", "s3://team-a/x"},
			1, "denied: no rule allows bob to read s3://team-a/x\n",
		},
		{
			[]string{"--as", "ann", "--groups", "lab,suspended", "s3://team-a/x"},
			1, "denied by viewers.rules[0]: ann may not read s3://team-a/x\n",
		},
		{
			[]string{"--as", "bob", "s3://photos/users/bob/a b"},
			0, "allowed by viewers.rules[2]: bob may read s3://photos/users/bob/a b, " +
				"which integration photos serves\n",
		},
		{
			[]string{"--as", "bob", "s3://nobodys/x"},
			1, "denied: no integration serves s3://nobodys/x\n",
		},
		{
			[]string{"--as", "ann", "s3://team-films/tenant-a/x"},
			0, "allowed by viewers.rules[1]: ann may read s3://team-films/tenant-a/x, " +
				"which integration tenant-a serves\n",
		},
		{
			[]string{"--as", "ann", "s3://team-films/tenant-b/x"},
			0, "allowed by viewers.rules[1]: ann may read s3://team-films/tenant-b/x, " +
				"which integration teams serves\n",
		},
		{
			[]string{"--as", "ann", "s3://team-films//tenant-a/x"},
			1, "denied: no integration serves s3://team-films//tenant-a/x\n",
		},
		{
			[]string{"--as", "ann", "s3://team-films//tenant-a/raw/x"},
			1, "denied by blocked_prefixes of integration tenant-a: " +
				"no viewer may read s3://team-films//tenant-a/raw/x\n",
		},
		{
			[]string{"--anonymous", "s3://photos/x"},
			1, "denied: no rule allows an anonymous client to read s3://photos/x\n",
		},
		{[]string{"s3://photos/x"}, 2, ""},
		{[]string{"--as", "bob", "--anonymous", "s3://photos/x"}, 2, ""},
		{[]string{"--as", "bob", "photos/x"}, 2, ""},
		{[]string{"--as", "bob"}, 2, ""},
	} {
		code, stdout, stderr := running(append([]string{"check", "--config", path}, c.args...)...)
		if code != c.code || stdout != c.stdout {
			t.Errorf("check %v: exit code %d, stdout %q, want %d, %q",
				c.args, code, stdout, c.code, c.stdout)
		}
		if code == 2 && stderr == "" {
			t.Errorf("check %v: exit code 2 without an error", c.args)
		}
	}
}

// check --token reads a token from standard input, and prints neither the token nor a part of it.
func TestCheckToken(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{KeyID: "k1", Key: key.Public()},
		}})
	}))
	defer provider.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       jose.JSONWebKey{Key: key, KeyID: "k1"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"iss":    provider.URL,
		"aud":    "media",
		"exp":    time.Now().Add(time.Hour).Unix(),
		"email":  "bob@example.com",
		"groups": []string{"lab"},
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	path := writeConfig(t, strings.Replace(viewersConfig, "  anonymous: true\n", fmt.Sprintf(
		"  jwt: {issuer: '%s', audience: media, jwks_url: '%[1]s/keys'}\n", provider.URL), 1))
	without := writeConfig(t, viewersConfig)
	for _, c := range []struct {
		input  string
		args   []string
		code   int
		output string // a part of it
	}{
		{token + "\n", []string{"--token", "-"}, 0, `the user is "bob@example.com"`},
		{"Authorization: Bearer " + token, []string{"--token=-"}, 0, "pass s3://bucket/key"},
		{
			token,
			[]string{"--token", "-", "s3://photos/users/bob@example.com/x"},
			0, "allowed by viewers.rules[2]",
		},
		{token, []string{"--token", "-", "s3://photos/x"}, 1, "denied: no rule allows"},
		{token, []string{"--token", "-", "--json", "s3://photos/x"}, 1, `"step": "rule"`},
		{token[1:], []string{"--token", "-"}, 1, "not a signed JWT"},
		{"canary", []string{"--token", "-"}, 1, "opaque"},
		{"", []string{"--token", "-"}, 2, "standard input is empty"},
		{"", []string{"--token", token}, 2, "reads standard input"},
		{"", []string{token, "--token", "-"}, 2, "arguments"},
		{token, []string{"--token", "-", "photos/x"}, 2, "arguments"},
		{token, []string{"--token", "-", "--as", "bob"}, 2, "only one of"},
		{token, []string{"--token", "-", "--config", without}, 2, "viewers.jwt is missing"},
	} {
		before := stdin
		stdin = strings.NewReader(c.input)
		code, stdout, stderr := running(append([]string{"check", "--config", path}, c.args...)...)
		stdin = before
		if code != c.code || !strings.Contains(stdout+stderr, c.output) {
			t.Errorf("check %.60q: exit code %d, output %q, want %d and %q", c.args, code,
				stdout+stderr, c.code, c.output)
		}
		for _, secret := range append(strings.Split(token, "."), "canary") {
			if strings.Contains(stdout+stderr, secret) {
				t.Errorf("check %.60q: the output has a part of the token: %s", c.args, stdout+stderr)
			}
		}
	}
}

func TestServeRejectsAMissingPasswordFile(t *testing.T) {
	path := writeConfig(t, strings.Replace(viewersConfig, "  anonymous: true\n",
		"  anonymous: true\n  basic: {htpasswd_file: /no/such/file}\n", 1))
	code, _, stderr := running("serve", "--config", path)
	want := path + ":6: viewers.basic.htpasswd_file: no such file or directory; " +
		"create the file with htpasswd -B\n"
	if code != 2 || stderr != want {
		t.Errorf("serve: exit code %d, stderr %q, want 2, %q", code, stderr, want)
	}
}

func TestLinkCommand(t *testing.T) {
	path := writeConfig(t, viewersConfig)
	links := viewer.NewLinks(&config.Links{
		Keys:        []config.LinkKey{{ID: "k1", Secret: "canary-of-a-link-with-32-bytes!!"}},
		MaxLifetime: 48 * time.Hour,
	})
	for target, object := range map[string]locator.Locator{
		"s3://photos/a b/ü+.jpg": {Bucket: "photos", Key: "a b/ü+.jpg"},
		"s3://photos/a/*":        {Bucket: "photos", Key: "a/deep/x"},
		"s3://photos/*":          {Bucket: "photos", Key: "x"},
	} {
		code, stdout, stderr := running("link", "--config", path, "--lifetime", "1h", target)
		if code != 0 {
			t.Fatalf("link %s: exit code %d, want 0: %s", target, code, stderr)
		}
		const prefix = "https://media.example.com/s3/photos/"
		u, err := url.Parse(strings.TrimSpace(stdout))
		if err != nil || !strings.HasPrefix(stdout, prefix) || strings.Contains(stdout, "canary") {
			t.Fatalf("link %s = %s, %v, want %s… without the secret", target, stdout, err, prefix)
		}
		until, err := links.Check(u.RawQuery, object, time.Now())
		if left := time.Until(until); err != nil || left > time.Hour || left < 50*time.Minute {
			t.Errorf("Check of link %s = %v left, %v, want an hour", target, left, err)
		}
	}
	for _, args := range [][]string{
		{"photos/x"},
		{"--lifetime", "49h", "s3://photos/x"},
		{"--lifetime", "-1h", "s3://photos/x"},
		{"--form", "header", "s3://photos/x"},
		{},
	} {
		code, stdout, stderr := running(append([]string{"link", "--config", path}, args...)...)
		if code == 0 || stdout != "" || stderr == "" {
			t.Errorf("link %q: exit code %d, stdout %q, stderr %q, want an error",
				args, code, stdout, stderr)
		}
	}
}

// All forms of a link have the same query.
func TestLinkForms(t *testing.T) {
	without := writeConfig(t, viewersConfig)
	code, stdout, stderr := running("link", "--config", without, "--form", "cookie", "s3://photos/a/*")
	if code != 2 || stdout != "" || !strings.Contains(stderr, "set viewers.links.cookie") {
		t.Errorf("link --form cookie: exit code %d, stdout %q, stderr %q, want 2 and what to set",
			code, stdout, stderr)
	}
	path := writeConfig(t, strings.Replace(viewersConfig, "links: {", "links: {cookie: s3link, ", 1))
	links := viewer.NewLinks(&config.Links{
		Keys:        []config.LinkKey{{ID: "k1", Secret: "canary-of-a-link-with-32-bytes!!"}},
		MaxLifetime: 48 * time.Hour,
	})
	object := locator.Locator{Bucket: "photos", Key: "a b/x"}
	link := func(form string) string {
		code, stdout, stderr := running("link", "--config", path, "--lifetime", "1h", "--form", form,
			"s3://photos/a b/*")
		if code != 0 {
			t.Fatalf("link --form %s: exit code %d, want 0: %s", form, code, stderr)
		}
		return strings.TrimSuffix(stdout, "\n")
	}
	const base = "https://media.example.com/s3/"
	token, rest, _ := strings.Cut(strings.TrimPrefix(link("path"), base), "/")
	if _, err := links.CheckToken(token, "", object, time.Now()); err != nil || rest != "photos/a%20b/" {
		t.Errorf("link --form path = %s~TOKEN/%s, CheckToken = %v, want %s~TOKEN/photos/a%%20b/, nil",
			base, rest, err, base)
	}
	line, ok := strings.CutPrefix(link("cookie"), "Set-Cookie: ")
	c, err := http.ParseSetCookie(line)
	if !ok || err != nil {
		t.Fatalf("link --form cookie = %s, %v, want a Set-Cookie line", line, err)
	}
	if _, err := links.Check(c.Value, object, time.Now()); err != nil || c.Name != "s3link" ||
		c.Path != "/s3/photos/" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode ||
		c.MaxAge < 3000 || c.MaxAge > 3600 {
		t.Errorf("link --form cookie = %s, Check = %v, want s3link for /s3/photos/, for an hour", line, err)
	}
	if query := link("query"); !strings.HasPrefix(query, base+"photos/a%20b/?exp=") {
		t.Errorf("link --form query = %s, want %sphotos/a%%20b/?exp=…", query, base)
	}
}
