package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// packageRow is a row of the floor plan: | `package` | purpose | `import`, `import` |
var packageRow = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| [^|]+ \\| ([^|]*) \\|$")

// TestFloorPlan compares the floor plan in docs/architecture.md with the imports of the source.
// Every package has a row that lists its imports, and all of these are in rows below.
func TestFloorPlan(t *testing.T) {
	imports := sourceImports(t)
	rows := map[string]int{}
	table := packageRow.FindAllStringSubmatch(read(t, "docs/architecture.md"), -1)
	for n, row := range table {
		rows[row[1]] = n
	}
	for name := range imports {
		if _, ok := rows[name]; !ok {
			t.Errorf("docs/architecture.md has no row for package %s", name)
		}
	}
	for n, row := range table {
		name := row[1]
		got, ok := imports[name]
		if !ok {
			t.Errorf("docs/architecture.md has a row for %s, which is not a package", name)
			continue
		}
		var want []string
		for _, m := range matches("`([a-z0-9/]+)`", row[2]) {
			want = append(want, m[1])
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("imports of %s = %q, but docs/architecture.md has %q", name, got, want)
		}
		for _, imported := range got {
			if rows[imported] <= n {
				t.Errorf("%s imports %s, which is not in a row below it", name, imported)
			}
		}
	}
}

// sourceImports returns the module's packages with the packages of the module that each imports,
// sorted. It ignores tests and the folder test/.
func sourceImports(t *testing.T) map[string][]string {
	t.Helper()
	const module = "s3redirect/"
	root := filepath.Join("..", "..")
	imports := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			hidden := name != "." && strings.HasPrefix(name, ".")
			if hidden || name == "test" || entry.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if _, ok := imports[dir]; !ok {
			imports[dir] = nil
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			ours, ok := strings.CutPrefix(imported, module)
			if ok && !slices.Contains(imports[dir], ours) {
				imports[dir] = append(imports[dir], ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range imports {
		slices.Sort(list)
	}
	if len(imports) < 10 {
		t.Fatalf("found %d packages, want at least 10", len(imports))
	}
	return imports
}
