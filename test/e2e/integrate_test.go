package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/chromedp/chromedp"
)

// turn is a question of the conversation, and the answer.
type turn struct{ question, answer string }

// toRadosgw is the conversation that leads to an integration of a role in radosgw.
func toRadosgw(g *gateway, bucket, arn string) []turn {
	return []turn{
		{"May everyone who can reach", ""}, {"several permitted buckets", "no"}, {"Bucket: ", bucket}, {"Name [", "gallery"}, {"Endpoint [", g.endpoint},
		{"Region [", ""}, {"in the path", ""}, {"STS endpoint [", g.endpoint}, {"Access key ID: ", "TRUSTED_KEY"}, {"Secret access key: ", "TRUSTED_SECRET"}, {"Older versions", ""}, {"404", ""},
		{"Principal: ", "arn:aws:iam:::user/trusted"}, {"Role ARN: ", arn},
		{"Sample object [", "s3://" + bucket + "/pictures/one.png"},
	}
}

// From an empty folder to an image that comes through the proxy: the documents are those that the conversation shows, and
// radosgw takes them. It does not know sts:ExternalId and refuses whoever is asked for one, so that condition, once taken, is
// removed.
func TestIntegrateFromNothing(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	g.createBucket(t, "gallery-one")
	g.createBucket(t, "gallery-other")
	image := picture(t, 48)
	g.put(t, "gallery-one", "pictures/one.png", image)
	g.put(t, "gallery-other", "secret.png", image)
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	listen, admin := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])

	dir := t.TempDir()
	c := startInTerminal(t, dir, g.env(), "integrate", "--listen", listen, "--admin-listen", admin)
	for _, turn := range toRadosgw(g, "gallery-one", "arn:aws:iam:::role/gallery") {
		c.expect(turn.question)
		if strings.HasPrefix(turn.question, "Role ARN") {
			g.makeRole(t, "gallery", c.text())
		}
		c.send(turn.answer + "\n")
	}
	if code := c.exit(); code != 0 || !strings.Contains(c.text(), "integrations.d/gallery.yaml has the integration gallery") {
		t.Fatalf("exit %d\n%s", code, c.text())
	}
	for _, want := range []string{"\x1b[32mok       \x1b[0mget", "the newest version", "is not found"} {
		if strings.Contains(c.text(), want) != strings.Contains(want, "get") {
			t.Errorf("%q:\n%s", want, c.text())
		}
	}
	if strings.Contains(c.text(), g.trusted.SecretAccessKey) {
		t.Error("the secret key shows")
	}

	server, err := startServer(dir, "s3redirect", g.env(), built(t), "serve", "--config", "config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	if err := server.await("s3redirect", func() bool { return answersOK("http://" + admin + "/readyz") }); err != nil {
		t.Fatal(err)
	}
	a := fetch(t, http.MethodGet, "http://"+listen+"/s3/gallery-one/pictures/one.png")
	if got := fetch(t, http.MethodGet, a.header.Get("Location")); got.status != http.StatusOK || string(got.body) != string(image) {
		t.Errorf("the image: %d, %d bytes", got.status, len(got.body))
	}

	t.Run("enforced", func(t *testing.T) { rolesAreEnforced(t, g, dir) })
}

// rolesAreEnforced looks at the role and the configuration that the conversation led to from the other side: what must not work does not.
func rolesAreEnforced(t *testing.T, g *gateway, dir string) {
	// The access policy is enforced: with nothing else to hold it back, the role still reads no other bucket.
	p := startProxy(t, `
integrations:
  - name: other
    bucket: gallery-other
    role_arn: arn:aws:iam:::role/gallery
    session_policy: false
    endpoint: ${ENDPOINT}
    sts_endpoint: ${ENDPOINT}
    path_style: true
    access_key_id: ${TRUSTED_KEY}
    secret_access_key: ${TRUSTED_SECRET}
`, g.env()...)
	if got := fetch(t, http.MethodGet, p.location(t, http.MethodGet, "/s3/gallery-other/secret.png")); got.status != http.StatusForbidden {
		t.Errorf("another bucket: %d", got.status)
	}
	// So is the trust policy: who is not in it gets no session, and check says so.
	with := func(name string, replacer *strings.Replacer) {
		t.Helper()
		text := replacer.Replace(readFile(t, filepath.Join(dir, "integrations.d", "gallery.yaml")))
		main := strings.Replace(readFile(t, filepath.Join(dir, "config.yaml")), "integrations.d", name+".d", 1)
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name+".d"), 0o700), os.WriteFile(filepath.Join(dir, name+".d", "gallery.yaml"), []byte(text), 0o600),
			os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(main), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	with("stranger", strings.NewReplacer("TRUSTED_KEY", "STRANGER_KEY", "TRUSTED_SECRET", "STRANGER_SECRET"))
	if code, out := command(t, dir, g.env(), "check", "--config", "stranger.yaml"); code != 1 || !strings.Contains(out, "failed   assume_role") || !strings.Contains(out, "its trust policy does not name the proxy") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out := command(t, dir, g.env(), "check", "--config", "config.yaml", "--sample", "s3://gallery-one/pictures/one.png"); code != 0 || !strings.Contains(out, "ok       head_by_get") {
		t.Errorf("exit %d\n%s", code, out)
	}
	with("missing", strings.NewReplacer("role/gallery", "role/nobody"))
	if code, out := command(t, dir, g.env(), "check", "--config", "missing.yaml"); code != 1 || !strings.Contains(out, "the role arn:aws:iam:::role/nobody does not exist") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var shownDocument = regexp.MustCompile(`(?s)--- \d\. [^\n]*\n([{\[].*?\n[}\]])\n`)

