package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// folder is a directory with a configuration.
type folder struct {
	t    *testing.T
	path string
}

// newFolder writes files to a new directory. Their paths are relative to it. A text that begins
// with "-> " is the target of a symbolic link; a path that ends in a slash is a directory.
func newFolder(t *testing.T, files map[string]string) *folder {
	t.Helper()
	f := &folder{t, t.TempDir()}
	for name, text := range files {
		f.write(name, text)
	}
	return f
}

func (f *folder) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	var err error
	if target, ok := strings.CutPrefix(text, "-> "); ok {
		err = os.Symlink(target, path)
	} else if !strings.HasSuffix(name, "/") {
		err = os.WriteFile(path, []byte(text), 0o600)
	} else {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) config() string { return filepath.Join(f.path, "config.yaml") }

// load returns the integrations with their origins, or the errors, one a line. Paths are relative
// to the directory.
func (f *folder) load() string {
	f.t.Helper()
	s, err := Read(f.config())
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := s.Parse(testEnvironment)
	var lines []string
	if err != nil {
		lines = append(lines, err.Error())
	} else {
		for _, i := range c.Integrations {
			lines = append(lines, fmt.Sprintf("%s %s:%d", i.Name, i.Origin.File, i.Origin.Line))
		}
		lines = append(lines, c.Warnings...)
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), f.path+string(filepath.Separator), "")
}

// includeHead is the beginning of a main file that includes files.
const includeHead = "listen: 127.0.0.1:8080\nviewers: {anonymous: true}\n" +
	"include: [integrations.d/*.yaml]\n"

// keyed returns the content of a file with one integration that has static keys.
func keyed(name, bucket string) string {
	return fmt.Sprintf("name: %s\nbucket: %s\nregion: us-east-1\n"+
		"access_key_id: A\nsecret_access_key: s\n", name, bucket)
}

