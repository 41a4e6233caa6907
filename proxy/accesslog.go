package proxy

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"s3redirect/internal/viewer"
)

const (
	// A line waits for company, but not for long.
	accessLogDelay = 200 * time.Millisecond
	accessLogBatch = 64 << 10
	// accessLogRoom is how many bytes may wait for a writer that is slow. Beyond, lines are lost, and counted: viewers do not wait.
	accessLogRoom = 4 << 20
)

// AccessLog writes a line per request, many at a time: a write each would cost more than the redirects. Make it with
// [NewAccessLog].
type AccessLog struct {
	text bool
	out  io.Writer
	log  *slog.Logger
	lost prometheus.Counter

	mu      sync.Mutex
	waiting []byte
	behind  int // lines lost since the last write
	closed  bool

	first, full, stop chan struct{}
	done              chan struct{}
}

// NewAccessLog makes an access log that writes to out, in log's format json or text. What is lost because out is slow is
// told to the log, and counted. Close writes what still waits.
func NewAccessLog(out io.Writer, format string, log *slog.Logger, lost prometheus.Counter) *AccessLog {
	a := &AccessLog{
		text: format == "text", out: out, log: log, lost: lost, waiting: make([]byte, 0, 2*accessLogBatch),
		first: make(chan struct{}, 1), full: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go a.run()
	return a
}

// Close writes what waits, and ends. Lines that come later are lost.
func (a *AccessLog) Close() {
	a.mu.Lock()
	again := a.closed
	a.closed = true
	a.mu.Unlock()
	if !again {
		close(a.stop)
	}
	<-a.done
}

// add takes a line, which it copies.
func (a *AccessLog) add(line []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting)+len(line) > accessLogRoom || a.closed {
		a.behind++
		return
	}
	if len(a.waiting) == 0 {
		wake(a.first)
	}
	a.waiting = append(a.waiting, line...)
	if len(a.waiting) >= accessLogBatch {
		wake(a.full)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (a *AccessLog) run() {
	defer close(a.done)
	var spare []byte
	for stopped := false; !stopped; {
		select {
		case <-a.first:
		case <-a.stop:
		}
		timer := time.NewTimer(accessLogDelay)
		select {
		case <-a.full:
		case <-timer.C:
		case <-a.stop:
			stopped = true
		}
		timer.Stop()
		spare = a.write(spare)
	}
}

// write writes what waits. It returns the buffer for the time after next.
func (a *AccessLog) write(spare []byte) []byte {
	a.mu.Lock()
	lines, behind := a.waiting, a.behind
	a.waiting, a.behind = spare[:0], 0
	a.mu.Unlock()
	if len(lines) > 0 {
		if _, err := a.out.Write(lines); err != nil {
			a.log.Error("the access log cannot be written", "error", err.Error())
		}
	}
	if behind > 0 {
		a.lost.Add(float64(behind))
		a.log.Warn("the access log cannot keep up: lines are lost; give it a faster place, or switch it off", "lost", behind)
	}
	return lines
}

// line appends an exchange as the log has it: in slog's own form, built by hand because that takes a quarter of the time.
func (a *AccessLog) line(b []byte, x *exchange, gate *viewer.Gate, r *http.Request, took time.Duration) []byte {
	if a.text {
		b = append(x.now.AppendFormat(append(b, "time="...), time.RFC3339Nano), " level=INFO msg=request remote="...)
		b = strconv.AppendQuote(append(gate.AppendRemote(b, r), " viewer="...), x.viewer.ID)
		b = append(append(append(b, " method="...), r.Method...), " bucket="...)
		b = append(append(b, x.locator.Bucket...), " key="...)
		b = append(strconv.AppendQuote(b, x.locator.Key), " status="...)
		b = append(strconv.AppendInt(b, int64(x.status), 10), " hit="...)
		b = append(strconv.AppendBool(b, x.hit), " microseconds="...)
		return append(strconv.AppendInt(b, took.Microseconds(), 10), '\n')
	}
	b = append(x.now.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano), `","level":"INFO","msg":"request","remote":"`...)
	b = appendJSON(append(gate.AppendRemote(b, r), `","viewer":"`...), x.viewer.ID)
	b = append(append(append(b, `","method":"`...), r.Method...), `","bucket":"`...)
	b = append(append(b, x.locator.Bucket...), `","key":"`...)
	b = append(appendJSON(b, x.locator.Key), `","status":`...)
	b = append(strconv.AppendInt(b, int64(x.status), 10), `,"hit":`...)
	b = append(strconv.AppendBool(b, x.hit), `,"microseconds":`...)
	return append(strconv.AppendInt(b, took.Microseconds(), 10), "}\n"...)
}

// appendJSON appends a key or a viewer as it stands in a JSON string: it is UTF-8 without control characters (RFC 8259, section 7).
func appendJSON(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, text[i])
	}
	return b
}
