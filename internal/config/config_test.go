package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is said now into testdata")

func testEnvironment(name string) (string, bool) {
	value, ok := map[string]string{"ID": "id-from-the-environment", "HOURS": "1", "SECRET": "canary"}[name]
	return value, ok
}

// verdict is what is said of a file: its mistakes, or ok and its warnings.
func verdict(data string) string {
	c, err := Parse("config.yaml", []byte(data), testEnvironment)
	if err != nil {
		return err.Error() + "\n"
	}
	return strings.Join(append([]string{"ok"}, c.Warnings...), "\n") + "\n"
}

func TestMistakes(t *testing.T) {
	const path = "testdata/mistakes.txt"
	table, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(table), "\n== ")
	written := strings.TrimRight(head, "\n") + "\n"
	cases := strings.Split(rest, "\n== ")
	for _, c := range cases {
		name, body, _ := strings.Cut(c, "\n")
		file, want, ok := strings.Cut(body, "--\n")
		if i := strings.LastIndex(body, "\n--\n"); i >= 0 {
			file, want, ok = body[:i+1], body[i+4:], true
		}
		if !ok {
			t.Fatalf("%s: no --", name)
		}
		got := verdict(file)
		written += "\n== " + name + "\n" + file + "--\n" + got
		if !*update && strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		if strings.Contains(got, "canary") || strings.Contains(got, "id-from") {
			t.Errorf("%s: what must not show shows: %s", name, got)
		}
	}
	if len(cases) < 50 {
		t.Errorf("%d cases: the table was not read", len(cases))
	}
	if *update {
		if err := os.WriteFile(path, []byte(written), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The repository's example is right, complete, and says the defaults that are.
func TestExample(t *testing.T) {
	t.Setenv("SCANS_KEY", "AKIA")
	t.Setenv("SCANS_SECRET", "canary")
	const path = "../../config.yaml"
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 || len(c.Integrations) != 3 {
		t.Errorf("%d integrations, warnings %q", len(c.Integrations), c.Warnings)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Admin](),
		reflect.TypeFor[Redis](), reflect.TypeFor[Integration](),
		reflect.TypeFor[Viewers](), reflect.TypeFor[TLS](), reflect.TypeFor[Forwarded](),
		reflect.TypeFor[JWT](), reflect.TypeFor[Basic](),
		reflect.TypeFor[Links](), reflect.TypeFor[LinkKey](),
		reflect.TypeFor[Rule](), reflect.TypeFor[RateLimit](), reflect.TypeFor[CORS](),
		reflect.TypeFor[Cache](), reflect.TypeFor[Log]()} {
		for _, key := range fieldNames(of) {
			if !strings.Contains(string(text), key+":") {
				t.Errorf("the example lacks %s", key)
			}
		}
	}
	least, err := Parse("least",
		[]byte("listen: :1\nviewers: {anonymous: true}\nintegrations: "+
			"[{name: a, bucket: aaa, role_arn: 'arn:aws:iam::123456789012:role/r', region: us-east-1}]"),
		testEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]any{
		"admin_listen": least.AdminListen, "url_lifetime": "45m", "min_remaining": "15m",
		"referrer_policy": least.ReferrerPolicy,
		"drain_delay":     least.DrainDelay, "urls": least.Cache.URLs,
		"credentials": least.Cache.Credentials, "format": least.Log.Format,
		"access": least.Log.Access, "level": strings.ToLower(least.Log.Level.String()),
		"session_duration": "1h", "session_policy": least.Integrations[0].SessionPolicy,
		"file_versioning": false, "path_style": false,
	} {
		section := string(text)
		found := false
		for _, block := range strings.Split(section, "\n\n") {
			found = found || strings.Contains(block, key+":") &&
				strings.Contains(block, fmt.Sprintf("Default: %v", value))
		}
		if !found {
			t.Errorf("the example does not say that the default of %s is %v", key, value)
		}
	}
	if i := least.Integrations[0]; i.SessionDuration.Hours() != 1 ||
		i.URLLifetime.Minutes() != 45 || i.MinRemaining.Minutes() != 15 || i.SessionName != "s3redirect-a" {
		t.Errorf("defaults: %+v", i)
	}
	checkPrints(t, c)
}

// checkPrints looks for the secret in every form in which a configuration could be printed.
func checkPrints(t *testing.T, c *Config) {
	t.Helper()
	if string(c.Integrations[2].SecretAccessKey) != "canary" {
		t.Fatal("the secret was not read")
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "secret", c.Integrations[2].SecretAccessKey)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c, "secret", c.Integrations[2].SecretAccessKey)
	printed := fmt.Sprintf("%v %+v %#v %s %q",
		c.Integrations, c.Integrations, c.Integrations, c.Integrations[2].SecretAccessKey,
		c.Integrations[2].SecretAccessKey)
	if all := printed + string(asJSON) + log.String(); strings.Contains(all, "canary") {
		t.Errorf("the secret shows in %s", all)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, []byte(strings.Repeat("# large\n", maxBytes/8+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	latin1 := filepath.Join(dir, "latin1.yaml")
	if err := os.WriteFile(latin1, []byte("# one\n# two\n# M\xfcnchen\nlisten: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed.yaml")
	if err := os.WriteFile(closed, nil, 0); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "nope.yaml"): ": the file does not exist; pass its path with --config",
		dir:                             ": this is a directory; pass the path of the file in it",
		large:                           ": the file is larger than 10 MiB",
		latin1:                          ":3: this line is not UTF-8",
		closed:                          ": permission denied; let the user that runs s3redirect read it",
	} {
		if path == closed && os.Geteuid() == 0 {
			continue // root may read everything
		}
		c, err := Load(path)
		var all Errors
		if c != nil || !errors.As(err, &all) || len(all) != 1 || !strings.HasPrefix(err.Error(), path+want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestOddLineBreaksAreRejected(t *testing.T) {
	for _, odd := range []string{"\r", "\u0085", "\u2028", "\u2029"} {
		text := "listen: :1 # a" + odd + "# b\nadmin: {token: canary}\n"
		if _, err := Parse("x", []byte(text), noEnv); err == nil ||
			!strings.Contains(err.Error(), "x:1: this line contains a line break") {
			t.Errorf("Parse(%q) = %v, want an error about line 1", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	table, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range strings.Split(string(table), "\n== ") {
		_, body, _ := strings.Cut(c, "\n")
		file, _, _ := strings.Cut(body, "\n--\n")
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, data string) {
		lines := 1
		for _, lineBreak := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // YAML 1.1, section 5.4
			lines += strings.Count(data, lineBreak)
		}
		c, err := Parse("f", []byte(data), testEnvironment)
		var all Errors
		switch {
		case err == nil:
			for _, i := range c.Integrations {
				if i.Name == "" || i.MinRemaining >= i.URLLifetime || i.RoleARN != "" &&
					i.URLLifetime > i.SessionDuration || i.RoleARN == "" && i.AccessKeyID == "" {
					t.Errorf("accepted: %+v", i)
				}
			}
		case !errors.As(err, &all) || len(all) == 0:
			t.Errorf("%v", err)
		default:
			for _, e := range all {
				if e.File != "f" || e.Line < 0 || e.Line > lines || e.Problem == "" {
					t.Errorf("%+v", e)
				}
			}
		}
	})
}
