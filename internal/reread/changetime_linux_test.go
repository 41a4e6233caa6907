package reread

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file that is written in place, with the same size and modification time, has another change
// time.
func TestRewrittenFile(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) time.Time {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now, now); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return ChangeTime(info)
	}
	old := write("old")
	v := newFileValue(t, file, func() time.Time { return now })
	for write("new").Equal(old) { // the kernel's clock has ticks of a few milliseconds
	}
	now = now.Add(Every)
	if got := v.Get(); got != "new" {
		t.Errorf("Get() = %q, want new", got)
	}
}
