package main

import (
	"os"
	"strings"
	"testing"
)

// The table of docs/deployment.md is what the simulation says.
func TestFleetTable(t *testing.T) {
	var table strings.Builder
	if err := fleet(&table); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/deployment.md does not hold\n%s", table.String())
	}
}
