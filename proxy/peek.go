package proxy

import (
	"net/http"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// Peeked is what a viewer who asks for an object would meet.
type Peeked struct {
	// Integration serves the bucket.
	Integration string
	// Region is the bucket's, "" where it is not known yet.
	Region string
	// Session tells that there is one to sign with, so that STS need not be asked. What follows is of its window.
	Session bool
	// Hit tells that the URL of a plain GET is in the cache.
	Hit bool
	// WindowEnds is when the URL changes, Expires when it dies, and MaxAge for how long the redirect may be kept; none where that is not above 0.
	WindowEnds, Expires time.Time
	MaxAge              time.Duration
	// Bytes is the length of the URL.
	Bytes int
}

// Peek tells what a viewer who may read an object, and asks for it with GET, would meet; the ID is "" for an anonymous one. It asks neither
// STS nor S3, counts nothing, and changes nothing. It is false where no integration serves bucket.
func (h *Handler) Peek(l locator.Locator, viewerID string) (p Peeked, ok bool) {
	now := h.clock()
	bucket, ok := h.integrations.Find(l.Bucket, now)
	if !ok {
		return p, false
	}
	p.Integration = bucket.Integration.Name
	place := bucket.Peek()
	if place == nil {
		return p, true
	}
	p.Region = place.Region
	window := bucket.Integration.Peek(now)
	if window == nil {
		return p, true
	}
	signer, err := window.Signer(place.Region)
	if err != nil {
		return p, true
	}
	p.Session, p.WindowEnds, p.Expires, p.MaxAge = true, window.End, window.Expires, window.MaxAge(now)
	params := bucket.Integration.Params
	if h.attribution {
		params.Viewer = viewerID
	}
	x := &exchange{now: now, object: presign.Object{Method: http.MethodGet, Endpoint: place.Endpoint, Key: l.Key, Params: params.Canonical()}}
	kept, found := h.urls.Peek(h.objectID(x, bucket.Name), now)
	p.Hit = found && kept.by == signer.Number
	p.Bytes = len(signer.AppendURL(nil, &x.object, kept.Signature))
	return p, true
}
