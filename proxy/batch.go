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
	"s3redirect/internal/viewer"
)

const (
	pathPresign = "/presign"
	pathLink    = "/link"

	// maxLocators is how many URLs a request may ask for at once.
	maxLocators = 1000
	// maxPresignBody is enough for maxLocators keys of 1,024 bytes in which every character above ASCII
	// is escaped (\u00fc), as some encoders do.
	maxPresignBody = maxLocators * 3200
	maxLinkBody    = 16 << 10
	// batchCost and locatorCost are the memory that a batch and each of its locators need beside their
	// text, in bytes. A client that does not read its answer holds it for up to writeTimeout.
	batchCost, locatorCost = 32 << 10, 64
	// presignTimeout leaves time to write the answer before the server's own timeout: a batch may wait
	// for the sessions of several integrations, one after the other.
	presignTimeout = writeTimeout - 10*time.Second
)

// presigned is the answer for one locator: a URL and its end, or the code of the problem that a request
// for it would get. The locator is repeated as the client wrote it.
type presigned struct {
	Locator   json.RawMessage `json:"locator"`
	URL       string          `json:"url,omitempty"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty"`
	Error     string          `json:"error,omitempty"`
}

// presign answers POST /presign: the URLs of many objects at once, each judged by itself, in the order of
// the request.
func (h *Handler) presign(w http.ResponseWriter, r *http.Request, x *exchange) error {
	// Identify the viewer first, so that others cannot make us read a body.
	if err := h.identify(r, x, 1); err != nil {
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
		return badRequest("The body names no locators.")
	}
	if err := h.gate.LimitBatch(&x.viewer, r, len(locators), x.now); err != nil {
		return err
	}
	if err := b.take(batchCost + len(locators)*locatorCost); err != nil {
		return err
	}
	err = h.writeURLs(ctx, w, x, locators)
	// The request as a whole is about no bucket and no integration.
	x.locator, x.counts, x.hit = locator.Locator{}, h.unserved, false
	if err != nil { // the client is gone, or too slow
		x.status, x.aborted = errGone.Status, true
	}
	return nil
}

// answers holds the buffers through which answers are streamed.
var answers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 16<<10) }}

// writeURLs signs and writes one URL after the other: the answer to a full batch can take several
// megabytes.
func (h *Handler) writeURLs(ctx context.Context, w http.ResponseWriter, x *exchange, locators []json.RawMessage,
) error {
	out := answers.Get().(*bufio.Writer)
	defer func() { out.Reset(nil); answers.Put(out) }()
	out.Reset(w)
	h.beginJSON(w, x)
	e := newEncoder(out)
	separator := `{"urls":[`
	for _, raw := range locators {
		p := presigned{Locator: raw}
		x.now = h.clock() // a client may be slow to read
		switch ends, err := h.presignOne(ctx, x, raw); {
		case err == nil:
			p.URL, p.ExpiresAt = string(x.buf), &ends
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

func (h *Handler) presignOne(ctx context.Context, x *exchange, raw json.RawMessage) (ends time.Time, err error) {
	text, err := unquote(raw)
	if err != nil {
		return ends, err
	}
	if x.locator, err = locator.Parse(text); err != nil {
		return ends, err
	}
	if err := h.allowed(&x.viewer, x.locator); err != nil {
		return ends, err
	}
	window, err := h.sign(ctx, x, http.MethodGet, "")
	if err != nil {
		return ends, err
	}
	return window.Expires.UTC(), nil
}

// link answers POST /link: a signed link, for those who are known and may read what it is for.
func (h *Handler) link(w http.ResponseWriter, r *http.Request, x *exchange) error {
	if h.gate.Links() == nil {
		return errNotFound
	}
	if err := h.identify(r, x, 1); err != nil {
		return err
	}
	var asked struct{ locator, lifetime string }
	b, err := h.readBody(w, r, x, maxLinkBody, map[string]func(*body) error{
		"locator":  func(b *body) error { return b.text(&asked.locator) },
		"lifetime": func(b *body) error { return b.text(&asked.lifetime) },
	})
	if err != nil {
		return err
	}
	b.release() // what remains is small
	target, err := viewer.ParseTarget(asked.locator)
	if err != nil {
		return badRequest("locator: " + err.Error())
	}
	lifetime := h.gate.Links().MaxLifetime()
	if asked.lifetime != "" {
		if lifetime, err = time.ParseDuration(asked.lifetime); err != nil {
			return badRequest("lifetime is no duration; write it as 30m or 24h")
		}
	}
	switch {
	case x.viewer.ID == "" && len(h.gate.Challenge()) > 0:
		return viewer.ErrUnknown
	case x.viewer.ID == "", !h.gate.AllowTarget(&x.viewer, target):
		return errDenied
	}
	if _, ok := h.integrations.Find(target.Bucket, x.now); !ok {
		return errBucket
	}
	until := x.now.Add(lifetime).Truncate(time.Second)
	query, err := h.gate.Links().Query(target, x.now, until)
	if err != nil {
		return badRequest(err.Error())
	}
	return h.writeJSON(w, x, struct {
		URL       string    `json:"url"`
		Query     string    `json:"query"`
		ExpiresAt time.Time `json:"expires_at"`
	}{h.publicURL + target.Path() + "?" + query, query, until.UTC()})
}

func badRequest(detail string) *problem {
	return newProblem(http.StatusBadRequest, "bad_request", detail)
}

// writeJSON writes a small answer.
func (h *Handler) writeJSON(w http.ResponseWriter, x *exchange, answer any) error {
	var text bytes.Buffer
	if err := newEncoder(&text).Encode(answer); err != nil {
		return err
	}
	w.Header().Set("Content-Length", strconv.Itoa(text.Len()))
	h.beginJSON(w, x)
	_, _ = w.Write(text.Bytes()) // a client that is gone does not need it
	return nil
}

// beginJSON writes the header of an answer.
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
