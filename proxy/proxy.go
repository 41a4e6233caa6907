// Package proxy is the HTTP side: from a path to a redirect to a presigned URL.
//
// A redirect costs memory look-ups and, if its URL was not asked for within the window, one signature. Nothing on that way
// goes to the network or waits for a lock that is held over it.
package proxy

import (
	"context"
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

	"golang.org/x/sync/semaphore"

	"s3redirect/cache"
	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
)

// Options are what a [Handler] needs. Integrations, Metrics, Clock, Log, URLs, ReferrerPolicy and Gate are required.
type Options struct {
	Integrations *integration.Set
	Metrics      *metrics.Metrics
	Clock        func() time.Time
	Log          *slog.Logger
	// URLs is how many signatures are kept.
	URLs int
	// ReferrerPolicy is the Referrer-Policy of every answer.
	ReferrerPolicy string
	// Gate decides who asks and what they may see.
	Gate *viewer.Gate
	// Attribution signs the viewer into each URL.
	Attribution bool
	// CORS is for pages of other origins. nil allows none.
	CORS *config.CORS
	// PublicURL is how viewers reach the handler, for links. "" makes them paths.
	PublicURL string
	// AccessLog gets a line per request. nil means none.
	AccessLog *AccessLog
	// Previous is the handler of the configuration before, whose cache this one goes on with. nil means none.
	Previous *Handler
}

// Handler answers viewers. It must get the requests as they came: a router that cleans paths would change keys.
type Handler struct {
	integrations *integration.Set
	metrics      *metrics.Metrics
	unserved     *metrics.Integration
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
	bodies       *semaphore.Weighted // the budget of all bodies in flight, in bytes

	referrerPolicy []string
	ages           [256]atomic.Pointer[age]
}

// signature is what is kept of a URL: the rest of it is put together faster than it would be read from memory. It is
// current if its signer is the window's: the turn of a window needs no purge. It holds no pointers: see [cache.Table].
type signature struct {
	presign.Signature
	by      uint32 // its signer's number
	expires uint32 // when the URL does, in Unix time
}

// Deadline is when the URL expires.
func (s signature) Deadline() time.Time { return time.Unix(int64(s.expires), 0) }

// New makes a handler.
func New(o Options) (*Handler, error) {
	urls, seeds, err := cacheOf(o)
	if err != nil {
		return nil, err
	}
	bodies := semaphore.NewWeighted(maxBodies)
	if o.Previous != nil {
		bodies = o.Previous.bodies // some of its requests may still be in flight
	}
	return &Handler{
		integrations: o.Integrations, metrics: o.Metrics, unserved: o.Metrics.Integration(metrics.NoIntegration),
		clock: o.Clock, log: o.Log, accessLog: o.AccessLog, urls: urls, referrerPolicy: []string{o.ReferrerPolicy},
		gate: o.Gate, cors: newCORS(o.CORS), publicURL: strings.TrimSuffix(o.PublicURL, "/"), attribution: o.Attribution,
		// What scripts ask for is another URL than what pages do, it may be for one origin only, and it is not kept.
		vary:  []string{strings.Join(append([]string{"Origin", "Sec-Fetch-Mode", "Sec-Fetch-Dest"}, o.Gate.Vary()...), ", ")},
		seeds: seeds, bodies: bodies,
	}, nil
}

// cacheOf is the cache of the handler before, or a new one.
func cacheOf(o Options) (urls *cache.Table[signature], seeds [2]maphash.Seed, err error) {
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

// Purge drops the signatures of windows that no integration has any more, and says how many they were.
func (h *Handler) Purge() (dropped int) {
	current := h.integrations.Signers()
	return h.urls.Purge(func(_ cache.ID, s signature) bool { return !current[s.by] })
}

// exchange is one request on its way to its answer.
type exchange struct {
	now     time.Time
	locator locator.Locator
	viewer  viewer.Viewer
	counts  *metrics.Integration
	status  int
	hit     bool
	cors    bool // the URL is for a script that reads across origins
	begun   bool // the header of an answer with a body was written: no problem can replace it
	aborted bool // that answer is incomplete

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

	took := h.clock().Sub(start)
	x.counts.Request(r.Method, x.status)
	h.metrics.RequestDuration.Observe(took.Seconds())
	if h.accessLog != nil {
		x.buf = h.accessLog.line(x.buf[:0], x, h.gate, r, took)
		h.accessLog.add(x.buf)
	}
	aborted := x.aborted
	exchanges.Put(x)
	if aborted {
		panic(http.ErrAbortHandler) // so that the answer does not look complete
	}
}

// answer writes the answer, whatever happens.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, x *exchange) {
	defer func() {
		if v := recover(); v != nil {
			h.recovered(w, x, v)
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
		methods := methodsOf(r)
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
			header.Set("Allow", methodsOf(r)+", OPTIONS")
		}
		p.write(w)
	}
}

