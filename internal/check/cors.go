package check

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"s3redirect/internal/locator"
	"s3redirect/internal/policy"
)

// pages returns the origins of the pages that read with fetch(). Foreign reports whether one of
// them is not the proxy's own origin.
func (p *probe) pages() (origins []string, foreign bool) {
	own := strings.TrimSuffix(p.Config.PublicURL, "/")
	switch {
	case p.Origin != "":
		origins = []string{strings.TrimSuffix(p.Origin, "/")}
	case p.Config.CORS != nil:
		for _, o := range p.Config.CORS.AllowedOrigins {
			if o == "*" {
				o = "https://any.example"
			}
			origins = append(origins, o)
		}
	case own != "":
		origins = []string{own}
	}
	return origins, slices.ContainsFunc(origins, func(o string) bool { return o != own })
}

// cors sends the preflights that a browser sends before it lets a page's script read. Images and
// videos need none.
func (p *probe) cors(ctx context.Context) {
	origins, foreign := p.pages()
	bucket := p.anyBucket("")
	switch {
	case len(origins) == 0:
		p.skip("cors", "no origin to check; "+
			"name the origin of a page that uses fetch() with --origin")
		return
	case p.unreached[bucket]:
		p.skip("cors", "the bucket could not be reached; see the step region")
		return
	case bucket == "" || p.sample == nil && p.i.FixedRegion() == "":
		p.skip("cors", "no bucket to check; name an object with --sample")
		return
	}
	if foreign {
		// Browsers send this origin after a redirect to another origin.
		// https://fetch.spec.whatwg.org/#concept-http-redirect-fetch
		origins = append(origins, "null")
	}
	target := p.i.BucketEndpoint(bucket, p.i.HomeRegion()).URL()
	signed := false
	if p.sample != nil && p.region != "" {
		target = p.i.BucketEndpoint(bucket, p.region).URL()
		url, err := p.sign(http.MethodGet, p.params(""))
		if err == nil && p.session.AccessKeyID != "" {
			target, signed = url, true
		}
	}
	for _, origin := range origins {
		if !p.newCORSCheck(bucket, target, signed, origin).run(ctx) {
			return
		}
	}
}

// corsCheck checks a bucket's CORS configuration for one origin.
type corsCheck struct {
	*probe
	bucket  string
	target  string // the URL to send requests to
	signed  bool   // target is the sample's presigned URL
	origin  string
	readers string // the origin's pages
	remedy  string // how to allow them
}

func (p *probe) newCORSCheck(bucket, target string, signed bool, origin string) *corsCheck {
	args := "cors"
	// Commands do not accept patterns and access points.
	if !slices.ContainsFunc(p.i.Buckets(), locator.IsPattern) && !p.i.HasAccessPoint() {
		args = "cors --format cli"
	}
	c := &corsCheck{
		probe:   p,
		bucket:  bucket,
		target:  target,
		signed:  signed,
		origin:  origin,
		readers: "pages of " + origin,
		remedy:  "Allow it in the bucket's CORS configuration: " + p.policyCommand(args),
	}
	if origin == "null" {
		c.readers = `pages of another origin than the proxy's ` +
			`(browsers then send "Origin: null", which only * allows)`
	}
	return c
}

func (c *corsCheck) preflight(ctx context.Context, method string) (*response, error) {
	return c.send(ctx, http.MethodOptions, c.target,
		"Origin: "+c.origin,
		"Access-Control-Request-Method: "+method,
		"Access-Control-Request-Headers: range")
}

// run reports one step for the origin. The result is false if the store does not answer preflights,
// so that other origins need not be checked.
func (c *corsCheck) run(ctx context.Context) bool {
	get, err := c.preflight(ctx, http.MethodGet)
	if err != nil {
		origin := c.i.BucketEndpoint(c.bucket, c.i.HomeRegion()).Origin()
		c.fail("cors", explainUnreachable("the store", origin, err))
		return false
	}
	switch {
	case get.status == http.StatusNotImplemented:
		c.skip("cors", "the store does not support preflights")
		return false
	case get.status >= 500:
		c.fail("cors", explanation{"the store is unavailable: " + get.String(), remedyUnavailable})
		return false
	case !get.allowsPreflight(c.origin):
		c.fail("cors", explanation{
			fmt.Sprintf("%s may not read %s: %s", c.readers, c.bucket, get.explainPreflight()),
			c.remedy,
		})
		return true
	case !get.lists("Access-Control-Allow-Headers", "Range"):
		c.fail("cors", explanation{
			fmt.Sprintf("%s may not send Range to %s, but players and PDF viewers read in ranges",
				c.readers, c.bucket),
			c.remedy,
		})
		return true
	}
	head, err := c.preflight(ctx, http.MethodHead)
	switch {
	case err == nil && !head.allowsPreflight(c.origin):
		c.warn("cors", explanation{
			fmt.Sprintf("%s may GET from %s, but not HEAD, which some players and loaders use to "+
				"get the length", c.readers, c.bucket),
			c.remedy,
		})
	case c.signed:
		c.get(ctx)
	default:
		c.preflightOK()
	}
	return true
}

func (c *corsCheck) preflightOK() {
	c.ok("cors", "%s allows %s (checked by preflight)", c.bucket, c.readers)
}

// get reads the sample as a page's script does.
func (c *corsCheck) get(ctx context.Context) {
	r, err := c.send(ctx, http.MethodGet, c.target, "Origin: "+c.origin, "Range: bytes=0-0")
	switch {
	case err != nil,
		r.status >= 300 && r.status != http.StatusRequestedRangeNotSatisfiable:
		c.preflightOK()
		return
	case !r.allowsOrigin(c.origin):
		c.fail("cors", explanation{
			fmt.Sprintf("%s allows the preflight of %s, but not the request itself",
				c.bucket, c.readers),
			c.remedy,
		})
		return
	}
	var hidden []string
	for _, h := range policy.ExposedHeaders() {
		if !r.lists("Access-Control-Expose-Headers", h) {
			hidden = append(hidden, h)
		}
	}
	if len(hidden) > 0 {
		c.warn("cors", explanation{
			fmt.Sprintf("%s may read %s, but may not see %s",
				c.readers, c.bucket, strings.Join(hidden, ", ")),
			strings.Replace(c.remedy, "Allow it", "Expose them", 1),
		})
		return
	}
	c.ok("cors", "%s allows %s, also in ranges", c.bucket, c.readers)
}

// allowsPreflight reports whether r is a preflight response that allows an origin.
func (r *response) allowsPreflight(origin string) bool {
	return r.status < 300 && r.allowsOrigin(origin)
}

// allowsOrigin reports whether pages of an origin may read r.
func (r *response) allowsOrigin(origin string) bool {
	allowed := r.header.Get("Access-Control-Allow-Origin")
	return allowed == "*" || allowed == origin
}

// explainPreflight returns the reason that a preflight response does not allow an origin.
func (r *response) explainPreflight() string {
	allowed := r.header.Get("Access-Control-Allow-Origin")
	switch {
	case r.status >= 300:
		return "the preflight was rejected: " + r.String()
	case allowed == "":
		return "the response to the preflight allows no origin; check that it comes from the store"
	}
	return "the response to the preflight allows another origin, " + sanitize(allowed)
}

// lists reports whether a response header that contains a list has the value, ignoring case, or *.
func (r *response) lists(name, value string) bool {
	for _, line := range r.header.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			item = strings.TrimSpace(item)
			if item == "*" || strings.EqualFold(item, value) {
				return true
			}
		}
	}
	return false
}