// makeRole makes a role of the documents that a conversation showed.
func (g *gateway) makeRole(t *testing.T, name, said string) {
	t.Helper()
	shown := shownDocument.FindAllStringSubmatch(said, -1)
	if len(shown) != 3 {
		t.Fatalf("%d documents in\n%s", len(shown), said)
	}
	access, trust := shown[0][1], shown[1][1]
	call := func(action string, params url.Values) {
		t.Helper()
		if err := g.iam(t.Context(), action, params); err != nil {
			t.Fatal(err)
		}
	}
	call("CreateRole", url.Values{"RoleName": {name}, "Path": {"/"}, "AssumeRolePolicyDocument": {trust}})
	call("PutRolePolicy", url.Values{"RoleName": {name}, "PolicyName": {"read"}, "PolicyDocument": {access}})
	var d struct {
		Version   string
		Statement []map[string]any
	}
	if err := json.Unmarshal([]byte(trust), &d); err != nil {
		t.Fatal(err)
	}
	if d.Statement[0]["Condition"] == nil {
		t.Errorf("the trust policy asks for no external ID: %s", trust)
	}
	delete(d.Statement[0], "Condition")
	call("UpdateAssumeRolePolicy", url.Values{"RoleName": {name}, "PolicyDocument": {document(d.Statement[0])}})
}

// Ctrl-C at any question, on any way through the conversation, leaves everything as it was.
func TestIntegrateInterrupted(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	one := toRadosgw(g, "gallery-none", g.roleARN)
	refused := append(slices.Clone(one), turn{"another role [a]RN", "a"}, turn{"Role ARN: ", "arn:aws:iam:::role/nobody"}, turn{"another role [a]RN", "retry"}, turn{"another role [a]RN", ""})
	several := slices.Clone(one[:3])
	several[1].answer, several[2] = "yes", turn{"Permitted buckets: ", "gallery-none gallery-*"}
	keys := append(slices.Clone(one[:7]), turn{"STS endpoint [", ""}, turn{"Access key ID: ", "ACCESS_KEY"}, turn{"Secret access key: ", "SECRET_KEY"}, turn{"Older versions", ""}, turn{"404", ""}, turn{"Sample object [", ""})
	const before = "listen: 127.0.0.1:0 # kept\nviewers: {anonymous: true}\ninclude: [integrations.d/*.yaml]\nintegrations:\n- {name: a, bucket: bucket-a, region: eu-central-1, access_key_id: A, secret_access_key: s}\n"
	asked := map[string]bool{}
	for _, way := range [][]turn{refused, several, keys} {
		for n, last := range way {
			name := fmt.Sprint(way[:n]) + last.question
			if asked[name] { // the ways begin alike
				continue
			}
			asked[name] = true
			interruptAt(t, g, way[:n+1], "")
			if 0 < n && n < len(one) { // with a file, the first is not asked
				interruptAt(t, g, way[1:n+1], before)
			}
		}
	}
}

