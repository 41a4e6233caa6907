// Package proxy is the HTTP side of s3redirect: it answers a request for an object with a redirect
// to a presigned URL.
//
// A redirect costs a few lookups in memory. If its URL was not requested before within the window,
// it also costs one signature. A warm request makes no network calls, and the package holds no lock
// across one.
package proxy

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/cache"
	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
)

// Options configure a [Handler]. Integrations, Metrics, Clock, Log, URLs, ReferrerPolicy and Gate
// are required.
type Options struct {
	Integrations *integration.Set
	Metrics      *metrics.Metrics
	Clock        func() time.Time
	Log          *slog.Logger
	// URLs is the capacity of the signature cache.
	URLs int
	// ReferrerPolicy is the Referrer-Policy header of every response.
	ReferrerPolicy string
	// Gate identifies viewers and decides what they may read.
	Gate *viewer.Gate
	// Attribution adds the viewer's ID to each URL, as a signed parameter.
	Attribution bool
	// CORS lists the origins whose pages may read responses. If nil, there are none.
	CORS *config.CORS
	// PublicURL is the URL at which viewers reach the handler, for signed links. If empty, links
	// are paths.
	PublicURL string
	// AccessLog gets a line per request. If nil, requests are not logged.
	AccessLog *AccessLog
	// Previous is the handler of the previous configuration. The new handler takes over its cache.
	// If nil, the new handler starts with an empty cache.
	Previous *Handler
}

// Handler answers viewers' requests. It must receive them unchanged: a router that cleans paths
// would change keys.
type Handler struct {
	integrations *integration.Set
	metrics      *metrics.Metrics
	unserved     *metrics.Integration // counts requests that belong to no integration
	clock        func() time.Time
	log          *slog.Logger
	accessLog    *AccessLog
	urls         *cache.Table[signature]
	seeds        [2]maphash.Seed
	gate         *viewer.Gate
	cors         cors
	publicURL    string
	attribution  bool
	vary         []string
	bodies       *budget // for all bodies in flight

	referrerPolicy []string
	ages           [256]atomic.Pointer[age]
}

// New returns a handler. It returns an error if o.URLs is not a valid cache size.
func New(o Options) (*Handler, error) {
	urls, seeds, err := urlCache(o)
	if err != nil {
		return nil, err
	}
	bodies := newBudget(maxBodies)
	if o.Previous != nil {
		bodies = o.Previous.bodies // some of its requests may still be in flight
	}
	// Scripts get another URL than pages, their response may be limited to one origin, and it is
	// not cached.
	vary := append([]string{"Origin", "Sec-Fetch-Mode", "Sec-Fetch-Dest"}, o.Gate.Vary()...)
	return &Handler{
		integrations:   o.Integrations,
		metrics:        o.Metrics,
		unserved:       o.Metrics.Integration(metrics.NoIntegration),
		clock:          o.Clock,
		log:            o.Log,
		accessLog:      o.AccessLog,
		urls:           urls,
		seeds:          seeds,
		gate:           o.Gate,
		cors:           newCORS(o.CORS),
		publicURL:      strings.TrimSuffix(o.PublicURL, "/"),
		attribution:    o.Attribution,
		vary:           []string{strings.Join(vary, ", ")},
		bodies:         bodies,
		referrerPolicy: []string{o.ReferrerPolicy},
	}, nil
}

// urlCache returns the cache of the previous handler, or a new one if there is none.
func urlCache(o Options) (urls *cache.Table[signature], seeds [2]maphash.Seed, err error) {
	if o.Previous != nil {
		o.Previous.urls.Resize(o.URLs)
		return o.Previous.urls, o.Previous.seeds, nil
	}
	if urls, err = cache.NewTable[signature](o.URLs); err != nil {
		return nil, seeds, err
	}
	o.Metrics.WatchCache("urls", urls.Len, map[string]func() uint64{
		"capacity": func() uint64 { return urls.Evictions().Capacity },
		"expired":  func() uint64 { return urls.Evictions().Expired },
		"purged":   func() uint64 { return urls.Evictions().Purged },
	})
	return urls, [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, nil
}

// Purge drops the signatures of signers that no integration uses any more, and returns their
// number.
func (h *Handler) Purge() (dropped int) {
	current := h.integrations.Signers()
	return h.urls.Purge(func(_ cache.ID, s signature) bool { return !current[s.signer] })
}

// exchange is the state of one request.
type exchange struct {
	now     time.Time
	locator locator.Locator
	viewer  viewer.Viewer
	counts  *metrics.Integration
	status  int
	hit     bool
	cors    bool // the URL is for a script that reads across origins
	begun   bool // the header of a response with a body was written, so no problem can replace it
	aborted bool // that response is incomplete

	object presign.Object
	buf    []byte
}

var exchanges = sync.Pool{New: func() any { return &exchange{buf: make([]byte, 0, 4096)} }}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.clock()
	x := exchanges.Get().(*exchange)
	*x = exchange{now: start, counts: h.unserved, buf: x.buf[:0]}
	h.answer(w, r, x)

	elapsed := h.clock().Sub(start)
	x.counts.Request(r.Method, x.status)
	h.metrics.RequestDuration.Observe(elapsed.Seconds())
	if h.accessLog != nil {
		x.buf = h.accessLog.line(x.buf[:0], x, h.gate, r, elapsed)
		h.accessLog.add(x.buf)
	}
	aborted := x.aborted
	exchanges.Put(x)
	if aborted {
		panic(http.ErrAbortHandler) // the server closes the connection or resets the stream
	}
}

