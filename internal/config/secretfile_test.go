package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// secretConfig returns a configuration whose secret access key is text.
func secretConfig(text string) string {
	return "listen: :8080\nviewers: {anonymous: true}\nintegrations:\n" +
		"  - {name: a, bucket: aaa, endpoint: https://s.internal, access_key_id: AKIA,\n" +
		"     secret_access_key: \"" + text + "\"}\n"
}

// writeSecret writes a file that has settled, so that another one with the same content and times is
// the same version.
func writeSecret(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain": "s3cret", "line": "s3cret\n", "crlf": "s3cret\r\n", "blank": " s3cret\n",
		"two": "s3cret\n\n", "empty": "", "newline": "\n", "large": strings.Repeat("x", 64<<10+1),
		"most": strings.Repeat("x", 64<<10), "dollar": "a${HOME}b", "unreadable": "s3cret",
	} {
		writeSecret(t, filepath.Join(dir, name), text)
	}
	if err := os.Chmod(filepath.Join(dir, "unreadable"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("plain", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	in := func(name string) string { return "${file:" + filepath.Join(dir, name) + "}" }
	for text, want := range map[string]string{ // a value, or an error after "!"
		in("plain"): "s3cret", in("line"): "s3cret", in("crlf"): "s3cret", in("link"): "s3cret",
		in("most"): strings.Repeat("x", 64<<10), in("dollar"): "a${HOME}b",
		"a" + in("line") + "b": "as3cretb", "$" + in("line"): in("line"),
		"${credential:line}": "s3cret", "${credential:link}": "s3cret",
		in("blank"):             "!the file DIR/blank begins or ends with a blank or a line break",
		in("two"):               "!the file DIR/two begins or ends with a blank or a line break",
		in("empty"):             "!the file DIR/empty is empty; write the value to it",
		in("newline"):           "!the file DIR/newline is empty; write the value to it",
		in("large"):             "!the file DIR/large has more than 64 kB; is it the right one?",
		in("missing"):           "!the file DIR/missing does not exist; create it",
		in("unreadable"):        "!the file DIR/unreadable cannot be read: permission denied",
		in(""):                  "!the file DIR is a directory; name a file in it",
		in("plain/x"):           "!the file DIR/plain/x cannot be read: not a directory",
		"${file:/dev/null}":     "!the file /dev/null is not a regular file; name one",
		"${file:plain}":         "!${file: must be followed by an absolute path",
		"${file:/etc/../x}":     "!${file: must be followed by an absolute path",
		"${credential:missing}": "!the systemd credential in this value does not exist; create it",
		"${credential:../x}":    "!${credential: must be followed by the name of a systemd credential",
		"${credential:.}":       "!${credential: must be followed by the name of a systemd credential",
	} {
		if strings.Contains(text, "unreadable") && os.Geteuid() == 0 {
			continue // root may read everything
		}
		path := filepath.Join(dir, "config.yaml")
		writeSecret(t, path, secretConfig(text))
		c, err := Load(path)
		wantErr, isError := strings.CutPrefix(strings.ReplaceAll(want, "DIR", dir), "!")
		switch {
		case isError && (err == nil || !strings.Contains(err.Error(), "secret_access_key: "+wantErr) ||
			strings.Count(err.Error(), "\n") > 0 || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%s: Load() = %v, want one error: %s", text, err, wantErr)
		case !isError && err != nil:
			t.Errorf("%s: Load() = %v, want no error", text, err)
		case !isError && string(c.Integrations[0].SecretAccessKey) != want:
			t.Errorf("%s: the secret is %q, want %q", text, string(c.Integrations[0].SecretAccessKey), want)
		}
	}
}

func TestCredentialWithoutDirectory(t *testing.T) {
	_, err := Parse("x", []byte(secretConfig("${credential:hunter2}")), noEnv)
	if err == nil || !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY is not set") ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Parse() = %v, want an error about CREDENTIALS_DIRECTORY without the name", err)
	}
}

// A source differs from its predecessor when a file changes that one of its variables names, in the
// main file or in an included one, also when the file is replaced or a link is moved.
func TestSourceFollowsSecretFiles(t *testing.T) {
	dir := t.TempDir()
	main, first, second := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "one"), filepath.Join(dir, "two")
	writeSecret(t, main, "listen: ${file:"+first+"}\ninclude: [d/*.yaml]\nviewers: {anonymous: true}\n")
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeSecret(t, filepath.Join(dir, "d", "a.yaml"), "name: a\nbucket: aaa\nendpoint: https://s\n"+
		"access_key_id: AKIA\nsecret_access_key: ${file:"+second+"}\n")
	writeSecret(t, first, ":8080\n")
	writeSecret(t, filepath.Join(dir, "v1"), "one")
	writeSecret(t, filepath.Join(dir, "v2"), "two")
	link := func(target string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		if err := os.Symlink(target, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, second); err != nil {
			t.Fatal(err)
		}
	}
	link("v1")
	s, err := Read(main)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what    string
		change  func()
		changed bool
		valid   bool
	}{
		{"nothing", func() {}, false, true},
		{"a new content", func() { writeSecret(t, first, ":8081\n") }, true, true},
		{"a moved link", func() { link("v2") }, true, true},
		{"a removed file", func() { _ = os.Remove(first) }, true, false},
		{"nothing while it is missing", func() {}, false, false},
		{"the file is back", func() { writeSecret(t, first, ":8081\n") }, true, true},
	} {
		step.change()
		next, err := s.Reread()
		if err != nil {
			t.Fatal(err)
		}
		if next.Equal(s) == step.changed {
			t.Errorf("%s: Equal = %v, want %v", step.what, next.Equal(s), !step.changed)
		}
		if _, err := next.Parse(os.LookupEnv); (err == nil) != step.valid {
			t.Errorf("%s: Parse() = %v, want valid: %v", step.what, err, step.valid)
		}
		s = next
	}
}

// A file that has not changed is not read again.
func TestUnchangedSecretFileIsNotReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	writeSecret(t, path, "one")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	f := readSecret(path, nil)
	if again := readSecret(path, f); again != f {
		t.Error("readSecret() reads an unchanged file again, want the previous version")
	}
	writeSecret(t, path, "two")
	if again := readSecret(path, f); string(again.text) != "two" {
		t.Errorf("readSecret() = %q, want two", again.text)
	}
}
