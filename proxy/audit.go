package proxy

import (
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"s3redirect/internal/viewer"
)

// The kinds of lines in the audit log.
const (
	auditRedirect = "redirect" // a URL in the Location of a redirect
	auditPresign  = "presign"  // a URL in the response to POST /presign
	auditInPlace  = "in_place" // a document that was answered in place, without a URL
	// auditAuthorize is a judgment: a reverse proxy may serve the object from its own cache.
	auditAuthorize = "authorize"
)

// AuditLog writes a line of JSON for each object that the proxy gives access to, before the response
// that does. Create one with [NewAuditLog].
type AuditLog struct{ *lineLog }

// NewAuditLog returns an audit log that writes to out. If out is too slow or fails, lines are
// dropped: lost counts them, and log gets an error. The caller must call Close, which writes the
// pending lines.
func NewAuditLog(out io.Writer, log *slog.Logger, lost prometheus.Counter) *AuditLog {
	return &AuditLog{newLineLog("audit log", slog.LevelError, out, log, lost)}
}

// audited logs that the exchange gives access to its object. It is called before the response is
// written.
func (h *Handler) audited(x *exchange, kind string) {
	if h.audit == nil {
		return
	}
	// The line follows the URL in the exchange's buffer.
	n := len(x.buf)
	x.buf = auditLine(x.buf, x, h.gate, kind)
	h.audit.add(x.buf[n:])
	x.buf = x.buf[:n]
}

// auditLine appends the line of an object. It never contains the URL or its signature.
func auditLine(b []byte, x *exchange, gate *viewer.Gate, kind string) []byte {
	b = x.now.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
	b = x.id.append(append(b, `","request_id":"`...))
	b = gate.AppendRemote(append(b, `","remote":"`...), &x.Request)
	b = appendJSON(append(b, `","viewer":"`...), x.viewer.ID)
	b = append(append(b, `","integration":"`...), x.counts.Name()...)
	method := loggedMethod(x.method)
	if kind == auditPresign {
		method = x.object.Method
	}
	b = append(append(b, `","method":"`...), method...)
	b = append(append(b, `","bucket":"`...), x.locator.Bucket...)
	b = appendJSON(append(b, `","key":"`...), x.locator.Key)
	if version := versionOf(x.object.Params); version != "" {
		b = appendJSON(append(b, `","version_id":"`...), version)
	}
	if !x.expires.IsZero() && kind != auditInPlace {
		b = x.expires.UTC().AppendFormat(append(b, `","expires_at":"`...), time.RFC3339)
	}
	return append(append(append(b, `","kind":"`...), kind...), "\"}\n"...)
}

// versionOf returns the version in a URL's canonical parameters, or "".
func versionOf(params string) string {
	for pair := range strings.SplitSeq(params, "&") {
		if value, ok := strings.CutPrefix(pair, paramVersionID+"="); ok {
			if version, err := url.QueryUnescape(value); err == nil {
				return version
			}
			return value
		}
	}
	return ""
}
