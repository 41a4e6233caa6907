package console

import (
	"maps"
	"net/http"
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
  variables: {ids: [FRESH_KEY, LAB_KEY], secrets: [FRESH_SECRET, LAB_SECRET, LINK_KEY, FLEET_KEY, ELSEWHERE]}
viewers:
  anonymous: true
  links: {keys: [{id: k1, secret: "x${LINK_KEY}"}]}
cache:
  redis: {url: "redis://:${FLEET_KEY}@127.0.0.1:6379/0", encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=}
include: [integrations.d/*.yaml]
integrations:
  - {name: elsewhere, bucket: elsewhere, region: us-east-1, access_key_id: AKIA, secret_access_key: "x${ELSEWHERE}"}
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

// A draft may name only variables of the allow-list, and none that a secret of the file uses. An
// integration keeps its own variables while its endpoints stay the same. Other variables are
// rejected before they are looked up, by every endpoint that takes a draft.
func TestVariablesOfDrafts(t *testing.T) {
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
			w := newWorld(t, variablesFile)
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
			if w.file() != variablesFile {
				t.Errorf("the file has changed to\n%s", w.file())
			}
		})
	}
}

// Without admin.variables a draft must not name any variable.
func TestNoVariablesByDefault(t *testing.T) {
	w := newWorld(t, strings.Replace(variablesFile,
		"  variables: {ids: [FRESH_KEY, LAB_KEY], secrets: [FRESH_SECRET, LAB_SECRET, LINK_KEY, "+
			"FLEET_KEY, ELSEWHERE]}\n", "", 1))
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
	w := newWorld(t, variablesFile)
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
