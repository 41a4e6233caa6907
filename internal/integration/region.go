package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"s3redirect/cache"
	"s3redirect/internal/partition"
	"s3redirect/internal/presign"
)

// RegionPause is how long a failure to find a bucket's region is cached.
const RegionPause = 5 * time.Second

// Bucket is a bucket that an integration serves.
type Bucket struct {
	Name        string
	Integration *Integration

	place   atomic.Pointer[Place] // nil: the region is not known yet
	failure atomic.Pointer[regionFailure]
}

// Place is where a bucket is.
type Place struct {
	Region   string
	Endpoint *presign.Endpoint
}

type regionFailure struct {
	err   error
	until time.Time
}

// Deadline implements [cache.Perishable]: a bucket never moves.
func (*Bucket) Deadline() time.Time { return forever }

var forever = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// known returns where the bucket is, or nil if the store has to be asked. The first call computes
// it: most buckets of a large configuration are never requested.
func (b *Bucket) known() *Place {
	if p := b.place.Load(); p != nil {
		return p
	}
	if region := b.Integration.config.FixedRegion(); region != "" {
		b.place.CompareAndSwap(nil, b.Integration.placeOf(b.Name, region))
	}
	return b.place.Load()
}

// placeOf returns the place of a bucket in a region.
func (i *Integration) placeOf(bucket, region string) *Place {
	return &Place{Region: region, Endpoint: i.config.BucketEndpoint(bucket, region)}
}

// locate returns where the bucket is, and the instant at which that was known: later than now if
// the request waited. With region auto the first request asks the store, and the answer is kept. The
// error wraps [ErrNoSuchBucket], [ErrRegionNotTold] or [ErrRegionUnavailable], or is an
// [*AssumeRoleError] or the context's.
func (b *Bucket) locate(ctx context.Context, now time.Time) (*Place, time.Time, error) {
	if p := b.known(); p != nil {
		return p, now, nil
	}
	if f := b.failure.Load(); f != nil && now.Before(f.until) && f.until.Sub(now) <= RegionPause {
		return nil, now, f.err
	}
	i := b.Integration
	if !i.keeper.enqueue() {
		return nil, now, fmt.Errorf("%w: %w", ErrRegionUnavailable, errTooManyWaiters)
	}
	defer i.keeper.dequeue()
	// The call belongs to no request: it continues when the first has given up. The key has the
	// identity and the URL: after a reload the bucket may belong to another integration, at another
	// store, while the previous integration's call is in flight.
	asked := i.config.LookupEndpoint(b.Name).URL()
	key := string(i.keeper.identity[:]) + asked
	answer := i.pool.regions.DoChan(key, func() (any, error) { return b.find(asked) })
	select {
	case r := <-answer:
		p, _ := r.Val.(*Place)
		return p, i.keeper.clock(), r.Err
	case <-ctx.Done():
		return nil, now, context.Cause(ctx)
	}
}

// find asks the store at a URL for the bucket's region.
func (b *Bucket) find(asked string) (*Place, error) {
	// Single flight only merges calls that overlap. Two requests can still call find one after the
	// other:
	//
	//	1: locate: place is nil
	//	2: locate: place is nil
	//	1: DoChan, find: stores place, returns
	//	2: DoChan, find
	//
	// Without this check the store would be asked twice.
	if p := b.place.Load(); p != nil {
		return p, nil
	}
	i := b.Integration
	regions, log := i.pool.regions, i.keeper.log()
	ctx, cancel := context.WithTimeout(i.pool.life, fetchTimeout)
	defer cancel()
	if region, ok := regions.known.Get(asked, i.keeper.clock()); ok { // found by a previous Set
		p := i.placeOf(b.Name, string(region))
		b.place.Store(p)
		return p, nil
	}
	region, told, err := b.ask(ctx)
	if err == nil && i.config.IsAWS() &&
		partition.Of(region).Name != i.config.Partition() {
		err = fmt.Errorf("%w: it reports %s, which is in another partition than the role",
			ErrRegionNotTold, region)
	}
	if denied, ok := errors.AsType[*AssumeRoleError](err); ok {
		return nil, denied // the keeper has logged it, and decides when to try again
	}
	if err != nil {
		b.failure.Store(&regionFailure{err: err, until: i.keeper.clock().Add(RegionPause)})
		log.Error("bucket region not found", "bucket", b.Name, "error", truncate(err))
		return nil, err
	}
	p := i.placeOf(b.Name, region)
	b.place.Store(p)
	if !told {
		log.Warn("the store does not report the bucket's region; using the default, "+
			"set region if the store rejects it", "bucket", b.Name, "region", region)
		return p, nil
	}
	regions.known.Add(asked, knownRegion(region))
	log.Info("bucket region found", "bucket", b.Name, "region", region)
	return p, nil
}

