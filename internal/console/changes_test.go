package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// changing posts a change. It returns the answer, or the error if the status is not 200.
func (w *world) changing(body map[string]any) (a changeAnswer, no documentsAnswer, status int) {
	w.t.Helper()
	r := w.post("/api/changes", body)
	if r.status == http.StatusOK {
		r.into(w.t, &a)
	} else {
		r.into(w.t, &no)
	}
	return a, no, r.status
}

// save requests the diff of a change, saves the change, and returns the diff.
func (w *world) save(body map[string]any) (diff string) {
	w.t.Helper()
	before := w.file()
	a, no, status := w.changing(body)
	if status != http.StatusOK || a.Saved || w.file() != before {
		w.t.Fatalf("diff: got status %d, %+v, want 200 and an unchanged file", status, no)
	}
	body["base"], body["save"] = a.Base, true
	saved, no, status := w.changing(body)
	if status != http.StatusOK || !saved.Saved || saved.Diff != a.Diff {
		w.t.Fatalf("save: got status %d, %+v, want 200 and the same diff", status, no)
	}
	return a.Diff
}

func TestAddIntegration(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	var d draftAnswer
	w.get("/api/draft").into(t, &d)
	var other draftAnswer
	w.get("/api/draft").into(t, &other)
	if len(d.Draft["external_id"]) < 20 || d.Draft["external_id"] == other.Draft["external_id"] ||
		d.Draft["region"] != "auto" || d.Base != other.Base {
		t.Errorf("drafts %+v and %+v, want different external IDs and the same base", d, other)
	}
	draft := map[string]string{"name": "new", "bucket": "fresh", "region": "auto",
		"role_arn": roleARN, "external_id": d.Draft["external_id"]}
	diff := w.save(map[string]any{"action": "add", "draft": draft})
	lines := config.Marker + "\nname: new\nbucket: fresh\nrole_arn: " + roleARN +
		"\nexternal_id: " + draft["external_id"] + "\nregion: auto\n"
	if w.file() != testFile+"-- new.yaml --\n"+lines || w.reloads != 2 ||
		len(w.state.Config.Integrations) != 3 {
		t.Errorf("got %d reloads and\n%s\nwant 2 and a new file\n%s", w.reloads, w.file(), lines)
	}
	if want := "@@ -0,0 +1,6 @@\n+" + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n",
		"\n+") + "\n"; diff != want {
		t.Errorf("diff =\n%s\nwant\n%s", diff, want)
	}
	if log := w.log.String(); !strings.Contains(log,
		`"msg":"console: configuration changed","who":"ann","from":"192.0.2.1:1234","action":"add",`+
			`"integration":"new","keys":["bucket","external_id","name","region","role_arn"]`) {
		t.Errorf("log = %s, want the change with its user and keys", log)
	}
}

func TestChangeRenameAndRemoveIntegration(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	var d draftAnswer
	w.get("/api/draft?name=lab").into(t, &d)
	if d.Draft["bucket"] != "photos" || d.Draft["secret_access_key"] != "${LAB_SECRET}" {
		t.Errorf("draft = %v, want the bucket and the secret's variable", d.Draft)
	}
	diff := w.save(map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"file_versioning": "true"}})
	want := strings.Replace(testFile, "eu-central-1\n", "eu-central-1\nfile_versioning: true\n", 1)
	if w.file() != want ||
		!strings.Contains(diff, " region: eu-central-1\n+file_versioning: true\n") ||
		strings.Contains(diff, "\n-") {
		t.Errorf("diff =\n%s\nand file =\n%s\nwant one added line\n%s", diff, w.file(), want)
	}
	diff = w.save(map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"name": "scanner"}})
	want = strings.NewReplacer("lab.yaml", "scanner.yaml", "name: lab", "name: scanner").Replace(want)
	if w.file() != want || !strings.Contains(diff, "-name: lab\n+name: scanner\n") {
		t.Errorf("diff =\n%s\nand file =\n%s\nwant a new name\n%s", diff, w.file(), want)
	}
	if a, no, status := w.changing(map[string]any{"action": "change", "name": "scanner",
		"draft": map[string]string{}}); status != http.StatusOK || a.Diff != "" || a.Different {
		t.Errorf("empty change: got status %d, %+v, %+v, want 200 and no diff", status, a, no)
	}
	w.save(map[string]any{"action": "remove", "name": "scanner"})
	if want := testFile[:strings.Index(testFile, "-- lab.yaml")]; w.file() != want ||
		len(w.state.Config.Integrations) != 1 {
		t.Errorf("after the removal: got\n%s\nwant\n%s", w.file(), want)
	}
}

