package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

const (
	pathPresign = "/presign"
	pathLink    = "/link"

	// maxLocators is how many URLs a request may ask for at once, and maxBody bounds what it takes to name them.
	maxLocators = 1000
	maxBody     = 4 << 20
	// presignTimeout leaves time to write what was found before the server's own timeout: the sessions of several integrations
	// may have to be waited for, one after the other.
	presignTimeout = writeTimeout - 10*time.Second
)

// presigned is the answer for one locator: a URL and its end, or the code of the problem that a request for it would get.
type presigned struct {
	Locator   string     `json:"locator"`
	URL       string     `json:"url,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// presign answers POST /presign: the URLs of many objects at once, each judged by itself, in the order in which they were asked
// for.
func (h *Handler) presign(w http.ResponseWriter, r *http.Request, x *exchange) error {
	// Who asks comes first: nobody else's 4 MB need be read.
	if err := h.identify(r, x, 1); err != nil {
		return err
	}
	var asked struct {
		Locators []string `json:"locators"`
		CORS     bool     `json:"cors"`
	}
	if err := h.readJSON(w, r, x, &asked); err != nil {
		return err
	}
	if n := len(asked.Locators); n == 0 || n > maxLocators {
		return badRequest("locators has " + strconv.Itoa(n) + " items; from 1 to " + strconv.Itoa(maxLocators) + " are wanted")
	}
	if n := len(asked.Locators); n > 1 { // each counts like a request of its own
		if err := h.gate.Limit(&x.viewer, r, n-1, x.now); err != nil {
			return err
		}
	}
	answer := struct {
		URLs []presigned `json:"urls"`
	}{make([]presigned, 0, len(asked.Locators))}
	x.cors = asked.CORS
	ctx, cancel := context.WithTimeout(r.Context(), presignTimeout)
	defer cancel()
	for _, text := range asked.Locators {
		p := presigned{Locator: text}
		switch ends, err := h.presignOne(ctx, x, text); {
		case err == nil:
			p.URL, p.ExpiresAt = string(x.buf), &ends
		case errors.Is(err, context.DeadlineExceeded):
			p.Error = "sts_unavailable"
		case errors.Is(err, context.Canceled):
			return err
		default:
			p.Error = h.problemOf(err).Code
		}
		answer.URLs = append(answer.URLs, p)
	}
	// The request as a whole is about no bucket and no integration.
	x.locator, x.counts, x.hit = locator.Locator{}, h.unserved, false
	return h.writeJSON(w, x, answer)
}

func (h *Handler) presignOne(ctx context.Context, x *exchange, text string) (ends time.Time, err error) {
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
	var asked struct {
		Locator  string `json:"locator"`
		Lifetime string `json:"lifetime"`
	}
	if err := h.readJSON(w, r, x, &asked); err != nil {
		return err
	}
	target, err := viewer.ParseTarget(asked.Locator)
	if err != nil {
		return badRequest("locator: " + err.Error())
	}
	lifetime := h.gate.Links().MaxLifetime()
	if asked.Lifetime != "" {
		if lifetime, err = time.ParseDuration(asked.Lifetime); err != nil {
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

// readJSON reads a body, which may take as long as a client may be slow. That it must call itself JSON has browsers ask first, before a page of another origin may send it.
func (h *Handler) readJSON(w http.ResponseWriter, r *http.Request, x *exchange, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return newProblem(http.StatusUnsupportedMediaType, "not_json", "Send JSON, and Content-Type: application/json.")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	x.now = h.clock()
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return newProblem(http.StatusRequestEntityTooLarge, "too_large", "The body is larger than 4 MiB.")
	}
	if err != nil {
		return badRequest("The body is not the JSON that is wanted here: " + err.Error() + ".")
	}
	return nil
}

func (h *Handler) writeJSON(w http.ResponseWriter, x *exchange, answer any) error {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // URLs are to be read
	if err := e.Encode(answer); err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	header["Cache-Control"] = noStore
	header.Set("X-Content-Type-Options", "nosniff")
	x.status = http.StatusOK
	w.WriteHeader(x.status)
	_, _ = w.Write(body.Bytes()) // whoever hung up does not want it
	return nil
}
