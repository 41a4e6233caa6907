package main

import (
	"go/format"
	"os"
	"testing"
)

// A line that has moved is found when it moves, not when the mutants are next tried.
func TestMutantsAreInStep(t *testing.T) {
	t.Chdir("../..")
	names := map[string]bool{}
	for _, m := range mutants {
		text, err := m.text()
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if _, err := format.Source([]byte(text)); err != nil {
			t.Errorf("%s is no Go: %v", m.name, err)
		}
		if names[m.name] || len(m.packages) == 0 {
			t.Errorf("%s: the name is taken, or it names no tests", m.name)
		}
		names[m.name] = true
		for _, p := range m.packages {
			if info, err := os.Stat(p); err != nil || !info.IsDir() {
				t.Errorf("%s: there is no package %s", m.name, p)
			}
		}
	}
	if len(names) < 15 {
		t.Errorf("%d lines are named", len(names))
	}
}
