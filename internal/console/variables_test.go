package console

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// variablesFile has an integration whose two keys are variables, and secrets of other kinds. Of all
// its variables the allow-list has, by mistake
// or because the console added the integration, those of the integration and of the links.
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

// A draft names variables of the allow-list only, none that a secret of the file uses, and keeps
// those of its own integration as long as they
// are sent to the same endpoints. All else is refused before the variable is looked up, in whatever
// way the draft is used.
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
		key, says string
	}{
		"variables of the list": {add(), "", allowed},
		"no variables": {add("access_key_id", "AKIA",
			"secret_access_key", "", "endpoint", "", "role_arn", roleARN), "secret_access_key", "go together"},
		"a variable of the process": {add("access_key_id", "${HOME}"), "access_key_id", elsewhere},
		"in the middle of a text":   {add("access_key_id", "x${HOME}y"), "access_key_id", elsewhere},
		"the second of two": {add("access_key_id", "${FRESH_KEY}${HOME}"),
			"access_key_id", elsewhere},
		"one that is not set": {add("access_key_id", "${NOT_SET_ANYWHERE}"),
			"access_key_id", elsewhere},
		"a name in lower case": {add("access_key_id", "${fresh_key}"), "access_key_id", elsewhere},
		"as a secret": {add("secret_access_key", "${HOME}"),
			"secret_access_key", elsewhere},
		"the secret of links":       {add("access_key_id", "${LINK_KEY}"), "access_key_id", elsewhere},
		"the password of the store": {add("access_key_id", "${FLEET_KEY}"), "access_key_id", elsewhere},
		"the password of the store, as the secret": {add("secret_access_key", "${FLEET_KEY}"),
			"secret_access_key", used},
		"another integration's secret":    {add("access_key_id", "${LAB_SECRET}"), "access_key_id", elsewhere},
		"another's secret, as the secret": {add("secret_access_key", "${LAB_SECRET}"), "secret_access_key", used},
		"the secret of the main file":     {add("access_key_id", "${ELSEWHERE}"), "access_key_id", elsewhere},
		"its own secret":                  {add("access_key_id", "${FRESH_SECRET}"), "access_key_id", elsewhere},
		"of another key":                  {add("external_id", "${FRESH_KEY}"), "external_id", "only the two keys"},

		"another key of an integration": {change("lab", "file_versioning", "true"), "", allowed},
		"its own variables, repeated": {change("lab",
			"access_key_id", "${LAB_KEY}", "secret_access_key", "${LAB_SECRET}", "endpoint",
			"https://store.example.com"), "", allowed},
		// both are of the list
		"its own variables, elsewhere": {change("lab", "endpoint",
			"https://evil.example.com"), "", allowed},
		"its own secret as the key ID": {change("lab", "access_key_id",
			"${LAB_SECRET}"), "access_key_id", elsewhere},
		"its old secret as the key ID": {change("lab", "access_key_id",
			"${LAB_SECRET}", "secret_access_key", "${FRESH_SECRET}"), "access_key_id", elsewhere},
		"other variables": {change("lab", "access_key_id",
			"${FRESH_KEY}", "secret_access_key", "${FRESH_SECRET}"), "", allowed},
		"a variable of the process instead": {change("lab", "access_key_id", "${HOME}"),
			"access_key_id", elsewhere},
		"a secret instead": {change("lab", "access_key_id",
			"${LINK_KEY}"), "access_key_id", elsewhere},
		"a variable that is not of the list": {change("other", "file_versioning", "true"), "", allowed},
		"a variable that is not of the list, elsewhere": {change("other", "endpoint",
			"https://evil.example.com"), "access_key_id", elsewhere},
		"the same, at another STS": {change("other", "sts_endpoint",
			"https://evil.example.com", "role_arn", roleARN), "access_key_id", elsewhere},
		"the same, and its key removed": {change("other",
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
					t.Errorf("%s: status %d, want 200: %s", target, a.status, a.body)
				}
				if problem := no.Error + no.Keys[c.key]; c.key != "" &&
					(a.status != http.StatusUnprocessableEntity ||
						!strings.Contains(problem, c.says) || strings.Contains(a.body, "NOT_SET")) {
					t.Errorf("%s: status %d, want 422 and %q for %s: %s", target, a.status, c.says, c.key, a.body)
				}
			}
			if w.file() != variablesFile {
				t.Error("the file has changed")
			}
		})
	}
}

// Without admin.variables a draft names none.
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
		t.Errorf("status %d, want 422 for both keys: %+v", status, no)
	}
	if _, no, status := w.changing(map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"file_versioning": "true"}}); status != http.StatusOK {
		t.Errorf("a change that leaves the variables alone: status %d, want 200: %+v", status, no)
	}
}

// A variable that held a secret is still one once no integration uses it.
func TestSecretVariableOfARemovedIntegration(t *testing.T) {
	w := newWorld(t, variablesFile)
	w.signInAs("ann")
	shown, no, status := w.changing(map[string]any{"action": "remove", "name": "lab"})
	if status != http.StatusOK {
		t.Fatalf("status %d, want 200: %+v", status, no)
	}
	removal := map[string]any{"action": "remove", "name": "lab", "base": shown.Base, "save": true}
	if saved, no, status := w.changing(removal); !saved.Saved {
		t.Fatalf("status %d, the removal was not saved: %+v", status, no)
	}
	_, no, status = w.changing(map[string]any{"action": "add", "draft": map[string]string{
		"name": "leak", "bucket": "leaks", "region": "us-east-1", "endpoint": "https://evil.example.com",
		"access_key_id": "${LAB_SECRET}", "secret_access_key": "${LAB_SECRET}",
	}})
	if status != http.StatusUnprocessableEntity || no.Keys["access_key_id"] == "" {
		t.Errorf("status %d, want 422 for access_key_id: %+v", status, no)
	}
}
