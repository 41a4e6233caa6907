package check

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// maxBuckets bounds the buckets of an integration whose region is checked.
const maxBuckets = 50

// regions checks the regions of the integration's buckets, the sample's bucket first. It sets
// p.region.
func (p *probe) regions(ctx context.Context) {
	var buckets []string
	for _, b := range p.i.Buckets() {
		if !locator.IsPattern(b) && (p.sample == nil || b != p.sample.Bucket) {
			buckets = append(buckets, b)
		}
	}
	if p.sample != nil {
		buckets = append([]string{p.sample.Bucket}, buckets...)
	}
	if len(buckets) == 0 {
		p.skip("region", "the integration has only patterns; name an object with --sample")
		return
	}
	if len(buckets) > maxBuckets {
		p.skip("region", "only the first %d of %d buckets are checked", maxBuckets, len(buckets))
		buckets = buckets[:maxBuckets]
	}
	for _, b := range buckets {
		p.bucketRegion(ctx, b)
	}
}

func (p *probe) bucketRegion(ctx context.Context, bucket string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	configured := p.i.FixedRegion()
	endpoint := p.i.LookupEndpoint(bucket)
	found, told, err := p.askRegion(ctx, bucket)
	region := found
	switch {
	case errors.Is(err, integration.ErrNoSuchBucket):
		p.unreached[bucket] = true
		p.fail("region", explainNoBucket(bucket))
		return
	case errors.Is(err, integration.ErrRegionUnavailable):
		p.unreached[bucket] = true
		p.fail("region", explainRegionUnavailable(endpoint.Origin(), err))
		return
	case err != nil && configured == "":
		p.fail("region", explanation{
			"the region is auto, but the store does not return the region of " + bucket,
			"Set the bucket's region instead of auto.",
		})
		return
	case err != nil && configured != config.RegionAuto:
		p.skip("region", "the store does not return the region of %s; using %s", bucket, configured)
		region = configured
	case configured == config.RegionAuto:
		p.ok("region", "%s is in Cloudflare R2, whose region is auto", bucket)
		region = configured
	case configured == "" && !told:
		p.warn("region", explanation{
			fmt.Sprintf("the region is auto, but the store does not return the region of %s; using %s",
				bucket, found),
			"Set the region that the store's documentation names, instead of auto. If the store " +
				"has GetBucketLocation, allow s3:GetBucketLocation.",
		})
	case configured != "" && found != configured && p.i.IsAWS():
		p.fail("region", explanation{
			fmt.Sprintf("%s is in %s, but the integration's region is %s, so S3 rejects its URLs",
				bucket, found, configured),
			"Set region: " + found + ", or auto, or move the bucket to its own integration.",
		})
	case configured != "" && found != configured:
		p.warn("region", explanation{
			fmt.Sprintf("the store reports %s for %s, but the integration's region is %s",
				found, bucket, configured),
			"If reading fails, set region: " + found,
		})
	default:
		p.ok("region", "%s is in %s", bucket, found)
	}
	if p.sample != nil && bucket == p.sample.Bucket {
		p.region = region
		if !p.i.IsAWS() && configured != "" {
			p.region = configured // the proxy signs for it
		}
	}
}

// askRegion asks the store for a bucket's region as the proxy does. If the region is configured, it
// sends only the unsigned request.
func (p *probe) askRegion(
	ctx context.Context, bucket string,
) (region string, told bool, err error) {
	q := &integration.Question{
		Integration: p.i,
		Bucket:      bucket,
		Client:      p.client,
		Clock:       p.Clock,
		Credentials: func(context.Context) (presign.Credentials, error) { return p.session, nil },
	}
	if p.i.FixedRegion() == "" {
		return q.Ask(ctx)
	}
	endpoint := p.i.BucketEndpoint(bucket, p.i.HomeRegion())
	region, err = integration.BucketRegion(ctx, p.client, endpoint.URL())
	return region, err == nil, err
}

func explainNoBucket(bucket string) explanation {
	return explanation{
		"the bucket " + bucket + " does not exist",
		"Check its spelling, and that it is in this partition or store.",
	}
}

func explainRegionUnavailable(origin string, err error) explanation {
	if strings.Contains(err.Error(), "the store answered 5") {
		return explanation{fmt.Sprintf("%s is unavailable: %v", origin, err), remedyUnavailable}
	}
	return explainUnreachable("the store", origin, err)
}

// sign returns the URL that the proxy would return for the sample in a window that starts now.
func (p *probe) sign(method, params string) (string, error) {
	return p.signAt(p.Clock(), method, params)
}

// signAt returns the URL that the proxy would return for the sample in a window that starts at an
// instant.
func (p *probe) signAt(start time.Time, method, params string) (string, error) {
	signer, err := integration.NewWindow(p.i, p.session, start, p.expires).Signer(p.region)
	if err != nil {
		return "", err
	}
	o := &presign.Object{
		Method:   method,
		Endpoint: p.i.BucketEndpoint(p.sample.Bucket, p.region),
		Key:      p.sample.Key,
		Params:   params,
	}
	return string(signer.AppendURL(nil, o, signer.Sign(o))), nil
}

func (p *probe) params(version string) string {
	params := p.i.Params()
	params.VersionID = version
	params.ResponseContentType = p.i.ContentTypeOf(p.sample.Key)
	return params.Canonical()
}

