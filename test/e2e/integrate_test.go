package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// turn is one question of the integrate dialog and the answer given to it.
type turn struct{ question, answer string }

// radosgwTurns returns the dialog that creates an integration with the role arn in radosgw.
func radosgwTurns(g *gateway, bucket, arn string) []turn {
	return []turn{
		{"One bucket, or several?", "one"},
		{"Bucket: ", bucket},
		{"Name [", "gallery"},
		{"May everyone who can reach", ""},
		{"Endpoint [", g.endpoint},
		{"Region [", ""},
		{"in the path", ""},
		{"STS endpoint [", g.endpoint},
		{"Access key ID: ", "TRUSTED_KEY"},
		{"Secret access key: ", "TRUSTED_SECRET"},
		{"Older versions", ""},
		{"404", ""},
		{"Principal: ", "arn:aws:iam:::user/trusted"},
		{"Role ARN: ", arn},
		{"Sample object [", "s3://" + bucket + "/pictures/one.png"},
	}
}

// TestIntegrateFromEmptyDirectory starts in an empty directory and ends with an image served
// through the proxy. radosgw accepts the policies that integrate prints.
func TestIntegrateFromEmptyDirectory(t *testing.T) {
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
	for _, turn := range radosgwTurns(g, "gallery-one", "arn:aws:iam:::role/gallery") {
		c.expect(turn.question)
		if strings.HasPrefix(turn.question, "Role ARN") {
			g.createRole(t, "gallery", c.text())
		}
		c.send(turn.answer + "\n")
	}
	code, done := c.exit(), "integrations.d/gallery.yaml has the integration gallery"
	if code != 0 || !strings.Contains(c.text(), done) {
		t.Fatalf("integrate: exit code %d, want 0 and %q in the output:\n%s", code, done, c.text())
	}
	for text, want := range map[string]bool{
		"\x1b[32mok       \x1b[0mget": true,
		"the newest version":          false,
		"is not found":                false,
	} {
		if got := strings.Contains(c.text(), text); got != want {
			t.Errorf("output contains %q: %t, want %t:\n%s", text, got, want, c.text())
		}
	}
	if strings.Contains(c.text(), g.trusted.SecretAccessKey) {
		t.Error("the output contains the secret access key")
	}

	// The last two lines are commands that can be pasted.
	lines := strings.Split(strings.TrimSpace(c.text()), "\n")
	serve, curl := strings.TrimSpace(lines[len(lines)-2]), strings.TrimSpace(lines[len(lines)-1])
	if !strings.HasSuffix(serve, " serve --config s3redirect.yaml") {
		t.Fatalf("the last line but one is %q, want the command that serves s3redirect.yaml", serve)
	}
	server, err := startServer(dir, "s3redirect", g.env(), "sh", "-c", "exec "+serve)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	ready := func() bool { return answersOK("http://" + admin + "/readyz") }
	if err := server.await("s3redirect", ready); err != nil {
		t.Fatal(err)
	}
	need(t, "curl")
	head, err := program(t, "sh", "-c", curl)
	if err != nil {
		t.Fatalf("%s: %v", curl, err)
	}
	location := regexp.MustCompile(`(?mi)^Location: (\S+)`).FindStringSubmatch(head)
	if !strings.Contains(head, "HTTP/1.1 302 ") || location == nil {
		t.Fatalf("%s prints\n%s\nwant a redirect", curl, head)
	}
	got := fetch(t, http.MethodGet, location[1])
	if got.status != http.StatusOK || string(got.body) != string(image) {
		t.Errorf("GET of the image = %d with %d bytes, want 200 with the %d bytes of the object",
			got.status, len(got.body), len(image))
	}

	t.Run("enforced", func(t *testing.T) { testRoleIsEnforced(t, g, dir) })
}

