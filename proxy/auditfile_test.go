package proxy

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The file is appended to, and a renamed one is replaced by a new one, without a signal.
func TestAuditFileFollowsItsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenAuditFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if n, err := f.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("Write() = %d, %v, want %d", n, err, len(text))
		}
	}
	write("1\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("2\n")
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o640); err != nil { // as logrotate's create does
		t.Fatal(err)
	}
	write("3\n")
	if err := os.Truncate(path, 0); err != nil { // as its copytruncate does
		t.Fatal(err)
	}
	write("4\n")
	for name, want := range map[string]string{".1": "old\n1\n", ".2": "2\n", "": "4\n"} {
		if got := readText(t, path+name); got != want {
			t.Errorf("audit.log%s has %q, want %q", name, got, want)
		}
	}
	info, err := os.Stat(path + ".2")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file has %v, %v, want mode 0600", info.Mode(), err)
	}
}

// While no file can be opened, nothing is written to the previous one. Afterwards nothing is missing.
func TestAuditFileThatCannotBeReopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "logs")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := OpenAuditFile(filepath.Join(dir, "audit.log"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		log, lost := &lockedBuffer{}, newLostCounter()
		a := NewAuditLog(f, slog.New(slog.NewJSONHandler(log, nil)), lost)
		pause := func() { time.Sleep(2 * lineRetry); synctest.Wait() }
		a.add([]byte("1\n"))
		pause()
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		a.add([]byte("2\n"))
		pause()
		if got := readText(t, filepath.Join(dir+".old", "audit.log")); got != "1\n" {
			t.Errorf("the previous file has %q, want one line", got)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		pause()
		a.Close()
		if got := readText(t, filepath.Join(dir, "audit.log")); got != "2\n" {
			t.Errorf("the new file has %q, want the second line", got)
		}
		if testutil.ToFloat64(lost) != 0 || !strings.Contains(log.String(), "cannot write the audit log") ||
			strings.Contains(log.String(), dir) {
			t.Errorf("lost %v, log %s, want 0 and an error without the path", testutil.ToFloat64(lost), log)
		}
	})
}

// CheckAuditFile agrees with OpenAuditFile, and leaves nothing behind.
func TestCheckAuditFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "existing"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"new": true, "existing": true, "sub": false, "missing/new": false, "existing/new": false,
	} {
		path := filepath.Join(dir, name)
		err := CheckAuditFile(path)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("CheckAuditFile(%s) = %v, want success: %v, without the path", name, err, ok)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Errorf("after CheckAuditFile(%s): %v, %v, want two files", name, entries, err)
		}
		f, err := OpenAuditFile(path)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("OpenAuditFile(%s) = %v, want success: %v, without the path", name, err, ok)
		}
		if err == nil {
			_ = f.Close()
		}
		_ = os.Remove(filepath.Join(dir, "new"))
	}
}
