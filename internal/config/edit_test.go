package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func lab() *Integration {
	return &Integration{Name: "lab", PermittedBuckets: []string{"lab-one", "lab-*"}, RoleARN: "arn:aws:iam::210987654321:role/path/reader",
		ExternalID: "0123456789", SessionDuration: 2 * time.Hour, Region: "us-east-1", FileVersioning: true}
}

func noEnv(string) (string, bool) { return "", false }

func TestAppend(t *testing.T) {
	inputs, err := filepath.Glob("testdata/append/*.in.yaml")
	if err != nil || len(inputs) < 6 {
		t.Fatal(inputs, err)
	}
	for _, path := range inputs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.Replace(path, ".in.", ".out.", 1))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Append(path, text, lab(), noEnv)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v\n%s", path, err, got)
		}
	}
}

// To the example configuration lines are added, and nothing else happens to it, however its lines end.
func TestAppendKeepsEveryByte(t *testing.T) {
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) { return "a value of " + name, true }
	for _, end := range []string{"\n", "\r\n"} {
		before := strings.ReplaceAll(string(text), "\n", end)
		added := lab()
		added.Name = "new"
		after, err := Append("config.yaml", []byte(before), added, env)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for n < len(before) && before[n] == after[n] {
			n++
		}
		lines := string(after[n : n+len(after)-len(before)])
		if before != string(after[:n])+string(after[n+len(lines):]) || strings.Count(lines, end) != strings.Count(lines, "\n") {
			t.Errorf("more than an addition: %q", after)
		}
		c, err := Parse("config.yaml", after, env)
		if err != nil {
			t.Fatal(err)
		}
		if last := c.Integrations[len(c.Integrations)-1]; last.Name != "new" || last.ExternalID != "0123456789" || last.SessionDuration != 2*time.Hour || last.SessionPolicy {
			t.Errorf("%+v", last)
		}
	}
}

// What would not load is not written, and what does not load is not added to.
func TestAppendRefuses(t *testing.T) {
	const good = "listen: 127.0.0.1:8080\nviewers: {anonymous: true}\nintegrations:\n  - {name: lab, bucket: photos, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}\n"
	for name, c := range map[string]struct {
		text, says string
	}{
		"does not load":       {"listen: 127.0.0.1:8080\nintegrations:\n", "viewers"},
		"the name is taken":   {good, "is the name of the integration on line 4 too"},
		"the bucket is taken": {strings.Replace(good, "name: lab, bucket: photos", "name: other, bucket: lab-one", 1), "is a bucket of integration other"},
		"not YAML":            {"listen: [\n", "not YAML"},
		"an alias":            {strings.Replace(good, "viewers: {", "viewers: &x {", 1), "anchors"},
		"brackets around all": {"{listen: \":8080\", viewers: {anonymous: true}}\n", "a line for each key"},
		"tabs":                {strings.Replace(good, "  - {", "\t- {", 1), "not YAML"},
		"a key twice":         {good + "listen: :8081\n", "listen"},
	} {
		if text, err := Append("config.yaml", []byte(c.text), lab(), noEnv); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

func TestNewFileLoadsWithAnIntegration(t *testing.T) {
	text, err := Append("config.yaml", []byte(NewFile), lab(), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), NewFile) {
		t.Errorf("%s", text)
	}
}

// What Text writes, Parse reads, whatever the values look like.
func TestTextIsReadBack(t *testing.T) {
	for _, i := range []*Integration{lab(), {
		Name: "0123", Bucket: "1e3", SessionPolicy: true, Region: "us-east-1", RoleARN: "arn:aws:iam::123456789012:role/r", ExternalID: "null", SessionName: "true",
		URLLifetime: 90 * time.Second, MinRemaining: 30 * time.Second, SessionDuration: time.Hour, ListBucket: true, RequesterPays: true,
	}, {
		Name: "on-prem", Bucket: "scans", SessionPolicy: true, Region: "default", Endpoint: "https://[::1]:9000", PathStyle: true, Insecure: true, AccessKeyID: "yes", SecretAccessKey: "# no: 'comment",
		URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute,
	}} {
		if errs := i.Check(noEnv); errs != nil {
			t.Errorf("%s: %v", i.Name, errs)
		}
		c, err := Parse("x", []byte("listen: :0\nviewers: {anonymous: true}\n"+i.Text()), noEnv)
		if err != nil {
			t.Fatalf("%v\n%s", err, i.Text())
		}
		got := c.Integrations[0]
		for _, f := range []struct{ got, want any }{
			{got.Name, i.Name}, {got.Bucket, i.Bucket}, {got.PermittedBuckets, i.PermittedBuckets}, {got.ExternalID, i.ExternalID}, {got.AccessKeyID, i.AccessKeyID},
			{string(got.SecretAccessKey), string(i.SecretAccessKey)}, {got.SessionPolicy, i.SessionPolicy}, {got.SessionDuration, i.SessionDuration},
			{got.ListBucket, i.ListBucket}, {got.RequesterPays, i.RequesterPays}, {got.PathStyle, i.PathStyle}, {got.Insecure, i.Insecure},
		} {
			if !reflect.DeepEqual(f.got, f.want) {
				t.Errorf("%s: %v, want %v", i.Name, f.got, f.want)
			}
		}
	}
}

func TestCheckNamesTheIntegrationsKeys(t *testing.T) {
	i := lab()
	i.PermittedBuckets, i.Region, i.ExternalID = []string{"ok-bucket", "Not_OK"}, "nowhere", "${UNSET}"
	var got []string
	for _, e := range i.Check(noEnv) {
		got = append(got, e.Key)
		if e.Line != 0 || e.File != "" || e.Problem == "" {
			t.Errorf("%+v", e)
		}
	}
	if want := "[permitted_buckets[1] external_id region]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "link.yaml")
	if err := Save(t.Context(), path, nil, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file: %v %v", info, err)
	}
	if err := Save(t.Context(), path, nil, []byte("two")); !errors.Is(err, ErrChanged) {
		t.Errorf("a file where none was: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("config.yaml", link); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), link, []byte("one"), []byte("three")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link: %v %v", info, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode: %v %v", info, err)
	}
	if err := Save(t.Context(), path, []byte("one"), []byte("four")); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that changed: %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "three" {
		t.Errorf("%s %v", text, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), path, []byte("three"), []byte("five")); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that is gone: %v", err)
	}
	if err := Save(t.Context(), filepath.Join(dir, "none", "config.yaml"), nil, []byte("x")); err == nil || !strings.Contains(err.Error(), "there is no directory") {
		t.Errorf("no directory: %v", err)
	}
	wantNothingElse(t, dir, "link.yaml")
}

// Whoever has the old file open reads it to its end: it is replaced, not written over.
func TestSaveReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	old := bytes.Repeat([]byte("old"), 1000)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := Save(t.Context(), path, old, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, old) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// wantNothingElse wants no temporary files to be left.
func wantNothingElse(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !reflect.DeepEqual(got, names) {
		t.Errorf("the folder holds %q, want %q", got, names)
	}
}
