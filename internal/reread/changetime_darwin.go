package reread

import (
	"os"
	"syscall"
	"time"
)

// ChangeTime returns when a file's content or metadata last changed (ctime).
func ChangeTime(info os.FileInfo) time.Time {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(s.Ctimespec.Unix())
	}
	return time.Time{}
}
