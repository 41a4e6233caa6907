package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// TestStoreRecipes loads the configuration of each page of docs/stores. Each page also has 20 to 50
// lines, addresses of its sources, and a row in the README.
func TestStoreRecipes(t *testing.T) {
	paths, err := filepath.Glob("../../docs/stores/*.md")
	if err != nil || len(paths) < 11 {
		t.Fatalf("Glob returned %d pages, error %v, want at least 11", len(paths), err)
	}
	index := read(t, "docs/stores/README.md")
	for _, path := range paths {
		name := filepath.Base(path)
		if name == "README.md" {
			continue
		}
		page := read(t, "docs/stores/"+name)
		if lines := strings.Count(page, "\n"); lines < 20 || lines > 50 {
			t.Errorf("%s has %d lines, want 20 to 50", name, lines)
		}
		if !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/stores/README.md has no link to %s", name)
		}
		_, sources, _ := strings.Cut(page, "## Sources\n")
		if strings.Count(sources, "- <https://") < 2 {
			t.Errorf("%s has no list of at least two sources", name)
		}
		blocks := matches("(?s)```yaml\n(.*?)```", page)
		if len(blocks) != 1 {
			t.Errorf("%s has %d blocks of YAML, want 1", name, len(blocks))
			continue
		}
		if err := loadRecipe(blocks[0][1]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// loadRecipe loads the integrations of a page. The variables in them have values. It returns an
// error if there is a warning, or if the keys are not in variables.
func loadRecipe(text string) error {
	text = "listen: 127.0.0.1:8080\nviewers: {anonymous: true}\n" + text
	used := map[string]bool{}
	c, err := config.Parse("config.yaml", []byte(text), func(name string) (string, bool) {
		used[name] = true
		return "value-of-" + strings.ToLower(name), true
	})
	if err != nil {
		return err
	}
	if len(c.Warnings) > 0 {
		return fmt.Errorf("warnings: %q, want none", c.Warnings)
	}
	if len(c.Integrations) != 1 || c.Integrations[0].Endpoint == "" || len(used) != 2 {
		return fmt.Errorf("%d integrations and %d variables, want 1 with an endpoint and 2",
			len(c.Integrations), len(used))
	}
	return nil
}
