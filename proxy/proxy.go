// Package proxy is the HTTP side of s3redirect: it answers a request for an object with a redirect
// to a presigned URL.
//
// A redirect costs a few lookups in memory. If its URL was not requested before within the window,
// it also costs one signature. A warm request makes no network calls, and the package holds no lock
// across one.
package proxy

import (
	"hash/maphash"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/cache"
	"s3redirect/internal/config"
	"s3redirect/internal/inplace"
	"s3redirect/internal/integration"
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
	// Audit gets a line per object that a viewer gets access to. If nil, there are none.
	Audit *AuditLog
	// Transport carries the requests for documents that are answered in place. nil means
	// http.DefaultTransport with AWS_CA_BUNDLE; see [integration.NewTransport].
	Transport http.RoundTripper
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
	audit        *AuditLog
	urls         *cache.Table[signature]
	seeds        [2]maphash.Seed
	gate         *viewer.Gate
	cors         cors
	publicURL    string
	attribution  bool
	vary         []string
	bodies       *budget // for all bodies in flight
	documents    *inplace.Fetcher
	reading      *budget // bounds the documents that a client holds while it reads them
	exchanges    sync.Pool

	referrerPolicy []string
	ages           [256]atomic.Pointer[age]
}

// New returns a handler. It returns an error if o.URLs is not a valid cache size.
func New(o Options) (*Handler, error) {
	urls, seeds, err := urlCache(o)
	if err != nil {
		return nil, err
	}
	bodies, documents, reading := newBudget(maxBodies), newFetcher(o), newReadBudget()
	if p := o.Previous; p != nil { // some of its requests may still be in flight
		bodies, documents, reading = p.bodies, p.documents, p.reading
	}
	// Scripts get another URL than pages, their response may be limited to one origin, and it is
	// not cached.
	vary := append([]string{"Origin", "Sec-Fetch-Mode", "Sec-Fetch-Dest"}, o.Gate.Vary()...)
	h := &Handler{
		integrations:   o.Integrations,
		metrics:        o.Metrics,
		unserved:       o.Metrics.Integration(metrics.NoIntegration),
		clock:          o.Clock,
		log:            o.Log,
		accessLog:      o.AccessLog,
		audit:          o.Audit,
		urls:           urls,
		seeds:          seeds,
		gate:           o.Gate,
		cors:           newCORS(o.CORS),
		publicURL:      strings.TrimSuffix(o.PublicURL, "/"),
		attribution:    o.Attribution,
		vary:           []string{strings.Join(vary, ", ")},
		bodies:         bodies,
		documents:      documents,
		reading:        reading,
		referrerPolicy: []string{o.ReferrerPolicy},
	}
	h.exchanges.New = func() any {
		return &exchange{buf: make([]byte, 0, 4096), shard: h.metrics.NewShard()}
	}
	return h, nil
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
