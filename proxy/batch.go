package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"s3redirect/internal/locator"
)

const (
	pathPresign = "/presign"

	// maxLocators is the maximum number of locators in a batch.
	maxLocators = 1000
	// maxPresignBody is enough for maxLocators keys of 1,024 bytes in which every non-ASCII
	// character is escaped (\u00fc), as some encoders do.
	maxPresignBody = maxLocators * 3200
	// batchCost and locatorCost are the memory that a batch and each of its locators need besides
	// their text, in bytes. A client that does not read the response holds it for up to
	// writeTimeout.
	batchCost, locatorCost = 32 << 10, 64
	// presignTimeout leaves time to write the response before the server's own timeout. A batch may
	// wait for the sessions of several integrations, one after the other.
	presignTimeout = writeTimeout - 10*time.Second
)

// presigned is the result for one locator: a URL and its expiry, or the code of the problem that a
// GET for it would get. The locator is repeated as the client wrote it.
type presigned struct {
	Locator   json.RawMessage `json:"locator"`
	URL       string          `json:"url,omitempty"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty"`
	Error     string          `json:"error,omitempty"`
}

// presign answers POST /presign with the URLs of many objects, in the order of the request. The
// viewer's access is checked for each object.
func (h *Handler) presign(w http.ResponseWriter, r *http.Request, x *exchange) error {
	// Identify the viewer before reading the body, so that unknown clients cannot make the proxy
	// read one.
	if err := h.identify(x, 1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), presignTimeout)
	defer cancel()
	var locators []json.RawMessage
	b, err := h.readBody(w, r, x, maxPresignBody, map[string]func(*body) error{
		"locators": func(b *body) (err error) { locators, err = b.raws(maxLocators); return err },
		"cors":     func(b *body) error { return b.value(&x.cors) },
	})
	if err != nil {
		return err
	}
	defer b.release()
	if len(locators) == 0 {
		return badRequest("The field locators is missing or empty; list at least one locator.")
	}
	if err := h.gate.LimitBatch(&x.viewer, &x.Request, len(locators), x.now); err != nil {
		return err
	}
	if err := b.take(batchCost + len(locators)*locatorCost); err != nil {
		return err
	}
	err = h.writeURLs(ctx, w, x, locators)
	// The batch as a whole belongs to no bucket and no integration.
	x.locator, x.counts, x.hit = locator.Locator{}, h.unserved, false
	if err != nil { // the client has disconnected, or reads too slowly
		x.status, x.aborted = errGone.Status, true
	}
	return nil
}

// responseBuffers holds the buffers of streamed responses.
var responseBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 16<<10) }}

// writeURLs signs and writes one URL after the other, because the response to a full batch can take
// several megabytes.
func (h *Handler) writeURLs(
	ctx context.Context, w http.ResponseWriter, x *exchange, locators []json.RawMessage,
) error {
	out := responseBuffers.Get().(*bufio.Writer)
	defer func() { out.Reset(nil); responseBuffers.Put(out) }()
	out.Reset(&statusWriter{w, x})
	h.beginJSON(w, x)
	e := newEncoder(out)
	separator := `{"urls":[`
	for _, raw := range locators {
		p := presigned{Locator: raw}
		x.now = h.clock() // the client may read slowly
		switch expires, err := h.presignOne(ctx, x, raw); {
		case err == nil:
			p.URL, p.ExpiresAt = string(x.buf), &expires
			h.audited(x, auditPresign)
		case errors.Is(err, context.DeadlineExceeded):
			p.Error = "sts_unavailable"
		case errors.Is(err, context.Canceled):
			return err
		default:
			p.Error = h.problemOf(err).Code
		}
		_, _ = out.WriteString(separator) // bufio keeps the error
		separator = ","
		if err := e.Encode(p); err != nil {
			return err
		}
	}
	_, _ = out.WriteString("]}\n")
	return out.Flush()
}

// presignOne writes the URL of the object at a locator, a JSON string, to x.buf, and returns when
// the URL expires.
func (h *Handler) presignOne(
	ctx context.Context, x *exchange, raw json.RawMessage,
) (expires time.Time, err error) {
	text, err := unquote(raw)
	if err != nil {
		return expires, err
	}
	if x.locator, err = locator.Parse(text); err != nil {
		return expires, err
	}
	if err := h.allowed(&x.viewer, x.locator); err != nil {
		return expires, err
	}
	bucket, err := h.find(x)
	if err != nil {
		return expires, err
	}
	window, err := h.sign(ctx, x, bucket, http.MethodGet, "")
	if err != nil {
		return expires, err
	}
	return window.Expires.UTC(), nil
}

func badRequest(detail string) *problem {
	return newProblem(http.StatusBadRequest, "bad_request", detail)
}

// writeJSON writes a small response.
func (h *Handler) writeJSON(w http.ResponseWriter, x *exchange, v any) error {
	var text bytes.Buffer
	if err := newEncoder(&text).Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Length", strconv.Itoa(text.Len()))
	h.beginJSON(w, x)
	n, _ := w.Write(text.Bytes()) // fails only if the client has disconnected
	x.sent = int64(n)
	return nil
}

// beginJSON writes the header of a JSON response.
func (h *Handler) beginJSON(w http.ResponseWriter, x *exchange) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header["Cache-Control"] = noStore
	header.Set("X-Content-Type-Options", "nosniff")
	x.status, x.begun = http.StatusOK, true
	w.WriteHeader(x.status)
}

func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // URLs stay readable
	return e
}
