package config

import (
	"fmt"
	"strings"
)

// Error is one mistake in a configuration. It contains a value only if the value's key is known and
// not a secret: anything else could be a mistyped secret.
type Error struct {
	File    string
	Line    int    // from 1; 0 is the file as a whole
	Column  int    // from 1; 0 where the key says enough
	Key     string // as in integrations[0].region; "" is the file as a whole
	Problem string // what is wrong, and what to do
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Column > 0 {
		fmt.Fprintf(&b, ":%d", e.Column)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	return b.String() + ": " + e.Problem
}

// Errors are all mistakes of a configuration, ordered by file and line. Its text has one line for
// each.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}
