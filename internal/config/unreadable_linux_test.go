package config

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asUnprivilegedUser runs f in a thread whose file accesses are those of an unprivileged user, if
// the test runs as root, which may read every file.
func asUnprivilegedUser(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is not unlocked, so it ends with the goroutine and its user ID with it.
		runtime.LockOSThread()
		if err := unix.Setfsuid(nobody); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestReadReportsAnUnreadableFile(t *testing.T) {
	f := newFolder(t, map[string]string{
		"config.yaml":           includeHead,
		"integrations.d/a.yaml": keyed("one", "bucket-one"),
	})
	for dir := f.path; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{
		"config.yaml": 0o644, "integrations.d": 0o755, "integrations.d/a.yaml": 0,
	} {
		if err := os.Chmod(filepath.Join(f.path, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	want := "integrations.d/a.yaml: permission denied; let the user that runs s3redirect read it"
	asUnprivilegedUser(t, func() {
		if got := f.load(); got != want {
			t.Errorf("load() = %s, want %s", got, want)
		}
	})
}