// ask asks the store for the bucket's region, once the budget admits the call.
func (b *Bucket) ask(ctx context.Context) (region string, told bool, err error) {
	i := b.Integration
	leave, err := i.pool.regions.calls.enter(ctx, i.Name, true)
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", ErrRegionUnavailable, err)
	}
	defer leave()
	q := &Question{
		Integration: i.config,
		Bucket:      b.Name,
		Client:      i.pool.regions.client,
		Clock:       i.keeper.clock,
		Credentials: i.credentials,
	}
	return q.Ask(ctx)
}

// credentials returns the credentials of the current window. It waits for STS if need be. The error
// is an [*AssumeRoleError], or wraps [ErrRegionUnavailable].
func (i *Integration) credentials(ctx context.Context) (presign.Credentials, error) {
	w, _, err := i.Window(ctx, i.keeper.clock(), 0)
	if _, ok := errors.AsType[*AssumeRoleError](err); ok {
		return presign.Credentials{}, err
	} else if err != nil {
		return presign.Credentials{}, fmt.Errorf("%w: %w", ErrRegionUnavailable, err)
	}
	return w.session.credentials, nil
}

// maxQuestions bounds the region requests in flight. A client that may read all buckets that match
// a pattern could otherwise cause as many requests as there are names.
const maxQuestions = 200

// regions finds buckets' regions. Concurrent requests for one bucket share a call.
type regions struct {
	singleflight.Group
	client *http.Client
	calls  *budget
	known  *cache.LRU[string, knownRegion] // by the URL that was asked; outlives a Set
}

// knownRegion is a region that a store reported.
type knownRegion string

// Deadline implements [cache.Perishable]: a bucket never moves.
func (knownRegion) Deadline() time.Time { return forever }

func newRegions(transport http.RoundTripper) (*regions, error) {
	if transport == nil {
		transport = NewTransport(http.DefaultTransport.(*http.Transport))
	}
	known, err := cache.New[string, knownRegion](maxFound, nil)
	return &regions{
		client: &http.Client{Transport: transport, CheckRedirect: NoRedirects},
		calls:  newBudget(maxQuestions),
		known:  known,
	}, err
}

// NoRedirects makes an [http.Client] return redirects instead of following them. S3 answers a
// request to the wrong region with a redirect that names the right one.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

var regionGrammar = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// BucketRegion sends an unsigned HeadBucket request and returns the region that the store reports.
// S3 sets x-amz-bucket-region on every response, including errors. The client must not follow
// redirects (see [NoRedirects]). The error wraps [ErrNoSuchBucket], [ErrRegionNotTold] or
// [ErrRegionUnavailable].
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
func BucketRegion(ctx context.Context, client *http.Client, bucketURL string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, bucketURL, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return "", fmt.Errorf("%w: %w", ErrRegionUnavailable, err)
	}
	defer resp.Body.Close()
	region := resp.Header.Get("X-Amz-Bucket-Region")
	switch {
	case len(region) <= 32 && regionGrammar.MatchString(region):
		return region, nil
	case resp.StatusCode == http.StatusNotFound:
		return "", ErrNoSuchBucket
	case resp.StatusCode >= 500:
		return "", fmt.Errorf("%w: the store answered %s", ErrRegionUnavailable, resp.Status)
	}
	return "", fmt.Errorf("%w: the store answered %s", ErrRegionNotTold, resp.Status)
}
