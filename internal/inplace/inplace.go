// Package inplace fetches small documents from a store, so that the proxy can answer them at its own
// path. Relative references in a playlist then lead back to the proxy (RFC 3986, section 5.1.3).
//
// Requests for the same document share one fetch while it is in flight. Nothing is kept after the
// last response that uses a document.
package inplace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"s3redirect/internal/wire"
)

const (
	// Timeout bounds a fetch, from its start to the last byte of the document.
	Timeout = 10 * time.Second
	// RetryAfter is how long clients should wait when a document cannot be fetched.
	RetryAfter = 5 * time.Second

	// logInterval is the least time between two log lines about an integration's store.
	logInterval = 10 * time.Second

	// maxFetches and maxHeld bound the fetches in flight and the bytes of all documents in use.
	maxFetches = 128
	maxHeld    = 64 << 20
	// integrationShare is the part of both bounds that one integration may use: a quarter. A store
	// that answers slowly does not keep other integrations from being served.
	integrationShare = 4
)

var (
	// ErrTooLarge means that a document is larger than allowed.
	ErrTooLarge = errors.New("inplace: the document is too large")
	// ErrActive means that browsers execute scripts in documents of the type, or that the type is
	// invalid.
	ErrActive = errors.New("inplace: the document's type may hold scripts")
	// ErrOverloaded means that too many fetches or bytes are in flight.
	ErrOverloaded = errors.New("inplace: too many documents are in flight")
	// ErrUnavailable means that the store could not be reached in time, or answered 5xx or 429.
	ErrUnavailable = errors.New("inplace: the store is unavailable")
	// ErrPanic means that the fetch panicked. The log has the stack.
	ErrPanic = errors.New("inplace: the fetch panicked")
)

// StatusError is a response of the store that is neither 200 nor an error of the store itself.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("inplace: the store answered %d", e.Status)
}

// Document is a document of a store. Its fields must not be changed.
type Document struct {
	// Header holds the fields of the store's response that describe the document.
	Header http.Header
	Body   []byte
}

// Fetcher fetches documents. Create it with [New].
type Fetcher struct {
	client *http.Client
	log    *slog.Logger
	clock  func() time.Time

	mu      sync.Mutex // guards the fields below, and the fields of all flights
	flights map[key]*flight
	fetches share
	held    share                // bytes
	logged  map[string]time.Time // when a failure of an integration's store was last logged
}

// key identifies the flight that requests share. The URL is presigned, so a flight serves only
// requests that would be redirected to the same URL.
type key struct {
	url   string
	limit int64
}

// share is what all integrations use of a resource, and each of them.
type share struct {
	total int64
	by    map[string]int64
}

// take takes n of at most total, of which an integration gets a part, and reports whether as many
// were left.
func (s *share) take(integration string, n, total int64) bool {
	if s.total+n > total || s.by[integration]+n > total/integrationShare {
		return false
	}
	s.total += n
	s.by[integration] += n
	return true
}

func (s *share) release(integration string, n int64) {
	s.total -= n
	if s.by[integration] -= n; s.by[integration] == 0 {
		delete(s.by, integration)
	}
}

// flight is a fetch, and then the document for as long as responses use it.
type flight struct {
	integration string
	users       int   // requests that wait for the document or use it
	held        int64 // bytes taken for the document
	cancel      context.CancelFunc

	done     chan struct{} // closed when the fields below are set
	document *Document
	err      error
}

// New returns a Fetcher that sends its requests through a transport. It logs failures of a store,
// at most one every [logInterval].
func New(transport http.RoundTripper, log *slog.Logger, clock func() time.Time) *Fetcher {
	return &Fetcher{
		client: &http.Client{
			Transport: transport,
			// A redirect could lead anywhere; the client gets it with the presigned URL.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log:     log,
		clock:   clock,
		logged:  map[string]time.Time{},
		flights: map[key]*flight{},
		fetches: share{by: map[string]int64{}},
		held:    share{by: map[string]int64{}},
	}
}

// Fetch returns the document at a presigned URL, of at most limit bytes, on behalf of an
// integration. The caller must call release when it has written the response. The error is
// [ErrTooLarge], [ErrActive], [ErrOverloaded], [ErrPanic], a [*StatusError], the context's, or wraps
// [ErrUnavailable]. It does not contain the URL.
func (f *Fetcher) Fetch(
	ctx context.Context, integration, presigned string, limit int64,
) (d *Document, release func(), err error) {
	k := key{presigned, limit}
	fl, err := f.join(k, integration)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-fl.done:
	case <-ctx.Done():
		f.leave(k, fl)
		return nil, nil, context.Cause(ctx)
	}
	if fl.err != nil {
		f.leave(k, fl)
		return nil, nil, fl.err
	}
	return fl.document, sync.OnceFunc(func() { f.leave(k, fl) }), nil
}

// join returns the flight for a key. It starts one if there is none.
func (f *Fetcher) join(k key, integration string) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.flights[k]; ok {
		fl.users++
		return fl, nil
	}
	if !f.fetches.take(integration, 1, maxFetches) {
		return nil, ErrOverloaded
	}
	// The fetch belongs to no request: it continues while any of them waits.
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	fl := &flight{integration: integration, users: 1, cancel: cancel, done: make(chan struct{})}
	f.flights[k] = fl
	go f.run(ctx, k, fl)
	return fl, nil
}

