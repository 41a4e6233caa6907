package app

import (
	"os"
	"strings"
	"testing"
)

// A file that cannot be read any more is logged once, not at each poll, and shows in the metric
// until it is back.
func TestUnreadableConfigIsReportedOnce(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed":     func(string) error { return nil },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		a := newTestApp(t)
		a.text = strings.Replace(a.text, "level: warn", "level: info", 1)
		a.reload(a.text)
		last := a.poll(a.poll(nil))
		if err := os.Remove(a.path); err != nil {
			t.Fatal(err)
		}
		if err := replace(a.path); err != nil {
			t.Fatal(err)
		}
		last = a.poll(last)
		a.wantMetric("s3redirect_config_reload_success 1") // it may be between two renames
		for range 3 {
			last = a.poll(last)
		}
		a.wantMetric("s3redirect_config_reload_success 0")
		if got := a.logCount("reload failed"); got != 1 {
			t.Errorf("%s: %d errors are logged, want 1: %s", name, got, a.log)
		}
		if err := os.Remove(a.path); err != nil && name != "removed" {
			t.Fatal(err)
		}
		a.write(a.text)
		a.poll(a.poll(last))
		a.wantMetric("s3redirect_config_reload_success 1")
		if got := a.logCount("msg=reloaded"); got != 2 {
			t.Errorf("%s: %d reloads are logged, want 2: %s", name, got, a.log)
		}
	}
}

func TestReloadSaysThatNothingChanged(t *testing.T) {
	a := newTestApp(t)
	a.text = strings.Replace(a.text, "level: warn", "level: info", 1)
	a.reload(a.text)
	for n, text := range []string{a.text, a.text + "# changed\n", a.text + "# changed\n"} {
		a.reload(text)
		if got, want := a.logCount("the configuration is unchanged"), []int{1, 1, 2}[n]; got != want {
			t.Errorf("reload %d: %d lines say unchanged, want %d", n, got, want)
		}
	}
}

func TestIsMountPoint(t *testing.T) {
	const mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n" +
		"2 1 8:1 /home/x.yaml /etc/s3redirect/config.yaml ro - ext4 /dev/sda1 rw\n" +
		"3 1 8:1 /y /etc/with\\040blank.yaml ro - ext4 /dev/sda1 rw\n"
	for path, want := range map[string]bool{
		"/etc/s3redirect/config.yaml": true, "/etc/s3redirect/../s3redirect/config.yaml": true,
		"/etc/with blank.yaml": true, "/etc/s3redirect": false, "/etc/other.yaml": false,
	} {
		if got := isMountPoint([]byte(mounts), path); got != want {
			t.Errorf("isMountPoint(%q) = %v, want %v", path, got, want)
		}
	}
}
