package main

import (
	"io"
	"os"

	"s3redirect/internal/check"
)

// isTerminal tells whether somebody is looking.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// newTable is a table of what was checked, as wide as the terminal, and with colour unless NO_COLOR says no.
func newTable(w io.Writer) *check.Table {
	if !isTerminal(w) {
		return check.NewTable(w, false, 0)
	}
	return check.NewTable(w, os.Getenv("NO_COLOR") == "", columnsOf(w.(*os.File)))
}
