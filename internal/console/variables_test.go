package console

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// variablesFile has integrations whose keys are variables, and secrets of other kinds. Its
// allow-list includes variables that are already in use as secrets: LAB_SECRET, LINK_KEY, FLEET_KEY
// and ELSEWHERE.
const variablesFile = `listen: 127.0.0.1:8080
admin:
  token: ` + testToken + `
  variables: {ids: [FRESH_KEY, LAB_KEY], secrets: [FRESH_SECRET, LAB_SECRET, LINK_KEY, FLEET_KEY,
    ELSEWHERE, "file:LISTED", "credential:scans", "file:USED"]}
viewers:
  anonymous: true
  links: {keys: [{id: k1, secret: "x${LINK_KEY}"}]}
cache:
  redis: {url: "redis://:${FLEET_KEY}@127.0.0.1:6379/0", encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=}
include: [integrations.d/*.yaml]
integrations:
  - {name: elsewhere, bucket: elsewhere, region: us-east-1, access_key_id: AKIA,
     secret_access_key: "x${ELSEWHERE}${file:USED}"}
-- lab.yaml --
` + config.Marker + `
name: lab
bucket: photos
region: us-east-1
endpoint: https://store.example.com
access_key_id: ${LAB_KEY}
secret_access_key: ${LAB_SECRET}
-- other.yaml --
` + config.Marker + `
name: other
bucket: scans
region: us-east-1
access_key_id: ${HOME}
secret_access_key: ${OTHER_SECRET}
`

