package main

import (
	"io"
	"os"

	"s3redirect/internal/check"
)

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// newTable returns a table for the steps of a check. On a terminal it is as wide as the terminal and coloured, unless
// NO_COLOR is set (https://no-color.org).
func newTable(w io.Writer) *check.Table {
	if !isTerminal(w) {
		return check.NewTable(w, false, 0)
	}
	return check.NewTable(w, os.Getenv("NO_COLOR") == "", columnsOf(w.(*os.File)))
}
