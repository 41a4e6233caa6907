package proxy

import (
	"context"
	"hash/maphash"
	"time"

	"s3redirect/cache"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// signature is the part of a URL that the cache stores. Building the rest is faster than reading it
// from memory. An entry is valid only while its signer is the current window's, so a new window
// needs no purge. A signature holds no pointers (see [cache.Table]).
type signature struct {
	presign.Signature
	signer  uint32 // the number of the signer that made it
	expires uint32 // when the URL expires, in Unix time
}

// Deadline returns when the URL expires. It implements [cache.Perishable].
func (s signature) Deadline() time.Time { return time.Unix(int64(s.expires), 0) }

// find returns the bucket of the exchange's object, and makes its integration count the request.
// Blocked objects are denied even if the rules or a link allow them.
func (h *Handler) find(x *exchange) (*integration.Bucket, error) {
	if h.integrations.Blocked(x.locator) {
		return nil, errDenied
	}
	bucket, ok := h.integrations.Find(x.locator, x.now)
	if !ok {
		if err := locator.CheckBucket(x.locator.Bucket); err != nil {
			return nil, err // only S3-compatible stores have such names
		}
		return nil, errBucket
	}
	x.counts = bucket.Integration.Metrics
	return bucket, nil
}

// sign writes the URL of the exchange's object to x.buf, and returns the window that it belongs to.
// The caller has checked that the viewer may read the object. sign may wait for STS or the store,
// so it updates x.now.
func (h *Handler) sign(
	ctx context.Context, x *exchange, bucket *integration.Bucket, method, query string,
) (*integration.Window, error) {
	attributed := ""
	if h.attribution {
		attributed = x.viewer.ID
	}
	params, err := parseParams(query, x.locator.Key, bucket.Integration, x.cors, attributed)
	if err != nil {
		return nil, err
	}
	r, err := bucket.Resolve(ctx, x.now, x.shard)
	x.now = r.Now
	if err != nil {
		if r.Place != nil && r.Window == nil {
			x.counts.URLs.Count(x.shard, false)
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
	x.counts.URLs.Count(x.shard, x.hit)

	x.expires = r.Window.Expires
	x.buf = r.Signer.AppendURL(x.buf[:0], &x.object, sig)
	h.metrics.URLBytes.Observe(x.shard, float64(len(x.buf)))
	h.metrics.URLRemaining.Observe(x.shard, r.Window.Remaining(x.now).Seconds())
	return r.Window, nil
}

// signature returns the signature of the exchange's object, from the cache if possible. It sets
// x.hit.
func (h *Handler) signature(
	x *exchange, bucket string, signer *integration.Signer, expires time.Time,
) presign.Signature {
	id := h.objectID(x, bucket)
	cached, ok := h.urls.Get(id, x.now)
	if x.hit = ok && cached.signer == signer.Number; x.hit {
		return cached.Signature
	}
	sig := signer.Sign(&x.object)
	h.urls.Add(id, signature{
		Signature: sig,
		signer:    signer.Number,
		expires:   uint32(expires.Unix()),
	})
	return sig
}

// objectID returns the cache key of the exchange's object. It is a hash, which takes a tenth of the
// memory of the object's key. If the IDs of two objects collided, the second object's URL would
// carry the first one's signature, and S3 would reject it: a collision cannot expose an object.
func (h *Handler) objectID(x *exchange, bucket string) cache.ID {
	// The encoding is unambiguous: bucket names have no slash, and keys have no NUL. It does not
	// need the integration, because one integration serves an object, and its signers are its own.
	b := append(x.buf[:0], x.object.Method[0])
	b = append(append(b, bucket...), '/')
	b = append(append(b, x.object.Key...), 0)
	b = append(b, x.object.Params...)
	x.buf = b
	return cache.ID{maphash.Bytes(h.seeds[0], b), maphash.Bytes(h.seeds[1], b)}
}