// withFiles returns text with the paths of two files that hold secrets: LISTED, which admin.variables
// lists, and USED, which it also lists although another secret uses it.
func withFiles(t *testing.T, text string) (with, listed, used string) {
	t.Helper()
	dir := t.TempDir()
	listed, used = filepath.Join(dir, "listed"), filepath.Join(dir, "used")
	for _, path := range []string{listed, used} {
		if err := os.WriteFile(path, []byte("canary-of-a-file\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.NewReplacer("LISTED", listed, "USED", used).Replace(text), listed, used
}

// A draft may name only variables of the allow-list, and none that a secret of the file uses. An
// integration keeps its own variables while its endpoints stay the same. Other variables are
// rejected before they are looked up, by every endpoint that takes a draft.
func TestVariablesOfDrafts(t *testing.T) {
	file, listed, taken := withFiles(t, variablesFile)
	fresh := map[string]string{"name": "new", "bucket": "fresh",
		"region": "us-east-1", "endpoint": "https://new.example.com",
		"access_key_id": "${FRESH_KEY}", "secret_access_key": "${FRESH_SECRET}"}
	add := func(edit ...string) map[string]any {
		d := maps.Clone(fresh)
		for n := 0; n < len(edit); n += 2 {
			d[edit[n]] = edit[n+1]
		}
		return map[string]any{"action": "add", "draft": d}
	}
	change := func(name string, edit ...string) map[string]any {
		d := map[string]string{}
		for n := 0; n < len(edit); n += 2 {
			d[edit[n]] = edit[n+1]
		}
		return map[string]any{"action": "change", "name": name, "draft": d}
	}
	const allowed, used, elsewhere = "", "a secret of the configuration uses this variable",
		"admin.variables does not name this variable"
	for name, c := range map[string]struct {
		change    map[string]any
		key, want string
	}{
		"allowed variables": {add(), "", allowed},
		"key ID without a secret": {add("access_key_id", "AKIA",
			"secret_access_key", "", "endpoint", "", "role_arn", roleARN),
			"secret_access_key", "go together"},
		"variable outside the list": {add("access_key_id", "${HOME}"), "access_key_id", elsewhere},
		"variable inside text":      {add("access_key_id", "x${HOME}y"), "access_key_id", elsewhere},
		"second of two variables": {add("access_key_id", "${FRESH_KEY}${HOME}"),
			"access_key_id", elsewhere},
		"unset variable": {add("access_key_id", "${NOT_SET_ANYWHERE}"),
			"access_key_id", elsewhere},
		"variable in lower case": {add("access_key_id", "${fresh_key}"),
			"access_key_id", elsewhere},
		"variable outside the list, as the secret": {add("secret_access_key", "${HOME}"),
			"secret_access_key", elsewhere},
		"link secret":    {add("access_key_id", "${LINK_KEY}"), "access_key_id", elsewhere},
		"Redis password": {add("access_key_id", "${FLEET_KEY}"), "access_key_id", elsewhere},
		"Redis password, as the secret": {add("secret_access_key", "${FLEET_KEY}"),
			"secret_access_key", used},
		"secret of another integration": {add("access_key_id", "${LAB_SECRET}"),
			"access_key_id", elsewhere},
		"secret of another integration, as the secret": {add("secret_access_key", "${LAB_SECRET}"),
			"secret_access_key", used},
		"secret of the main file": {add("access_key_id", "${ELSEWHERE}"),
			"access_key_id", elsewhere},
		"its own secret, as the key ID": {add("access_key_id", "${FRESH_SECRET}"),
			"access_key_id", elsewhere},
		"variable in another key": {add("external_id", "${FRESH_KEY}"),
			"external_id", "only the two keys"},

		"file of the list": {add("secret_access_key", "${file:"+listed+"}"),
			"", allowed},
		"file outside the list": {add("secret_access_key", "${file:/etc/passwd}"),
			"secret_access_key", elsewhere},
		"file as the key ID": {add("access_key_id", "${file:"+listed+"}"), "access_key_id", elsewhere},
		"another spelling of the file": {add("secret_access_key", "${file:/."+listed+"}"),
			"secret_access_key", "environment variable"},
		"file that does not exist": {add("access_key_id", "${file:/NOT_SET}"),
			"access_key_id", elsewhere},
		"relative file": {add("secret_access_key", "${file:config.yaml}"),
			"secret_access_key", "environment variable"},
		"part of a file's content": {add("access_key_id", "AKIA${file:/etc/passwd}"), "access_key_id", elsewhere},
		"file of another secret":   {add("secret_access_key", "${file:"+taken+"}"), "secret_access_key", used},
		"credential outside the list": {add("secret_access_key", "${credential:other}"),
			"secret_access_key", elsewhere},
		"credential as the key ID": {add("access_key_id", "${credential:scans}"), "access_key_id", elsewhere},
		"file in another key":      {add("bucket", "${file:"+listed+"}"), "bucket", "only the two keys"},
		"variable in a tag": {add("role_arn", roleARN, "sts_endpoint", "https://evil.example.com",
			"session_tags", "{a: '${HOME}'}"), "session_tags", "only the two keys"},
		"escaped variable in a tag": {add("role_arn", roleARN, "sts_endpoint", "https://evil.example.com",
			"session_tags", `{a: "\x24{HOME}"}`), "session_tags", "only the two keys"},
		"folded variable in a tag": {add("role_arn", roleARN, "sts_endpoint", "https://evil.example.com",
			"session_tags", "{a: \"$\\\n  {HOME}\"}"), "session_tags", "only the two keys"},
		"escaped file in the name of a tag": {add("role_arn", roleARN, "sts_endpoint", "https://evil.example.com",
			"session_tags", `{"\x24{file:/etc/passwd}": a}`), "session_tags", "only the two keys"},

		"own credentials": {add("own_credentials", "true", "access_key_id", "",
			"secret_access_key", ""), "own_credentials", "only the configuration file"},
		"web identity": {add("web_identity_token_file", "/etc/passwd", "access_key_id", "",
			"secret_access_key", "", "role_arn", roleARN, "sts_endpoint",
			"https://evil.example.com"), "web_identity_token_file", "only the configuration file"},

		"change of another key": {change("lab", "file_versioning", "true"), "", allowed},
		"change with its own variables": {change("lab",
			"access_key_id", "${LAB_KEY}", "secret_access_key", "${LAB_SECRET}", "endpoint",
			"https://store.example.com"), "", allowed},
		"own variables of the list, at another endpoint": {change("lab", "endpoint",
			"https://evil.example.com"), "", allowed},
		"change of the key ID to its secret": {change("lab", "access_key_id",
			"${LAB_SECRET}"), "access_key_id", elsewhere},
		"change of the key ID to its previous secret": {change("lab", "access_key_id",
			"${LAB_SECRET}", "secret_access_key", "${FRESH_SECRET}"), "access_key_id", elsewhere},
		"change to other allowed variables": {change("lab", "access_key_id",
			"${FRESH_KEY}", "secret_access_key", "${FRESH_SECRET}"), "", allowed},
		"change to a variable outside the list": {change("lab", "access_key_id", "${HOME}"),
			"access_key_id", elsewhere},
		"change of the key ID to the link secret": {change("lab", "access_key_id",
			"${LINK_KEY}"), "access_key_id", elsewhere},
		"own variable outside the list": {change("other", "file_versioning", "true"), "", allowed},
		"own variable outside the list, at another endpoint": {change("other", "endpoint",
			"https://evil.example.com"), "access_key_id", elsewhere},
		"own variable outside the list, at another STS": {change("other", "sts_endpoint",
			"https://evil.example.com", "role_arn", roleARN), "access_key_id", elsewhere},
		"own variable outside the list, replaced for another endpoint": {change("other",
			"endpoint", "https://evil.example.com", "access_key_id", "AKIA", "secret_access_key",
			"${FRESH_SECRET}"), "", allowed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, file)
			w.signInAs("ann")
			for target, body := range map[string]map[string]any{
				"/api/changes":   c.change,
				"/api/documents": {"change": c.change, "format": "json"},
				"/api/check":     {"change": c.change},
			} {
				a := w.post(target, body)
				var no documentsAnswer
				if a.status != http.StatusOK {
					a.into(t, &no)
				}
				if c.key == "" && a.status != http.StatusOK {
					t.Errorf("%s: got status %d, %s, want 200", target, a.status, a.body)
				}
				if problem := no.Error + no.Keys[c.key]; c.key != "" &&
					(a.status != http.StatusUnprocessableEntity ||
						!strings.Contains(problem, c.want) || strings.Contains(a.body, "NOT_SET")) {
					t.Errorf("%s: got status %d, %s, want 422 and %q for %s",
						target, a.status, a.body, c.want, c.key)
				}
			}
			if w.file() != file {
				t.Errorf("the file has changed to\n%s", w.file())
			}
		})
	}
}

// Without admin.variables a draft must not name any variable.
func TestNoVariablesByDefault(t *testing.T) {
	file, _, _ := withFiles(t, variablesFile)
	from := strings.Index(file, "  variables:")
	to := from + strings.Index(file[from:], "viewers:")
	w := newWorld(t, file[:from]+file[to:])
	w.signInAs("ann")
	draft := map[string]string{"name": "new", "bucket": "fresh",
		"region": "us-east-1", "endpoint": "https://new.example.com",
		"access_key_id": "${FRESH_KEY}", "secret_access_key": "${FRESH_SECRET}"}
	_, no, status := w.changing(map[string]any{"action": "add", "draft": draft})
	if status != http.StatusUnprocessableEntity ||
		!strings.Contains(no.Keys["access_key_id"], "admin.variables") ||
		!strings.Contains(no.Keys["secret_access_key"], "admin.variables") {
		t.Errorf("got status %d, %+v, want 422 for both keys", status, no)
	}
	if _, no, status := w.changing(map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"file_versioning": "true"}}); status != http.StatusOK {
		t.Errorf("change of another key: got status %d, %+v, want 200", status, no)
	}
}

// A secret's variable must not be used as a key ID, even after its integration is removed.
func TestSecretVariableOfRemovedIntegration(t *testing.T) {
	file, _, _ := withFiles(t, variablesFile)
	w := newWorld(t, file)
	w.signInAs("ann")
	shown, no, status := w.changing(map[string]any{"action": "remove", "name": "lab"})
	if status != http.StatusOK {
		t.Fatalf("diff of the removal: got status %d, %+v, want 200", status, no)
	}
	removal := map[string]any{"action": "remove", "name": "lab", "base": shown.Base, "save": true}
	if saved, no, status := w.changing(removal); !saved.Saved {
		t.Fatalf("removal: got status %d, %+v, want it saved", status, no)
	}
	_, no, status = w.changing(map[string]any{"action": "add", "draft": map[string]string{
		"name": "leak", "bucket": "leaks", "region": "us-east-1",
		"endpoint":      "https://evil.example.com",
		"access_key_id": "${LAB_SECRET}", "secret_access_key": "${LAB_SECRET}",
	}})
	if status != http.StatusUnprocessableEntity || no.Keys["access_key_id"] == "" {
		t.Errorf("got status %d, %+v, want 422 for access_key_id", status, no)
	}
}
