package proxy

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"s3redirect/internal/inplace"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
	"s3redirect/internal/viewer"
	"s3redirect/internal/wire"
	"s3redirect/metrics"
)

// exchange is one request and its response, without net/http's types. Both servers use it: the
// wire, which answers plain requests on the connection, and net/http.
type exchange struct {
	viewer.Request
	method, path, query string
	host                string // of the request; "" if the client sent none
	token               string // the segment of the path with a link, or ""
	proto               string // such as HTTP/1.1
	id                  requestID

	now     time.Time
	locator locator.Locator
	viewer  viewer.Viewer
	counts  *metrics.Integration
	hit     bool
	cors    bool // the URL is for a script that reads across origins

	answer
	begun   bool   // the header of a response with a body was written, so no problem can replace it
	aborted bool   // that response is incomplete
	sent    int64  // the bytes of the response's body
	release func() // if not nil, returns the memory of the answer's document

	object  presign.Object
	expires time.Time // when the object's URL expires

	// The fields below outlive the request.
	buf   []byte
	shard metrics.Shard
}

// answer is the response to a GET or HEAD request for an object: a redirect, a document, a
// judgment or a problem.
type answer struct {
	status       int
	origin       []string // Access-Control-Allow-Origin; nil: the field is omitted
	cacheControl []string
	location     []byte            // in the exchange's buffer
	document     *inplace.Document // nil for all requests that the wire answers
	identifier   string            // of a judgment: the field S3redirect-Object
	problem      *problem
}

// begin returns an exchange for a request that was received at an instant.
func (h *Handler) begin(now time.Time) *exchange {
	x := h.exchanges.Get().(*exchange)
	x.now, x.counts = now, h.unserved
	return x
}

// number gives the exchange an ID if a log needs it. The exchange's Request must be set.
func (h *Handler) number(x *exchange) {
	if h.accessLog != nil || h.audit != nil {
		x.id = newRequestID(h.gate, &x.Request)
	}
}

// end counts and logs a request that a server has answered since start, and recycles its exchange.
func (h *Handler) end(x *exchange, start time.Time, by metrics.Server) {
	h.metrics.Served(x.shard, by)
	elapsed := h.clock().Sub(start)
	x.counts.Request(x.shard, x.method, x.status)
	if trace, sampled := traceOf(x.Header); sampled {
		h.metrics.RequestDuration.ObserveTraced(x.shard, elapsed.Seconds(), trace, x.now)
	} else {
		h.metrics.RequestDuration.Observe(x.shard, elapsed.Seconds())
	}
	if h.accessLog != nil {
		x.buf = h.accessLog.line(x.buf[:0], x, h.gate, elapsed)
		h.accessLog.add(x.buf)
	}
	h.recycle(x)
}

// recycle returns x to the pool, without the request's memory.
func (h *Handler) recycle(x *exchange) {
	*x = exchange{buf: x.buf[:0], shard: x.shard}
	h.exchanges.Put(x)
}

// errWait means that a request would have to wait although it may not. It has no effects, so that
// it can be answered again.
var errWait = errors.New("proxy: the request would have to wait")

// noWait is the context of requests that may not wait for STS, for a store, for an identity provider
// or for the verification of a password.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errWait)
	return ctx
}()

// mayWait reports whether the request may wait.
func (x *exchange) mayWait() bool { return x.Context != noWait }

// redirect answers a GET or HEAD request. It recovers from panics. It returns false if the request
// may not wait but would have to.
func (h *Handler) redirect(x *exchange) (answered bool) {
	defer func() {
		if v := recover(); v != nil {
			wire.LogPanic(h.log, v)
			x.answer = answer{status: errInternal.Status, problem: errInternal, origin: x.origin}
			answered = true
		}
	}()
	x.origin = h.cors.allow(x.Header)
	err := h.locate(x)
	if errors.Is(err, errWait) {
		return false
	}
	if err != nil {
		h.fail(x, err)
	}
	return true
}

// fail makes the problem of an error the answer.
func (h *Handler) fail(x *exchange, err error) {
	x.problem = h.problemOf(err)
	x.status = x.problem.Status
	if x.problem == errInternal {
		h.log.Error("internal error", "error", err.Error())
	}
}

// locate makes a redirect to the object's URL the answer, or a judgment if the path asks for one.
func (h *Handler) locate(x *exchange) (err error) {
	path, judged := strings.CutPrefix(x.path, pathAuthorize)
	if err = h.parsePath(x, path); err != nil {
		switch {
		case x.path == pathPresign || x.path == pathLink:
			return errMethod
		case errors.Is(err, locator.ErrNotPath):
			return errNotFound
		}
		return err
	}
	if !judged && !x.mayWait() && !h.integrations.Ready(x.locator, x.now) {
		return errWait
	}
	if err := h.admit(x); err != nil {
		return err
	}
	if judged {
		return h.authorize(x)
	}
	x.cors = isCORS(x.Header)
	ctx := x.Context
	if !x.mayWait() {
		// The client's tokens have been taken from the rate limit, so the request cannot be
		// answered again. Ready has found a session, so there is only something to wait for if it
		// was evicted or purged since.
		ctx = context.Background()
	}
	bucket, err := h.find(x)
	if err != nil {
		return err
	}
	if bucket.Integration.InPlace.Matches(x.locator.Key) {
		if answered, err := h.fetch(x, bucket); answered || err != nil {
			return err
		}
	}
	window, err := h.sign(ctx, x, bucket, x.method, x.query)
	if err != nil {
		return err
	}
	if h.blocked(x) {
		return errCrossOrigin
	}
	x.status, x.location, x.cacheControl = http.StatusFound, x.buf, noStore
	if mayStore(x.Header, x.cors) {
		x.cacheControl = h.cacheControl(capMaxAge(window.MaxAge(x.now), &x.viewer, x.now))
	}
	return nil
}

var (
	noContent       = []string{"0"}
	noStore         = []string{"no-store"}
	connectionClose = []string{"close"}
)

// age is a cached Cache-Control value. All redirects of a window in the same second share it.
type age struct {
	seconds int64
	value   []string
}

// cacheControl returns the Cache-Control value that lets the viewer's browser, but no shared cache,
// store a redirect for maxAge.
func (h *Handler) cacheControl(maxAge time.Duration) []string {
	seconds := int64(maxAge / time.Second)
	if seconds <= 0 {
		return noStore
	}
	slot := &h.ages[seconds%int64(len(h.ages))]
	if a := slot.Load(); a != nil && a.seconds == seconds {
		return a.value
	}
	value := "private, max-age=" + strconv.FormatInt(seconds, 10)
	a := &age{seconds: seconds, value: []string{value}}
	slot.Store(a)
	return a.value
}
