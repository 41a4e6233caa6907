package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/reread"
)

// fleetFiles are a configuration with included files, whose settled files are not read again.
type fleetFiles struct {
	t      *testing.T
	path   string
	source *Source
	env    map[string]string
}

const fleetMain = `listen: 127.0.0.1:8080
viewers: {anonymous: true}
include: [integrations.d/*.yaml]
`

func newFleetFiles(t *testing.T) *fleetFiles {
	f := &fleetFiles{t: t, path: filepath.Join(t.TempDir(), "s3redirect.yaml"), env: map[string]string{}}
	if err := os.Mkdir(filepath.Join(filepath.Dir(f.path), "integrations.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.write("s3redirect.yaml", fleetMain)
	return f
}

// write writes a file in place. Its modification time is always the same, but its change time is a
// new one.
func (f *fleetFiles) write(name, text string) {
	f.t.Helper()
	path, always := filepath.Join(filepath.Dir(f.path), name), time.Unix(1_700_000_000, 0)
	before, _ := os.Stat(path) // nil for a new file
	for {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
		if err := os.Chtimes(path, always, always); err != nil {
			f.t.Fatal(err)
		}
		after, err := os.Stat(path)
		if err != nil {
			f.t.Fatal(err)
		}
		// The kernel's clock has ticks of a few milliseconds.
		if before == nil || !reread.ChangeTime(after).Equal(reread.ChangeTime(before)) {
			return
		}
	}
}

// integration writes the file of an integration with further keys.
func (f *fleetFiles) integration(name, more string) {
	f.t.Helper()
	f.write("integrations.d/"+name+".yaml", fmt.Sprintf("name: %s\nbucket: %s-media\n"+
		"role_arn: arn:aws:iam::123456789012:role/%s\nregion: us-east-1\n%s", name, name, name, more))
}

func (f *fleetFiles) getenv(name string) (string, bool) {
	value, ok := f.env[name]
	return value, ok
}

// parse parses the files as a reload does.
func (f *fleetFiles) parse() (*Config, error) {
	f.t.Helper()
	source, err := Read(f.path)
	if f.source != nil {
		source, err = f.source.Reread()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.source = source
	return source.Parse(f.getenv)
}

// compare parses the files as a reload does, and compares the result with that of a start.
func (f *fleetFiles) compare(when string) *Config {
	f.t.Helper()
	got, gotErr := f.parse()
	fresh, err := Read(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	want, wantErr := fresh.Parse(f.getenv)
	if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		f.t.Errorf("%s: a reload reports\n%v\na start reports\n%v", when, gotErr, wantErr)
	}
	if !reflect.DeepEqual(got, want) {
		f.t.Errorf("%s: a reload yields %+v, a start yields %+v", when, got, want)
	}
	return got
}

// A reload shares the integrations of files that did not change with the configuration before, and
// yields what a start yields, including warnings and mistakes.
func TestReloadSharesIntegrations(t *testing.T) {
	f := newFleetFiles(t)
	f.env["REGION"] = "eu-central-1"
	mainFile := fleetMain + "integrations:\n  - {name: main, bucket: main-media, " +
		"role_arn: 'arn:aws:iam::123456789012:role/main', region: us-east-1}\n"
	f.write("s3redirect.yaml", mainFile)
	for _, name := range []string{"a", "b", "warned"} {
		f.integration(name, "")
	}
	f.integration("warned", "session_duration: 2h\n")
	f.write("integrations.d/variable.yaml", "name: variable\nbucket: variable-media\n"+
		"role_arn: arn:aws:iam::123456789012:role/v\nregion: ${REGION}\n")
	before := f.compare("at the start")
	if len(before.Warnings) != 1 || !strings.Contains(before.Warnings[0], "warned.yaml:5") {
		t.Fatalf("the warnings are %q, want one at warned.yaml:5", before.Warnings)
	}
	names := []string{"main", "a", "b", "variable", "warned"}
	for _, change := range []struct {
		name    string
		make    func()
		changed []string // the integrations that are not shared
	}{
		{"nothing", func() {}, nil},
		{"one file", func() { f.integration("b", "external_id: other\n") }, []string{"b"}},
		{"an equal file", func() { f.integration("b", "external_id: other\n") }, nil},
		{"a variable", func() { f.env["REGION"] = "eu-west-1" }, []string{"variable"}},
		{"a default", func() {
			f.write("s3redirect.yaml", mainFile+"url_lifetime: 30m\n")
		}, names},
		{"the main file", func() {
			f.write("s3redirect.yaml", mainFile+"url_lifetime: 30m\ndrain_delay: 1s\n")
		}, nil},
		{"an integration of the main file", func() {
			f.write("s3redirect.yaml",
				strings.Replace(mainFile, "us-east-1", "us-east-2", 1)+"url_lifetime: 30m\n")
		}, []string{"main"}},
		{"a file with the same size and time", func() {
			f.integration("b", "external_id: third\n")
		}, []string{"b"}},
	} {
		change.make()
		after := f.compare(change.name)
		if after == nil || len(after.Integrations) != len(before.Integrations) {
			t.Fatalf("%s: the configuration is %+v", change.name, after)
		}
		for n, i := range after.Integrations {
			shared := i == before.Integrations[n]
			if want := !slices.Contains(change.changed, i.Name); shared != want {
				t.Errorf("%s: integration %s is shared: %v, want %v", change.name, i.Name, shared, want)
			}
		}
		before = after
	}
	for _, change := range []struct {
		name string
		make func()
	}{
		{"a mistake", func() { f.integration("b", "region: nowhere\n") }},
		{"a mistake elsewhere", func() { f.write("s3redirect.yaml", mainFile+"drain_delay: 1h\n") }},
		{"both corrected", func() { f.integration("b", ""); f.write("s3redirect.yaml", mainFile) }},
		{"a bucket twice", func() {
			f.write("integrations.d/c.yaml", "name: c\nbucket: a-media\n"+
				"role_arn: arn:aws:iam::123456789012:role/c\nregion: us-east-1\n")
		}},
		{"a name twice", func() {
			f.write("integrations.d/c.yaml", "name: a\nbucket: c-media\n"+
				"role_arn: arn:aws:iam::123456789012:role/c\nregion: us-east-1\n")
		}},
		{"a warning and a mistake", func() {
			f.write("integrations.d/c.yaml", "name: c\nbucket: c-media\nsession_duration: 3h\n"+
				"role_arn: arn:aws:iam::123456789012:role/c\nregion: us-east-1\nregoin: x\n")
		}},
		{"a list", func() {
			f.write("integrations.d/c.yaml", "- {name: c, bucket: c-media, region: us-east-1, "+
				"role_arn: 'arn:aws:iam::123456789012:role/c', session_duration: 2h}\n"+
				"- {name: d, bucket: d-media, region: us-east-1, "+
				"role_arn: 'arn:aws:iam::123456789012:role/c', session_duration: 3h}\n")
		}},
		{"a blocked prefix of another file", func() {
			f.write("integrations.d/d.yaml", "- {name: e, bucket: films, prefix: a/b/, region: us-east-1, "+
				"role_arn: 'arn:aws:iam::123456789012:role/e'}\n"+
				"- {name: f, bucket: films, blocked_prefixes: [a/], region: us-east-1, "+
				"role_arn: 'arn:aws:iam::123456789012:role/f'}\n")
		}},
		{"a variable that is not set", func() { delete(f.env, "REGION") }},
		{"an empty file", func() { f.write("integrations.d/d.yaml", "") }},
		{"another default that does not suit all", func() {
			f.env["REGION"] = "us-east-1"
			f.write("s3redirect.yaml", mainFile+"url_lifetime: 2h\nmin_remaining: 1h\n")
		}},
		{"a removed file", func() {
			if err := os.Remove(filepath.Join(filepath.Dir(f.path), "integrations.d", "d.yaml")); err != nil {
				t.Fatal(err)
			}
			f.write("s3redirect.yaml", mainFile)
		}},
	} {
		change.make()
		f.compare(change.name)
	}
	if c := f.compare("at the end"); c == nil || len(c.Integrations) != 7 {
		t.Errorf("the configuration at the end is %+v, want seven integrations", c)
	}
}

// A warning about two integrations needs the positions of all keys. The integrations that did not
// change are shared all the same.
func TestReloadSharesIntegrationsWithWarnings(t *testing.T) {
	f := newFleetFiles(t)
	for _, name := range []string{"a", "b"} {
		f.integration(name, "")
	}
	f.write("integrations.d/c.yaml", "- {name: c, bucket: films, prefix: c/d/, region: us-east-1, "+
		"role_arn: 'arn:aws:iam::123456789012:role/c'}\n"+
		"- {name: d, bucket: films, blocked_prefixes: [c/], region: us-east-1, "+
		"role_arn: 'arn:aws:iam::123456789012:role/d'}\n")
	before := f.compare("at the start")
	if len(before.Warnings) != 1 || !strings.Contains(before.Warnings[0], "c.yaml:2") {
		t.Fatalf("the warnings are %q, want one at c.yaml:2", before.Warnings)
	}
	for _, changed := range []string{"", "b"} {
		if changed != "" {
			f.integration(changed, "external_id: other\n")
		}
		after := f.compare("after a change of " + changed)
		for n, i := range after.Integrations {
			if shared := i == before.Integrations[n]; shared == (i.Name == changed) {
				t.Errorf("a change of %q: integration %s is shared: %v", changed, i.Name, shared)
			}
		}
		before = after
	}
}
