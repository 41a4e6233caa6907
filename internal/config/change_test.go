package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// editableFile is the content of a file that this program wrote.
const editableFile = Marker + "\nname: lab\nbucket: photos\n" +
	"role_arn: arn:aws:iam::123456789012:role/r\nregion: us-east-1\n" +
	"access_key_id: ${ID}\nsecret_access_key: ${SECRET}\n"

// editableFolder returns a folder with integrations of every origin, editable and read-only.
func editableFolder(t *testing.T) *folder {
	t.Helper()
	return newFolder(t, map[string]string{
		"config.yaml":             includeHead + "integrations:\n" + item(keyed("main", "bucket-main")),
		"integrations.d/lab.yaml": editableFile,
		"integrations.d/team.yaml": Marker + "\n" +
			item(strings.Replace(keyed("team", "bucket-team"), "key: s", "key: ${SECRET}", 1)),
		"integrations.d/hand.yaml":   keyed("hand", "bucket-hand"),
		"integrations.d/secret.yaml": Marker + "\n" + keyed("secret", "bucket-secret"),
		"integrations.d/comments.yaml": strings.NewReplacer(
			"lab", "comments", "photos", "bucket-comments").Replace(editableFile) + "# ours\n",
		"integrations.d/..1/link.yaml": strings.NewReplacer(
			"lab", "link", "photos", "bucket-link").Replace(editableFile),
		"integrations.d/link.yaml": "-> ..1/link.yaml",
		"integrations.d/20-numbered.yaml": strings.NewReplacer(
			"lab", "numbered", "photos", "bucket-numbered").Replace(editableFile),
		"integrations.d/unrelated.example": "not an integration",
	})
}

// read reads and parses the configuration.
func (f *folder) read() (*Source, *Config) {
	f.t.Helper()
	s, err := Read(f.config())
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := s.Parse(testEnvironment)
	if err != nil && !LacksIntegrations(err) {
		f.t.Fatal(err)
	}
	return s, c
}