// testRoleIsEnforced checks that the role and the configuration in dir, both made by integrate,
// deny what they must deny.
func testRoleIsEnforced(t *testing.T, g *gateway, dir string) {
	// The access policy alone, without a session policy, keeps the role from other buckets.
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
	signed := p.location(t, http.MethodGet, "/s3/gallery-other/secret.png")
	if got := fetch(t, http.MethodGet, signed).status; got != http.StatusForbidden {
		t.Errorf("GET of an object in another bucket = %d, want 403", got)
	}
	// The trust policy denies sessions to other principals, and check reports it.
	writeVariant := func(name string, replacer *strings.Replacer) {
		t.Helper()
		include := name + ".d"
		text := replacer.Replace(readFile(t, filepath.Join(dir, "integrations.d", "gallery.yaml")))
		main := strings.Replace(
			readFile(t, filepath.Join(dir, "s3redirect.yaml")), "integrations.d", include, 1)
		if err := errors.Join(
			os.Mkdir(filepath.Join(dir, include), 0o700),
			os.WriteFile(filepath.Join(dir, include, "gallery.yaml"), []byte(text), 0o600),
			os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(main), 0o600),
		); err != nil {
			t.Fatal(err)
		}
	}
	wantCheck := func(want int, texts []string, args ...string) {
		t.Helper()
		args = append([]string{"check", "--config"}, args...)
		code, out := command(t, dir, g.env(), args...)
		if code != want {
			t.Errorf("%q: exit code %d, want %d:\n%s", args, code, want, out)
		}
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("%q: the output lacks %q:\n%s", args, text, out)
			}
		}
	}
	writeVariant("stranger", strings.NewReplacer(
		"TRUSTED_KEY", "STRANGER_KEY",
		"TRUSTED_SECRET", "STRANGER_SECRET",
	))
	wantCheck(1, []string{"failed   assume_role", "its trust policy does not name the proxy"},
		"stranger.yaml")
	wantCheck(0, []string{"ok       head_by_get"},
		"s3redirect.yaml", "--sample", "s3://gallery-one/pictures/one.png")
	writeVariant("missing", strings.NewReplacer("role/gallery", "role/nobody"))
	wantCheck(1, []string{"the role arn:aws:iam:::role/nobody does not exist"}, "missing.yaml")
}

// readFile returns the contents of the file at path.
func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shownDocument matches a policy that integrate prints; its group holds the JSON.
var shownDocument = regexp.MustCompile(`(?s)--- \d\. [^\n]*\n([{\[].*?\n[}\]])\n`)

// createRole creates a role with the access and trust policies that integrate printed in output.
// radosgw accepts the condition on sts:ExternalId but then denies requests that carry an external
// ID, so createRole removes the condition afterwards.
func (g *gateway) createRole(t *testing.T, name, output string) {
	t.Helper()
	shown := shownDocument.FindAllStringSubmatch(output, -1)
	if len(shown) != 3 {
		t.Fatalf("the output has %d documents, want 3:\n%s", len(shown), output)
	}
	access, trust := shown[0][1], shown[1][1]
	call := func(action string, params url.Values) {
		t.Helper()
		if err := g.iam(t.Context(), action, params); err != nil {
			t.Fatal(err)
		}
	}
	call("CreateRole", url.Values{
		"RoleName":                 {name},
		"Path":                     {"/"},
		"AssumeRolePolicyDocument": {trust},
	})
	call("PutRolePolicy", url.Values{
		"RoleName":       {name},
		"PolicyName":     {"read"},
		"PolicyDocument": {access},
	})
	var d struct {
		Version   string
		Statement []map[string]any
	}
	if err := json.Unmarshal([]byte(trust), &d); err != nil {
		t.Fatal(err)
	}
	if d.Statement[0]["Condition"] == nil {
		t.Errorf("the trust policy has no condition, want one on sts:ExternalId: %s", trust)
	}
	delete(d.Statement[0], "Condition")
	call("UpdateAssumeRolePolicy", url.Values{
		"RoleName":       {name},
		"PolicyDocument": {document(d.Statement[0])},
	})
}

