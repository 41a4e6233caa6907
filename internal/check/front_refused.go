package check

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// The remedies for faults of a front. docs/cdn.md has the settings of each front in full.
const (
	remedyNoCache = "Keep redirects out of the front's cache. nginx: proxy_cache off; Varnish: " +
		"return (pass); Cloudflare: a cache rule with Bypass cache; Fastly: return(pass); " +
		"CloudFront: the cache policy CachingDisabled (docs/cdn.md)."
	remedyUnchanged = "Pass Cache-Control on unchanged. Cloudflare: Browser Cache TTL Respect " +
		"Existing Headers; nginx: no expires and no add_header Cache-Control; Varnish, Fastly: leave " +
		"resp.http.Cache-Control alone (docs/cdn.md)."
	remedyHead = "Pass HEAD on as HEAD. " + remedyNoCache + " If nginx must cache: " +
		"proxy_cache_convert_head off; with $request_method in proxy_cache_key."
	remedyBuffer = "nginx: proxy_buffer_size 16k; proxy_buffers 4 16k; " +
		"proxy_busy_buffers_size 16k; HAProxy: tune.bufsize 32768; Varnish: " +
		"http_resp_hdr_len=16k (docs/cdn.md)."
	remedyPath = "Pass the path on as the client sent it. nginx: proxy_pass without a URI part; " +
		"Apache: AllowEncodedSlashes NoDecode and nocanon; Cloudflare: turn off Normalize URLs to " +
		"origin (docs/cdn.md)."
	remedyQuery = "Forward the whole query string. CloudFront: an origin request policy with all " +
		"query strings, such as AllViewer; nginx: proxy_pass without a URI part (docs/cdn.md)."
	remedyPass = "Let the front pass GET and HEAD of /s3/ to the proxy, without a sign-in, a " +
		"firewall rule or a rewrite of its own."
	remedyReload = "Reload the proxy, and check that public_url leads to it and that both use this " +
		"configuration."
)

// unreachable reports that the front did not answer. That is a warning: this machine may be in
// another network than viewers.
func (f *frontCheck) unreachable(err error) {
	if errors.Is(err, errNotAdmitted) {
		f.skip(stepFront, "the rules do not let anonymous clients read keys next to the sample, and "+
			"viewers.links is off")
		return
	}
	e := explainUnreachable("public_url", f.origin, err)
	e.remedy += " If viewers reach public_url and this machine does not, run check where viewers are."
	f.warn(stepFront, e)
}

// refused reports why an answer for the sample is not a redirect to its URL at the store.
func (f *frontCheck) refused(method string, a *frontAnswer) {
	switch e := f.explainProblem(a); {
	case a.problem == "bucket_not_permitted", a.status == http.StatusTooManyRequests,
		a.problem != "" && a.status >= 500:
		f.skip(stepFront, "%s", e.reason)
	case a.problem != "":
		f.fail(stepFront, e)
	case a.status >= 300 && a.status < 400:
		f.fail(stepFront, f.explainRedirect(method, a))
	default:
		f.fail(stepFront, f.explainStatus(method, a))
	}
}

// explainProblem explains a problem of the proxy.
func (f *frontCheck) explainProblem(a *frontAnswer) explanation {
	e := explanation{
		fmt.Sprintf("the proxy behind %s answers %d %s", f.origin, a.status, a.problem), remedyReload}
	switch {
	case a.problem == "bucket_not_permitted":
		e.reason = fmt.Sprintf("the proxy behind %s does not serve the bucket %s; reload it with this "+
			"configuration, and check again", f.origin, f.sample.Bucket)
	case a.problem == "not_found":
		e.reason += ": the front removes /s3/ from the path"
		e.remedy = remedyPath
	case a.status == http.StatusUnauthorized && a.linked:
		e.reason += " although the request has a signed link: the front removes the query"
		e.remedy = remedyQuery + " If it does, reload the proxy: its viewers.links differ from this " +
			"configuration."
	}
	return e
}

// explainRedirect explains a redirect that is not the proxy's.
func (f *frontCheck) explainRedirect(method string, a *frontAnswer) explanation {
	target, err := url.Parse(a.location)
	if err != nil || a.location == "" {
		return explanation{
			fmt.Sprintf("%s answers %s with %d and no valid Location", f.origin, method, a.status),
			remedyPass}
	}
	own, _ := url.Parse(f.origin)
	store, _ := url.Parse(f.objectURL(a.key))
	host := sanitize(target.Host)
	switch {
	case strings.HasPrefix(a.location, f.objectURL(a.key)+"?"):
		return explanation{
			fmt.Sprintf("%s answers %s with %d instead of the proxy's 302", f.origin, method, a.status),
			"Pass the proxy's status on unchanged: a browser keeps some redirects for longer than " +
				"their URLs are valid."}
	case target.Host == store.Host && target.Scheme == store.Scheme:
		return explanation{
			fmt.Sprintf("%s redirects %s to another key of the store than %s: it changes the path",
				f.origin, method, printableKey(a.key)),
			remedyPath}
	case own != nil && (target.Host == "" || target.Hostname() == own.Hostname()):
		return explanation{
			fmt.Sprintf("%s redirects %s to itself (%d)", f.origin, method, a.status),
			"Set public_url to the address that viewers end at, and let the front redirect no path " +
				"below /s3/."}
	}
	return explanation{
		fmt.Sprintf("%s redirects %s to %s instead of the store, %s", f.origin, method, host, store.Host),
		"If that is a sign-in, let the front pass /s3/ to the proxy, which knows its viewers. If " +
			"it is another store, reload the proxy: it has another configuration."}
}

// explainStatus explains an answer that is neither a redirect nor the proxy's problem.
func (f *frontCheck) explainStatus(method string, a *frontAnswer) explanation {
	reason := fmt.Sprintf("%s itself answers %s with %d", f.origin, method, a.status)
	switch a.status {
	case http.StatusOK, http.StatusPartialContent:
		return explanation{
			fmt.Sprintf("%s answers %s with %d instead of passing the proxy's redirect on: it follows "+
				"redirects, or does not pass /s3/ to the proxy", f.origin, method, a.status),
			`Let the front pass redirects on. In a Cloudflare Worker: fetch(request, ` +
				`{redirect: "manual"}); nginx: no error_page for 302.`}
	case http.StatusBadGateway:
		return explanation{
			reason + ": it cannot reach the proxy, or the Location is too long for its buffer",
			"Start the proxy, and give the front larger buffers. " + remedyBuffer}
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return explanation{reason + ": it cannot reach the proxy",
			"Start the proxy, and correct the address under which the front knows it."}
	}
	return explanation{reason + ", not the proxy", remedyPass}
}
