package check

import (
	"fmt"
	"io"
	"strings"
)

// Table writes steps for people to read, an integration below the other.
type Table struct {
	w      io.Writer
	colour bool
	last   string
}

// NewTable makes a table. Colour is for terminals.
func NewTable(w io.Writer, colour bool) *Table { return &Table{w: w, colour: colour} }

// The widths of the columns, and of what is written to their right.
const (
	verdictWidth = 9
	nameWidth    = 14
	textWidth    = 96
)

// The colours of ECMA-48.
var colours = map[Verdict]string{OK: "\x1b[32m", Warning: "\x1b[33m", Failed: "\x1b[1;31m", Skipped: "\x1b[2m"}

// Add writes a step.
func (t *Table) Add(s Step) {
	if s.Integration != t.last {
		fmt.Fprintf(t.w, "\n%s\n", s.Integration)
		t.last = s.Integration
	}
	verdict := fmt.Sprintf("%-*s", verdictWidth, s.Verdict)
	if t.colour {
		verdict = colours[s.Verdict] + verdict + "\x1b[0m"
	}
	margin := strings.Repeat(" ", 2+verdictWidth+nameWidth)
	fmt.Fprintf(t.w, "  %s%-*s%s\n", verdict, nameWidth, s.Name, wrap(s.Reason, margin))
	if s.Remedy != "" {
		fmt.Fprintf(t.w, "%s%s\n", margin, wrap("→ "+s.Remedy, margin+"  "))
	}
}

// wrap breaks a text into lines, at its blanks.
func wrap(text, margin string) string {
	var b strings.Builder
	width := 0
	for n, word := range strings.Fields(text) {
		length := len([]rune(word))
		switch {
		case n == 0:
		case width+1+length > textWidth:
			b.WriteString("\n" + margin)
			width = 0
		default:
			b.WriteString(" ")
			width++
		}
		b.WriteString(word)
		width += length
	}
	return b.String()
}
