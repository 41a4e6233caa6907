package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"s3redirect/internal/config"
)

// documents are the texts that users read, by their paths: the README, the pages of docs/, and what deploy/ holds.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{"README.md": read(t, "README.md"), "config.yaml": read(t, "config.yaml")}
	for _, folder := range []string{"docs", "deploy"} {
		err := filepath.WalkDir(filepath.Join("..", "..", folder), func(path string, entry fs.DirEntry, err error) error {
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

// help is what a command says about itself.
func help(t *testing.T, name string) string {
	t.Helper()
	var said bytes.Buffer
	if code := run(context.Background(), []string{name, "--help"}, &said, &said); code != 0 {
		t.Fatalf("%s --help: exit %d: %s", name, code, &said)
	}
	return said.String()
}

// docs/commands.md is what the commands say about themselves, every flag of theirs.
func TestDocumentedCommands(t *testing.T) {
	const path, begin, end = "docs/commands.md", "<!-- help -->\n", "<!-- /help -->"
	var want strings.Builder
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		fmt.Fprintf(&want, "\n## %s\n\n```text\n%s\n```\n", name, strings.TrimSpace(strings.NewReplacer("\t", "    ", "[flags] \n", "[flags]\n").Replace(help(t, name))))
	}
	before, rest, _ := strings.Cut(read(t, path), begin)
	got, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s lacks its marks", path)
	}
	if got == want.String()+"\n" {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("%s says otherwise (UPDATE=1 writes it):\n%s", path, &want)
	}
	if err := os.WriteFile(filepath.Join("..", "..", path), []byte(before+begin+want.String()+"\n"+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Every command line in the documents is one: there is such a command, and it has these flags.
func TestCommandLinesInDocuments(t *testing.T) {
	flags, every := map[string]map[string]bool{}, map[string]bool{}
	for name := range commands {
		flags[name] = map[string]bool{"help": true}
		every["help"] = true
		for _, m := range regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(help(t, name), -1) {
			flags[name][m[1]], every[m[1]] = true, true
		}
	}
	line, flagName := regexp.MustCompile("s3redirect\"?,? \"?([a-z]+)((?:\\\\\n|[^\n`|#])*)"), regexp.MustCompile(`--([a-z][a-z-]*)`)
	lines := 0
	for path, text := range documents(t) {
		for _, m := range line.FindAllStringSubmatch(text, -1) {
			for _, f := range flagName.FindAllStringSubmatch(m[2], -1) {
				if lines++; !flags[m[1]][f[1]] {
					t.Errorf("%s: s3redirect %s has no flag --%s", path, m[1], f[1])
				}
			}
		}
		if filepath.Ext(path) != ".md" {
			continue
		}
		for _, m := range regexp.MustCompile("`--([a-z][a-z-]*)[^`\n]*`").FindAllStringSubmatch(text, -1) {
			if !every[m[1]] {
				t.Errorf("%s: no command has a flag --%s", path, m[1])
			}
		}
	}
	if lines < 20 {
		t.Errorf("%d flags: the test did not look", lines)
	}
}

// keys are the configuration's, as they are nested.
type keys map[string]keys

func keysOf(t reflect.Type) keys {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	found := keys{}
	if t.Kind() != reflect.Struct {
		return found
	}
	for field := range t.Fields() {
		if name := field.Tag.Get("yaml"); name != "" && name != "-" {
			found[name] = keysOf(field.Type)
		}
	}
	return found
}

// named are all their names, wherever they are.
func (k keys) named(in map[string]keys) map[string]keys {
	for name, below := range k {
		if in[name] == nil || len(below) > 0 {
			in[name] = below
		}
		below.named(in)
	}
	return in
}

// unknown are the keys of a document that the configuration has not.
func (k keys) unknown(node *yaml.Node) (names []string) {
	if node.Kind != yaml.MappingNode {
		for _, n := range node.Content {
			names = append(names, k.unknown(n)...)
		}
		return names
	}
	for n := 0; n+1 < len(node.Content); n += 2 {
		name := node.Content[n].Value
		below, ok := k[name]
		if !ok {
			names = append(names, name)
			continue
		}
		names = append(names, below.unknown(node.Content[n+1])...)
	}
	return names
}

// commented finds the lines of config.yaml that are keys, but for the comment's sign.
var commented = regexp.MustCompile(`(?m)^( *)# ( *(?:- )?[a-z_]+:(?: .*)?| *- \{.*)$`)

// config.yaml has every key, in comments or not, and no other; and so have all snippets of YAML in the documents.
func TestDocumentedKeys(t *testing.T) {
	all := keysOf(reflect.TypeFor[config.Config]())
	names := all.named(map[string]keys{})
	if len(names) < 50 {
		t.Fatalf("%d keys", len(names))
	}
	example := commented.ReplaceAllString(read(t, "config.yaml"), "$1$2")
	var whole yaml.Node
	if err := yaml.Unmarshal([]byte(example), &whole); err != nil {
		t.Fatalf("config.yaml, its comments taken away: %v", err)
	}
	if unknown := all.unknown(&whole); len(unknown) > 0 {
		t.Errorf("config.yaml has %q, the configuration has not", unknown)
	}
	for name := range names {
		if !regexp.MustCompile(`(?m)(^|[ {])` + name + `:`).MatchString(example) {
			t.Errorf("config.yaml lacks %s", name)
		}
	}
	for path, text := range documents(t) {
		if filepath.Ext(path) != ".md" {
			continue
		}
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
			var node yaml.Node
			known := all
			if strings.Contains("\n"+block[1], "\nname: ") { // an included file
				known = keysOf(reflect.TypeFor[config.Integration]())
			}
			if err := yaml.Unmarshal([]byte(block[1]), &node); err != nil {
				t.Errorf("%s: %v:\n%s", path, err, block[1])
			} else if unknown := known.unknown(&node); len(unknown) > 0 {
				t.Errorf("%s: the configuration has no %q", path, unknown)
			}
		}
	}
}

// notKeys are words with an underscore that the pages use and the configuration does not: steps of check, what nginx, Redis and
// OpenID Connect call things, fields of answers.
var notKeys = []string{"assume_role", "head_by_get", "url_size", "auth_request", "forward_auth", "proxy_pass", "proxy_cache", "request_uri",
	"set_real_ip_from", "real_ip_header", "integrations.d",
	"master_set", "sentinel_username", "sentinel_password", "proxy_set_header", "email_verified", "_claim_names", "expires_at", "url_hit_ratio"}

// What looks like a key in the text of a page (`min_remaining`, `cache.redis`) is one, or a problem's code, or one of notKeys.
func TestKeysInText(t *testing.T) {
	all := keysOf(reflect.TypeFor[config.Config]())
	names, codes, mentions := all.named(map[string]keys{}), problemCodes(t), 0
	isKey := func(word string) bool {
		parts := strings.Split(strings.Trim(word, "."), ".")
		if len(parts) == 1 {
			return names[parts[0]] != nil
		}
		below := all
		for _, part := range parts {
			if below = below[part]; below == nil {
				return false
			}
		}
		return true
	}
	for path, text := range documents(t) {
		if filepath.Ext(path) != ".md" {
			continue
		}
		prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
		for _, span := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(prose, -1) {
			for _, word := range regexp.MustCompile(`[a-z0-9_.]*[_.][a-z0-9_.]*[a-z0-9]`).FindAllString(span[1], -1) {
				first, _, dotted := strings.Cut(word, ".")
				if strings.HasPrefix(word, "s3redirect_") || strings.HasSuffix(word, ".go") || strings.HasSuffix(word, ".yaml") || dotted && all[first] == nil {
					continue // a metric, which TestMetricsInDocuments looks at; a file, a host
				}
				if mentions++; !isKey(word) && !codes[word] && !slices.Contains(notKeys, word) {
					t.Errorf("%s: `%s`: there is no %s", path, span[1], word)
				}
			}
		}
	}
	if mentions < 40 {
		t.Errorf("%d mentions: the test did not look", mentions)
	}
}

// problemCodes are the codes of all problems that the source makes, each with its status: newProblem(http.StatusNotFound, "code", …).
func problemCodes(t *testing.T) map[string]bool {
	t.Helper()
	codes := map[string]bool{}
	for pair := range problems(t) {
		_, code, _ := strings.Cut(pair, " ")
		codes[code] = true
	}
	return codes
}

// problems are "404 not_found" and so on.
func problems(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("../../proxy/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	found := map[string]bool{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if status, code, ok := problemOf(n); ok {
				found[status+" "+code] = true
			}
			return true
		})
	}
	return found
}

