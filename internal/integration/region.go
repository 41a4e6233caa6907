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
	"s3redirect/internal/config"
	"s3redirect/internal/partition"
	"s3redirect/internal/presign"
)

// RegionPause is for how long a failure to find a bucket's region is remembered.
const RegionPause = 5 * time.Second

// Bucket is a bucket that an integration serves.
type Bucket struct {
	Name        string
	Integration *Integration

	place   atomic.Pointer[Place]
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

// Deadline is that of a cache's entry: a bucket stays where it is.
func (*Bucket) Deadline() time.Time { return forever }

var forever = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func newBucket(name string, i *Integration) *Bucket {
	b := &Bucket{Name: name, Integration: i}
	if i.config.Region != config.RegionAuto {
		b.place.Store(i.placeOf(name, i.config.Region))
	}
	return b
}

// placeOf is where a bucket of a region is.
func (i *Integration) placeOf(bucket, region string) *Place {
	return &Place{Region: region, Endpoint: i.config.BucketEndpoint(bucket, region)}
}

// Place is where the bucket is, and the instant for which that holds. With region auto the first caller asks S3, and the
// answer is kept. Errors wrap [ErrNoSuchBucket], [ErrRegionNotTold] or [ErrRegionUnavailable], or are the context's.
func (b *Bucket) Place(ctx context.Context, now time.Time) (*Place, time.Time, error) {
	if p := b.place.Load(); p != nil {
		return p, now, nil
	}
	if f := b.failure.Load(); f != nil && now.Before(f.until) && f.until.Sub(now) <= RegionPause {
		return nil, now, f.err
	}
	i := b.Integration
	if !i.join() {
		return nil, now, fmt.Errorf("%w: %w", ErrRegionUnavailable, errCrowd)
	}
	defer i.part()
	// The question is nobody's in particular, and outlives the caller that was first. After a change of the configuration the
	// bucket may be another integration's, at another store, while the old one's question is on its way.
	asked := i.placeOf(b.Name, i.config.HomeRegion()).Endpoint.URL()
	answer := i.regions.DoChan(string(i.identity[:])+asked, func() (any, error) { return b.find(asked) })
	select {
	case r := <-answer:
		p, _ := r.Val.(*Place)
		return p, i.clock(), r.Err
	case <-ctx.Done():
		return nil, now, context.Cause(ctx)
	}
}

func (b *Bucket) find(asked string) (*Place, error) {
	if p := b.place.Load(); p != nil {
		return p, nil // found by the flight before
	}
	i := b.Integration
	ctx, cancel := context.WithTimeout(i.life, fetchTimeout)
	defer cancel()
	if region, ok := i.regions.known.Get(asked, i.clock()); ok { // by the set before
		p := i.placeOf(b.Name, string(region))
		b.place.Store(p)
		return p, nil
	}
	region, err := i.regions.ask(ctx, i.Name, asked)
	if err == nil && i.config.Endpoint == "" && partition.Of(region).Name != i.config.Partition() {
		err = fmt.Errorf("%w: it is said to be in %s, of another partition than the role", ErrRegionNotTold, region)
	}
	if err != nil {
		b.failure.Store(&regionFailure{err: err, until: i.clock().Add(RegionPause)})
		i.log.Error("bucket's region not found", "bucket", b.Name, "error", oneLine(err))
		return nil, err
	}
	p := i.placeOf(b.Name, region)
	b.place.Store(p)
	i.regions.known.Add(asked, knownRegion(region))
	i.log.Info("bucket's region found", "bucket", b.Name, "region", region)
	return p, nil
}

// maxQuestions bounds the questions for regions that are on their way at once: whoever may ask for any bucket that a pattern
// matches could make as many as there are names.
const maxQuestions = 200

// regions asks stores for their buckets' regions, once for all who wait for one.
type regions struct {
	singleflight.Group
	client *http.Client
	calls  *budget
	known  *cache.LRU[string, knownRegion] // by the URL that was asked, for the sets to come
}

// knownRegion is a store's answer: a bucket stays where it is.
type knownRegion string

// Deadline implements [cache.Perishable].
func (knownRegion) Deadline() time.Time { return forever }

func newRegions(transport http.RoundTripper) (*regions, error) {
	known, err := cache.New[string, knownRegion](maxFound, nil)
	return &regions{client: &http.Client{Transport: transport, CheckRedirect: NoRedirects}, calls: newBudget(maxQuestions), known: known}, err
}

// ask asks an integration's store, once it is its turn.
func (r *regions) ask(ctx context.Context, integration, bucketURL string) (string, error) {
	leave, err := r.calls.enter(ctx, integration, true)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRegionUnavailable, err)
	}
	defer leave()
	return BucketRegion(ctx, r.client, bucketURL)
}

// NoRedirects has a client return redirects as they are: the answer of S3 in the wrong region is one, and tells the right region.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

var regionGrammar = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// BucketRegion sends HeadBucket without a signature: S3 names the region in x-amz-bucket-region with every answer, refusals
// included. The client must not follow redirects. Errors are those of [Bucket.Place].
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
		return "", fmt.Errorf("%w: it answered %s", ErrRegionUnavailable, resp.Status)
	}
	return "", fmt.Errorf("%w: it answered %s", ErrRegionNotTold, resp.Status)
}
