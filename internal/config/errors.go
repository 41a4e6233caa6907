package config

import (
	"fmt"
	"strings"
)

// Error is one mistake in a configuration file.
type Error struct {
	File    string
	Line    int    // from 1; 0 is the file as a whole
	Key     string // as in integrations[0].region; "" is the file as a whole
	Problem string // what is wrong, and what to do
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	return b.String() + ": " + e.Problem
}

// Errors are all mistakes of a file, in the order of their lines. As a text they are a line each.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}
