package check

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var plain, coloured strings.Builder
	for _, table := range []*Table{NewTable(&plain, false, 0), NewTable(&coloured, true, 200)} {
		table.Add(Step{Name: "configuration", Verdict: OK, Reason: "it loads"})
		table.Add(Step{Integration: "lab", Name: "get", Verdict: Failed, Reason: strings.Repeat("word ", 30), Remedy: "Mend it."})
	}
	const margin = "                         "
	want := "  ok       configuration it loads\n\nlab\n  failed   get           " + strings.TrimSpace(strings.Repeat("word ", 19)) + "\n" + margin + strings.TrimSpace(strings.Repeat("word ", 11)) + "\n" + margin + "→ Mend it.\n"
	if plain.String() != want {
		t.Errorf("got\n%s\nwant\n%s", plain.String(), want)
	}
	if got := coloured.String(); !strings.Contains(got, "\x1b[1;31mfailed   \x1b[0m") {
		t.Errorf("%q", got)
	}
}

// On a narrow terminal lines end before its edge does.
func TestNarrowTable(t *testing.T) {
	for _, columns := range []int{1, 60, 80, 100, 120, 1000} {
		var text strings.Builder
		NewTable(&text, false, columns).Add(Step{Integration: "lab", Name: "get", Verdict: Failed, Reason: strings.Repeat("word ", 60), Remedy: strings.Repeat("mend ", 60)})
		for line := range strings.Lines(text.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > max(columns, marginWidth+leastWidth) || n > marginWidth+mostWidth {
				t.Errorf("%d columns, and a line of %d", columns, n)
			}
		}
	}
}
