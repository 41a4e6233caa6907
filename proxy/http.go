package proxy

import (
	"errors"
	"net/http"

	"s3redirect/internal/viewer"
	"s3redirect/internal/wire"
	"s3redirect/metrics"
)

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.clock()
	x := h.begin(start)
	x.Request, x.method, x.host = *viewer.NewRequest(r), r.Method, r.Host
	x.path, x.query = splitTarget(r.RequestURI)
	x.proto = r.Proto
	h.number(x)
	h.serve(w, r, x)
	aborted, status := x.aborted, x.status
	h.end(x, start, metrics.NetHTTP)
	if aborted {
		panic(http.ErrAbortHandler) // the server closes the connection or resets the stream
	}
	wire.Return(w, r, status)
}

// serve writes the response. It recovers from panics, except those that abort the response.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, x *exchange) {
	defer func() {
		if x.release != nil {
			x.release()
		}
	}()
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			wire.LogPanic(h.log, v)
			x.answer = answer{status: errInternal.Status, problem: errInternal}
			if x.aborted = x.begun; !x.aborted {
				x.writeProblem(w)
			}
		}
	}()
	header := w.Header()
	header["Referrer-Policy"], header["Vary"] = h.referrerPolicy, h.vary
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		h.redirect(x)
		h.cors.write(header, x.origin)
		if x.problem != nil {
			x.writeProblem(w)
			return
		}
		if x.document != nil {
			h.writeDocument(w, r, x)
			return
		}
		header["Cache-Control"] = x.cacheControl
		if x.status == http.StatusNoContent {
			h.audited(x, auditAuthorize)
			header[headerObject] = []string{x.identifier}
			w.WriteHeader(x.status)
			return
		}
		h.audited(x, auditRedirect)
		header["Content-Length"] = noContent
		// Middleware may keep the header after the exchange returned to its pool, so the URL is
		// copied.
		header["Location"] = []string{string(x.location)}
		w.WriteHeader(x.status)
		return
	}
	x.origin = h.cors.allow(x.Header)
	h.cors.write(header, x.origin)
	if err := h.serveOther(w, r, x); err != nil {
		h.fail(x, err)
		x.writeProblem(w)
	}
}

// serveOther answers a request whose method is neither GET nor HEAD.
func (h *Handler) serveOther(w http.ResponseWriter, r *http.Request, x *exchange) error {
	switch {
	case r.Method == http.MethodOptions:
		x.status = http.StatusNoContent
		methods := allowedMethods(x.path)
		w.Header().Set("Allow", methods+", OPTIONS")
		if x.origin != nil {
			h.cors.preflight(w.Header(), r, methods)
		}
		w.WriteHeader(x.status)
		return nil
	case r.Method == http.MethodPost && x.path == pathPresign:
		return h.presign(w, r, x)
	case r.Method == http.MethodPost && x.path == pathLink:
		return h.link(w, r, x)
	}
	return errMethod
}

// writeProblem writes the exchange's problem.
func (x *exchange) writeProblem(w http.ResponseWriter) {
	body := x.setProblem(w.Header())
	w.WriteHeader(x.status)
	n, _ := w.Write(body) // fails only if the client has disconnected
	if x.method != http.MethodHead {
		x.sent = int64(n)
	}
}

// setProblem sets the header fields of the exchange's problem, and returns its body.
func (x *exchange) setProblem(header http.Header) (body []byte) {
	if x.status == http.StatusMethodNotAllowed {
		header.Set("Allow", allowedMethods(x.path)+", OPTIONS")
	}
	if x.id != (requestID{}) {
		header["X-Request-Id"] = []string{string(x.id.append(nil))}
	}
	return x.problem.set(header)
}

// allowedMethods returns the methods that a path allows, besides OPTIONS.
func allowedMethods(path string) string {
	if path == pathPresign || path == pathLink {
		return "POST"
	}
	return "GET, HEAD"
}