// problemOf is the status and the code of a problem that is made here: newProblem(http.StatusNotFound, "not_found", …), or a literal.
func problemOf(n ast.Node) (status, code string, ok bool) {
	text := func(e ast.Expr) string {
		literal, _ := e.(*ast.BasicLit)
		if literal == nil {
			return ""
		}
		return strings.Trim(literal.Value, `"`)
	}
	switch made := n.(type) {
	case *ast.CallExpr:
		name, _ := made.Fun.(*ast.Ident)
		if name == nil || name.Name != "newProblem" {
			return "", "", false
		}
		constant, _ := made.Args[0].(*ast.SelectorExpr)
		for n := 400; n < 600 && constant != nil; n++ {
			if constant.Sel.Name == "Status"+strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(n)) {
				return strconv.Itoa(n), text(made.Args[1]), true
			}
		}
		return "?", text(made.Args[1]), true
	case *ast.CompositeLit:
		for _, e := range made.Elts {
			pair, _ := e.(*ast.KeyValueExpr)
			if pair == nil {
				continue
			}
			switch field, _ := pair.Key.(*ast.Ident); {
			case field == nil:
			case field.Name == "Status":
				status = text(pair.Value)
			case field.Name == "Code":
				code = text(pair.Value)
			}
		}
	}
	return status, code, status != "" && code != ""
}

