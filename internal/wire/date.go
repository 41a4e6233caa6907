package wire

import (
	"net/http"
	"sync/atomic"
	"time"
)

// dates formats the time for Date fields. It keeps the text of the current second.
type dates struct{ last atomic.Pointer[date] }

type date struct {
	second int64 // in Unix time
	text   string
}

// append appends a time in the format of HTTP (RFC 9110, section 5.6.7).
func (d *dates) append(dst []byte, now time.Time) []byte {
	second := now.Unix()
	last := d.last.Load()
	if last == nil || last.second != second {
		last = &date{second: second, text: now.UTC().Format(http.TimeFormat)}
		d.last.Store(last)
	}
	return append(dst, last.text...)
}
