package proxy

import (
	"bytes"
	"errors"
	"math"
	"net/http"

	"s3redirect/internal/config"
	"s3redirect/internal/inplace"
	"s3redirect/internal/integration"
	"s3redirect/internal/viewer"
)

// maxReading bounds the bytes of the documents that a client receives at a time. A client that does
// not read holds them for up to writeTimeout. It is enough for some hundred viewers that share an
// address, because playlists are small.
const maxReading = 2 * int64(config.MaxInPlace)

var (
	errObjectNotFound = newProblem(http.StatusNotFound, "object_not_found", "The object does not exist.")
	errObjectDenied   = newProblem(http.StatusForbidden, "object_denied",
		"The store denied access to the object. It may not exist.")
	errRange = newProblem(http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable",
		"The Range is invalid, or starts after the end of the document; see Content-Range.")
	errPrecondition = newProblem(http.StatusPreconditionFailed, "precondition_failed",
		"The document has another ETag, or was changed since; see If-Match and If-Unmodified-Since.")
	errManyDocuments = newProblem(http.StatusServiceUnavailable, "overloaded",
		"Too many documents are in flight. Try again later.")
	errStore = &problem{
		Type:       "about:blank",
		Title:      http.StatusText(http.StatusServiceUnavailable),
		Status:     http.StatusServiceUnavailable,
		Code:       "s3_unavailable",
		Detail:     "The store is unavailable. Try again later.",
		retryAfter: inplace.RetryAfter,
	}
)

func newReadBudget() *budget {
	return &budget{total: math.MaxInt64, client: maxReading, clients: map[viewer.Client]int64{}}
}

// newFetcher returns the fetcher of the first handler.
func newFetcher(o Options) *inplace.Fetcher {
	transport := o.Transport
	if transport == nil {
		base := http.DefaultTransport.(*http.Transport).Clone()
		base.MaxIdleConnsPerHost = 16
		transport = integration.NewTransport(base)
	}
	return inplace.New(transport, o.Log, o.Clock)
}

// fetch makes the exchange's object, which the viewer may read, the answer. It returns false if the
// client should be redirected as usual: the object is too large, its type may hold scripts, or the
// store did not answer with the object although it is available. An error is the store's.
//
// The object is always fetched whole, with a URL that does not depend on the request's method and
// mode, so that concurrent requests share a fetch. Conditions and ranges are evaluated here.
func (h *Handler) fetch(x *exchange, bucket *integration.Bucket) (answered bool, err error) {
	cors := x.cors
	x.cors = false
	_, err = h.sign(x.Context, x, bucket, http.MethodGet, x.query)
	x.cors = cors
	if err != nil {
		return false, err
	}
	i := bucket.Integration
	d, release, err := h.documents.Fetch(x.Context, i.Name, string(x.buf), int64(i.InPlace.MaxBytes))
	x.now = h.clock()
	if err == nil {
		err = h.hold(x, d, release)
	}
	if err == nil {
		return true, nil // documentWriter counts it
	}
	result, problem := outcome(err)
	if result != "" {
		i.Metrics.InPlace(result)
	}
	return false, problem
}

// hold makes a document the answer, unless the client holds too many.
func (h *Handler) hold(x *exchange, d *inplace.Document, release func()) error {
	client, size := h.gate.Client(&x.viewer, &x.Request), int64(len(d.Body))
	if !h.reading.take(client, size) {
		release()
		return inplace.ErrOverloaded
	}
	x.document = d
	x.release = func() {
		h.reading.release(client, size)
		release()
	}
	return nil
}

// outcome returns the metric's result for an error of a fetch, or "" if the client has disconnected,
// and the error to answer with. If there is none, the client is redirected.
func outcome(err error) (result string, problem error) {
	status, _ := errors.AsType[*inplace.StatusError](err)
	switch {
	case errors.Is(err, inplace.ErrTooLarge):
		return "too_large", nil
	case errors.Is(err, inplace.ErrActive):
		return "active_type", nil
	case errors.Is(err, inplace.ErrOverloaded):
		return "overloaded", errManyDocuments
	case errors.Is(err, inplace.ErrUnavailable):
		return "unavailable", errStore
	case errors.Is(err, inplace.ErrPanic):
		return "internal_error", err
	case status != nil && status.Status == http.StatusNotFound:
		return "not_found", errObjectNotFound
	case status != nil && status.Status == http.StatusForbidden:
		return "denied", errObjectDenied
	case status != nil:
		return "other_status", nil
	}
	return "", err
}

var (
	noCache = []string{"private, no-cache"}
	noSniff = []string{"nosniff"}
	// sandbox keeps a browser from executing anything in a document that it shows as a page.
	sandbox = []string{"sandbox; default-src 'none'"}
	// exposed are the fields that scripts of other origins may read, besides those that the Fetch
	// standard always exposes.
	exposed = []string{"Accept-Ranges, Content-Encoding, Content-Range, ETag"}
)

// writeDocument writes the exchange's document, or the part that the request asks for.
func (h *Handler) writeDocument(w http.ResponseWriter, r *http.Request, x *exchange) {
	header := w.Header()
	for name, value := range x.document.Header {
		header[name] = value
	}
	if header.Get("Content-Type") == "" { // or ServeContent would guess one
		header.Set("Content-Type", "application/octet-stream")
	}
	header["Cache-Control"], header["X-Content-Type-Options"] = noCache, noSniff
	header["Content-Security-Policy"] = sandbox
	if x.origin != nil {
		header["Access-Control-Expose-Headers"] = exposed
	}
	modified, err := http.ParseTime(header.Get("Last-Modified"))
	if err != nil {
		header.Del("Last-Modified")
	}
	writer := &documentWriter{statusWriter: statusWriter{w, x}, handler: h}
	http.ServeContent(writer, r, "", modified, bytes.NewReader(x.document.Body))
}

// statusWriter records the status code of a response and the length of its body.
type statusWriter struct {
	http.ResponseWriter
	x *exchange
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	w.x.status, w.x.begun = status, true
	w.ResponseWriter.WriteHeader(status)
}

// documentWriter counts the responses of [http.ServeContent]. It audits those with a document or a
// part of one, before they are written, and replaces errors with problems.
type documentWriter struct {
	statusWriter
	handler *Handler
	failed  bool // the response is a problem
}

// WriteHeader implements [http.ResponseWriter].
func (w *documentWriter) WriteHeader(status int) {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		w.fail(errRange)
		return
	case http.StatusPreconditionFailed:
		w.fail(errPrecondition)
		return
	case http.StatusOK, http.StatusPartialContent:
		w.handler.audited(w.x, auditInPlace)
	}
	w.x.counts.InPlace("served")
	w.statusWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *documentWriter) Write(p []byte) (int, error) {
	if w.failed {
		return len(p), nil // ServeContent's own text
	}
	return w.statusWriter.Write(p)
}

// fail writes a problem instead of the document.
func (w *documentWriter) fail(p *problem) {
	w.failed = true
	w.x.counts.InPlace(p.Code)
	header := w.Header()
	for name := range w.x.document.Header {
		header.Del(name)
	}
	header.Del("Accept-Ranges")
	header.Del("Content-Security-Policy")
	w.x.problem, w.x.status = p, p.Status
	w.x.writeProblem(w.ResponseWriter)
}

// Write implements [http.ResponseWriter].
func (w *statusWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.x.sent += int64(n)
	return n, err
}

// Unwrap returns the writer, for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