// run fetches a flight's document.
func (f *Fetcher) run(ctx context.Context, k key, fl *flight) {
	defer fl.cancel()
	d, err := f.get(ctx, k, fl)
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.document, fl.err = d, err
	close(fl.done)
	f.report(fl)
	f.fetches.release(fl.integration, 1)
	f.forget(k, fl)
	f.settle(fl)
}

// report logs that the store of a flight's integration is unavailable. The caller holds f.mu.
func (f *Fetcher) report(fl *flight) {
	if !errors.Is(fl.err, ErrUnavailable) || errors.Is(fl.err, context.Canceled) {
		return
	}
	now := f.clock()
	if since := now.Sub(f.logged[fl.integration]); since >= 0 && since < logInterval {
		return
	}
	f.logged[fl.integration] = now
	f.log.Warn("document not fetched", "integration", fl.integration, "error", fl.err.Error())
}

// leave ends a request's use of a flight. Without users a fetch is canceled.
func (f *Fetcher) leave(k key, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.users--
	if fl.users == 0 {
		fl.cancel()
		f.forget(k, fl) // the next request must not join a canceled fetch
	}
	f.settle(fl)
}

// forget removes a flight, so that the next request fetches the document again. The caller holds
// f.mu.
func (f *Fetcher) forget(k key, fl *flight) {
	if f.flights[k] == fl {
		delete(f.flights, k)
	}
}

// settle returns a flight's bytes when it is complete and unused. The caller holds f.mu.
func (f *Fetcher) settle(fl *flight) {
	select {
	case <-fl.done:
		if fl.users == 0 || fl.err != nil {
			f.held.release(fl.integration, fl.held)
			fl.held = 0
		}
	default:
	}
}

// hold takes n bytes for a flight, and reports whether as many were left.
func (f *Fetcher) hold(fl *flight, n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.held.take(fl.integration, n, maxHeld) {
		return false
	}
	fl.held = n
	return true
}

// shrink returns the bytes that a flight holds beyond n.
func (f *Fetcher) shrink(fl *flight, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held.release(fl.integration, fl.held-n)
	fl.held = n
}

// get makes the request. Its error does not contain the URL. It recovers from panics, which would
// end the process.
func (f *Fetcher) get(ctx context.Context, k key, fl *flight) (d *Document, err error) {
	defer func() {
		if v := recover(); v != nil {
			wire.LogPanic(f.log, v)
			d, err = nil, ErrPanic
		}
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, errors.New("inplace: invalid URL") // the cause would contain it
	}
	r.Header.Set("Accept-Encoding", "identity") // the document is passed on unchanged
	r.Header.Set("User-Agent", "s3redirect")
	resp, err := f.client.Do(r)
	if err != nil {
		return nil, unavailable(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: it answered %d", ErrUnavailable, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, &StatusError{resp.StatusCode}
	case isActive(resp.Header.Get("Content-Type")):
		return nil, ErrActive
	}
	body, err := f.read(resp, k.limit, fl)
	if err != nil {
		return nil, err
	}
	return &Document{Header: describe(resp.Header), Body: body}, nil
}

// read reads the body of a response. It takes the memory before it reads: the stated length or, if
// there is none, the limit.
func (f *Fetcher) read(resp *http.Response, limit int64, fl *flight) ([]byte, error) {
	size := resp.ContentLength
	switch {
	case size > limit:
		return nil, ErrTooLarge
	case size < 0:
		size = limit
	}
	if !f.hold(fl, size) {
		return nil, ErrOverloaded
	}
	body, n := make([]byte, size+1), 0 // the last byte shows that there is more
	for {
		more, err := resp.Body.Read(body[n:])
		n += more
		switch {
		case n == len(body): // also if err is io.EOF
			return nil, ErrTooLarge
		case errors.Is(err, io.EOF) && int64(n) < size: // only if no length was stated
			body = bytes.Clone(body[:n])
			f.shrink(fl, int64(n))
			return body, nil
		case errors.Is(err, io.EOF):
			return body[:n:n], nil
		case err != nil: // io.ErrUnexpectedEOF if the store closed the connection early
			return nil, unavailable(err)
		}
	}
}

// unavailable returns an error that wraps [ErrUnavailable], with the cause of a failed request but
// without its URL.
func unavailable(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// described are the fields that describe a document. Others, such as cookies and the store's CORS
// headers, must not be passed on from the proxy's origin.
var described = []string{
	"Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Etag", "Last-Modified",
}

func describe(from http.Header) http.Header {
	to := http.Header{}
	for _, name := range described {
		if value := from.Get(name); value != "" {
			to[name] = []string{value}
		}
	}
	return to
}

// isActive reports whether browsers may execute documents of a media type: HTML, XHTML and SVG as
// pages, JavaScript by a script element or as a service worker. An invalid type counts as active,
// because browsers parse it in their own way. Generic XML does not: it is answered with a sandbox.
//
// The types of JavaScript are those of https://mimesniff.spec.whatwg.org/#javascript-mime-type.
func isActive(contentType string) bool {
	if contentType == "" {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true
	}
	kind, subtype, _ := strings.Cut(mediaType, "/")
	subtype = strings.TrimPrefix(subtype, "x-")
	switch {
	case kind == "multipart": // x-mixed-replace holds parts of any type
		return true
	case slices.Contains([]string{"html", "xhtml+xml", "svg+xml", "svg", "xsl", "xslt+xml"}, subtype):
		return true
	}
	return strings.HasPrefix(subtype, "javascript") || strings.HasPrefix(subtype, "ecmascript") ||
		subtype == "jscript" || subtype == "livescript"
}