// The console can add the first integration and remove the last one.
func TestAddFirstAndRemoveLastIntegration(t *testing.T) {
	empty := "listen: 127.0.0.1:8080\nadmin: {token: " + testToken +
		"}\nviewers: {anonymous: true}\ninclude: [integrations.d/*.yaml]\n"
	w := newWorld(t, empty)
	w.signInAs("ann")
	w.save(map[string]any{"action": "add",
		"draft": map[string]string{
			"name": "new", "bucket": "fresh", "region": "auto", "role_arn": roleARN,
		}})
	w.save(map[string]any{"action": "remove", "name": "new"})
	if w.file() != empty || len(w.state.Config.Integrations) != 0 {
		t.Errorf("got %d integrations and\n%s\nwant 0 and\n%s",
			len(w.state.Config.Integrations), w.file(), empty)
	}
}

// Integrations that an operator wrote are read-only. The error names the file and what to do.
func TestReadOnlyIntegrations(t *testing.T) {
	secret := strings.Replace(testFile, "${LAB_SECRET}", "canary-literal", 1)
	for name, c := range map[string]struct{ text, integration, file, want string }{
		"in the main file": {testFile, "keys", "config.yaml:11",
			"only people edit this file. To change it here, move its keys to"},
		"without the marker": {strings.Replace(testFile, config.Marker+"\n", "", 1), "lab",
			"lab.yaml:1", "only people edit this file"},
		"a list": {strings.Replace(strings.ReplaceAll(strings.Replace(testFile,
			"name: lab", "- name: lab", 1), "\nbucket: photos", "\n  bucket: photos"),
			"\nrole_arn: "+roleARN+"\nexternal_id: id-0123456789\nregion: eu-central-1"+
				"\naccess_key_id: "+testKey+"\nsecret_access_key: ${LAB_SECRET}\n",
			"\n  region: auto\n  role_arn: "+roleARN+"\n", 1), "lab", "lab.yaml:2",
			"only people edit this file"},
		"a secret written out": {secret, "lab", "lab.yaml:2", "only people edit this file"},
		"with comments": {testFile + "# ours, canary\n", "lab", "lab.yaml:2",
			"the file has comments, which would be lost"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.text)
			w.signInAs("ann")
			answers := []answer{w.get("/api/draft?name=" + c.integration)}
			for _, action := range []string{"change", "remove"} {
				change := map[string]any{"action": action, "name": c.integration,
					"draft": map[string]string{}}
				answers = append(answers, w.post("/api/changes", change),
					w.post("/api/check", map[string]any{"change": change}),
					w.post("/api/documents", map[string]any{"change": change, "format": "json"}))
			}
			for _, a := range answers {
				if a.status != http.StatusForbidden || !strings.Contains(a.body, c.file) ||
					!strings.Contains(a.body, c.want) {
					t.Errorf("got status %d, %s, want 403, %s and %q",
						a.status, a.body, c.file, c.want)
				}
			}
			if w.file() != c.text {
				t.Errorf("the files have changed to\n%s", w.file())
			}
		})
	}
}

// Without include nothing can be added, and the error says which line to write.
func TestAddWithoutInclude(t *testing.T) {
	text := strings.Replace(testFile[:strings.Index(testFile, "-- lab.yaml")],
		"include: [integrations.d/*.yaml]\n", "", 1)
	w := newWorld(t, text)
	w.signInAs("ann")
	for _, a := range []answer{w.get("/api/draft"), w.post("/api/changes",
		map[string]any{"action": "add", "draft": map[string]string{"name": "new", "bucket": "fresh",
			"region": "auto", "role_arn": roleARN}})} {
		if a.status/100 != 4 || !strings.Contains(a.body,
			"add the line include: [integrations.d/*.yaml] to this file, and create the directory") {
			t.Errorf("got status %d, %s, want 4xx and the line to add", a.status, a.body)
		}
	}
	if w.file() != text {
		t.Errorf("the files have changed to\n%s", w.file())
	}
}

