package proxy

import (
	"bytes"
	"net/http"
	"strconv"

	"s3redirect/internal/viewer"
	"s3redirect/internal/wire"
	"s3redirect/metrics"
)

// AppendResponse implements [wire.Handler]. The response has the same bytes as [Handler.ServeHTTP]'s
// from net/http. AppendResponse returns false for a request that would have to wait.
func (h *Handler) AppendResponse(dst []byte, r *wire.Request) ([]byte, bool) {
	start := h.clock()
	x := h.begin(start)
	x.Request = viewer.Request{
		Header:     r,
		RemoteAddr: r.RemoteAddr,
		Peer:       viewer.Peer(r.Peer, r.RemoteAddr),
		Context:    noWait,
	}
	x.method, x.host = r.Method, r.Host
	x.path, x.query = splitTarget(r.Target)
	x.proto = "HTTP/1.1"
	h.number(x)
	if !h.redirect(x) {
		h.recycle(x)
		return dst, false
	}
	switch {
	case x.problem != nil:
		dst = h.appendProblem(dst, x, r)
	case x.status == http.StatusNoContent:
		h.audited(x, auditAuthorize)
		dst = h.appendJudgment(dst, x, r)
	default:
		h.audited(x, auditRedirect)
		dst = h.appendRedirect(dst, x, r)
	}
	h.end(x, start, metrics.Wire)
	return dst, true
}

// appendRedirect appends the exchange's redirect.
func (h *Handler) appendRedirect(dst []byte, x *exchange, r *wire.Request) []byte {
	dst = append(dst, "HTTP/1.1 302 Found\r\n"...)
	if x.origin != nil {
		if !h.cors.every {
			dst = append(dst, "Access-Control-Allow-Credentials: true\r\n"...)
		}
		dst = append(dst, "Access-Control-Allow-Origin: "...)
		dst = append(append(dst, x.origin[0]...), "\r\n"...)
	}
	dst = append(append(dst, "Cache-Control: "...), x.cacheControl[0]...)
	if r.Retired() {
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(dst, "\r\nContent-Length: 0\r\nLocation: "...)
	dst = append(append(dst, x.location...), "\r\nReferrer-Policy: "...)
	dst = append(append(dst, h.referrerPolicy[0]...), "\r\nVary: "...)
	dst = append(append(dst, h.vary[0]...), "\r\n"...)
	return r.AppendEnd(dst, x.now)
}

// appendProblem appends the exchange's problem.
func (h *Handler) appendProblem(dst []byte, x *exchange, r *wire.Request) []byte {
	header := http.Header{"Referrer-Policy": h.referrerPolicy, "Vary": h.vary}
	h.cors.write(header, x.origin)
	if r.Retired() {
		header["Connection"] = connectionClose
	}
	body := x.setProblem(header)
	b := bytes.NewBuffer(dst)
	b.WriteString("HTTP/1.1 " + strconv.Itoa(x.status) + " " + http.StatusText(x.status) + "\r\n")
	_ = header.Write(b) // a buffer's Write does not fail
	dst = r.AppendEnd(b.Bytes(), x.now)
	if r.Method == http.MethodHead {
		return dst
	}
	x.sent = int64(len(body))
	return append(dst, body...)
}
