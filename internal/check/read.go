package check

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// most bounds the buckets of an integration that are looked at.
const most = 50

// regions asks where the buckets are. For reading it leaves the region of the sample's.
func (p *probe) regions(ctx context.Context) {
	var named []string
	for _, b := range p.i.Buckets() {
		if !locator.IsPattern(b) && (p.sample == nil || b != p.sample.Bucket) {
			named = append(named, b)
		}
	}
	if p.sample != nil {
		named = append([]string{p.sample.Bucket}, named...)
	}
	if len(named) == 0 {
		p.skip("region", "the integration has patterns and no bucket's name: name an object with --sample")
		return
	}
	if len(named) > most {
		p.skip("region", "only the first %d of %d buckets are looked at", most, len(named))
		named = named[:most]
	}
	for _, b := range named {
		p.bucketRegion(ctx, b)
	}
}

func (p *probe) bucketRegion(ctx context.Context, bucket string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	configured := p.i.Region
	endpoint := p.i.BucketEndpoint(bucket, p.i.HomeRegion())
	found, err := integration.BucketRegion(ctx, p.client, endpoint.URL())
	use := found
	switch {
	case errors.Is(err, integration.ErrNoSuchBucket):
		p.unreached[bucket] = true
		p.say("region", Failed, "there is no bucket "+bucket, "Look at its spelling, and at whether it is in this partition or store.")
		return
	case errors.Is(err, integration.ErrRegionUnavailable):
		p.unreached[bucket] = true
		if strings.Contains(err.Error(), "the store answered 5") {
			p.say("region", Failed, fmt.Sprintf("%s is out of order: %v", endpoint.Origin(), err), "Wait and try again; if it stays so, look at the store's own state.")
			return
		}
		e := unreachable("the store", endpoint.Origin(), err)
		p.say("region", Failed, e.reason, e.remedy)
		return
	case err != nil && configured == config.RegionAuto:
		p.say("region", Failed, "the store does not say where "+bucket+" is, and the region is auto", "Write the bucket's region instead of auto.")
		return
	case err != nil:
		p.skip("region", "the store does not say where %s is; %s is taken as written", bucket, configured)
		use = configured
	case configured != config.RegionAuto && found != configured && !p.i.Foreign():
		p.say("region", Failed, fmt.Sprintf("%s is in %s, and the integration says %s: S3 will refuse its URLs", bucket, found, configured), "Write region: "+found+", or auto; or put the bucket into an integration of its own.")
	case configured != config.RegionAuto && found != configured:
		p.say("region", Warning, fmt.Sprintf("the store says that %s is in %s, and the integration says %s", bucket, found, configured), "If reading fails, write region: "+found)
	default:
		p.ok("region", "%s is in %s", bucket, found)
	}
	if p.sample != nil && bucket == p.sample.Bucket {
		p.region = use
		if p.i.Foreign() && configured != config.RegionAuto {
			p.region = configured // what the proxy signs for
		}
	}
}

// sign makes a URL as the proxy would.
func (p *probe) sign(method, params string) (string, error) {
	now := p.Clock()
	lifetime := min(p.i.URLLifetime, p.expires.Sub(now)).Truncate(time.Second)
	signer, err := presign.NewSigner(p.session, p.region, now.Truncate(time.Second), max(lifetime, time.Second))
	if err != nil {
		return "", err
	}
	o := &presign.Object{Method: method, Endpoint: p.i.BucketEndpoint(p.sample.Bucket, p.region), Key: p.sample.Key, Params: params}
	return string(signer.AppendURL(nil, o, signer.Sign(o))), nil
}

func (p *probe) params(version string) string {
	params := p.i.Params()
	params.VersionID = version
	return params.Canonical()
}

// answer is what a store said, without the object.
type answer struct {
	status int
	header http.Header
	refusal
}

// ask sends a request to a presigned URL. Header lines are as in "Range: bytes=0-0". Errors do not hold the URL.
func (p *probe) ask(ctx context.Context, method, target string, header ...string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, errors.New("the URL is none")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header, refusal: refusal{status: resp.StatusCode}}
	if resp.StatusCode >= 300 {
		var said struct{ Code, Message string }
		if xml.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&said) == nil {
			a.code, a.message = oneLine(said.Code), oneLine(said.Message)
		}
	}
	return a, nil
}

