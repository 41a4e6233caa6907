package check

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var plain, colored strings.Builder
	for _, table := range []*Table{NewTable(&plain, false, 0), NewTable(&colored, true, 200)} {
		table.Add(Step{Name: "configuration", Verdict: OK, Reason: "loaded"})
		table.Add(Step{
			Integration: "lab",
			Name:        "get",
			Verdict:     Failed,
			Reason:      strings.Repeat("word ", 30),
			Remedy:      "Fix it.",
		})
	}
	words := func(n int) string { return strings.TrimSpace(strings.Repeat("word ", n)) }
	margin := strings.Repeat(" ", 25)
	want := "  ok       configuration loaded\n" +
		"\nlab\n" +
		"  failed   get           " + words(19) + "\n" +
		margin + words(11) + "\n" +
		margin + "→ Fix it.\n"
	if got := plain.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const red = "\x1b[1;31mfailed   \x1b[0m"
	if got := colored.String(); !strings.Contains(got, red) {
		t.Errorf("got %q, want %q in it", got, red)
	}
}

// TestNarrowTable checks that lines fit on a narrow terminal.
func TestNarrowTable(t *testing.T) {
	for _, columns := range []int{1, 60, 80, 100, 120, 1000} {
		var text strings.Builder
		NewTable(&text, false, columns).Add(Step{
			Integration: "lab",
			Name:        "get",
			Verdict:     Failed,
			Reason:      strings.Repeat("word ", 60),
			Remedy:      strings.Repeat("fix ", 60),
		})
		want := min(max(columns, marginWidth+minWidth), marginWidth+maxWidth)
		for line := range strings.Lines(text.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > want {
				t.Errorf("%d columns: line with %d characters, want %d at most", columns, n, want)
			}
		}
	}
}
