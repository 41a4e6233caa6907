package app

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// replaceLink makes a symbolic link in a directory, by rename, as Kubernetes does.
func replaceLink(t *testing.T, dir, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(dir, ".tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, ".tmp"), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// TestPollReloadsAfterTwoEqualReads writes the file in place, replaces it by rename as editors do,
// and moves a symbolic link as Kubernetes does.
func TestPollReloadsAfterTwoEqualReads(t *testing.T) {
	a := newTestApp(t)
	withoutMedia := func(text string) string {
		return strings.Replace(text, "demo-media", "demo-other", 1)
	}
	last := a.poll(nil)
	a.write(withoutMedia(a.text))
	last = a.poll(last)
	a.wantStatus("written in place, one poll", mediaObject, http.StatusFound)
	last = a.poll(last)
	a.wantStatus("written in place, two polls", mediaObject, http.StatusNotFound)

	dir := filepath.Dir(a.path)
	replacement := filepath.Join(dir, "new")
	if err := os.WriteFile(replacement, []byte(a.text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(replacement, a.path); err != nil {
		t.Fatal(err)
	}
	last = a.poll(a.poll(last))
	a.wantStatus("replaced by rename", mediaObject, http.StatusFound)

	// ConfigMaps: config.yaml -> ..data/config.yaml, ..data -> ..1, then ..2.
	for version, text := range map[string]string{"..1": a.text, "..2": withoutMedia(a.text)} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, version, "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replaceLink(t, dir, "..1", "..data")
	replaceLink(t, dir, filepath.Join("..data", "config.yaml"), "config.yaml")
	last = a.poll(a.poll(last))
	a.wantStatus("a link to the first version", mediaObject, http.StatusFound)
	replaceLink(t, dir, "..2", "..data")
	last = a.poll(a.poll(last))
	a.wantStatus("a link to the second version", mediaObject, http.StatusNotFound)

	// A bad file is tried once, not at every poll, and a missing file is not a change.
	a.write("bad")
	before := a.logCount("reload failed")
	for range 5 {
		last = a.poll(last)
	}
	if got := a.logCount("reload failed") - before; got != 1 {
		t.Errorf("a bad file made %d reloads fail, want 1", got)
	}
	if err := os.Remove(a.path); err != nil {
		t.Fatal(err)
	}
	if got := a.poll(last); got != nil {
		t.Errorf("poll of a missing file = %v, want nil", got)
	}
	a.wantStatus("a missing file", mediaObject, http.StatusNotFound)
}

// TestPollFollowsIncludedFiles adds, changes, half writes, links and removes an included file, and
// removes its directory.
func TestPollFollowsIncludedFiles(t *testing.T) {
	a := newTestApp(t)
	dir := filepath.Join(filepath.Dir(a.path), "integrations.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, teams, _ := cutTeams(a.text)
	teams = strings.ReplaceAll(strings.TrimPrefix(teams, "  - "), "\n    ", "\n")
	crews := strings.Replace(teams, "team-*", "crew-*", 1)
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var last *config.Source
	served := func(when, target string, want int) {
		t.Helper()
		last = a.poll(a.poll(last))
		a.wantStatus(when, target, want)
	}
	a.write("include: [integrations.d/*.yaml]\n" + withoutTeams(a.text))
	served("an empty directory", teamObject, http.StatusNotFound)
	_, media := a.get(mediaObject)
	put("teams.yaml", teams)
	served("added", teamObject, http.StatusFound)
	put("teams.yaml", crews)
	served("changed", teamObject, http.StatusNotFound)
	put("teams.yaml", "name: te")
	before := a.logCount("reload failed")
	last = a.poll(last)
	put("teams.yaml", teams)
	served("half written for one poll", teamObject, http.StatusFound)
	if got := a.logCount("reload failed") - before; got != 0 {
		t.Errorf("a file that was half written for one poll made %d reloads fail, want 0", got)
	}
	for _, version := range []string{"..1", "..2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put("..1/teams.yaml", teams)
	put("..2/teams.yaml", crews)
	replaceLink(t, dir, "..1", "..data")
	replaceLink(t, dir, "..data/teams.yaml", "teams.yaml")
	served("a link", teamObject, http.StatusFound)
	replaceLink(t, dir, "..2", "..data")
	served("the link moved", teamObject, http.StatusNotFound)
	put("..2/teams.yaml", teams)
	served("changed behind the link", teamObject, http.StatusFound)
	if err := os.Remove(filepath.Join(dir, "teams.yaml")); err != nil {
		t.Fatal(err)
	}
	served("removed", teamObject, http.StatusNotFound)
	a.wantURL("an integration of the main file", mediaObject, media)

	// A missing directory is reported once, and the previous configuration is kept.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	before = a.logCount("does not exist; create it")
	for range 5 {
		served("without the directory", mediaObject, http.StatusFound)
	}
	if got := a.logCount("does not exist; create it") - before; got != 1 {
		t.Errorf("the missing directory was reported %d times, want 1", got)
	}
}
