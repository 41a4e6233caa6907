package proxy

import (
	"net/http"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// Peeked describes how the handler would answer a request.
type Peeked struct {
	// Integration is the name of the integration that serves the object.
	Integration string
	// Region is the bucket's region. It is "" if the region is not known yet.
	Region string
	// Session reports whether a session is available, so that the request would not wait for STS.
	// If it is false, the fields below are zero.
	Session bool
	// Hit reports whether the signature for a plain GET is in the cache.
	Hit bool
	// WindowEnds is when the URL changes, and Expires when it stops working.
	WindowEnds, Expires time.Time
	// MaxAge is how long clients may cache the redirect. If it is not positive, they may not.
	MaxAge time.Duration
	// Bytes is the length of the URL.
	Bytes int
}

// Peek describes how the handler would answer a GET request for an object from a viewer who may
// read it. The viewerID is "" for anonymous viewers. Peek does not call STS or S3, and does not
// change the cache or the metrics. ok is false if no integration serves the object, or if it is
// blocked.
func (h *Handler) Peek(l locator.Locator, viewerID string) (p Peeked, ok bool) {
	now := h.clock()
	bucket, ok := h.integrations.Find(l, now)
	if !ok || h.integrations.Blocked(l) {
		return p, false
	}
	p.Integration = bucket.Integration.Name
	r, err := bucket.ResolvePeek(now)
	if r.Place == nil {
		return p, true
	}
	p.Region = r.Place.Region
	if err != nil || r.Window == nil {
		return p, true
	}
	p.Session, p.WindowEnds, p.Expires = true, r.Window.End, r.Window.Expires
	p.MaxAge = r.Window.MaxAge(now)
	params := bucket.Integration.ParamsOf(l.Key)
	if h.attribution {
		params.Viewer = viewerID
	}
	x := &exchange{now: now, object: presign.Object{
		Method:   http.MethodGet,
		Endpoint: r.Place.Endpoint,
		Key:      l.Key,
		Params:   params.Canonical(),
	}}
	cached, found := h.urls.Peek(h.objectID(x, bucket.Name), now)
	p.Hit = found && cached.signer == r.Signer.Number
	p.Bytes = len(r.Signer.AppendURL(nil, &x.object, cached.Signature))
	return p, true
}
