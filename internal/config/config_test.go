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

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

func testEnvironment(name string) (string, bool) {
	value, ok := map[string]string{
		"ID":     "id-from-the-environment",
		"HOURS":  "1",
		"SECRET": "canary",
		"BREAK":  strings.Repeat("canary-", 6) + "\n",
		"BLANK":  " canary",
	}[name]
	return value, ok
}

// verdict returns the messages for a file: its errors, or "ok" and its warnings.
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
	updated := strings.TrimRight(head, "\n") + "\n"
	cases := strings.Split(rest, "\n== ")
	for _, c := range cases {
		name, body, _ := strings.Cut(c, "\n")
		file, want, ok := strings.Cut(body, "--\n")
		if i := strings.LastIndex(body, "\n--\n"); i >= 0 {
			file, want, ok = body[:i+1], body[i+4:], true
		}
		if !ok {
			t.Fatalf("%s: the case has no line --", name)
		}
		got := verdict(file)
		updated += "\n== " + name + "\n" + file + "--\n" + got
		if !*update && strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: Parse() reports\n%s\nwant\n%s", name, got, want)
		}
		if strings.Contains(got, "canary") || strings.Contains(got, "id-from") {
			t.Errorf("%s: Parse() reports\n%s\nwant no value of an environment variable", name, got)
		}
	}
	if len(cases) < 50 {
		t.Errorf("%s has %d cases, want at least 50", path, len(cases))
	}
	if *update {
		if err := os.WriteFile(path, []byte(updated), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The example config.yaml is valid, contains every key, and documents the actual defaults.
func TestExampleIsValidAndComplete(t *testing.T) {
	t.Setenv("SCANS_KEY", "AKIA")
	t.Setenv("SCANS_SECRET", "canary")
	const path = "../../config.yaml"
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 || len(c.Integrations) != 3 {
		t.Errorf("Load(%q): %d integrations, warnings %q; want 3 and no warnings",
			path, len(c.Integrations), c.Warnings)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Admin](),
		reflect.TypeFor[Redis](), reflect.TypeFor[RedisTLS](), reflect.TypeFor[RedisIAM](),
		reflect.TypeFor[Integration](),
		reflect.TypeFor[Viewers](), reflect.TypeFor[TLS](), reflect.TypeFor[Forwarded](),
		reflect.TypeFor[JWT](), reflect.TypeFor[Basic](),
		reflect.TypeFor[Links](), reflect.TypeFor[LinkKey](),
		reflect.TypeFor[Rule](), reflect.TypeFor[RateLimit](), reflect.TypeFor[CORS](),
		reflect.TypeFor[Cache](), reflect.TypeFor[Log](), reflect.TypeFor[Metrics]()} {
		for _, key := range fieldNames(section) {
			if !strings.Contains(string(text), key+":") {
				t.Errorf("%s lacks the key %s", path, key)
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
		"admin_listen": least.AdminListen[0], "url_lifetime": "45m", "min_remaining": "15m",
		"referrer_policy": least.ReferrerPolicy,
		"drain_delay":     least.DrainDelay, "urls": least.Cache.URLs,
		"credentials": least.Cache.Credentials, "format": least.Log.Format,
		"access": least.Log.Access, "level": strings.ToLower(least.Log.Level.String()),
		"metrics":          least.Metrics.Integrations,
		"session_duration": "1h", "session_policy": least.Integrations[0].SessionPolicy,
		"file_versioning": false, "path_style": false,
	} {
		found := false
		for _, block := range strings.Split(string(text), "\n\n") {
			found = found || strings.Contains(block, key+":") &&
				strings.Contains(block, fmt.Sprintf("Default: %v", value))
		}
		if !found {
			t.Errorf("%s does not document the default %v of %s", path, value, key)
		}
	}
	if i := least.Integrations[0]; i.SessionDuration.Hours() != 1 ||
		i.URLLifetime.Minutes() != 45 || i.MinRemaining.Minutes() != 15 ||
		i.SessionName != "s3redirect-a" {
		t.Errorf("Parse() sets the defaults %+v, want session_duration 1h, url_lifetime 45m, "+
			"min_remaining 15m and session_name s3redirect-a", i)
	}
	checkSecretIsNotPrinted(t, c)
}

// checkSecretIsNotPrinted checks that no way to print or log c shows its secret.
func checkSecretIsNotPrinted(t *testing.T, c *Config) {
	t.Helper()
	secret := c.Integrations[2].SecretAccessKey
	if string(secret) != "canary" {
		t.Fatalf("SecretAccessKey = %q, want canary", string(secret))
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "secret", secret)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c, "secret", secret)
	printed := fmt.Sprintf("%v %+v %#v %s %q",
		c.Integrations, c.Integrations, c.Integrations, secret, secret)
	if all := printed + string(asJSON) + log.String(); strings.Contains(all, "canary") {
		t.Errorf("the output contains the secret: %s", all)
	}
}

func TestLoadRejectsUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	text := strings.Repeat("# large\n", maxBytes/8+1)
	if err := os.WriteFile(large, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	latin1 := filepath.Join(dir, "latin1.yaml")
	text = "# one\n# two\n# M\xfcnchen\nlisten: x\n"
	if err := os.WriteFile(latin1, []byte(text), 0o600); err != nil {
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
		if c != nil || !errors.As(err, &all) || len(all) != 1 ||
			!strings.HasPrefix(err.Error(), path+want) {
			t.Errorf("Load(%q) = %v, want the error %s%s", path, err, path, want)
		}
	}
}

func TestParseRejectsUnusualLineBreaks(t *testing.T) {
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
		// The line breaks of YAML 1.1, section 5.4.
		for _, lineBreak := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
			lines += strings.Count(data, lineBreak)
		}
		c, err := Parse("f", []byte(data), testEnvironment)
		var all Errors
		switch {
		case err == nil:
			for _, i := range c.Integrations {
				if i.Name == "" || i.MinRemaining >= i.URLLifetime || i.RoleARN != "" &&
					i.URLLifetime > i.SessionDuration || i.RoleARN == "" && i.AccessKeyID == "" {
					t.Errorf("Parse() accepts the invalid integration %+v", i)
				}
			}
		case !errors.As(err, &all) || len(all) == 0:
			t.Errorf("Parse() = %v, want Errors with at least one error", err)
		default:
			for _, e := range all {
				if e.File != "f" || e.Line < 0 || e.Line > lines || e.Problem == "" {
					t.Errorf("Parse() reports %+v, want file f, a line from 0 to %d and a problem",
						e, lines)
				}
			}
		}
	})
}
