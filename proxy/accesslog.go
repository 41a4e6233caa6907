package proxy

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// maxUserAgent bounds the bytes of a User-Agent that are logged.
const maxUserAgent = 256

// AccessLog writes a line per request. Create one with [NewAccessLog].
type AccessLog struct {
	*lineLog
	format string
}

// NewAccessLog returns an access log that writes to out. The format is json or text, as for log, or
// combined, which is Apache's. If out is too slow or fails, lines are dropped: lost counts them, and
// log gets a warning. The caller must call Close, which writes the pending lines.
func NewAccessLog(
	out io.Writer, format string, log *slog.Logger, lost prometheus.Counter,
) *AccessLog {
	return &AccessLog{newLineLog("access log", slog.LevelWarn, out, log, lost), format}
}

// line appends the line of an exchange to b. The lines of the formats json and text have slog's
// format, and are built by hand because that takes a quarter of slog's time.
func (a *AccessLog) line(
	b []byte, x *exchange, gate *viewer.Gate, elapsed time.Duration,
) []byte {
	switch a.format {
	case "combined":
		return combinedLine(b, x, gate)
	case "text":
		return textLine(b, x, gate, elapsed)
	}
	return jsonLine(b, x, gate, elapsed)
}

func textLine(b []byte, x *exchange, gate *viewer.Gate, elapsed time.Duration) []byte {
	b = x.now.AppendFormat(append(b, "time="...), time.RFC3339Nano)
	b = append(b, " level=INFO msg=request remote="...)
	b = strconv.AppendQuote(append(gate.AppendRemote(b, &x.Request), " viewer="...), x.viewer.ID)
	b = append(append(append(b, " method="...), loggedMethod(x.method)...), " bucket="...)
	b = append(append(b, x.locator.Bucket...), " key="...)
	b = append(strconv.AppendQuote(b, x.locator.Key), " status="...)
	b = append(strconv.AppendInt(b, int64(x.status), 10), " hit="...)
	b = append(strconv.AppendBool(b, x.hit), " microseconds="...)
	b = append(strconv.AppendInt(b, elapsed.Microseconds(), 10), " integration="...)
	b = append(append(b, x.counts.Name()...), ` request_id="`...)
	b = append(x.id.append(b), '"')
	if id, _ := traceOf(x.Header); id != "" {
		b = append(append(b, " trace_id="...), id...)
	}
	return append(strconv.AppendQuote(append(b, " user_agent="...), userAgent(x)), '\n')
}

func jsonLine(b []byte, x *exchange, gate *viewer.Gate, elapsed time.Duration) []byte {
	b = x.now.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
	b = append(b, `","level":"INFO","msg":"request","remote":"`...)
	b = appendJSON(append(gate.AppendRemote(b, &x.Request), `","viewer":"`...), x.viewer.ID)
	b = append(append(append(b, `","method":"`...), loggedMethod(x.method)...), `","bucket":"`...)
	b = append(append(b, x.locator.Bucket...), `","key":"`...)
	b = append(appendJSON(b, x.locator.Key), `","status":`...)
	b = append(strconv.AppendInt(b, int64(x.status), 10), `,"hit":`...)
	b = append(strconv.AppendBool(b, x.hit), `,"microseconds":`...)
	b = append(strconv.AppendInt(b, elapsed.Microseconds(), 10), `,"integration":"`...)
	b = append(append(b, x.counts.Name()...), `","request_id":"`...)
	b = x.id.append(b)
	if id, _ := traceOf(x.Header); id != "" {
		b = append(append(b, `","trace_id":"`...), id...)
	}
	return append(appendJSON(append(b, `","user_agent":"`...), userAgent(x)), "\"}\n"...)
}

// combinedLine appends a line in Apache's combined format. The request line is rebuilt from what was
// understood of it, and the Referer is always "-": both can hold secrets, such as signed links.
// https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#examples
func combinedLine(b []byte, x *exchange, gate *viewer.Gate) []byte {
	b = append(gate.AppendClient(b, &x.Request), " - "...)
	b = appendApacheWord(b, x.viewer.ID)
	b = x.now.AppendFormat(append(b, " ["...), "02/Jan/2006:15:04:05 -0700")
	b = append(append(append(b, `] "`...), loggedMethod(x.method)...), ' ')
	switch {
	case x.locator != locator.Locator{}:
		if strings.HasPrefix(x.path, pathAuthorize) {
			b = append(b, pathAuthorize...)
		}
		b = x.locator.AppendPath(b)
	case x.path == pathPresign || x.path == pathLink:
		b = append(b, x.path...)
	default:
		b = append(b, '-')
	}
	b = append(appendApache(append(b, ' '), x.proto), `" `...)
	b = append(strconv.AppendInt(b, int64(x.status), 10), ' ')
	if x.sent == 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, x.sent, 10)
	}
	return append(appendApache(append(b, ` "-" "`...), userAgent(x)), "\"\n"...)
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

// userAgent returns the beginning of a request's User-Agent. It may be any bytes.
func userAgent(x *exchange) string {
	values := x.Header.Values("User-Agent")
	if len(values) == 0 {
		return ""
	}
	return values[0][:min(len(values[0]), maxUserAgent)]
}
