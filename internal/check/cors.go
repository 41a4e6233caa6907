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

// pages are the origins whose pages are to read with fetch(), and whether they are others than the proxy's own.
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

// cors asks the store as a browser does before it lets a page read. Images and videos need none of it.
func (p *probe) cors(ctx context.Context) {
	origins, foreign := p.pages()
	bucket := p.anyBucket("")
	switch {
	case len(origins) == 0:
		p.skip("cors", "no page's origin is known that would read with fetch(): name one with --origin")
		return
	case p.unreached[bucket]:
		p.skip("cors", "the bucket was not reached: see the step region")
		return
	case bucket == "" || p.sample == nil && p.i.Region == "auto":
		p.skip("cors", "no bucket is known to ask: name an object with --sample")
		return
	}
	if foreign {
		// https://fetch.spec.whatwg.org/#concept-http-redirect-fetch
		origins = append(origins, "null")
	}
	target := p.i.BucketEndpoint(bucket, p.i.HomeRegion()).URL()
	if p.sample != nil && p.region != "" {
		if signed, err := p.sign(http.MethodGet, p.params("")); err == nil && p.session.AccessKeyID != "" {
			target = signed
		} else {
			target = p.i.BucketEndpoint(bucket, p.region).URL()
		}
	}
	for _, origin := range origins {
		if !p.corsFor(ctx, target, bucket, origin) {
			return
		}
	}
}

// corsFor asks for one origin, and tells whether there was an answer.
func (p *probe) corsFor(ctx context.Context, target, bucket, origin string) bool {
	document := "cors"
	if !slices.ContainsFunc(p.i.Buckets(), locator.IsPattern) { // commands are for buckets
		document = "cors --format cli"
	}
	mend := "Allow it in the bucket's CORS configuration: " + p.policy(document)
	pages := "pages of " + origin
	if origin == "null" {
		pages = `pages of another origin than the proxy's (browsers then send "Origin: null", which only * allows)`
	}
	preflight := func(method string) (*answer, error) {
		return p.ask(ctx, http.MethodOptions, target, "Origin: "+origin, "Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: range")
	}
	get, err := preflight(http.MethodGet)
	if err != nil {
		e := unreachable("the store", p.i.BucketEndpoint(bucket, p.i.HomeRegion()).Origin(), err)
		p.say("cors", Failed, e.reason, e.remedy)
		return false
	}
	switch {
	case get.status == http.StatusNotImplemented:
		p.skip("cors", "the store does not answer preflights")
		return false
	case get.status >= 500:
		p.say("cors", Failed, "the store is out of order: "+get.refusal.String(), "Wait and try again; if it stays so, look at the store's own state.")
		return false
	case !admits(get, origin):
		p.say("cors", Failed, fmt.Sprintf("%s may not read %s: %s", pages, bucket, whyNotAdmitted(get)), mend)
		return true
	case !slices.Contains(tokens(get, "Access-Control-Allow-Headers"), "range") && !slices.Contains(tokens(get, "Access-Control-Allow-Headers"), "*"):
		p.say("cors", Failed, fmt.Sprintf("%s may not send Range to %s: players and PDF viewers read in ranges", pages, bucket), mend)
		return true
	}
	if head, err := preflight(http.MethodHead); err == nil && !admits(head, origin) {
		p.say("cors", Warning, fmt.Sprintf("%s may GET from %s, and not HEAD: some players and loaders ask for the length first", pages, bucket), mend)
		return true
	}
	if p.sample == nil || !strings.Contains(target, "X-Amz-Signature=") {
		p.ok("cors", "%s lets %s read (asked by preflight)", bucket, pages)
		return true
	}
	p.corsActual(ctx, target, bucket, origin, pages, mend)
	return true
}

// corsActual reads the sample as a page's script does.
func (p *probe) corsActual(ctx context.Context, target, bucket, origin, pages, mend string) {
	a, err := p.ask(ctx, http.MethodGet, target, "Origin: "+origin, "Range: bytes=0-0")
	switch {
	case err != nil || a.status >= 300 && a.status != http.StatusRequestedRangeNotSatisfiable:
		p.ok("cors", "%s lets %s read (asked by preflight)", bucket, pages)
		return
	case !readable(a, origin):
		p.say("cors", Failed, fmt.Sprintf("%s answers the preflight of %s, and not the request itself", bucket, pages), mend)
		return
	}
	var hidden []string
	exposed := tokens(a, "Access-Control-Expose-Headers")
	for _, h := range policy.ExposedHeaders() {
		if !slices.Contains(exposed, strings.ToLower(h)) && !slices.Contains(exposed, "*") {
			hidden = append(hidden, h)
		}
	}
	if len(hidden) > 0 {
		p.say("cors", Warning, fmt.Sprintf("%s read from %s, and may not see %s", pages, bucket, strings.Join(hidden, ", ")), strings.Replace(mend, "Allow it", "Expose them", 1))
		return
	}
	p.ok("cors", "%s lets %s read, also in ranges", bucket, pages)
}

// admits tells whether the answer to a preflight lets an origin's page go on.
func admits(a *answer, origin string) bool { return a.status < 300 && readable(a, origin) }

// whyNotAdmitted says what is wrong with the answer to a preflight.
func whyNotAdmitted(a *answer) string {
	allowed := a.header.Get("Access-Control-Allow-Origin")
	switch {
	case a.status >= 300:
		return "the preflight is refused: " + a.refusal.String()
	case allowed == "":
		return "the answer to the preflight allows no origin; is it the store that answers?"
	}
	return "the answer to the preflight allows another origin, " + oneLine(allowed)
}

// readable tells whether an answer's header lets an origin's page read it.
func readable(a *answer, origin string) bool {
	allowed := a.header.Get("Access-Control-Allow-Origin")
	return allowed == "*" || allowed == origin
}

// tokens are the members of a header's list, in small letters.
func tokens(a *answer, name string) (all []string) {
	for _, line := range a.header.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			all = append(all, strings.ToLower(strings.TrimSpace(t)))
		}
	}
	return all
}