// item returns text, the content of a file with one integration, as an item of a list.
func item(text string) string {
	return "- " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

func TestInclude(t *testing.T) {
	const token = "admin: {token: 0123456789abcdef0123456789abcdef}\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"one file for each integration, sorted by path": {map[string]string{
			"config.yaml": includeHead, "integrations.d/b.yaml": keyed("one", "bucket-one"),
			"integrations.d/a.yaml": keyed("two", "bucket-two"),
		}, "two integrations.d/a.yaml:1\none integrations.d/b.yaml:1"},
		"included files after the main file": {map[string]string{
			"config.yaml":           includeHead + "integrations:\n" + item(keyed("main", "bucket-main")),
			"integrations.d/a.yaml": "# ours\n" + keyed("two", "bucket-two"),
		}, "main config.yaml:5\ntwo integrations.d/a.yaml:2"},
		"lists": {map[string]string{
			"config.yaml": includeHead,
			"integrations.d/a.yaml": item(keyed("one", "bucket-one")) + "# second\n" +
				item(keyed("two", "bucket-two")),
			"integrations.d/b.yaml": "[]\n",
		}, "one integrations.d/a.yaml:1\ntwo integrations.d/a.yaml:7"},
		"other names, dotfiles and directories are ignored": {map[string]string{
			"config.yaml":                  includeHead,
			"integrations.d/a.yaml":        keyed("one", "bucket-one"),
			"integrations.d/a.yaml~":       "x",
			"integrations.d/.b.yaml":       "x",
			"integrations.d/c.yaml/x.yaml": "x",
		}, "one integrations.d/a.yaml:1"},
		"links, as in a Kubernetes volume": {map[string]string{
			"config.yaml": includeHead, "integrations.d/..1/a.yaml": keyed("one", "bucket-one"),
			"integrations.d/..data": "-> ..1", "integrations.d/a.yaml": "-> ..data/a.yaml",
		}, "one integrations.d/a.yaml:1"},
		"several patterns that match one file": {map[string]string{
			"config.yaml": strings.Replace(includeHead, "d/*.yaml",
				`d/*.yaml, "./integrations.d/a*", more/x.yaml`, 1),
			"integrations.d/a.yaml": keyed("one", "bucket-one"), "more/x.yaml": keyed("two", "bucket-two"),
		}, "one integrations.d/a.yaml:1\ntwo more/x.yaml:1"},
		"an empty directory with a console": {map[string]string{"config.yaml": includeHead + token,
			"integrations.d/": ""},
			"config.yaml: integrations: there are no integrations yet, so nothing is served; add " +
				"one in the console at admin_listen"},
		"an empty directory without a console": {map[string]string{"config.yaml": includeHead,
			"integrations.d/": ""},
			"config.yaml: integrations: at least one integration is needed: a name, a bucket (or " +
				"permitted_buckets), a role_arn and a region"},
		"a missing directory": {map[string]string{"config.yaml": includeHead},
			"config.yaml:3: include[0]: the directory integrations.d does not exist; " +
				"create it, or remove the pattern"},
		"a dangling link": {map[string]string{"config.yaml": includeHead,
			"integrations.d/a.yaml": "-> gone"},
			"integrations.d/a.yaml: the file does not exist; if this is a link, correct or remove it"},
		"mistakes in several files": {map[string]string{
			"config.yaml": includeHead + "log: {format: xml}\n",
			"integrations.d/a.yaml": "name: one\nbuckt: x\nrole_arn: arn:x\n" +
				"region: us-east-1\nexternal_id: ${UNSET}\n",
			"integrations.d/b.yaml": item(keyed("two", "bucket-two")) +
				item(strings.Replace(keyed("three", "bucket-three"), "us-east-1", "moon", 1)+
					"name: four\n"),
		}, "config.yaml:4: log.format: xml is not a format; use json or text\n" +
			"integrations.d/a.yaml:1: a bucket is needed, or a list of permitted_buckets\n" +
			"integrations.d/a.yaml:2:1: unknown key; did you mean bucket?\n" +
			"integrations.d/a.yaml:3: role_arn: arn:x is not the ARN of a role; write it as " +
			"arn:aws:iam::123456789012:role/name\n" +
			"integrations.d/a.yaml:5: external_id: the environment variable UNSET is not set; set " +
			"it, or write the value here\n" +
			"integrations.d/b.yaml:8: [1].region: moon is not a region; write it as us-east-1\n" +
			"integrations.d/b.yaml:11: [1].name: duplicate key, also on line 6; keep one of the two"},
		"a name in two files": {map[string]string{
			"config.yaml": includeHead, "integrations.d/a.yaml": keyed("one", "bucket-one"),
			"integrations.d/b.yaml": keyed("one", "bucket-two"),
		}, "integrations.d/b.yaml:1: name: one is the name of the integration at " +
			"integrations.d/a.yaml:1 too; give each its own"},
		"a name in the main file and an included file": {map[string]string{
			"config.yaml":           includeHead + "integrations:\n" + item(keyed("one", "bucket-one")),
			"integrations.d/b.yaml": "# c\n" + keyed("one", "bucket-two"),
		}, "integrations.d/b.yaml:2: name: one is the name of the integration at " +
			"config.yaml:5 too; give each its own"},
		"a bucket in two files": {map[string]string{
			"config.yaml": includeHead, "integrations.d/a.yaml": keyed("one", "bucket-one"),
			"integrations.d/b.yaml": item(keyed("two", "bucket-one")),
		}, "integrations.d/b.yaml:2: [0].bucket: " +
			"bucket-one is a bucket of integration one at integrations.d/a.yaml:2 already; let one " +
			"integration serve each bucket"},
		"patterns that overlap": {map[string]string{
			"config.yaml": includeHead, "integrations.d/a.yaml": strings.Replace(keyed("one", "x"),
				"bucket: x", "permitted_buckets: [team-*]", 1),
			"integrations.d/b.yaml": strings.Replace(keyed("two", "x"),
				"bucket: x", "permitted_buckets: [team-a*]", 1),
		}, "integrations.d/b.yaml:2: permitted_buckets[0]: team-a* could be the " +
			"same bucket as team-* of integration one at integrations.d/a.yaml:2; let one " +
			"integration serve each bucket"},
		"an empty file": {map[string]string{"config.yaml": includeHead,
			"integrations.d/a.yaml": "# nothing\n"},
			"integrations.d/a.yaml: the file is empty; write an integration to it, or remove it"},
		"invalid YAML": {map[string]string{"config.yaml": includeHead,
			"integrations.d/a.yaml": "name: [a\n"},
			"integrations.d/a.yaml:1: invalid YAML: did not find expected ',' or ']'"},
		"a scalar": {map[string]string{"config.yaml": includeHead,
			"integrations.d/a.yaml": "name\n"},
			"integrations.d/a.yaml:1: an included file is an integration, with keys such as name: " +
				"lab, or a list of integrations"},
		"keys of the main file": {map[string]string{"config.yaml": includeHead,
			"integrations.d/a.yaml": keyed("one", "bucket-one") + "include: [x]\n"},
			"integrations.d/a.yaml:6:1: unknown key " +
				"(not shown, because it could be a secret); known keys: " + strings.Join(DraftKeys(), ", ")},
		"an anchor": {map[string]string{"config.yaml": includeHead,
			"integrations.d/a.yaml": "&a\n" + keyed("one", "bucket-one")},
			"integrations.d/a.yaml:1: anchors and aliases are not supported; write out the value, " +
				"quoted if it begins with & or *"},
		"invalid patterns": {map[string]string{"config.yaml": strings.Replace(includeHead,
			"[integrations.d/*.yaml]", `["*/x.yaml", "[", "d/", "${ID}/x", "*.yaml", ".."]`, 1)},
			"config.yaml:3: include[4]: " +
				"the pattern matches the configuration file itself; put the included files into a " +
				"directory of their own\n" +
				"config.yaml:3: include[0]: */x.yaml: only the last part of the path may be a " +
				"pattern; write one pattern for each directory\n" +
				"config.yaml:3: include[1]: [: this is not a pattern of file names; write it as " +
				"integrations.d/*.yaml\n" +
				"config.yaml:3: include[2]: d/: this is not a pattern of file names; write it as " +
				"integrations.d/*.yaml\n" +
				"config.yaml:3: include[3]: ${ID}/x: variables are not supported here; " +
				"write the path itself\n" +
				"config.yaml:3: include[5]: ..: this is not a pattern of file names; write it as " +
				"integrations.d/*.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t, c.files)
			got := strings.ReplaceAll(f.load(), filepath.Join(f.path, "integrations.d"), "integrations.d")
			if got != c.want {
				t.Errorf("load() =\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestIncludeNeedsConfigurationFile(t *testing.T) {
	text := includeHead + "integrations:\n" + item(keyed("a", "bucket-a"))
	_, err := Parse("demo", []byte(text), noEnv)
	const want = "demo:3: include: only a configuration file can include files"
	if err == nil || err.Error() != want {
		t.Errorf("Parse() = %v, want %s", err, want)
	}
}

func TestSizeOfIncludedFilesIsBounded(t *testing.T) {
	large := "# " + strings.Repeat("x", maxBytes-2)
	f := newFolder(t, map[string]string{
		"config.yaml":             includeHead,
		"integrations.d/one.yaml": large + "x",
	})
	if got, want := f.load(),
		"integrations.d/one.yaml: the file is larger than 10 MiB; is it the right one?"; got != want {
		t.Errorf("load() = %.200s, want %s", got, want)
	}
	for n := range maxIncludedBytes/maxBytes + 1 {
		f.write(fmt.Sprintf("integrations.d/%d.yaml", n), large)
	}
	if got, want := f.load(),
		"config.yaml:3: include: the included files hold more than 64 MiB; do the patterns match "+
			"the right files?"; !strings.Contains(got, want) {
		t.Errorf("load() = %.200s, want %s", got, want)
	}
}

func TestRereadFindsEveryChange(t *testing.T) {
	f := newFolder(t, map[string]string{
		"config.yaml":               includeHead,
		"integrations.d/a.yaml":     keyed("one", "bucket-one"),
		"integrations.d/..1/b.yaml": keyed("two", "bucket-two"),
		"integrations.d/..2/b.yaml": keyed("two", "bucket-222"),
		"integrations.d/..data":     "-> ..1",
		"integrations.d/b.yaml":     "-> ..data/b.yaml",
	})
	last, err := Read(f.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func()
	}{
		{"added", func() { f.write("integrations.d/c.yaml", keyed("three", "bucket-three")) }},
		{"changed", func() { f.write("integrations.d/c.yaml", keyed("three", "bucket-33333")) }},
		{"removed", func() { f.remove("integrations.d/c.yaml") }},
		{"replaced through a link", func() {
			f.write("integrations.d/next", "-> ..2")
			f.rename("integrations.d/next", "integrations.d/..data")
		}},
		{"partially written", func() { f.write("integrations.d/a.yaml", "name: on") }},
		{"main file changed", func() { f.write("config.yaml", includeHead+"# more\n") }},
		{"directory removed", func() { f.rename("integrations.d", "elsewhere") }},
		{"directory restored", func() { f.rename("elsewhere", "integrations.d") }},
	} {
		c.change()
		first, err := last.Reread()
		if err != nil {
			t.Fatal(err)
		}
		second, err := first.Reread()
		if err != nil {
			t.Fatal(err)
		}
		if first.Equal(last) || !second.Equal(first) || !first.Equal(second) {
			t.Errorf("%s: Reread finds the change: %v, want true; "+
				"a second Reread finds none: %v, want true",
				c.name, !first.Equal(last), second.Equal(first))
		}
		fresh, err := Read(f.config())
		if err != nil || !fresh.Equal(second) {
			t.Errorf("%s: Read (%v) differs from Reread, want equal sources", c.name, err)
		}
		last = second
	}
	f.remove("config.yaml")
	if _, err := last.Reread(); err == nil {
		t.Error("Reread() of a removed main file = nil, want an error")
	}
}

func (f *folder) remove(name string) {
	f.t.Helper()
	if err := os.Remove(filepath.Join(f.path, name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(filepath.Join(f.path, from), filepath.Join(f.path, to)); err != nil {
		f.t.Fatal(err)
	}
}

// Reread does not read a file again if its modification time is old and its time, size and inode
// are unchanged. It always reads recent files, because they can change without a new modification
// time.
func TestRereadSkipsUnchangedFiles(t *testing.T) {
	f := newFolder(t, map[string]string{"config.yaml": includeHead,
		"integrations.d/old.yaml":   keyed("old", "bucket-old"),
		"integrations.d/young.yaml": keyed("young", "bucket-young")})
	hourAgo := time.Now().Add(-time.Hour)
	age := func(name string) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(f.path, name), hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	age("integrations.d/old.yaml")
	first, err := Read(f.config())
	if err != nil {
		t.Fatal(err)
	}
	second, err := first.Reread()
	if err != nil {
		t.Fatal(err)
	}
	if first.files[0] != second.files[0] || first.files[1] == second.files[1] {
		t.Errorf("Reread reads old.yaml: %v, want false; young.yaml: %v, want true",
			first.files[0] != second.files[0], first.files[1] != second.files[1])
	}
	f.write("integrations.d/old.yaml", keyed("old", "bucket-ol2"))
	third, err := second.Reread()
	if err != nil || third.Equal(second) {
		t.Errorf("Reread() misses a new modification time (error %v)", err)
	}
	f.write("integrations.d/copy.yaml", keyed("old", "bucket-ol3"))
	age("integrations.d/old.yaml")
	fourth, err := third.Reread()
	if err != nil {
		t.Fatal(err)
	}
	age("integrations.d/copy.yaml")
	f.rename("integrations.d/copy.yaml", "integrations.d/old.yaml")
	fifth, err := fourth.Reread()
	if err != nil || fifth.Equal(fourth) ||
		!strings.Contains(string(fifth.files[0].text), "bucket-ol3") {
		t.Errorf("Reread() misses another inode with the same size and time (error %v)", err)
	}
}

// A folder with 10,000 integrations loads, and polling it is cheap: Reread reads no unchanged
// files.
func TestTenThousandIncludedFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 10,000 files")
	}
	f := newFolder(t, map[string]string{"config.yaml": includeHead, "integrations.d/": ""})
	hourAgo := time.Now().Add(-time.Hour)
	const count = 10_000
	for n := range count {
		name := fmt.Sprintf("integrations.d/%05d.yaml", n)
		f.write(name, keyed(fmt.Sprint("i", n), fmt.Sprint("bucket-", n)))
		if err := os.Chtimes(filepath.Join(f.path, name), hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Read(f.config())
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Parse(noEnv)
	if err != nil || len(c.Integrations) != count || c.Integrations[count-1].Name != "i9999" {
		t.Fatalf("Parse() = %v with %d integrations, want %d, the last being i9999",
			err, len(c.Integrations), count)
	}
	start := time.Now()
	again, err := s.Reread()
	if err != nil || !again.Equal(s) {
		t.Fatalf("Reread() = %v, want an equal source", err)
	}
	t.Logf("Reread took %s", time.Since(start))
	for n := range again.files {
		if again.files[n] != s.files[n] {
			t.Fatalf("Reread() reads %s again, want it skipped", again.files[n].path)
		}
	}
}

// Messages do not contain secrets of included files.
func TestNoSecretsOfIncludedFilesInMessages(t *testing.T) {
	for _, text := range []string{
		"name: a\n" + canary + "\n", "name: a\nsecret_access_key " + canary +
			"\n", "name: a\nsecret_access_key: [" + canary + "]\n", canary + ": x\n",
		"- " + canary + "\n", canary + "\n",
		"name: a\nsecret_access_key: ${" + canary + "}\n",
		"name: a\nsecret_access_key: *" + canary + "\n",
		"name: a\nsecret_access_key: !" + canary + " x\n",
	} {
		f := newFolder(t, map[string]string{
			"config.yaml":           includeHead,
			"integrations.d/a.yaml": text,
		})
		s, err := Read(f.config())
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Parse(noEnv)
		if all, ok := errors.AsType[Errors](err); !ok || len(all) == 0 || hasCanary(err.Error()) {
			t.Errorf("Parse(%q) = %v, want an error without the secret", text, err)
		}
	}
}
