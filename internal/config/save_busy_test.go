package config

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// A file that is a bind mount cannot be replaced by rename.
func TestSaveExplainsBusyFiles(t *testing.T) {
	got := explain("/etc/s3redirect/config.yaml", fmt.Errorf("rename: %w", syscall.EBUSY)).Error()
	if want := "mount its folder /etc/s3redirect instead"; !strings.Contains(got, want) {
		t.Errorf("explain(EBUSY) = %q, want %q", got, want)
	}
}