// files returns the content of all regular files by path.
func (f *folder) files() map[string]string {
	f.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(f.path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(f.path, path)
		all[name] = string(text)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// wantFiles checks that the folder differs from before only in the changed files. An empty text
// stands for a removed file.
func (f *folder) wantFiles(what string, before, changed map[string]string) {
	f.t.Helper()
	got := f.files()
	for name, text := range before {
		if want, ok := changed[name]; !ok && got[name] != text {
			f.t.Errorf("%s: %s =\n%s\nwant it unchanged:\n%s", what, name, got[name], text)
		} else if ok && got[name] != want {
			f.t.Errorf("%s: %s =\n%s\nwant\n%s", what, name, got[name], want)
		}
	}
	for name, text := range got {
		if _, ok := before[name]; !ok && changed[name] != text {
			f.t.Errorf("%s: %s =\n%s\nwant\n%s", what, name, text, changed[name])
		}
	}
}

func TestChanges(t *testing.T) {
	fresh := Draft{"name": "fresh", "bucket": "bucket-fresh", "region": "auto",
		"role_arn": "arn:aws:iam::123456789012:role/r"}
	const freshText = Marker + "\nname: fresh\nbucket: bucket-fresh\n" +
		"role_arn: arn:aws:iam::123456789012:role/r\nregion: auto\n"
	for name, c := range map[string]struct {
		change func(*Source, *Config) (*Change, error)
		want   map[string]string
	}{
		"add": {func(s *Source, _ *Config) (*Change, error) { return s.Add(fresh) },
			map[string]string{"integrations.d/fresh.yaml": freshText}},
		"edit": {func(s *Source, c *Config) (*Change, error) {
			return s.Edit(c, "lab", Draft{
				"bucket":            "",
				"permitted_buckets": "photos lab-*",
				"file_versioning":   "true",
			})
		}, map[string]string{"integrations.d/lab.yaml": strings.NewReplacer(
			"bucket: photos", "permitted_buckets: [photos, lab-*]",
			"us-east-1\n", "us-east-1\nfile_versioning: true\n").Replace(editableFile)}},
		"edit without a difference": {func(s *Source, c *Config) (*Change, error) {
			return s.Edit(c, "lab", Draft{"bucket": "photos"})
		}, nil},
		"rename": {func(s *Source, c *Config) (*Change, error) {
			return s.Edit(c, "lab", Draft{"name": "pictures"})
		}, map[string]string{
			"integrations.d/lab.yaml": "",
			"integrations.d/pictures.yaml": strings.Replace(
				editableFile, "name: lab", "name: pictures", 1),
		}},
		"rename in a file with another name": {func(s *Source, c *Config) (*Change, error) {
			return s.Edit(c, "numbered", Draft{"name": "second"})
		}, map[string]string{"integrations.d/20-numbered.yaml": strings.NewReplacer(
			"lab", "second", "photos", "bucket-numbered").Replace(editableFile)}},
		"remove": {func(s *Source, c *Config) (*Change, error) { return s.Remove(c, "lab") },
			map[string]string{"integrations.d/lab.yaml": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			f := editableFolder(t)
			before := f.files()
			ch, err := c.change(f.read())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ch.Parse(testEnvironment); err != nil {
				t.Errorf("Parse() = %v, want success", err)
			}
			f.wantFiles("before Save", before, nil)
			if err := ch.Save(t.Context(), testEnvironment); err != nil {
				t.Fatal(err)
			}
			f.wantFiles("after Save", before, c.want)
			f.read()
		})
	}
}

// Integrations in files that a person wrote are read-only. The error names the file and says how to
// make the integration editable.
func TestReadOnlyIntegrations(t *testing.T) {
	f := editableFolder(t)
	s, c := f.read()
	before := f.files()
	for name, want := range map[string]string{
		"main": "integration main at config.yaml:5 cannot be changed here: only people edit " +
			"this file. To change it here, move its keys to integrations.d/main.yaml, at the left " +
			"margin, with the first line \"# Written by s3redirect.\" and with an environment " +
			"variable as its secret",
		"team":   "integrations.d/team.yaml:2 cannot be changed here: only people edit this file",
		"hand":   "integrations.d/hand.yaml:1 cannot be changed here: only people edit this file",
		"secret": "integrations.d/secret.yaml:2 cannot be changed here: only people edit this file",
		"link":   "integrations.d/link.yaml:2 cannot be changed here: only people edit this file",
		"comments": "integrations.d/comments.yaml:2 cannot be changed here: " +
			"the file has comments, which would be lost",
		"gone": "there is no integration gone any more",
	} {
		_, draftErr := s.Draft(c, name)
		_, editErr := s.Edit(c, name, Draft{"bucket": "other"})
		_, removeErr := s.Remove(c, name)
		for _, err := range []error{draftErr, editErr, removeErr} {
			got := strings.ReplaceAll(fmt.Sprint(err), f.path+string(filepath.Separator), "")
			if _, readOnly := errors.AsType[*ReadOnlyError](err); readOnly != (name != "gone") ||
				!strings.Contains(got, want) {
				t.Errorf("%s: error = %s, want %s", name, got, want)
			}
		}
	}
	f.wantFiles("after rejected changes", before, nil)
	d, err := s.Draft(c, "lab")
	if err != nil || d["secret_access_key"] != "${SECRET}" || d["bucket"] != "photos" {
		t.Errorf("Draft(lab) = %v, %v, want ${SECRET} and the bucket photos", d, err)
	}
}

func TestChangesWithoutInclude(t *testing.T) {
	f := newFolder(t, map[string]string{"config.yaml": strings.Replace(includeHead,
		"include: [integrations.d/*.yaml]\n", "integrations:\n", 1) +
		item(keyed("main", "bucket-main"))})
	s, c := f.read()
	_, addErr := s.Add(lab().Draft())
	for _, err := range []error{addErr, s.Writable()} {
		const want = "config.yaml: include: each integration is written to a file of its own: " +
			"add the line include: [integrations.d/*.yaml] to this file, " +
			"and create the directory integrations.d"
		if got := strings.ReplaceAll(fmt.Sprint(err), f.path+"/", ""); got != want {
			t.Errorf("error = %s, want %s", got, want)
		}
	}
	want := "add include: [integrations.d/*.yaml] to " + f.config() + " and move its keys to"
	if _, err := s.Remove(c, "main"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Remove(main) = %v, want an error that contains %s", err, want)
	}
}

// A change that would not load is not written. The errors name the changed integration, regardless
// of the order of the files.
func TestInvalidChangesAreNotWritten(t *testing.T) {
	good := Draft{"name": "aaa", "bucket": "bucket-a", "region": "auto",
		"role_arn": "arn:aws:iam::123456789012:role/r"}
	with := func(key, text string) Draft {
		d := Draft{key: text}
		for k, v := range good {
			if _, ok := d[k]; !ok {
				d[k] = v
			}
		}
		return d
	}
	for name, c := range map[string]struct {
		draft        Draft
		key, problem string
	}{
		"a bucket of another integration": {with("bucket", "photos"),
			"bucket", "photos is a bucket of integration lab at"},
		"a name in another file": {with("name", "hand"),
			"name", "hand is the name of the integration at"},
		"a name in the main file": {with("name", "main"),
			"name", "main is the name of the integration at"},
		"a name outside the directory": {with("name", "../lab"), "name", "../lab is not a valid name"},
		"a hidden name":                {with("name", ".lab"), "name", ".lab is not a valid name"},
		"a variable as name":           {with("name", "${ID}"), "name", "this is not a valid name"},
		"no name":                      {with("name", ""), "name", "a name is needed"},
		"no bucket":                    {with("bucket", ""), "", "a bucket is needed"},
		"an unknown key":               {with("buckets", "a"), "buckets", "unknown key"},
		"an existing file": {with("name", "20-numbered"), "name",
			"20-numbered.yaml exists already; choose another name"},
		"a duration without a unit": {with("url_lifetime", "45"), "url_lifetime", "needs a unit"},
		"a line break": {with("external_id", "a\nbucket: b"),
			"external_id", "letters, digits"},
		"an unset variable": {with("external_id", "${UNSET}"),
			"external_id", "UNSET is not set"},
	} {
		f := editableFolder(t)
		before := f.files()
		s, _ := f.read()
		ch, err := s.Add(c.draft)
		if err == nil {
			if _, err = ch.Parse(testEnvironment); err != nil {
				if saveErr := ch.Save(t.Context(), testEnvironment); saveErr == nil {
					t.Errorf("%s: Save() = nil, want %v", name, err)
				}
			}
		}
		all, _ := errors.AsType[Errors](err)
		if !slices.ContainsFunc(all, func(e *Error) bool {
			return e.Key == c.key && strings.Contains(e.Problem, c.problem) &&
				(e.File == "" || e.File == ch.NewPath)
		}) {
			t.Errorf("%s: error = %v, want %s: %s", name, err, c.key, c.problem)
		}
		f.wantFiles(name, before, nil)
	}
}

func TestRemoveLastIntegration(t *testing.T) {
	f := newFolder(t, map[string]string{
		"config.yaml":             includeHead,
		"integrations.d/lab.yaml": editableFile,
	})
	s, c := f.read()
	ch, err := s.Remove(c, "lab")
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Save(t.Context(), testEnvironment); !LacksIntegrations(err) {
		t.Errorf("without a console: Save() = %v, want that an integration is needed", err)
	}
	f.write("config.yaml", includeHead+"admin: {token: 0123456789abcdef0123456789abcdef}\n")
	err = ch.Save(t.Context(), testEnvironment)
	if text := f.files()["integrations.d/lab.yaml"]; err != nil || text != "" {
		t.Errorf("with a console: Save() = %v and leaves %q, want success and no file", err, text)
	}
}

func TestAddRejectsFileThatPatternDoesNotMatch(t *testing.T) {
	f := newFolder(t, map[string]string{"config.yaml": strings.Replace(includeHead, "*.yaml",
		"team-*.yaml", 1), "integrations.d/": ""})
	s, _ := f.read()
	ch, err := s.Add(lab().Draft())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Parse(testEnvironment); err == nil ||
		!strings.Contains(err.Error(),
			"the pattern team-*.yaml of include does not match the file lab.yaml") {
		t.Errorf("Parse() = %v, want an error about the pattern", err)
	}
}

// newFile is a configuration that serves everyone.
var newFile = NewFile("127.0.0.1:8080", "127.0.0.1:9090", nil)

// The first save of a new configuration creates the main file, the folder and the integration.
func TestSaveNewConfiguration(t *testing.T) {
	f := newFolder(t, nil)
	s := New(f.config(), newFile)
	if err := s.Writable(); err != nil {
		t.Fatal(err)
	}
	ch, err := s.Add(lab().Draft())
	if err != nil {
		t.Fatal(err)
	}
	bad := *ch
	bad.New = []byte("name: x\n")
	if err := bad.Save(t.Context(), noEnv); err == nil || len(f.files()) != 0 {
		t.Errorf("Save() of an invalid change = %v with files %v, want an error and no files",
			err, f.files())
	}
	if err := ch.Save(t.Context(), noEnv); err != nil {
		t.Fatal(err)
	}
	f.wantFiles("a new configuration", nil,
		map[string]string{"config.yaml": string(newFile), "integrations.d/lab.yaml": lab().Draft().Text()})
	if _, c := f.read(); len(c.Integrations) != 1 || !c.Integrations[0].Origin.Editable {
		t.Errorf("integrations = %+v, want one editable integration", c.Integrations)
	}
	// If another program has created the configuration in the meantime, Save leaves nothing behind.
	second, err := New(f.config(), newFile).Add(Draft{"name": "two", "bucket": "bucket-two",
		"region": "auto", "role_arn": "arn:aws:iam::123456789012:role/r"})
	if err != nil {
		t.Fatal(err)
	}
	before := f.files()
	if err := second.Save(t.Context(), noEnv); !errors.Is(err, ErrChanged) {
		t.Errorf("Save() = %v, want ErrChanged", err)
	}
	f.wantFiles("after the second Save", before, nil)
}

// A change is saved only if its file has not changed since it was read.
func TestSaveRejectsConcurrentChange(t *testing.T) {
	edit := func(s *Source, c *Config) (*Change, error) {
		return s.Edit(c, "lab", Draft{"bucket": "pictures"})
	}
	remove := func(s *Source, c *Config) (*Change, error) { return s.Remove(c, "lab") }
	rename := func(s *Source, c *Config) (*Change, error) {
		return s.Edit(c, "lab", Draft{"name": "pictures"})
	}
	add := func(s *Source, _ *Config) (*Change, error) {
		return s.Add(Draft{"name": "fresh", "bucket": "bucket-fresh", "region": "auto",
			"role_arn": "arn:aws:iam::123456789012:role/r"})
	}
	edited := func(f *folder) {
		f.write("integrations.d/lab.yaml", strings.Replace(editableFile, "us-east-1", "us-east-2", 1))
	}
	for name, c := range map[string]struct {
		change    func(*Source, *Config) (*Change, error)
		meanwhile func(*folder)
	}{
		"edited twice":       {edit, edited},
		"edited and removed": {edit, func(f *folder) { f.remove("integrations.d/lab.yaml") }},
		"removed and edited": {remove, edited},
		"removed twice":      {remove, func(f *folder) { f.remove("integrations.d/lab.yaml") }},
		"renamed and edited": {rename, edited},
		"renamed to an existing file": {rename, func(f *folder) {
			f.write("integrations.d/pictures.yaml", keyed("other", "bucket-other"))
		}},
		"added twice": {add, func(f *folder) {
			f.write("integrations.d/fresh.yaml", keyed("other", "bucket-other"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := editableFolder(t)
			ch, err := c.change(f.read())
			if err != nil {
				t.Fatal(err)
			}
			c.meanwhile(f)
			before := f.files()
			if err := ch.Save(t.Context(), testEnvironment); !errors.Is(err, ErrChanged) {
				t.Errorf("Save() = %v, want ErrChanged", err)
			}
			f.wantFiles(name, before, nil)
		})
	}
	// Changes to other files do not matter, unless the configuration would no longer load.
	f := editableFolder(t)
	ch, err := edit(f.read())
	if err != nil {
		t.Fatal(err)
	}
	f.write("integrations.d/other.yaml", keyed("other", "pictures"))
	if err := ch.Save(t.Context(), testEnvironment); err == nil ||
		!strings.Contains(err.Error(), "is a bucket of integration other") {
		t.Errorf("Save() of a bucket that another program added = %v, want an error", err)
	}
	f.write("integrations.d/other.yaml", keyed("other", "bucket-other"))
	if err := ch.Save(t.Context(), testEnvironment); err != nil {
		t.Errorf("Save() after a change to another file = %v, want success", err)
	}
}

// Concurrent saves never produce a configuration that does not load: if several add the same
// bucket, exactly one succeeds.
func TestConcurrentSavesOfOneBucket(t *testing.T) {
	for range 10 {
		f := editableFolder(t)
		var saved atomic.Int64
		var all sync.WaitGroup
		const writers = 6
		for n := range writers {
			s, _ := f.read()
			ch, err := s.Add(Draft{"name": fmt.Sprint("w", n), "bucket": "bucket-wanted",
				"region": "auto", "role_arn": "arn:aws:iam::123456789012:role/r"})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				if err := ch.Save(t.Context(), testEnvironment); err == nil {
					saved.Add(1)
				} else if !strings.Contains(err.Error(), "is a bucket of integration w") {
					t.Errorf("Save() = %v, want nil or an error about the bucket", err)
				}
			})
		}
		all.Wait()
		if saved.Load() != 1 {
			t.Fatalf("%d of %d changes are saved, want 1", saved.Load(), writers)
		}
		f.read()
	}
}

// A new file gets the mode of the other files in the folder, or else of the main file.
func TestNewFilesGetModeOfOthers(t *testing.T) {
	f := editableFolder(t)
	mode := func(name string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(filepath.Join(f.path, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	add := func(name string) {
		t.Helper()
		s, _ := f.read()
		ch, err := s.Add(Draft{"name": name, "bucket": "bucket-" + name, "region": "auto",
			"role_arn": "arn:aws:iam::123456789012:role/r"})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Save(t.Context(), testEnvironment); err != nil {
			t.Fatal(err)
		}
	}
	add("first")
	if got := mode("integrations.d/first.yaml"); got != 0o600 {
		t.Errorf("mode of first.yaml = %o, want 600", got)
	}
	for name := range f.files() {
		if strings.HasPrefix(name, "integrations.d/") {
			if err := os.Chmod(filepath.Join(f.path, name), 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("second")
	if got := mode("integrations.d/second.yaml"); got != 0o640 {
		t.Errorf("mode of second.yaml = %o, want 640, the mode of the other files", got)
	}
	f = newFolder(t, map[string]string{
		"config.yaml":     includeHead + "integrations:\n" + item(keyed("main", "bucket-main")),
		"integrations.d/": "",
	})
	if err := os.Chmod(f.config(), 0o644); err != nil {
		t.Fatal(err)
	}
	add("third")
	if got := mode("integrations.d/third.yaml"); got != 0o644 {
		t.Errorf("mode of third.yaml = %o, want 644, the mode of the main file", got)
	}
}

// FuzzEdit sets a key to a text. Either the change is rejected, or reading the file back returns
// that text and leaves the other keys unchanged.
func FuzzEdit(f *testing.F) {
	f.Add("bucket", "pictures")
	f.Add("external_id", "a # b: 'c\n- d")
	f.Add("permitted_buckets", "photos x-* y")
	f.Add("secret_access_key", "${OTHER}")
	f.Add("name", "../x")
	f.Add("blocked_prefixes", "[photos/raw/, 'a b/']")
	env := func(string) (string, bool) { return "value", true }
	f.Fuzz(func(t *testing.T, key, value string) {
		s := New("x.yaml", []byte(includeHead))
		s.patterns, s.files = []pattern{{dir: "d", glob: "*.yaml"}},
			[]*file{{path: "d/lab.yaml", text: []byte(editableFile)}}
		before, err := s.Parse(env)
		if err != nil {
			t.Fatal(err)
		}
		ch, err := s.Edit(before, "lab", Draft{key: value})
		if err != nil {
			return
		}
		after, err := ch.Parse(env)
		if err != nil {
			return
		}
		old, _ := s.Draft(before, "lab")
		got, err := ch.after(s).Draft(after, after.Integrations[0].Name)
		if err != nil {
			if _, literal := errors.AsType[*ReadOnlyError](err); literal &&
				key == "secret_access_key" || strings.Contains(value, "#") {
				return
			}
			t.Fatal(err)
		}
		for _, k := range DraftKeys() {
			want := old[k]
			if k == key {
				want = value
			}
			isList := fieldNamed(reflect.ValueOf(&Integration{}).Elem(), k).Kind() == reflect.Slice
			if items, err := parseList(want); isList && err == nil {
				want = listText(items)
			}
			if got[k] != want {
				t.Errorf("after setting %s to %q: %s = %q, want %q", key, value, k, got[k], want)
			}
		}
	})
}