// interruptAt answers all questions but the last, at which it presses Ctrl-C; a file that is there, or is not, must be as before.
func interruptAt(t *testing.T, g *gateway, turns []turn, existing string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	folder := filepath.Join(dir, "integrations.d")
	if existing != "" {
		if err := errors.Join(os.WriteFile(path, []byte(existing), 0o600), os.Mkdir(folder, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	c := startInTerminal(t, dir, g.env(), "integrate")
	last := len(turns) - 1
	for _, turn := range turns[:last] {
		c.expect(turn.question)
		c.send(turn.answer + "\n")
	}
	c.expect(turns[last].question)
	c.send("half an answer\x03")
	if code := c.exit(); code != 1 || !strings.Contains(c.text(), "nothing was written") {
		t.Errorf("at %q: exit %d\n%s", turns[last].question, code, c.text())
	}
	entries, err := os.ReadDir(dir)
	if existing != "" {
		more, folderErr := os.ReadDir(folder)
		entries, err = append(entries, more...), errors.Join(err, folderErr)
	}
	if err != nil || existing == "" && len(entries) != 0 || existing != "" && (len(entries) != 2 || readFile(t, path) != existing) {
		t.Errorf("at %q something was left: %v %v", turns[last].question, entries, err)
	}
}

// The CORS document is taken by a real store, and lets a page of another origin than the proxy's read in a real browser.
func TestCORSDocument(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	g := radosgw(t)
	bucket := g.createBucket(t, "cors-document")
	g.put(t, bucket, "text.txt", []byte("0123456789"))
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!DOCTYPE html><title>A page</title>") }))
	t.Cleanup(pages.Close)
	origin := strings.Replace(pages.URL, "127.0.0.1", "app.localhost", 1)
	text := `
public_url: http://media.localhost
cors: {allowed_origins: ["` + origin + `"]}
integrations:
  - name: keys
    bucket: cors-document
` + withKeys
	p := startProxy(t, text, g.env()...)
	dir, env := writeConfig(t, text), append(g.env(), "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")

	tab := browser(t)
	if _, err := chromedp.Run(tab, chromedp.Navigate(origin)); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		t.Helper()
		script := fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=2-4"}}).then(async r => [r.status, r.headers.get("Content-Range"), r.headers.get("ETag") != null, await r.text()].join(" "), e => "refused")`, p.url("/s3/cors-document/text.txt"))
		got, err := chromedp.Run(tab, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := read(); got != "refused" {
		t.Errorf("before: %s", got)
	}
	if code, out := command(t, dir, env, "check", "--sample", "s3://cors-document/text.txt"); code != 1 || !strings.Contains(out, "failed   cors") {
		t.Errorf("check before: exit %d\n%s", code, out)
	}

	var out, notes strings.Builder
	cmd := exec.CommandContext(t.Context(), built(t), "policy", "cors", "--integration", "keys")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &notes
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v %s", err, notes.String())
	}
	var rules []struct {
		AllowedHeaders, AllowedMethods, AllowedOrigins, ExposeHeaders []string
		MaxAgeSeconds                                                 int32
	}
	if err := json.Unmarshal([]byte(out.String()), &rules); err != nil {
		t.Fatal(err)
	}
	var configured types.CORSConfiguration
	for _, r := range rules {
		configured.CORSRules = append(configured.CORSRules, types.CORSRule{AllowedHeaders: r.AllowedHeaders, AllowedMethods: r.AllowedMethods,
			AllowedOrigins: r.AllowedOrigins, ExposeHeaders: r.ExposeHeaders, MaxAgeSeconds: aws.Int32(r.MaxAgeSeconds)})
	}
	if _, err := g.client(g.owner).PutBucketCors(t.Context(), &s3.PutBucketCorsInput{Bucket: &bucket, CORSConfiguration: &configured}); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "206 bytes 2-4/10 true 234" {
		t.Errorf("after: %s", got)
	}
	if code, out := command(t, dir, env, "check", "--sample", "s3://cors-document/text.txt"); code != 0 || !strings.Contains(out, "also in ranges") {
		t.Errorf("check after: exit %d\n%s", code, out)
	}
}

const mainFile = "listen: 127.0.0.1:0\nviewers: {anonymous: true}\ninclude: [integrations.d/*.yaml]\nintegrations:\n" +
	"  - {name: old, bucket: bucket-old, region: eu-central-1, access_key_id: A, secret_access_key: s}\n"

// integrateBig are the arguments that add an integration of 4,000 buckets, whose file takes its time to be written.
func integrateBig() []string {
	args := []string{"integrate", "--yes", "--no-try", "--name", "new", "--region", "eu-central-1", "--external-id", "id-0123",
		"--principal", "123456789012", "--role-arn", "arn:aws:iam::123456789012:role/r"}
	for n := range 4000 {
		args = append(args, "--bucket", fmt.Sprintf("bucket-%d-%s", n, strings.Repeat("x", 50)))
	}
	return args
}

// Killed at any instant, and in the middle of its write above all, integrate leaves no file or the new one, whole; and the next run
// works.
func TestIntegrateKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "integrations.d")
	path, args := filepath.Join(folder, "new.yaml"), integrateBig()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(mainFile), 0o600); err != nil {
		t.Fatal(err)
	}
	// run kills integrate after some time, or, where that is negative, as soon as it writes.
	run := func(killAfter time.Duration) (took time.Duration, inTheMiddle bool) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), built(t), args...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir}
		began, ended := time.Now(), make(chan struct{})
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		switch {
		case killAfter > 0:
			time.AfterFunc(killAfter, func() { _ = cmd.Process.Kill() })
		case killAfter < 0:
			go func() {
				for {
					select {
					case <-ended:
						return
					default:
					}
					if beside, _ := filepath.Glob(filepath.Join(folder, ".new.yaml.*")); len(beside) > 0 {
						_ = cmd.Process.Kill()
					}
				}
			}()
		}
		_ = cmd.Wait() // killed, or not
		took = time.Since(began)
		close(ended)
		beside, err := filepath.Glob(filepath.Join(folder, ".new.yaml.*"))
		if err != nil {
			t.Fatal(err)
		}
		if code, out := command(t, dir, nil, "check", "--config", "config.yaml", "--anonymous", "s3://bucket-old/x"); code != 0 {
			t.Fatalf("the configuration does not load afterwards: exit %d\n%s", code, out)
		}
		return took, len(beside) > 0
	}
	whole, _ := run(0)
	text := readFile(t, path)
	if !strings.Contains(text, "bucket-3999-") {
		t.Fatal("it does not work when it is not killed")
	}
	written, middle := 0, 0
	for n := range 30 {
		after := whole * time.Duration(n+1) / 15
		if n >= 15 {
			after = -1
		}
		if _, in := run(after); in {
			middle++
		}
		switch now, err := os.ReadFile(path); {
		case string(now) == text:
			written++
		case errors.Is(err, fs.ErrNotExist):
		default:
			t.Fatalf("run %d, killed after %v, left something else: %v", n, after, err)
		}
		if readFile(t, filepath.Join(dir, "config.yaml")) != mainFile {
			t.Fatalf("run %d changed the main file", n)
		}
	}
	if middle == 0 {
		t.Error("not one was killed in the middle of its write")
	}
	t.Logf("of 30 runs %d were killed in the middle of the write, and %d had written", middle, written)
}

