package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

const (
	someRole      = "arn:aws:iam::123456789012:role/r"
	somePrincipal = "arn:aws:iam::123456789012:role/proxy"
)

// integrateIn runs integrate in a new folder, without flags for the questions that it asks there,
// and returns its output and the configuration that it wrote. It does not try the integration.
func integrateIn(t *testing.T, dir string, answers ...string) (stdout string, c *config.Config) {
	t.Helper()
	t.Chdir(dir)
	withInput(t, strings.Join(answers, "\n")+"\n")
	code, stdout, stderr := running("integrate", "--no-try", "--principal", somePrincipal)
	if code != 0 || stderr != "" {
		t.Fatalf("integrate with %q: exit code %d, want 0\n%s%s", answers, code, stdout, stderr)
	}
	c, err := config.Load("s3redirect.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return stdout, c
}

// A bucket's name is an answer to the first question, and several names are, too.
func TestIntegrateTakesBucketsEarly(t *testing.T) {
	for _, c := range []struct {
		first     []string
		bucket    string
		permitted []string
	}{
		{[]string{"my-photos"}, "my-photos", nil},
		{[]string{"No_Bucket", "no", "yes", "my-photos"}, "my-photos", nil},
		{[]string{"", "my-photos"}, "my-photos", nil},
		{[]string{"One", "my-photos"}, "my-photos", nil},
		{[]string{"team-*"}, "", []string{"team-*"}},
		{[]string{"my-photos team-*"}, "", []string{"my-photos", "team-*"}},
		{[]string{"several", "my-photos"}, "", []string{"my-photos"}},
	} {
		answers := append(c.first, "", "", "", "", "", "", someRole)
		stdout, loaded := integrateIn(t, t.TempDir(), answers...)
		i := loaded.Integrations[0]
		if i.Bucket != c.bucket || !reflect.DeepEqual(i.PermittedBuckets, c.permitted) {
			t.Errorf("after %q: bucket %q, permitted buckets %q, want %q, %q", c.first, i.Bucket,
				i.PermittedBuckets, c.bucket, c.permitted)
		}
		question, _, _ := strings.Cut(stdout, " [one]: ")
		if !strings.HasSuffix(question, "\nOne bucket, or several?") {
			t.Errorf("the first question is %q, want One bucket, or several?", question)
		}
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("s3redirect.yaml", []byte(existing), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("integrations.d", 0o700); err != nil {
		t.Fatal(err)
	}
	withInput(t, "scans\n")
	const want = "is a bucket of integration old"
	if _, stdout, _ := running("integrate"); !strings.Contains(stdout, want) {
		t.Errorf("integrate with a bucket of another integration says %s, want %q", stdout, want)
	}
}

// In a clone, the example stays unchanged, and commands do not take it for the configuration.
func TestIntegrateBesideExample(t *testing.T) {
	dir := t.TempDir()
	example := read(t, "config.yaml")
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	const here = "config.yaml is here, and is read with --config config.yaml"
	for _, args := range [][]string{{"serve"}, {"check"}, {"presign", "s3://photos/a"}} {
		if code, _, stderr := running(args...); code != 2 ||
			!strings.Contains(stderr, "s3redirect.yaml: the file does not exist") ||
			!strings.Contains(stderr, here) {
			t.Errorf("%q beside the example: exit code %d, %s, want 2 and %q", args, code, stderr, here)
		}
	}
	stdout, c := integrateIn(t, dir, "my-photos", "", "", "", "", "", "", someRole)
	if !strings.Contains(stdout, "config.yaml stays unchanged") || len(c.Integrations) != 1 {
		t.Errorf("integrate beside the example wrote %d integrations and says\n%s\nwant 1, and that "+
			"config.yaml stays unchanged", len(c.Integrations), stdout)
	}
	if text, err := os.ReadFile("config.yaml"); err != nil || string(text) != example {
		t.Errorf("integrate changed the example to\n%s%v", text, err)
	}
	if err := os.Remove("config.yaml"); err != nil {
		t.Fatal(err)
	}
	if _, _, stderr := running("serve", "--config", "other.yaml"); strings.Contains(stderr, "is here") {
		t.Errorf("serve with another file says %s, want nothing about config.yaml", stderr)
	}
}

// The hosts of S3 are AWS, however they are typed: there is no question about an STS or keys.
func TestIntegrateRecognizesHostsOfAWS(t *testing.T) {
	const says = "This is one of AWS's own hosts: the role is assumed at AWS STS, and no sts_endpoint"
	for typed, want := range map[string]string{
		"https://s3.eu-central-1.amazonaws.com": "eu-central-1",
		"s3.eu-central-1.amazonaws.com":         "eu-central-1",
		"s3-us-west-2.amazonaws.com":            "us-west-2",
		"s3.dualstack.eu-west-3.amazonaws.com":  "eu-west-3",
		"s3.amazonaws.com":                      "auto",
	} {
		stdout, c := integrateIn(t, t.TempDir(), "photos", "", "", typed, "", "", "", someRole)
		endpoint := "https://" + strings.TrimPrefix(typed, "https://")
		if i := c.Integrations[0]; i.Endpoint != endpoint || i.Region != want || !strings.Contains(stdout, says) {
			t.Errorf("endpoint %s: endpoint %s, region %s, want %s, %s, and %q in\n%s",
				typed, i.Endpoint, i.Region, endpoint, want, says, stdout)
		}
		if strings.Contains(stdout, "STS endpoint") || strings.Contains(stdout, "Access key ID") {
			t.Errorf("endpoint %s: it asks for an STS or keys:\n%s", typed, stdout)
		}
	}
}

// Clients that must sign in have a way to do so, and the proxy starts with it.
func TestIntegrateAsksHowClientsSignIn(t *testing.T) {
	t.Setenv("LINK_KEY", strings.Repeat("k", 32))
	t.Setenv("SHORT_KEY", "short")
	for kind, c := range map[string]struct {
		answers []string
		says    []string
		want    config.Viewers
		next    string
	}{
		"forwarded": {
			[]string{"Host", "X-Auth-Request-Email", "X-Auth-Request-Email", "X-Auth-Request-Groups",
				"everywhere", "127.0.0.1 10.0.0.0/8"},
			[]string{"Host has another meaning", "is user_header too", "everywhere"},
			config.Viewers{Forwarded: &config.Forwarded{UserHeader: "X-Auth-Request-Email",
				GroupsHeader: "X-Auth-Request-Groups", GroupsSeparator: ",",
				TrustedProxies: []string{"127.0.0.1", "10.0.0.0/8"}}},
			"check --config s3redirect.yaml --as USER s3://photos/KEY",
		},
		"jwt": {
			[]string{"http://id.example.com", "https://id.example.com", "", "media other", "se ssion", "session"},
			[]string{"over http://", "An answer is needed", "the value is not a cookie name"},
			config.Viewers{JWT: config.OneOrMore[config.JWT]{{Issuer: "https://id.example.com",
				Audience: config.OneOrMore[string]{"media", "other"}, Cookie: "session"}}},
			`curl -i -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/s3/photos/KEY`,
		},
		"basic": {
			[]string{"", "pass words"},
			[]string{"An answer is needed", "\n  htpasswd -B -c 'pass words' USER\n"},
			config.Viewers{Basic: &config.Basic{HtpasswdFile: "pass words"}},
			"curl -i -u USER http://127.0.0.1:8080/s3/photos/KEY",
		},
		"links": {
			[]string{"a b", "k2", "UNSET_KEY", "c2VjcmV0/canary", "SHORT_KEY", "LINK_KEY"},
			[]string{"letters, digits", "there is no environment variable with this name", "too short"},
			config.Viewers{Links: &config.Links{Keys: []config.LinkKey{
				{ID: "k2", Secret: config.Secret(strings.Repeat("k", 32))}}}},
			"link --config s3redirect.yaml s3://photos/KEY",
		},
	} {
		t.Run(kind, func(t *testing.T) {
			begin := append([]string{"photos", "", "no", "password", kind}, c.answers...)
			all := append(begin, "", "", "", "", someRole)
			dir := t.TempDir()
			t.Chdir(dir)
			for n := range len(all) {
				withInput(t, strings.Join(all[:n], "\n")+strings.Repeat("\n", min(n, 1)))
				code, _, stderr := running("integrate", "--no-try", "--principal", somePrincipal)
				entries, err := os.ReadDir(dir)
				if code != 1 || !strings.Contains(stderr, "nothing was written") || len(entries) != 0 {
					t.Errorf("after %q: exit code %d, %s, files %v, %v, want 1 and no files",
						all[:n], code, stderr, entries, err)
				}
			}
			stdout, loaded := integrateIn(t, dir, all...)
			wantViewers(t, &loaded.Viewers, &c.want)
			for _, says := range append(c.says, "answer forwarded, jwt, basic or links",
				"docs/sign-in", "docs/viewers.md", "\n  "+commandLine("serve", "--config", "s3redirect.yaml")) {
				if !strings.Contains(stdout, says) {
					t.Errorf("it does not say %q:\n%s", says, stdout)
				}
			}
			if !strings.HasSuffix(stdout, c.next+"\n") {
				t.Errorf("it ends with %q, want %q", stdout[len(stdout)-200:], c.next)
			}
			text, err := os.ReadFile("s3redirect.yaml")
			if err != nil || strings.Contains(string(text)+stdout, "canary") ||
				strings.Contains(string(text)+stdout, strings.Repeat("k", 32)) {
				t.Errorf("a secret is in the file or in the output: %v\n%s%s", err, text, stdout)
			}
		})
	}
}

// The commands at the end can be pasted, whatever the names of the files are.
func TestIntegrateEndsWithCommands(t *testing.T) {
	before := program
	program = programName("/opt/my tools/s3redirect")
	defer func() { program = before }()
	dir := t.TempDir()
	path := filepath.Join(dir, "it's ours.yaml")
	if err := os.Mkdir(filepath.Join(dir, "integrations.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(existing), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := running("integrate", "--yes", "--no-try", "--config", path, "--bucket",
		"photos", "--principal", somePrincipal, "--role-arn", someRole)
	const text = "\nStart the proxy, unless it runs and follows the change; then, in another terminal, " +
		"ask for an object, with its key instead of KEY:\n\n  "
	_, commands, ok := strings.Cut(stdout, text)
	if code != 0 || !ok {
		t.Fatalf("integrate: exit code %d, %s, want 0 and %q in\n%s", code, stderr, text, stdout)
	}
	serve, curl, _ := strings.Cut(commands, "\n")
	want := []string{"/opt/my tools/s3redirect", "serve", "--config", path}
	if got := shellWords(t, serve); !reflect.DeepEqual(got, want) {
		t.Errorf("the shell reads %s as %q, want %q", serve, got, want)
	}
	want = []string{"curl", "-i", "http://127.0.0.1:0/s3/photos/KEY"}
	if got := shellWords(t, strings.TrimSpace(curl)); !reflect.DeepEqual(got, want) {
		t.Errorf("the shell reads %s as %q, want %q", curl, got, want)
	}
}

// wantViewers compares those keys of viewers that integrate asks for.
func wantViewers(t *testing.T, got, want *config.Viewers) {
	t.Helper()
	if got.Forwarded != nil {
		got.Forwarded.Proxies = nil // parsed from TrustedProxies
	}
	if got.Links != nil {
		got.Links = &config.Links{Keys: got.Links.Keys}
	}
	for n, j := range got.JWT {
		got.JWT[n] = config.JWT{Issuer: j.Issuer, Audience: j.Audience, Cookie: j.Cookie}
	}
	if got.Anonymous || !reflect.DeepEqual(got, want) {
		t.Errorf("viewers = %+v, want %+v", got, want)
	}
}

func TestOrigin(t *testing.T) {
	listening := func(addresses ...string) config.Config { return config.Config{Listen: addresses} }
	withTLS, public := listening("0.0.0.0:443"), listening(":1")
	withTLS.TLS.CertFile, public.PublicURL = "tls.crt", "https://media.example.com/"
	for _, c := range []struct {
		config config.Config
		want   string
	}{
		{listening("127.0.0.1:8080"), "http://127.0.0.1:8080"},
		{listening(":8080"), "http://127.0.0.1:8080"},
		{listening("0.0.0.0:80"), "http://127.0.0.1:80"},
		{listening("[::]:80"), "http://[::1]:80"},
		{listening("media.internal:80"), "http://media.internal:80"},
		{withTLS, "https://127.0.0.1:443"},
		{public, "https://media.example.com"},
		{listening("unix:/run/s3redirect.sock", "127.0.0.1:81"), "http://127.0.0.1:81"},
		{listening("systemd:viewers"), "http://localhost:80"},
	} {
		if got := origin(&c.config); got != c.want {
			t.Errorf("origin(%s, %s) = %s, want %s", c.config.Listen, c.config.PublicURL, got, c.want)
		}
	}
}