// answer writes the response. It recovers from panics.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, x *exchange) {
	defer func() {
		if v := recover(); v != nil {
			h.handlePanic(w, x, v)
		}
	}()
	header := w.Header()
	header["Referrer-Policy"], header["Vary"] = h.referrerPolicy, h.vary
	crossOrigin := h.cors.allow(header, r)
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		err = h.redirect(w, r, x)
	case http.MethodOptions:
		x.status = http.StatusNoContent
		methods := allowedMethods(r)
		header.Set("Allow", methods+", OPTIONS")
		if crossOrigin {
			h.cors.preflight(header, r, methods)
		}
		w.WriteHeader(x.status)
	case http.MethodPost:
		err = h.post(w, r, x)
	default:
		err = errMethod
	}
	if err != nil {
		p := h.problemOf(err)
		if p == errInternal {
			h.log.Error("internal error", "error", err.Error())
		}
		x.status = p.Status
		if p.Status == http.StatusMethodNotAllowed {
			header.Set("Allow", allowedMethods(r)+", OPTIONS")
		}
		p.write(w)
	}
}

// allowedMethods returns the methods that the request's path allows, besides OPTIONS.
func allowedMethods(r *http.Request) string {
	if path, _ := target(r); path == pathPresign || path == pathLink {
		return "POST"
	}
	return "GET, HEAD"
}

func (h *Handler) post(w http.ResponseWriter, r *http.Request, x *exchange) error {
	switch path, _ := target(r); path {
	case pathPresign:
		return h.presign(w, r, x)
	case pathLink:
		return h.link(w, r, x)
	}
	return errMethod
}

// handlePanic logs a panic and answers the request. The panic's value could hold a secret, so only
// the text of a run-time error is logged: it has numbers and types only, like the stack.
func (h *Handler) handlePanic(w http.ResponseWriter, x *exchange, v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	what := fmt.Sprintf("a %T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	h.log.Error("panic", "panic", what, "stack", string(debug.Stack()))
	x.status = http.StatusInternalServerError
	if x.begun {
		x.aborted = true
		return
	}
	errInternal.write(w)
}

// redirect answers a GET or HEAD request with a redirect to the object's URL.
func (h *Handler) redirect(w http.ResponseWriter, r *http.Request, x *exchange) (err error) {
	path, query := target(r)
	if x.locator, err = locator.ParsePath(path); err != nil {
		switch {
		case path == pathPresign || path == pathLink:
			return errMethod
		case errors.Is(err, locator.ErrNotPath):
			return errNotFound
		}
		return err
	}
	if err := h.admit(r, query, x); err != nil {
		return err
	}
	x.cors = isCORS(r)
	window, err := h.sign(r.Context(), x, r.Method, query)
	if err != nil {
		return err
	}
	header := w.Header()
	header["Cache-Control"] = noStore
	// A browser would answer a script's HEAD with the redirect that it cached for GET (RFC 9111,
	// section 4), whose URL S3 rejects for HEAD.
	if !x.cors || fromElement(r) {
		header["Cache-Control"] = h.cacheControl(capMaxAge(window.MaxAge(x.now), &x.viewer, x.now))
	}
	header["Content-Length"] = noContent
	// Middleware may keep the header after the exchange returned to its pool, so the URL is copied.
	header["Location"] = []string{string(x.buf)}
	x.status = http.StatusFound
	w.WriteHeader(x.status)
	return nil
}

var (
	noContent = []string{"0"}
	noStore   = []string{"no-store"}
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