// response is a store's response without the object.
type response struct {
	header http.Header
	errorResponse
}

// send sends a request to a presigned URL. Header lines have the form "Range: bytes=0-0". Errors do
// not contain the URL.
func (p *probe) send(
	ctx context.Context, method, target string, header ...string,
) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, errors.New("invalid URL")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // without the URL
		}
		return nil, err
	}
	defer resp.Body.Close()
	r := &response{header: resp.Header, errorResponse: errorResponse{status: resp.StatusCode}}
	if resp.StatusCode >= 300 {
		var body struct{ Code, Message string }
		if xml.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body) == nil {
			r.code, r.message = sanitize(body.Code), sanitize(body.Message)
		}
	}
	return r, nil
}

// try signs a URL and sends a request to it. If the response's status is not one of want, it
// reports a failure of the step, and the result is false.
func (p *probe) try(
	ctx context.Context, step, method, params string, want []int, header ...string,
) (*response, bool) {
	target, err := p.sign(method, params)
	if err != nil {
		p.fail(step, explanation{
			"cannot sign a URL: " + err.Error(),
			"Check the integration's access key and region.",
		})
		return nil, false
	}
	r, err := p.send(ctx, method, target, header...)
	if err != nil {
		origin := p.i.BucketEndpoint(p.sample.Bucket, p.region).Origin()
		p.fail(step, explainUnreachable("the store", origin, err))
		return nil, false
	}
	if !slices.Contains(want, r.status) {
		p.fail(step, p.explainRead(r, step))
		return r, false
	}
	return r, true
}

// nginxBuffer is the size of nginx's default buffer for the headers of a response, less the headers
// besides Location.
// https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffer_size
const nginxBuffer = 4096 - 162

// read reads the sample as a browser would: the entire object, a range, and its headers only. It
// reports whether the object can be read.
func (p *probe) read(ctx context.Context) bool {
	params := p.params("")
	got, ok := p.try(ctx, "get", http.MethodGet, params, []int{http.StatusOK})
	if !ok {
		p.skip("range", "the object cannot be read")
		return false
	}
	length := got.header.Get("Content-Length")
	sample, kind := locator.Printable(p.sample.String()), got.header.Get("Content-Type")
	p.ok("get", "%s: %s bytes of %s", sample, length, kind)
	if length == "0" {
		p.skip("range", "the object is empty")
	} else {
		p.readRange(ctx, params)
	}
	if _, ok := p.try(ctx, "head", http.MethodHead, params, []int{http.StatusOK}); ok {
		p.ok("head", "a URL signed for HEAD works")
	}
	p.headByGet(ctx, params)
	p.signatureAge(ctx, params)
	p.versions(ctx, got.header.Get("X-Amz-Version-Id"))
	p.urlSize(params)
	return true
}

func (p *probe) readRange(ctx context.Context, params string) {
	want := []int{http.StatusPartialContent, http.StatusOK}
	r, ok := p.try(ctx, "range", http.MethodGet, params, want, "Range: bytes=0-0")
	switch {
	case !ok:
	case r.status == http.StatusPartialContent:
		p.ok("range", "%s", r.header.Get("Content-Range"))
	default:
		p.warn("range", explanation{
			"the store ignores Range and returns the entire object",
			"Videos cannot seek and downloads cannot resume: enable Range in the store, or in " +
				"the reverse proxy in front of it.",
		})
	}
}

// headByGet checks that the store verifies the signed method.
func (p *probe) headByGet(ctx context.Context, params string) {
	target, err := p.sign(http.MethodGet, params)
	if err != nil {
		return
	}
	switch r, err := p.send(ctx, http.MethodHead, target); {
	case err != nil:
		p.skip("head_by_get", "the store did not answer")
	case r.status == http.StatusForbidden:
		p.ok("head_by_get", "the store rejects HEAD with a URL signed for GET, as it should")
	default:
		p.warn("head_by_get", explanation{
			fmt.Sprintf("the store answers HEAD with a URL signed for GET with %d: "+
				"it does not verify the signed method", r.status),
			"Check whether the store verifies signatures at all: open the object's URL without " +
				"its query.",
		})
	}
}

func (p *probe) versions(ctx context.Context, newest string) {
	switch {
	case !p.i.FileVersioning:
		p.skip("versions", "file_versioning is off")
	case newest == "" || newest == "null":
		p.warn("versions", explanation{
			"file_versioning is on, but the bucket does not keep versions",
			"Enable versioning for the bucket, or set file_versioning: false.",
		})
	default:
		params := p.params(newest)
		_, ok := p.try(ctx, "versions", http.MethodGet, params, []int{http.StatusOK})
		if ok {
			p.ok("versions", "the newest version can be read by its ID")
		}
	}
}

func (p *probe) urlSize(params string) {
	target, err := p.sign(http.MethodGet, params)
	switch n := len(target); {
	case err != nil:
	case n > nginxBuffer:
		p.warn("url_size", explanation{
			fmt.Sprintf("the URL has %d bytes, more than nginx's default buffer (%d bytes), so "+
				"nginx would answer 502", n, nginxBuffer),
			"In nginx, set: " +
				"proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_busy_buffers_size 16k;",
		})
	default:
		p.ok("url_size", "%d bytes; nginx's default buffer has %d bytes", n, nginxBuffer)
	}
}