// A change that would not load is rejected with errors by key, and the file is unchanged.
func TestInvalidChangesAreRejected(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	good := map[string]string{
		"name": "new", "bucket": "fresh", "region": "auto", "role_arn": roleARN,
	}
	with := func(key, value string) map[string]string {
		d := map[string]string{key: value}
		for k, v := range good {
			if _, ok := d[k]; !ok {
				d[k] = v
			}
		}
		return d
	}
	for name, c := range map[string]struct {
		body      map[string]any
		status    int
		key, want string
	}{
		"bucket of another integration": {map[string]any{"action": "add",
			"draft": with("bucket", "photos")}, 422, "bucket", "is a bucket of integration lab"},
		"invalid ARN": {map[string]any{"action": "add",
			"draft": with("role_arn", "lab")}, 422, "role_arn", "is not the ARN of a role"},
		"invalid pattern": {map[string]any{"action": "add",
			"draft": map[string]string{"name": "new",
				"permitted_buckets": "a-b C*", "region": "auto", "role_arn": roleARN}}, 422,
			"permitted_buckets", "is no"},
		"invalid duration": {map[string]any{"action": "add",
			"draft": with("url_lifetime", "soon")}, 422, "url_lifetime", "invalid duration"},
		"unknown key": {map[string]any{"action": "add",
			"draft": with("rolearn", "x")}, 422, "rolearn", "unknown key"},
		"literal secret": {map[string]any{"action": "change", "name": "lab",
			"draft": map[string]string{"secret_access_key": "canary"}}, 422, "secret_access_key",
			"environment variable"},
		"secret with a variable and text": {map[string]any{"action": "change", "name": "lab",
			"draft": map[string]string{"secret_access_key": "${LAB_SECRET}canary"}}, 422,
			"secret_access_key", "environment variable"},
		"unset variable": {map[string]any{"action": "change", "name": "lab",
			"draft": map[string]string{"secret_access_key": "${UNSET}"}}, 422, "secret_access_key",
			"in this value is not set"},
		"value with two lines": {map[string]any{"action": "change", "name": "lab",
			"draft": map[string]string{"bucket": "scans\nrole_arn: x"}}, 422, "bucket", "bucket"},
		"variable in a key that is shown": {map[string]any{"action": "change", "name": "lab",
			"draft": map[string]string{"external_id": "${LAB_SECRET}"}}, 422, "external_id",
			"only the two keys can name"},
		"variable in a key of a new integration": {map[string]any{"action": "add",
			"draft": with("external_id", "x${LAB_SECRET}")}, 422, "external_id",
			"only the two keys can name"},
		"unknown integration": {map[string]any{"action": "remove", "name": "lad"}, 422, "",
			"there is no integration lad any more"},
		"unknown action": {map[string]any{"action": "burn", "name": "lab"}, 400, "",
			"unknown action"},
		"saved without a diff": {map[string]any{"action": "remove",
			"name": "lab", "save": true}, 400, "", "must be shown before"},
	} {
		_, no, status := w.changing(c.body)
		if status != c.status || c.key == "" && !strings.Contains(no.Error, c.want) ||
			c.key != "" && !strings.Contains(no.Keys[c.key], c.want) {
			t.Errorf("%s: got status %d, %+v, want %d and %q for key %q",
				name, status, no, c.status, c.want, c.key)
		}
		if w.file() != testFile {
			t.Fatalf("%s: the file has changed to\n%s", name, w.file())
		}
	}
}

