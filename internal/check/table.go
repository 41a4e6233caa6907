package check

import (
	"fmt"
	"io"
	"strings"
)

// Table prints steps as a table, grouped by integration.
type Table struct {
	w         io.Writer
	color     bool
	textWidth int
	last      string // the integration of the last step
}

// The widths of the columns. The width of the text in the last column depends on the terminal,
// within bounds.
const (
	verdictWidth = 9
	nameWidth    = 14
	marginWidth  = 2 + verdictWidth + nameWidth
	minWidth     = 30
	maxWidth     = 96
)

// NewTable returns a table that writes to w. Columns is the width of the terminal; 0 means
// unlimited.
func NewTable(w io.Writer, color bool, columns int) *Table {
	width := maxWidth
	if columns > 0 {
		width = min(max(minWidth, columns-marginWidth), maxWidth)
	}
	return &Table{w: w, color: color, textWidth: width}
}

// The escape sequences of ECMA-48 that set the color of a verdict.
var colors = map[Verdict]string{
	OK:      "\x1b[32m",
	Warning: "\x1b[33m",
	Failed:  "\x1b[1;31m",
	Skipped: "\x1b[2m",
}

// Add prints a step.
func (t *Table) Add(s Step) {
	if s.Integration != t.last {
		fmt.Fprintf(t.w, "\n%s\n", s.Integration)
		t.last = s.Integration
	}
	verdict := fmt.Sprintf("%-*s", verdictWidth, s.Verdict)
	if t.color {
		verdict = colors[s.Verdict] + verdict + "\x1b[0m"
	}
	margin := strings.Repeat(" ", marginWidth)
	reason := wrap(s.Reason, margin, t.textWidth)
	fmt.Fprintf(t.w, "  %s%-*s%s\n", verdict, nameWidth, s.Name, reason)
	if s.Remedy != "" {
		remedy := wrap("→ "+s.Remedy, margin+"  ", t.textWidth-2)
		fmt.Fprintf(t.w, "%s%s\n", margin, remedy)
	}
}

// wrap breaks text at spaces into lines of at most width characters. Lines after the first begin
// with margin.
func wrap(text, margin string, width int) string {
	var b strings.Builder
	column := 0
	for n, word := range strings.Fields(text) {
		length := len([]rune(word))
		switch {
		case n == 0:
		case column+1+length > width:
			b.WriteString("\n" + margin)
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += length
	}
	return b.String()
}
