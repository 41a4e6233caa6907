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
	// A line is written accessLogDelay after it was added, or as soon as accessLogBatch bytes are
	// waiting.
	accessLogDelay = 200 * time.Millisecond
	accessLogBatch = 64 << 10
	// maxAccessLog bounds the bytes that wait for a slow writer. Requests do not wait: lines beyond
	// the bound are dropped and counted.
	maxAccessLog = 4 << 20
)

// AccessLog writes a line per request. It writes lines in batches, because a write per line would
// cost more than the redirect. Create one with [NewAccessLog].
type AccessLog struct {
	text bool
	out  io.Writer
	log  *slog.Logger
	lost prometheus.Counter

	mu      sync.Mutex // guards the fields below
	pending []byte     // lines to write
	dropped int        // lines lost since the last write
	closed  bool

	first chan struct{} // pending is not empty any more
	full  chan struct{} // pending has reached accessLogBatch
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when run has returned
}

// NewAccessLog returns an access log that writes to out. The format is json or text, as for log. If
// out is too slow, lines are dropped: lost counts them, and log gets a warning. The caller must
// call Close, which writes the pending lines.
func NewAccessLog(
	out io.Writer, format string, log *slog.Logger, lost prometheus.Counter,
) *AccessLog {
	a := &AccessLog{
		text:    format == "text",
		out:     out,
		log:     log,
		lost:    lost,
		pending: make([]byte, 0, 2*accessLogBatch),
		first:   make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go a.run()
	return a
}

// Close writes the pending lines and stops the log. Lines added later are dropped. Close may be
// called more than once.
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

// add adds a copy of a line.
func (a *AccessLog) add(line []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending)+len(line) > maxAccessLog || a.closed {
		a.dropped++
		return
	}
	if len(a.pending) == 0 {
		wake(a.first)
	}
	a.pending = append(a.pending, line...)
	if len(a.pending) >= accessLogBatch {
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

// write writes the pending lines. New lines are collected in spare meanwhile. write returns the
// written buffer, which is the spare of the next call.
func (a *AccessLog) write(spare []byte) []byte {
	a.mu.Lock()
	lines, dropped := a.pending, a.dropped
	a.pending, a.dropped = spare[:0], 0
	a.mu.Unlock()
	if len(lines) > 0 {
		if _, err := a.out.Write(lines); err != nil {
			a.log.Error("cannot write the access log", "error", err.Error())
		}
	}
	if dropped > 0 {
		a.lost.Add(float64(dropped))
		a.log.Warn("the access log cannot keep up and dropped lines; "+
			"write it to a faster device, or switch it off", "lost", dropped)
	}
	return lines
}

// line appends the line of an exchange to b. The line has slog's format, and is built by hand
// because that takes a quarter of slog's time.
func (a *AccessLog) line(
	b []byte, x *exchange, gate *viewer.Gate, elapsed time.Duration,
) []byte {
	if a.text {
		b = x.now.AppendFormat(append(b, "time="...), time.RFC3339Nano)
		b = append(b, " level=INFO msg=request remote="...)
		b = strconv.AppendQuote(append(gate.AppendRemote(b, &x.Request), " viewer="...), x.viewer.ID)
		b = append(append(append(b, " method="...), loggedMethod(x.method)...), " bucket="...)
		b = append(append(b, x.locator.Bucket...), " key="...)
		b = append(strconv.AppendQuote(b, x.locator.Key), " status="...)
		b = append(strconv.AppendInt(b, int64(x.status), 10), " hit="...)
		b = append(strconv.AppendBool(b, x.hit), " microseconds="...)
		return append(strconv.AppendInt(b, elapsed.Microseconds(), 10), '\n')
	}
	b = x.now.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
	b = append(b, `","level":"INFO","msg":"request","remote":"`...)
	b = appendJSON(append(gate.AppendRemote(b, &x.Request), `","viewer":"`...), x.viewer.ID)
	b = append(append(append(b, `","method":"`...), loggedMethod(x.method)...), `","bucket":"`...)
	b = append(append(b, x.locator.Bucket...), `","key":"`...)
	b = append(appendJSON(b, x.locator.Key), `","status":`...)
	b = append(strconv.AppendInt(b, int64(x.status), 10), `,"hit":`...)
	b = append(strconv.AppendBool(b, x.hit), `,"microseconds":`...)
	return append(strconv.AppendInt(b, elapsed.Microseconds(), 10), "}\n"...)
}

// loggedMethod returns the method of a request as it is logged: net/http does not check the methods
// of HTTP/2 requests, so one could hold quotes or line breaks.
func loggedMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions:
		return method
	}
	return "other"
}

// appendJSON appends a key or a viewer's ID with JSON's escapes (RFC 8259, section 7). Both are
// valid UTF-8. It also escapes the control characters that JSON allows, U+007F to U+009F, because
// terminals interpret them. UTF-8 encodes U+0080 to U+009F as C2 80 to C2 9F.
func appendJSON(b []byte, text string) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == 0xc2 && i+1 < len(text) && text[i+1] < 0xa0 {
			i++
			c = text[i]
		} else if c >= 0x20 && c != 0x7f {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
			continue
		}
		b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return b
}
