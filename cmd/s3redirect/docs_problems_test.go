package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// problemCodes returns the codes of the problems in the source.
func problemCodes(t *testing.T) map[string]bool {
	t.Helper()
	codes := map[string]bool{}
	for pair := range problems(t) {
		_, code, _ := strings.Cut(pair, " ")
		codes[code] = true
	}
	return codes
}

// problems returns the status and code of each problem in the source, such as "404 not_found".
func problems(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("../../proxy/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d files of package proxy: %v", len(files), err)
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

// problemOf returns the status and code of the problem that an expression makes: a call such as
// newProblem(http.StatusNotFound, "not_found", …), or a composite literal.
func problemOf(n ast.Node) (status, code string, ok bool) {
	switch made := n.(type) {
	case *ast.CallExpr:
		name, _ := made.Fun.(*ast.Ident)
		if name == nil || name.Name != "newProblem" {
			return "", "", false
		}
		return statusOf(made.Args[0]), literalOf(made.Args[1]), true
	case *ast.CompositeLit:
		for _, e := range made.Elts {
			pair, _ := e.(*ast.KeyValueExpr)
			if pair == nil {
				continue
			}
			switch field, _ := pair.Key.(*ast.Ident); {
			case field == nil:
			case field.Name == "Status":
				status = literalOf(pair.Value)
			case field.Name == "Code":
				code = literalOf(pair.Value)
			}
		}
	}
	return status, code, status != "" && code != ""
}

// literalOf returns the value of a literal without its quotes, or "".
func literalOf(e ast.Expr) string {
	literal, _ := e.(*ast.BasicLit)
	if literal == nil {
		return ""
	}
	return strings.Trim(literal.Value, `"`)
}

// statusOf returns the value of a constant such as http.StatusNotFound, or "?".
func statusOf(e ast.Expr) string {
	constant, _ := e.(*ast.SelectorExpr)
	squeeze := strings.NewReplacer(" ", "", "-", "")
	for n := 400; n < 600 && constant != nil; n++ {
		if constant.Sel.Name == "Status"+squeeze.Replace(http.StatusText(n)) {
			return strconv.Itoa(n)
		}
	}
	return "?"
}

// TestDocumentedProblems compares the tables of problems with the source. docs/http.md must have
// all problems.
func TestDocumentedProblems(t *testing.T) {
	made, documented := problems(t), map[string]bool{}
	for _, path := range []string{"docs/http.md", "docs/viewers.md"} {
		text := read(t, path)
		for _, m := range matches("(?m)(?:^\\| |\\b)(\\d{3})(?: \\| |, | \\()`(\\w+)`", text) {
			pair := m[1] + " " + m[2]
			if !made[pair] {
				t.Errorf("%s has the problem %s, which the source lacks", path, pair)
			}
			documented[pair] = documented[pair] || path == "docs/http.md"
		}
	}
	for pair := range made {
		if !documented[pair] {
			t.Errorf("docs/http.md lacks the problem %s", pair)
		}
	}
	if len(made) < 15 {
		t.Errorf("found %d problems, want at least 15", len(made))
	}
}