// On a disk that is full, integrate says so, and leaves no file.
func TestIntegrateOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "s3redirect")
	if err := os.WriteFile(program, []byte(readFile(t, built(t))), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.yaml"), []byte(mainFile), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	// A disk of our own, which nobody else sees, without room for the new file.
	const integrate = `cp main.yaml disk/config.yaml && mkdir disk/integrations.d && cd disk || exit 99
%s ../s3redirect "$@"; echo "exit $?"; cmp config.yaml ../main.yaml && ls -A . integrations.d`
	run := func(prefix ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), prefix[0], append(prefix[1:], integrateBig()...)...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	says := "the disk is full"
	out, err := run("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=100k none disk && "+fmt.Sprintf(integrate, ""), "sh")
	if !strings.Contains(out, "exit ") { // nothing may be mounted here: files that may not grow are the next best
		says = "file too large"
		out, err = run("sh", "-c", fmt.Sprintf(integrate, "ulimit -f 100;"), "sh")
	}
	if end := "\nexit 1\n.:\nconfig.yaml\nintegrations.d\n\nintegrations.d:\n"; err != nil || !strings.Contains(out, says) || !strings.HasSuffix(out, end) {
		t.Errorf("%v, want %q and at the end %q\n%s", err, says, end, out[max(0, len(out)-2000):])
	}
}

// A user who may not write there is told so at once, not at the end.
func TestIntegrateWhereNobodyMayWrite(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s3redirect-read-only-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "s3redirect")
	if err := os.WriteFile(program, []byte(readFile(t, built(t))), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "integrate")
	cmd.Dir, cmd.Env = dir, []string{"HOME=/"}
	if os.Geteuid() == 0 { // who may write everywhere
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, _ := cmd.CombinedOutput() // it fails
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "run this as a user who may write there") {
		t.Errorf("exit %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}