// The tables of problems are those that the program answers with, and docs/http.md has all of them.
func TestDocumentedProblems(t *testing.T) {
	made, documented := problems(t), map[string]bool{}
	for _, path := range []string{"docs/http.md", "docs/viewers.md"} {
		for _, m := range regexp.MustCompile("(?m)(?:^\\| |\\b)(\\d{3})(?: \\| |, | \\()`(\\w+)`").FindAllStringSubmatch(read(t, path), -1) {
			pair := m[1] + " " + m[2]
			if !made[pair] {
				t.Errorf("%s has %s, the program has not", path, pair)
			}
			documented[pair] = documented[pair] || path == "docs/http.md"
		}
	}
	for pair := range made {
		if !documented[pair] {
			t.Errorf("docs/http.md lacks %s", pair)
		}
	}
	if len(made) < 15 {
		t.Errorf("%d problems: the test did not look", len(made))
	}
}

// Whatever documents, rules and dashboard call metrics are metrics, as docs/metrics.md has them, and recording rules that are there.
func TestMetricsInDocuments(t *testing.T) {
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(s3redirect_\\w+)`").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		known[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)record: (\S+)$`).FindAllStringSubmatch(read(t, "deploy/prometheus/s3redirect.rules.yml"), -1) {
		known[m[1]] = true
	}
	histogram, looks := regexp.MustCompile(`_(bucket|sum|count)$`), 0
	for path, text := range documents(t) {
		for _, name := range regexp.MustCompile(`\bs3redirect(_[a-z_]+[a-z]|:[a-z_]+:[a-z0-9]+)`).FindAllString(text, -1) {
			if strings.HasPrefix(path, "deploy/nginx/") && strings.HasPrefix(name, "s3redirect_") {
				continue // its variables
			}
			if looks++; !known[name] && !known[histogram.ReplaceAllString(name, "")] {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
	}
	if looks < 50 {
		t.Errorf("%d names: the test did not look", looks)
	}
}

// Every link of the documents leads to something that is there.
func TestLinksInDocuments(t *testing.T) {
	for path, text := range documents(t) {
		if filepath.Ext(path) != ".md" {
			continue
		}
		for _, m := range regexp.MustCompile(`\]\(([^):#\s]*)(#[^)\s]*)?\)`).FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(path), m[1])
			if m[1] == "" {
				target = path
			}
			if _, err := os.Stat(filepath.Join("..", "..", target)); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: there is no %s", path, target)
				continue
			}
			if m[2] == "" {
				continue
			}
			headings := regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(read(t, target), -1)
			if !slices.ContainsFunc(headings, func(h []string) bool {
				return "#"+strings.ReplaceAll(strings.ToLower(regexp.MustCompile(`[^\w\s-]`).ReplaceAllString(h[1], "")), " ", "-") == m[2]
			}) {
				t.Errorf("%s: %s has no heading %s", path, target, m[2])
			}
		}
	}
}