// methodsOf is what may be asked of a request's path.
func methodsOf(r *http.Request) string {
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

// recovered answers a request whose handling panicked. What the panic says could hold anything; a run-time error's text
// holds no more than numbers and types, and so does the stack.
func (h *Handler) recovered(w http.ResponseWriter, x *exchange, v any) {
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

// redirect answers with the URL of a request's object.
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
	x.cors = readsAsScript(r)
	window, err := h.sign(r.Context(), x, r.Method, query)
	if err != nil {
		return err
	}
	header := w.Header()
	header["Cache-Control"] = noStore
	// A browser answers a script's HEAD with the redirect that it kept for GET (RFC 9111, section 4), whose URL S3 refuses to HEAD.
	if !x.cors || forElement(r) {
		header["Cache-Control"] = h.cacheControl(bounded(window.MaxAge(x.now), &x.viewer, x.now))
	}
	header["Content-Length"] = noContent
	// A middleware may keep the header after the exchange has returned to its pool, so the URL is copied.
	header["Location"] = []string{string(x.buf)}
	x.status = http.StatusFound
	w.WriteHeader(x.status)
	return nil
}

// sign finds, or makes, the URL of the exchange's object, which the viewer may read, and leaves it in the buffer.
func (h *Handler) sign(ctx context.Context, x *exchange, method, query string) (*integration.Window, error) {
	bucket, ok := h.integrations.Find(x.locator.Bucket, x.now)
	if !ok {
		return nil, errBucket
	}
	x.counts = bucket.Integration.Metrics
	attributed := ""
	if h.attribution {
		attributed = x.viewer.ID
	}
	params, err := parseParams(query, bucket.Integration, x.cors, attributed)
	if err != nil {
		return nil, err
	}
	r, err := bucket.Resolve(ctx, x.now)
	x.now = r.Now
	if err != nil {
		if r.Place != nil && r.Window == nil {
			x.counts.URLs.Count(false)
		}
		return nil, err
	}
	x.object = presign.Object{
		Method:   method,
		Endpoint: r.Place.Endpoint,
		Key:      x.locator.Key,
		Params:   params,
	}
	sig := h.signature(x, bucket.Name, r.Signer, r.Window.Expires)
	x.counts.URLs.Count(x.hit)

	x.buf = r.Signer.AppendURL(x.buf[:0], &x.object, sig)
	h.metrics.URLBytes.Observe(float64(len(x.buf)))
	h.metrics.URLRemaining.Observe(r.Window.Remaining(x.now).Seconds())
	return r.Window, nil
}

var (
	noContent = []string{"0"}
	noStore   = []string{"no-store"}
)

// signature is the signature of the exchange's object, from the cache or made now.
func (h *Handler) signature(x *exchange, bucket string, signer *integration.Signer, expires time.Time) presign.Signature {
	id := h.objectID(x, bucket)
	kept, ok := h.urls.Get(id, x.now)
	if x.hit = ok && kept.by == signer.Number; x.hit {
		return kept.Signature
	}
	sig := signer.Sign(&x.object)
	h.urls.Add(id, signature{Signature: sig, by: signer.Number, expires: uint32(expires.Unix())})
	return sig
}

// objectID is what the cache knows the exchange's object by: a hash, which takes a tenth of the key's memory. Were two objects ever to have one
// ID, the second would get a URL of its own with the first one's signature, which S3 refuses: no object could come to the wrong viewer.
func (h *Handler) objectID(x *exchange, bucket string) cache.ID {
	// Neither a bucket's name holds a slash, nor a key a NUL; and a bucket is served by one integration.
	b := append(x.buf[:0], x.object.Method[0])
	b = append(append(b, bucket...), '/')
	b = append(append(b, x.object.Key...), 0)
	b = append(b, x.object.Params...)
	x.buf = b
	return cache.ID{maphash.Bytes(h.seeds[0], b), maphash.Bytes(h.seeds[1], b)}
}

// age is a Cache-Control value, kept because all redirects of a window and a second have the same.
type age struct {
	seconds int64
	value   []string
}

// cacheControl allows the viewer, and nobody in between, to keep a redirect.
func (h *Handler) cacheControl(maxAge time.Duration) []string {
	seconds := int64(maxAge / time.Second)
	if seconds <= 0 {
		return noStore
	}
	slot := &h.ages[seconds%int64(len(h.ages))]
	if a := slot.Load(); a != nil && a.seconds == seconds {
		return a.value
	}
	a := &age{seconds: seconds, value: []string{"private, max-age=" + strconv.FormatInt(seconds, 10)}}
	slot.Store(a)
	return a.value
}
