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
	"s3redirect/config"
	"s3redirect/presign"
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
	// The question is nobody's in particular, and outlives the caller that was first.
	answer := b.Integration.regions.DoChan(b.Name, func() (any, error) { return b.find() })
	select {
	case r := <-answer:
		p, _ := r.Val.(*Place)
		return p, b.Integration.clock(), r.Err
	case <-ctx.Done():
		return nil, now, context.Cause(ctx)
	}
}

func (b *Bucket) find() (*Place, error) {
	if p := b.place.Load(); p != nil {
		return p, nil // found by the flight before
	}
	i := b.Integration
	ctx, cancel := context.WithTimeout(i.life, fetchTimeout)
	defer cancel()
	asked := i.placeOf(b.Name, i.config.HomeRegion()).Endpoint.URL()
	if region, ok := i.regions.known.Get(asked, i.clock()); ok { // by the set before
		p := i.placeOf(b.Name, string(region))
		b.place.Store(p)
		return p, nil
	}
	region, err := BucketRegion(ctx, i.regions.client, asked)
	if err == nil && i.config.Endpoint == "" && presign.PartitionOf(region).Name != i.config.Partition() {
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

// regions asks stores for their buckets' regions, once for all who wait for one.
type regions struct {
	singleflight.Group
	client *http.Client
	known  *cache.LRU[string, knownRegion] // by the URL that was asked, for the sets to come
}

// knownRegion is a store's answer: a bucket stays where it is.
type knownRegion string

// Deadline implements [cache.Perishable].
func (knownRegion) Deadline() time.Time { return forever }

func newRegions(transport http.RoundTripper) (*regions, error) {
	known, err := cache.New[string, knownRegion](maxFound, nil)
	return &regions{client: &http.Client{Transport: transport, CheckRedirect: NoRedirects}, known: known}, err
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
