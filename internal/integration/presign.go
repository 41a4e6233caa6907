package integration

import (
	"context"
	"errors"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
	"s3redirect/metrics"
)

// Resolved is everything that a bucket's URLs are signed with at an instant.
type Resolved struct {
	Place  *Place  // nil: the bucket's region is not known
	Window *Window // nil: there is no session
	Signer *Signer // the window's, for the place's region; nil if Place or Window is nil
	// Now is the instant at which the above was chosen. It is later than the one passed in if the
	// request waited for STS or for the store.
	Now time.Time
}

// Resolve returns what the bucket's URLs are signed with. It waits for the bucket's region and for
// a session where they are not available yet. The error wraps [ErrNoSuchBucket],
// [ErrRegionNotTold] or [ErrRegionUnavailable], or is one of [Integration.Window]. On an error,
// Place is set if it was found, and Now is set in any case.
func (b *Bucket) Resolve(
	ctx context.Context, now time.Time, shard metrics.Shard,
) (r Resolved, err error) {
	if r.Place, r.Now, err = b.locate(ctx, now); err != nil {
		return r, err
	}
	if r.Window, r.Now, err = b.Integration.Window(ctx, r.Now, shard); err != nil {
		return r, err
	}
	r.Signer, err = r.Window.Signer(r.Place.Region)
	return r, err
}

// ResolvePeek is [Bucket.Resolve] without waiting: it makes no calls, counts nothing, and leaves
// out what is not available.
func (b *Bucket) ResolvePeek(now time.Time) (r Resolved, err error) {
	r = Resolved{Place: b.known(), Window: b.Integration.keeper.peek(now), Now: now}
	if r.Place != nil && r.Window != nil {
		r.Signer, err = r.Window.Signer(r.Place.Region)
	}
	return r, err
}

// Presign returns a URL for an object that is valid for the given method, GET or HEAD. It waits for
// STS if need be. The error says that no integration serves the object or that it is blocked, or is
// one of [Bucket.Resolve].
//
// Presign computes the signature each time. The proxy calls the steps that Presign consists of,
// Find and Resolve, because it needs the integration to parse the query before it waits, and looks
// the signature up in its cache before it computes one.
func (s *Set) Presign(
	ctx context.Context, method string, l locator.Locator, now time.Time,
) (string, error) {
	if s.Blocked(l) {
		return "", errors.New("the object is under one of the blocked_prefixes")
	}
	bucket, ok := s.Find(l, now)
	if !ok {
		return "", s.unserved(l)
	}
	r, err := bucket.Resolve(ctx, now, 0)
	if err != nil {
		return "", err
	}
	o := &presign.Object{
		Method:   method,
		Endpoint: r.Place.Endpoint,
		Key:      l.Key,
		Params:   bucket.Integration.CanonicalParams(l.Key, false),
	}
	return string(r.Signer.AppendURL(nil, o, r.Signer.Sign(o))), nil
}
