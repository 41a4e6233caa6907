package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// matches returns all matches of a pattern in a text, each with its groups.
func matches(pattern, text string) [][]string {
	return regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
}

// documents returns the texts that users read by their paths: the README, the example of the
// configuration, and all files of docs/ and deploy/.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{
		"README.md":   read(t, "README.md"),
		"config.yaml": read(t, "config.yaml"),
	}
	root := filepath.Join("..", "..")
	for _, folder := range []string{"docs", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, folder),
			func(path string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					name := strings.TrimPrefix(filepath.ToSlash(path), "../../")
					texts[name] = read(t, name)
				}
				return err
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// pages returns those documents that are in Markdown.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := documents(t)
	maps.DeleteFunc(texts, func(path, _ string) bool { return filepath.Ext(path) != ".md" })
	return texts
}

// help returns the output of a command's --help.
func help(t *testing.T, name string) string {
	t.Helper()
	var output bytes.Buffer
	args := []string{name, "--help"}
	if code := run(context.Background(), args, &output, &output); code != 0 {
		t.Fatalf("%s --help: exit code %d, want 0: %s", name, code, &output)
	}
	return output.String()
}

// TestDocumentedCommands compares docs/commands.md with the output of each command's --help.
func TestDocumentedCommands(t *testing.T) {
	const path, begin, end = "docs/commands.md", "<!-- help -->\n", "<!-- /help -->"
	clean := strings.NewReplacer("\t", "    ", "[flags] \n", "[flags]\n")
	var want strings.Builder
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		text := strings.TrimSpace(clean.Replace(help(t, name)))
		fmt.Fprintf(&want, "\n## %s\n\n```text\n%s\n```\n", name, text)
	}
	want.WriteString("\n")
	before, rest, _ := strings.Cut(read(t, path), begin)
	got, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no %q before %q", path, begin, end)
	}
	if got == want.String() {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("%s differs from --help; set UPDATE=1 to write it; want:\n%s", path, &want)
	}
	text := before + begin + want.String() + end + after
	if err := os.WriteFile(filepath.Join("..", "..", path), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCommandLinesInDocuments checks that the command lines in the documents have only commands
// and flags that exist.
func TestCommandLinesInDocuments(t *testing.T) {
	flags, anyCommand := map[string]map[string]bool{}, map[string]bool{"help": true}
	for name := range commands {
		flags[name] = map[string]bool{"help": true}
		for _, m := range matches(`(?m)^  -([a-z-]+)`, help(t, name)) {
			flags[name][m[1]], anyCommand[m[1]] = true, true
		}
	}
	const (
		commandLine = "s3redirect\"?,? \"?([a-z]+)((?:\\\\\n|[^\n`|#])*)"
		flagName    = `--([a-z][a-z-]*)`
	)
	checked := 0
	for path, text := range documents(t) {
		for _, line := range matches(commandLine, text) {
			for _, m := range matches(flagName, line[2]) {
				if checked++; !flags[line[1]][m[1]] {
					t.Errorf("%s: s3redirect %s has no flag --%s", path, line[1], m[1])
				}
			}
		}
	}
	for path, text := range pages(t) {
		for _, m := range matches("`"+flagName+"[^`\n]*`", text) {
			if !anyCommand[m[1]] {
				t.Errorf("%s: no command has a flag --%s", path, m[1])
			}
		}
	}
	if checked < 20 {
		t.Errorf("checked %d flags, want at least 20", checked)
	}
}

// TestMetricsInDocuments checks that every metric that a document, a rule or the dashboard names is
// in docs/metrics.md, or is a recording rule.
func TestMetricsInDocuments(t *testing.T) {
	known := map[string]bool{}
	for _, m := range matches("(?m)^\\| `(s3redirect_\\w+)`", read(t, "docs/metrics.md")) {
		known[m[1]] = true
	}
	rules := read(t, "deploy/prometheus/s3redirect.rules.yml")
	for _, m := range matches(`(?m)record: (\S+)$`, rules) {
		known[m[1]] = true
	}
	histogram, checked := regexp.MustCompile(`_(bucket|sum|count)$`), 0
	for path, text := range documents(t) {
		for _, m := range matches(`\bs3redirect(?:_[a-z_]+[a-z]|:[a-z_]+:[a-z0-9]+)`, text) {
			name := m[0]
			if strings.HasPrefix(path, "deploy/nginx/") && strings.HasPrefix(name, "s3redirect_") {
				continue // a variable of nginx
			}
			if checked++; !known[name] && !known[histogram.ReplaceAllString(name, "")] {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
	}
	if checked < 50 {
		t.Errorf("checked %d names, want at least 50", checked)
	}
}

// TestLinksInDocuments checks that the files and headings that the pages link to exist.
func TestLinksInDocuments(t *testing.T) {
	for path, text := range pages(t) {
		for _, m := range matches(`\]\(([^):#\s]*)(#[^)\s]*)?\)`, text) {
			target := filepath.Join(filepath.Dir(path), m[1])
			if m[1] == "" {
				target = path
			}
			_, err := os.Stat(filepath.Join("..", "..", target))
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: there is no file %s", path, target)
				continue
			}
			if m[2] != "" && !slices.Contains(anchors(read(t, target)), m[2]) {
				t.Errorf("%s: %s has no heading %s", path, target, m[2])
			}
		}
	}
}

// anchors returns the anchors of a page's headings, as GitHub forms them.
func anchors(page string) (all []string) {
	punctuation := regexp.MustCompile(`[^\w\s-]`)
	for _, heading := range matches(`(?m)^#+ (.+)$`, page) {
		words := strings.ToLower(punctuation.ReplaceAllString(heading[1], ""))
		all = append(all, "#"+strings.ReplaceAll(words, " ", "-"))
	}
	return all
}
