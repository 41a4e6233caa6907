package check

import (
	"fmt"
	"io"
	"strings"
)

// Table writes steps for people to read, an integration below the other.
type Table struct {
	w         io.Writer
	colour    bool
	textWidth int
	last      string
}

// The widths of the columns, and of what is written to their right: as much as there is room for, within bounds.
const (
	verdictWidth          = 9
	nameWidth             = 14
	marginWidth           = 2 + verdictWidth + nameWidth
	leastWidth, mostWidth = 30, 96
)

// NewTable makes a table. Colour is for terminals, and so are the columns that there are; 0 is many.
func NewTable(w io.Writer, colour bool, columns int) *Table {
	width := mostWidth
	if columns > 0 {
		width = min(max(leastWidth, columns-marginWidth), mostWidth)
	}
	return &Table{w: w, colour: colour, textWidth: width}
}

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
	margin := strings.Repeat(" ", marginWidth)
	fmt.Fprintf(t.w, "  %s%-*s%s\n", verdict, nameWidth, s.Name, wrap(s.Reason, margin, t.textWidth))
	if s.Remedy != "" {
		fmt.Fprintf(t.w, "%s%s\n", margin, wrap("→ "+s.Remedy, margin+"  ", t.textWidth-2))
	}
}

// wrap breaks a text into lines, at its blanks.
func wrap(text, margin string, most int) string {
	var b strings.Builder
	width := 0
	for n, word := range strings.Fields(text) {
		length := len([]rune(word))
		switch {
		case n == 0:
		case width+1+length > most:
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