// If the file changes while a form is open, through the console or on disk, the change conflicts.
// The user can then continue with the current file.
func TestConflictingChanges(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	var anns, bobs draftAnswer
	w.get("/api/draft?name=lab").into(t, &anns)
	w.get("/api/draft?name=lab").into(t, &bobs)
	w.save(map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"bucket": "pictures"}, "base": anns.Base})
	saved := w.file()
	mine := map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"file_versioning": "true"}, "base": bobs.Base}
	for _, save := range []bool{false, true} {
		mine["save"] = save
		if _, no, status := w.changing(mine); status != http.StatusConflict ||
			!strings.Contains(no.Error, "another user or program has saved it") ||
			w.file() != saved {
			t.Errorf("save %v: got status %d, %+v, want 409", save, status, no)
		}
	}
	// Without a base, the diff applies to the current file, and so both changes are kept.
	mine["base"], mine["save"] = "", false
	a, no, status := w.changing(mine)
	if status != http.StatusOK {
		t.Fatalf("without a base: got status %d, %+v, want 200", status, no)
	}
	edited := strings.Replace(w.file(), "id-0123456789", "id-on-the-disk", 1)
	w.write(edited)
	mine["base"], mine["save"] = a.Base, true
	if _, _, status := w.changing(mine); status != http.StatusConflict || w.file() != edited {
		t.Errorf("after an edit on disk: got status %d, want 409", status)
	}
	w.save(map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"file_versioning": "true"}})
	if text := w.file(); !strings.Contains(text, "bucket: pictures") ||
		!strings.Contains(text, "file_versioning: true") ||
		!strings.Contains(text, "id-on-the-disk") {
		t.Errorf("got\n%s\nwant all three changes", text)
	}
	if err := os.Remove(filepath.Join(w.folder(), "lab.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, no, status := w.changing(mine); status != http.StatusUnprocessableEntity ||
		!strings.Contains(no.Error, "there is no integration lab any more") {
		t.Errorf("without the integration: got status %d, %+v, want 422", status, no)
	}
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	if _, no, status := w.changing(mine); status != http.StatusConflict ||
		!strings.Contains(no.Error, "the file does not exist") {
		t.Errorf("without a file: got status %d, %+v, want 409", status, no)
	}
}

// Of several concurrent saves with the same base, one succeeds and the others conflict.
func TestConcurrentSaves(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	base := w.base()
	const writers = 8
	answers := make(chan int, writers)
	for n := range writers {
		go func() {
			_, _, status := w.changing(map[string]any{"action": "change",
				"name": "lab", "draft": map[string]string{"bucket": fmt.Sprintf("bucket-%d", n)},
				"base": base, "save": true})
			answers <- status
		}()
	}
	count := map[int]int{}
	for range writers {
		count[<-answers]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusConflict] != writers-1 {
		t.Errorf("responses by status: %v, want one 200 and %d 409", count, writers-1)
	}
}

// If the reload fails after the file was saved, the response has both saved and the problem.
func TestSaveReportsFailedReload(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	w.refuses = errors.New("viewers.basic.htpasswd_file: file does not exist")
	a, no, status := w.changing(rename(w.base()))
	if status != http.StatusOK || !a.Saved || !strings.Contains(a.Problem, "htpasswd_file") ||
		!strings.Contains(w.file(), "bucket: pictures") {
		t.Errorf("got status %d, %+v, %+v, want 200, saved and the problem", status, a, no)
	}
}

// Errors about the draft are reported by key, even if the integration's index differs between the
// file on disk and the configuration in use. Errors about other files have their line.
func TestErrorsOfAFileThatHasChangedOnDisk(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	w.write(testFile +
		"-- zed.yaml --\n{name: first, bucket: first, region: us-east-1, access_key_id: AKIA, " +
		"secret_access_key: canary}\n")
	for bucket, want := range map[string]string{
		"B!": "bucket", "first": "first is a bucket of integration first at ",
	} {
		if _, no, status := w.changing(map[string]any{"action": "change", "name": "lab",
			"draft": map[string]string{"bucket": bucket}}); status != 422 ||
			!strings.Contains(no.Keys["bucket"], want) {
			t.Errorf("bucket %s: got status %d, %+v, want 422 and %q", bucket, status, no, want)
		}
	}
	w.write("listen: [\n")
	for _, target := range []string{"/api/draft", "/api/draft?name=lab"} {
		if a := w.get(target); a.status != 422 || !strings.Contains(a.body, "invalid YAML") {
			t.Errorf("%s: got status %d, %s, want 422 and invalid YAML", target, a.status, a.body)
		}
	}
	w.write(testFile + "-- zed.yaml --\nname: [\n")
	if _, no, status := w.changing(map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"bucket": "pictures"}}); status != 422 ||
		!strings.Contains(no.Error, "zed.yaml:1: invalid YAML") {
		t.Errorf("another invalid file: got status %d, %+v, want 422 and its line", status, no)
	}
}

// Malformed requests cause no panic and change nothing.
func TestMalformedRequests(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	for _, target := range []string{
		"/api/changes", "/api/check", "/api/documents", "/api/sign-in",
	} {
		for _, body := range []string{`null`, `{}`, `[]`, `""`, `{"change":null}`,
			`{"change":{}}`, `{"change":{"action":"add"},"role_later":true,"format":"json"}`,
			`{"action":"add","draft":null}`,
			`{"action":"change","name":"lab","draft":null,"save":true}`,
			`{"change":{"action":"add","draft":{"name":""}},"format":"json"}`,
			`{"kinds":[null],"name":"lab","format":"cli"}`,
			`{"change":{"action":"change","name":"lab"},"sample":"s3://","origin":"x"}`,
			`{"name":"lab","format":"json","principal":"` + strings.Repeat("x", 60000) + `"}`} {
			a := w.send(http.MethodPost, target, json.RawMessage(body))
			if a.status >= 500 || strings.Contains(w.log.String(), "panic") {
				t.Fatalf("POST %s %s: got status %d, %s, want less than 500 and no panic; log:\n%s",
					target, body, a.status, a.body, w.log.String())
			}
		}
	}
	if w.file() != testFile {
		t.Errorf("the file has changed to\n%s", w.file())
	}
}
