package reread

import (
	"os"
	"syscall"
	"time"
)

// changeTime returns when a file's content or metadata last changed (ctime).
func changeTime(info os.FileInfo) time.Time {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(s.Ctimespec.Unix())
	}
	return time.Time{}
}