// TestIntegrateInterruptedWritesNothing presses Ctrl-C at every question of four dialogs. The
// directory stays unchanged.
func TestIntegrateInterruptedWritesNothing(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	one := radosgwTurns(g, "gallery-none", g.roleARN)
	refused := append(slices.Clone(one),
		turn{"another role [a]RN", "a"},
		turn{"Role ARN: ", "arn:aws:iam:::role/nobody"},
		turn{"another role [a]RN", "retry"},
		turn{"another role [a]RN", ""},
	)
	several := slices.Clone(one[:2])
	several[0].answer, several[1] = "several", turn{"Permitted buckets: ", "gallery-none gallery-*"}
	several = append(several, turn{"Name [", ""})
	signIn := append(slices.Clone(one[:3]),
		turn{"May everyone who can reach", "no"},
		turn{"Sign-in: ", "jwt"},
		turn{"Issuer: ", "https://id.example.com"},
		turn{"Audience: ", "media"},
		turn{"Cookie [", ""},
		turn{"Endpoint [", ""},
	)
	keys := append(slices.Clone(one[:7]),
		turn{"STS endpoint [", ""},
		turn{"Access key ID: ", "ACCESS_KEY"},
		turn{"Secret access key: ", "SECRET_KEY"},
		turn{"Older versions", ""},
		turn{"404", ""},
		turn{"Sample object [", ""},
	)
	const existing = "listen: 127.0.0.1:0 # kept\nviewers: {anonymous: true}\n" +
		"include: [integrations.d/*.yaml]\nintegrations:\n" +
		"- {name: a, bucket: bucket-a, region: eu-central-1, " +
		"access_key_id: A, secret_access_key: s}\n"
	tested := map[string]bool{}
	for _, dialog := range [][]turn{refused, several, signIn, keys} {
		for n, last := range dialog {
			name := fmt.Sprint(dialog[:n]) + last.question
			if tested[name] { // the dialogs begin with the same questions
				continue
			}
			tested[name] = true
			interruptAt(t, g, dialog[:n+1], "")
			// With a configuration file, there are no questions about viewers.
			if n < len(one) && !aboutViewers(last) && !slices.ContainsFunc(dialog[:n], isSignIn) {
				rest := slices.DeleteFunc(slices.Clone(dialog[:n+1]), aboutViewers)
				interruptAt(t, g, rest, existing)
			}
		}
	}
}

func aboutViewers(t turn) bool {
	return strings.HasPrefix(t.question, "May everyone") || isSignIn(t)
}

func isSignIn(t turn) bool { return strings.HasPrefix(t.question, "Sign-in: ") }

// interruptAt answers all turns but the last, where it presses Ctrl-C, and checks that the
// directory is unchanged. If existing is not empty, the directory holds it as s3redirect.yaml.
func interruptAt(t *testing.T, g *gateway, turns []turn, existing string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "s3redirect.yaml")
	folder := filepath.Join(dir, "integrations.d")
	if existing != "" {
		if err := errors.Join(
			os.WriteFile(path, []byte(existing), 0o600),
			os.Mkdir(folder, 0o700),
		); err != nil {
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
	const message = "nothing was written"
	if code := c.exit(); code != 1 || !strings.Contains(c.text(), message) {
		t.Errorf("Ctrl-C at %q: exit code %d, want 1 and %q in the output:\n%s",
			turns[last].question, code, message, c.text())
	}
	entries, err := os.ReadDir(dir)
	if existing != "" {
		more, folderErr := os.ReadDir(folder)
		entries, err = append(entries, more...), errors.Join(err, folderErr)
	}
	want := 0
	if existing != "" {
		want = 2 // s3redirect.yaml and the empty integrations.d
	}
	if err != nil || len(entries) != want {
		t.Errorf("Ctrl-C at %q left %d entries (%v, error %v), want %d",
			turns[last].question, len(entries), entries, err, want)
	}
	if existing != "" {
		if got := readFile(t, path); got != existing {
			t.Errorf("Ctrl-C at %q changed s3redirect.yaml to\n%s\nwant\n%s",
				turns[last].question, got, existing)
		}
	}
}