// try signs, asks, and says what is wrong if it is not one of the statuses that are right.
func (p *probe) try(ctx context.Context, step, method, params string, right []int, header ...string) (*answer, bool) {
	target, err := p.sign(method, params)
	if err != nil {
		p.say(step, Failed, "a URL could not be signed: "+err.Error(), "Look at the integration's keys and region.")
		return nil, false
	}
	a, err := p.ask(ctx, method, target, header...)
	if err != nil {
		e := unreachable("the store", p.i.BucketEndpoint(p.sample.Bucket, p.region).Origin(), err)
		p.say(step, Failed, e.reason, e.remedy)
		return nil, false
	}
	for _, status := range right {
		if a.status == status {
			return a, true
		}
	}
	e := p.whyRefused(a, step)
	p.say(step, Failed, e.reason, e.remedy)
	return a, false
}

// nginxBuffer is what nginx has for all of an answer's headers unless proxy_buffer_size says otherwise, less what ours come to
// besides Location.
// https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffer_size
const nginxBuffer = 4096 - 162

// read reads the sample as a browser would: whole, in part, and its headers alone.
func (p *probe) read(ctx context.Context) {
	params := p.params("")
	got, fine := p.try(ctx, "get", http.MethodGet, params, []int{http.StatusOK})
	if !fine {
		p.skip("range", "the object cannot be read")
		return
	}
	p.ok("get", "%s: %s bytes of %s", p.sample, got.header.Get("Content-Length"), got.header.Get("Content-Type"))
	if got.header.Get("Content-Length") == "0" {
		p.skip("range", "the object is empty")
	} else if part, fine := p.try(ctx, "range", http.MethodGet, params, []int{http.StatusPartialContent, http.StatusOK}, "Range: bytes=0-0"); fine {
		if part.status == http.StatusPartialContent {
			p.ok("range", "%s", part.header.Get("Content-Range"))
		} else {
			p.say("range", Warning, "the store answers a Range with the whole object", "Videos cannot be sought in, and downloads not resumed: have the store, or what stands before it, honour Range.")
		}
	}
	if _, fine := p.try(ctx, "head", http.MethodHead, params, []int{http.StatusOK}); fine {
		p.ok("head", "with a URL signed for HEAD")
	}
	p.headByGet(ctx, params)
	p.versions(ctx, got.header.Get("X-Amz-Version-Id"))
	p.urlSize(params)
}

// headByGet sees whether the store looks at the method that was signed.
func (p *probe) headByGet(ctx context.Context, params string) {
	target, err := p.sign(http.MethodGet, params)
	if err != nil {
		return
	}
	switch a, err := p.ask(ctx, http.MethodHead, target); {
	case err != nil:
		p.skip("head_by_get", "the store did not answer")
	case a.status == http.StatusForbidden:
		p.ok("head_by_get", "HEAD with a URL signed for GET is refused, as it must be")
	default:
		p.say("head_by_get", Warning, fmt.Sprintf("HEAD with a URL signed for GET is answered with %d: the store does not look at the method that was signed", a.status),
			"Look whether the store verifies signatures at all: open the object's URL without its query.")
	}
}

func (p *probe) versions(ctx context.Context, newest string) {
	switch {
	case !p.i.FileVersioning:
		p.skip("versions", "file_versioning is off")
	case newest == "" || newest == "null":
		p.say("versions", Warning, "the bucket keeps no versions, and file_versioning is on", "Switch versioning on for the bucket, or file_versioning off.")
	default:
		if _, fine := p.try(ctx, "versions", http.MethodGet, p.params(newest), []int{http.StatusOK}); fine {
			p.ok("versions", "the newest version is read by its ID")
		}
	}
}

func (p *probe) urlSize(params string) {
	target, err := p.sign(http.MethodGet, params)
	switch n := len(target); {
	case err != nil:
	case n > nginxBuffer:
		p.say("url_size", Warning, fmt.Sprintf("the URL has %d bytes, more than nginx's default buffer holds (%d): behind nginx this is a 502", n, nginxBuffer),
			"In nginx: proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_busy_buffers_size 16k;")
	default:
		p.ok("url_size", "%d bytes; nginx's default buffer holds %d", n, nginxBuffer)
	}
}
