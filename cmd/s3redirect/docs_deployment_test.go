package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"gopkg.in/yaml.v3"
)

// deploymentPages returns the pages of docs/deployment by their names.
func deploymentPages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for path, text := range pages(t) {
		if name, ok := strings.CutPrefix(path, "docs/deployment/"); ok {
			all[name] = text
		}
	}
	if len(all) < 8 {
		t.Fatalf("docs/deployment has the pages %v, want at least 8", slices.Sorted(maps.Keys(all)))
	}
	return all
}

// blocks returns the code blocks of a page in a language.
func blocks(page, language string) (all []string) {
	for _, m := range matches("(?s)```"+language+"\n(.*?)```", page) {
		all = append(all, m[1])
	}
	return all
}

// completed returns a configuration with what it lacks, so that it can be loaded.
func completed(text, dir string) string {
	for key, value := range map[string]string{
		"listen":       "127.0.0.1:8080",
		"viewers":      "{anonymous: true}",
		"integrations": "[{name: a, bucket: aaa, region: us-east-1, role_arn: 'arn:aws:iam::123456789012:role/r'}]",
	} {
		if !strings.Contains("\n"+text, "\n"+key+":") {
			text += "\n" + key + ": " + value + "\n"
		}
	}
	return strings.ReplaceAll(text, "/run/secrets", dir)
}

// checkLoads checks that check --offline accepts a configuration.
func checkLoads(t *testing.T, name, text string) {
	t.Helper()
	dir := t.TempDir()
	for file, secret := range map[string]string{
		"redis": "secret", "admin-token": strings.Repeat("t", 40),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	t.Setenv("ADMIN_TOKEN", strings.Repeat("t", 40))
	t.Setenv("FLEET_KEY", "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=")
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(completed(text, dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := running("check", "--offline", "--config", path); code != 0 {
		t.Errorf("%s: check --offline = %d: %s for the configuration\n%s", name, code, stderr, text)
	}
}

// TestDeploymentSnippets checks that the snippets in docs/deployment can be parsed, and that
// check --offline accepts the configurations.
func TestDeploymentSnippets(t *testing.T) {
	count := map[string]int{}
	for name, page := range deploymentPages(t) {
		for _, text := range blocks(page, "yaml") {
			count["yaml"]++
			checkLoads(t, name, text)
		}
		for _, text := range blocks(page, "yml") { // files of other programs
			count["yml"]++
			var value map[string]any
			if err := yaml.Unmarshal([]byte(text), &value); err != nil {
				t.Errorf("%s: %v:\n%s", name, err, text)
			}
		}
		for _, text := range blocks(page, "json") {
			count["json"]++
			if !json.Valid([]byte(text)) {
				t.Errorf("%s: invalid JSON:\n%s", name, text)
			}
		}
		for _, text := range blocks(page, "hcl") {
			count["hcl"]++
			for file, data := range nomadTemplates(t, text) {
				if strings.HasSuffix(file, ".yaml") {
					checkLoads(t, name, data)
				}
			}
		}
	}
	for language, least := range map[string]int{"yaml": 6, "yml": 5, "json": 1, "hcl": 1} {
		if count[language] < least {
			t.Errorf("%d snippets in %s, want at least %d", count[language], language, least)
		}
	}
}

// nomadTemplates returns the data of a Nomad job's templates by their destinations.
func nomadTemplates(t *testing.T, text string) map[string]string {
	t.Helper()
	file, diagnostics := hclsyntax.ParseConfig([]byte(text), "job.nomad.hcl", hcl.InitialPos)
	if diagnostics.HasErrors() {
		t.Fatalf("the job of Nomad: %v", diagnostics)
	}
	all := map[string]string{}
	var visit func(b *hclsyntax.Body)
	visit = func(b *hclsyntax.Body) {
		for _, block := range b.Blocks {
			if block.Type != "template" {
				visit(block.Body)
				continue
			}
			values := map[string]string{}
			for name, a := range block.Body.Attributes {
				value, diagnostics := a.Expr.Value(nil)
				if diagnostics.HasErrors() {
					t.Fatalf("the job of Nomad: %s: %v", name, diagnostics)
				}
				if name == "destination" || name == "data" {
					values[name] = value.AsString()
				}
			}
			all[values["destination"]] = values["data"]
		}
	}
	visit(file.Body.(*hclsyntax.Body))
	if len(all) == 0 {
		t.Error("the job of Nomad has no templates")
	}
	return all
}

// TestCIRecipe checks that the workflow in docs/deployment runs the command in the image that checks
// the configuration folder of the page.
func TestCIRecipe(t *testing.T) {
	page := deploymentPages(t)["README.md"]
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct{ Run string }
		}
	}
	if err := yaml.Unmarshal([]byte(blocks(page, "yml")[0]), &workflow); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, job := range workflow.Jobs {
		for _, step := range job.Steps {
			if step.Run != "" {
				lines = append(lines, step.Run)
			}
		}
	}
	const image = "registry.example.com/s3redirect:0.1.0"
	if len(lines) != 1 {
		t.Fatalf("the workflow runs %q, want one command", lines)
	}
	docker, command, found := strings.Cut(lines[0], " "+image+" ")
	if !found || !strings.Contains(docker, `-v "$PWD/config:/etc/s3redirect:ro"`) {
		t.Fatalf("the workflow runs %q, want the image with the folder config", lines[0])
	}
	dir := t.TempDir()
	text := "admin: {token: '${ADMIN_TOKEN}'}\n" + blocks(page, "yaml")[0]
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	name, value, _ := strings.Cut(matches(`-e (\S+)`, docker)[0][1], "=")
	t.Setenv(name, value)
	args := strings.Fields(strings.ReplaceAll(command, "/etc/s3redirect", dir))
	if code, stdout, stderr := running(args...); code != 0 {
		t.Errorf("%q = %d: %s%s", args, code, stdout, stderr)
	}
	if err := os.WriteFile(path, []byte(text+"unknown: key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := running(args...); code != 2 || !strings.Contains(stderr, "unknown") {
		t.Errorf("with an unknown key: %q = %d: %s, want 2 and the key", args, code, stderr)
	}
}
