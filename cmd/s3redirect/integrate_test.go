package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
)

// withInput has conversations read a text.
func withInput(t *testing.T, text string) {
	t.Helper()
	before := stdin
	stdin = strings.NewReader(text)
	t.Cleanup(func() { stdin = before })
}

// storeURLs are the addresses of the demo's S3 and STS, and its secret is in the environment.
func storeURLs(t *testing.T) (s3, sts string) {
	t.Helper()
	text := demoWorld(t)
	t.Setenv("STORE_KEY", demoAccessKey)
	t.Setenv("STORE_SECRET", demoSecret)
	return regexp.MustCompile(`\bendpoint: (\S+)`).FindStringSubmatch(text)[1],
		regexp.MustCompile(`sts_endpoint: (\S+)`).FindStringSubmatch(text)[1]
}

const existing = `# Ours.
listen: 127.0.0.1:0   # any
viewers: {anonymous: true}
include: [integrations.d/*.yaml]

integrations:
  # The old one.
  - name: old
    bucket: scans     # of paper
    region: eu-central-1
    access_key_id: AKIA
    secret_access_key: s

# The end.
`

func TestIntegrateByFlags(t *testing.T) {
	s3, sts := storeURLs(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	folder := filepath.Join(dir, "integrations.d")
	if err := errors.Join(os.WriteFile(path, []byte(existing), 0o640), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	store := []string{"integrate", "--yes", "--config", path, "--bucket", "demo-media",
		"--endpoint", s3, "--sts-endpoint", sts, "--path-style",
		"--access-key-id", "${STORE_KEY}", "--secret-access-key", "${STORE_SECRET}"}
	untouched := func(args []string, code int, says string) {
		t.Helper()
		got, stdout, stderr := running(args...)
		if got != code || !strings.Contains(stdout+stderr, says) || strings.Contains(stdout+stderr, demoSecret) {
			t.Errorf("%q: exit %d\n%s%s", args, got, stdout, stderr)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != existing {
			t.Errorf("%q wrote: %s %v", args, text, err)
		}
		if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
			t.Errorf("%q wrote %v, %v, want nothing", args, entries, err)
		}
	}
	untouched(store, 2, "--role-arn is missing")
	untouched(append(store, "--role-arn", demoMediaRole, "--external-id", "wrong"), 1,
		"the integration does not work: nothing was written")
	untouched(append(store, "--role-arn", demoMediaRole, "--external-id", "a b"), 2, "--external-id: use 2 to 1,224")
	untouched(append(store, "--role-arn", demoMediaRole, "--external-id", ""), 2,
		"s3redirect integrate: --external-id is empty; if it comes from a variable, set that")
	for _, name := range []string{"--role-arn", "--principal", "--access-point"} {
		untouched(append(store, "--role-arn", demoMediaRole, name, ""), 2, name+" is empty")
	}
	untouched(append(store, "--role-arn", "arn:nothing"), 2, "--role-arn: arn:nothing is not the ARN of a role")
	untouched(append(store, "--role-arn", demoMediaRole, "--name", "old"), 2, "is the name of the integration")
	untouched(append(store, "--role-arn", demoMediaRole, "--sample", "demo-media/x"), 2, "--sample")
	untouched([]string{"integrate", "--yes", "--config", path}, 2, "--bucket is missing")
	untouched([]string{"integrate", "--yes", "--config", path, "--bucket", "scans"}, 2,
		"is a bucket of integration old")
	untouched([]string{"integrate", "--yes", "--config", path, "--bucket", "a-b", "--endpoint",
		"http://far.example"}, 2, "--endpoint: over http://")
	untouched([]string{"integrate", "--yes", "--config", path, "--bucket", "a-b",
		"--secret-access-key", "canary"}, 2, "name an environment variable")
	untouched([]string{"integrate", "--yes", "--config", path, "--bucket", "a-b", "--endpoint", s3,
		"--access-key-id", "${UNSET}"}, 2, "UNSET is not set")
	for _, bucket := range []string{"Upper", "un_der", "a", "dots..two",
		"-dash", "192.168.0.1", "xn--punny", "x--x-s3", "with space", "s3://bucket", "bücket",
		strings.Repeat("a", 64), ""} {
		untouched([]string{"integrate", "--yes", "--config", path, "--bucket", bucket, "--role-arn",
			demoMediaRole}, 2, "--bucket")
	}

	args := append(store, "--role-arn", demoMediaRole, "--external-id", demoMediaID, "--sample",
		"s3://demo-media/images/sunset.jpg")
	code, stdout, stderr := running(args...)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "has the integration demo-media") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != existing {
		t.Errorf("the configuration file is now\n%s%v", text, err)
	}
	written := filepath.Join(folder, "demo-media.yaml")
	text, err := os.ReadFile(written)
	if err != nil {
		t.Fatal(err)
	}
	want := `# Written by s3redirect.
name: demo-media
bucket: demo-media
role_arn: ` + demoMediaRole + `
external_id: ` + demoMediaID + `
region: us-east-1
endpoint: ` + s3 + `
path_style: true
sts_endpoint: ` + sts + `
access_key_id: ${STORE_KEY}
secret_access_key: ${STORE_SECRET}
`
	if string(text) != want || !strings.Contains(stdout, want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if info, err := os.Stat(written); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v, want that of the configuration file, 640", info.Mode(), err)
	}
	if code, stdout, stderr := running("check", "--config", path, "--integration", "demo-media",
		"--sample", "s3://demo-media/images/sunset.jpg"); code != 0 {
		t.Errorf("check: exit %d\n%s%s", code, stdout, stderr)
	}
}

// answers lead from an empty folder to an integration.
func answers(s3, sts string) []string {
	return []string{"one", "demo-media", "", "yes", s3,
		"us-east-1", "yes", sts, "STORE_KEY", "STORE_SECRET", "no", "no", demoMediaRole,
		"s3://demo-media/images/sunset.jpg"}
}

func TestIntegrateInConversation(t *testing.T) {
	s3, sts := storeURLs(t)
	path := filepath.Join(t.TempDir(), "config.yaml")
	begin := []string{"integrate", "--config", path, "--external-id", demoMediaID, "--listen",
		"127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}
	all := answers(s3, sts)

	// However early the input ends, nothing is written.
	for n := range all {
		withInput(t, strings.Join(all[:n], "\n")+strings.Repeat("\n", min(n, 1)))
		code, stdout, stderr := running(begin...)
		if code != 1 || !strings.Contains(stderr, "nothing was written") {
			t.Errorf("after %d answers: exit %d\n%s%s", n, code, stdout, stderr)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
			t.Errorf("after %d answers: %v %v", n, entries, err)
		}
	}

	// Answers that will not do are asked for again, and say why.
	wrong := []string{"yes", "Bad_Bucket", "one", "Bad_Bucket", "demo-media", "no name", "media",
		"perhaps", "yes", "ftp://x", s3, "no region!", "us-east-1",
		"yes", "http://far.example", sts,
		"UNSET_VARIABLE", "${STORE_KEY}", "STORE_SECRET",
		"no", "no", "arn:nothing", demoTeamRole, "s3//x", "s3://demo-media/images/sunset.jpg", "x", "a", demoMediaRole}
	withInput(t, strings.Join(wrong, "\n")+"\n")
	code, stdout, stderr := running(begin...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	for _, says := range []string{"answer one or several, or type the bucket's name",
		"answer yes or no", "Bad_Bucket is not a bucket name",
		`the value is not a valid name`, "ftp://x is not an http or https URL", "over http://",
		"UNSET_VARIABLE is not set",
		"arn:nothing is not the ARN of a role", "must begin with s3://",
		"answer r, a, w or q", `"sts:ExternalId": "` + demoMediaID + `"`,
		`"arn:aws:s3:::demo-media/*"`, "It does not work yet",
		"STS says that we are arn:aws:iam::000000000000:user/demo", "has the integration media"} {
		if !strings.Contains(stdout, says) {
			t.Errorf("it does not say %q:\n%s", says, stdout)
		}
	}
	wantCommandsRun(t, stdout, 3) // the third is what check says about the wrong role
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	i := c.Integrations[0]
	if i.Name != "media" || i.Bucket != "demo-media" ||
		i.RoleARN != demoMediaRole || i.ExternalID != demoMediaID ||
		i.AccessKeyID != demoAccessKey || !i.SessionPolicy || !c.Viewers.Anonymous {
		t.Errorf("%+v", i)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text),
		"# The configuration of s3redirect.") || strings.Contains(string(text), demoMediaRole) ||
		strings.Contains(string(text), demoSecret) {
		t.Errorf("%s %v", text, err)
	}
}

// If the store rejects old signatures, integrate offers the setting that fixes it.
func TestIntegrateSetsTheSignatureAge(t *testing.T) {
	s3, sts := storeURLs(t)
	target, err := url.Parse(s3)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, err := time.Parse("20060102T150405Z", r.URL.Query().Get("X-Amz-Date"))
		if err == nil && time.Since(at) > 15*time.Minute {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	defer store.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	path := filepath.Join(t.TempDir(), "config.yaml")
	withInput(t, strings.Join(append(answers(store.URL, sts), "s"), "\n")+"\n")
	code, stdout, stderr := running("integrate", "--config", path, "--external-id", demoMediaID,
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	if code != 0 || !strings.Contains(stdout, "[s]et max_signature_age: ") {
		t.Fatalf("exit code %d, want 0 and the offer of a setting:\n%s%s", code, stdout, stderr)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	i := c.Integrations[0]
	if age := i.MaxSignatureAge; age < 10*time.Minute || age > 15*time.Minute || i.URLLifetime != age ||
		i.MinRemaining >= i.URLLifetime {
		t.Errorf("max_signature_age %v, url_lifetime %v, min_remaining %v, want lifetimes below 15m",
			age, i.URLLifetime, i.MinRemaining)
	}
}

// wantCommandsRun runs every command that a conversation printed, as it is printed. ARN stands for
// what only the reader knows.
func wantCommandsRun(t *testing.T, said string, want int) {
	t.Helper()
	command := regexp.MustCompile(`s3redirect (policy (?:access|role|cors|trust|assume) .*)`)
	commands := command.FindAllStringSubmatch(unwrapped.ReplaceAllString(said, " "), -1)
	if len(commands) != want {
		t.Errorf("%d commands, want %d, in\n%s", len(commands), want, said)
	}
	for _, c := range commands {
		key := " arn:aws:kms:eu-central-1:123456789012:key/k"
		if strings.Contains(c[1], " cn-north-1 ") {
			key = " arn:aws-cn:kms:cn-north-1:123456789012:key/k"
		}
		words := shellWords(t, strings.Replace(c[1], " ARN", key, 1))
		if code, _, stderr := running(words...); code != 0 {
			t.Errorf("%s: exit %d\n%s", c[0], code, stderr)
		}
	}
}

// shellWords returns the words that a shell reads in a line.
func shellWords(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\n' "+line).Output()
	if err != nil {
		t.Fatalf("the shell reads %s: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// unwrapped is where the table of check breaks a line.
var unwrapped = regexp.MustCompile(`\n {25,}`)

// A default integration gets patterns, an external ID of its own, and whatever it is asked to do besides.
func TestIntegrateADefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	withInput(t, strings.Join([]string{"several", "photos team-*", "shared", "yes", "", "", "yes",
		"yes", "arn:aws:iam::123456789012:role/r"}, "\n")+"\n")
	code, stdout, stderr := running("integrate", "--config", path, "--no-try", "--principal",
		"arn:aws:iam::123456789012:role/proxy")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	wantCommandsRun(t, stdout, 2) // none for CORS: the buckets are patterns
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	i := c.Integrations[0]
	if strings.Join(i.PermittedBuckets, " ") != "photos team-*" || i.Region != "auto" ||
		!i.FileVersioning || !i.ListBucket || len(i.ExternalID) < 20 {
		t.Errorf("%+v", i)
	}
	if !strings.Contains(stdout, i.ExternalID) ||
		!strings.Contains(stdout, "s3:GetObjectVersion") || !strings.Contains(stdout, "s3:ListBucket") {
		t.Errorf("the documents lack something:\n%s", stdout)
	}
	first := i.ExternalID
	if err := errors.Join(os.Remove(path),
		os.Remove(filepath.Join(filepath.Dir(path), "integrations.d", "shared.yaml"))); err != nil {
		t.Fatal(err)
	}
	withInput(t, strings.Join([]string{"several", "photos team-*", "shared", "yes", "", "", "yes",
		"yes", "arn:aws:iam::123456789012:role/r"}, "\n")+"\n")
	running("integrate", "--config", path, "--no-try", "--principal", "arn:aws:iam::123456789012:role/proxy")
	if c, err := config.Load(path); err != nil || c.Integrations[0].ExternalID == first {
		t.Errorf("the external ID came twice: %v", err)
	}
}

// One of S3's own hosts is AWS: it needs a role, and neither an STS nor keys.
func TestIntegrateAnotherHostOfS3(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	const host = "https://bucket.vpce-1a-5e.s3.cn-north-1.vpce.amazonaws.com.cn"
	withInput(t, strings.Join([]string{"one", "scans", "", "yes", host, "", "", "",
		"arn:aws-cn:iam::123456789012:role/r"}, "\n")+"\n")
	code, stdout, stderr := running("integrate", "--config", path, "--no-try", "--principal",
		"arn:aws-cn:iam::123456789012:role/proxy")
	if code != 0 || stderr != "" || !strings.Contains(stdout, `"arn:aws-cn:s3:::scans/*"`) ||
		!strings.Contains(stdout, "SSE-KMS") {
		t.Fatalf("exit code %d, want 0 and the policies of aws-cn\n%s%s", code, stdout, stderr)
	}
	wantCommandsRun(t, stdout, 3)
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if i := c.Integrations[0]; i.Endpoint != host || i.Region != "cn-north-1" || i.PathStyle ||
		i.STSEndpoint != "" || i.AccessKeyID != "" || i.RoleARN == "" {
		t.Errorf("the integration is %+v, want a role, and neither an STS nor keys", i)
	}
}

// Keys without a role, for a store that has none.
func TestIntegrateKeys(t *testing.T) {
	s3, _ := storeURLs(t)
	path := filepath.Join(t.TempDir(), "config.yaml")
	withInput(t, strings.Join([]string{"one", "scans", "", "yes", s3, "", "", "", "STORE_KEY",
		"STORE_SECRET", "", ""}, "\n")+"\n")
	code, stdout, stderr := running("integrate", "--config", path, "--no-try")
	if code != 0 || stderr != "" || strings.Contains(stdout, "Trust policy") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	wantCommandsRun(t, stdout, 1)
	if c, err := config.Load(path); err != nil ||
		c.Integrations[0].RoleARN != "" || c.Integrations[0].ExternalID != "" ||
		string(c.Integrations[0].SecretAccessKey) != demoSecret {
		t.Errorf("%v", err)
	}
}

func TestIntegrateRefusesFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("listn: 127.0.0.1:0\n")
	if code, _, stderr := running("integrate", "--config",
		path); code != 2 || !strings.Contains(stderr, "did you mean listen") ||
		!strings.Contains(stderr, "fix it first") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := running("integrate", "--config", dir); code != 2 ||
		!strings.Contains(stderr, "this is a directory") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := running("integrate",
		"--config", filepath.Join(dir, "none", "config.yaml")); code != 2 ||
		!strings.Contains(stderr, "there is no directory") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	write(strings.Replace(existing, "include: [integrations.d/*.yaml]\n", "", 1))
	if code, _, stderr := running("integrate", "--config", path); code != 2 ||
		!strings.Contains(stderr, "add the line include: [integrations.d/*.yaml] to this file") {
		t.Errorf("without include: exit %d: %s", code, stderr)
	}
	write(existing)
	if code, _, stderr := running("integrate", "--config", path); code != 2 ||
		!strings.Contains(stderr, "integrations.d does not exist; create it") {
		t.Errorf("without the directory: exit %d: %s", code, stderr)
	}
}

// A file that another program writes in the meantime is left alone.
func TestIntegrateDoesNotReplaceFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	theirs := filepath.Join(filepath.Dir(path), "integrations.d", "new.yaml")
	if err := errors.Join(os.WriteFile(path, []byte(existing), 0o600),
		os.Mkdir(filepath.Dir(theirs), 0o700)); err != nil {
		t.Fatal(err)
	}
	n := newIntegration{path: path}
	n.Name, n.Bucket, n.RoleARN, n.Region, n.SessionPolicy = "new", "a-bucket", demoMediaRole, "auto", true
	n.conversation = converse(t.Context(), &strings.Builder{}, true)
	if err := n.readFiles(); err != nil {
		t.Fatal(err)
	}
	const text = "# somebody else's\n"
	if err := os.WriteFile(theirs, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.write(); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("write() = %v, want that the file exists", err)
	}
	if got, err := os.ReadFile(theirs); err != nil || string(got) != text {
		t.Errorf("the file holds %q, %v, want %q", got, err, text)
	}
}
