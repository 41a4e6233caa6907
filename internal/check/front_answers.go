package check

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"s3redirect/internal/config"
)

// frontSkew is the tolerance for the clocks of the proxy and of this machine.
const frontSkew = time.Minute

// longestAge bounds the ages that are read from headers, so that their sum does not overflow.
const longestAge = 100 * 365 * 24 * time.Hour

// cacheControl compares the Cache-Control of the sample's redirect with what the proxy sends:
// private, and a max-age that ends min_remaining before the URL does, and no later than the link.
func (f *frontCheck) cacheControl(a *frontAnswer) {
	allowed, ok := f.allowedAge(a)
	if !ok {
		f.warn(stepFront, explanation{
			f.origin + " sends a Location without the lifetime of its URL", remedyReload})
		return
	}
	allowed = max(allowed, 0).Truncate(time.Second)
	c, sound := readCaching(a.header, f.Clock()), true
	fail := func(report func(string, explanation), remedy, format string, args ...any) {
		report(stepFront, explanation{fmt.Sprintf(format, args...), remedy})
		sound = false
	}
	if c.shared != "" {
		fail(f.fail, remedyUnchanged, "%s lets shared caches keep redirects (%s), so that one viewer "+
			"may get another's; the proxy sends private", f.origin, c.shared)
	}
	if c.age > 0 {
		fail(f.fail, remedyNoCache, "%s answers from its cache (Age: %d), without "+
			"asking the proxy who may read", f.origin, c.age/time.Second)
	}
	switch {
	case c.lifetime > allowed+frontSkew:
		fail(f.fail, remedyUnchanged, "%s lengthens max-age: browsers may keep the redirect for %s, "+
			"but the proxy allows %s, and browsers will use dead URLs", f.origin,
			config.Short(c.lifetime), config.Short(allowed))
	case c.lifetime == 0 && allowed > frontSkew:
		fail(f.warn, remedyUnchanged, "%s does not let browsers keep the redirect, but the proxy "+
			"does for %s: each view of an object costs a request", f.origin, config.Short(allowed))
	}
	if sound {
		f.ok(stepFront, "Cache-Control arrives as the proxy sends it: private, for %s",
			config.Short(c.lifetime))
	}
}

// allowedAge returns the max-age that the proxy sends with a redirect, give or take the clocks. It
// is false if the Location does not have the parameters of a signature.
func (f *frontCheck) allowedAge(a *frontAnswer) (time.Duration, bool) {
	u, err := url.Parse(a.location)
	if err != nil {
		return 0, false
	}
	signed, err := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
	seconds, bad := strconv.ParseInt(u.Query().Get("X-Amz-Expires"), 10, 32)
	if err != nil || bad != nil {
		return 0, false
	}
	now := f.Clock()
	allowed := signed.Add(time.Duration(seconds) * time.Second).Add(-f.i.MinRemaining).Sub(now)
	if a.linked {
		allowed = min(allowed, f.linkEnd(now).Sub(now))
	}
	return allowed, true
}

// caching is what the headers of a response let caches do.
type caching struct {
	shared   string        // a directive that lets shared caches store it, or ""
	lifetime time.Duration // in a browser's cache
	age      time.Duration // since a cache stored it
}

// readCaching reads the headers of a response (RFC 9111, section 5). Of several lifetimes it takes
// the longest, as some cache may.
func readCaching(h http.Header, now time.Time) (c caching) {
	private, noStore := false, false
	longest := func(d time.Duration) { c.lifetime = max(c.lifetime, min(d, longestAge)) }
	stale := time.Duration(0)
	for part := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, argument, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
		n, err := strconv.ParseInt(strings.Trim(argument, `"`), 10, 31)
		seconds := time.Duration(max(n, 0)) * time.Second
		switch name {
		case "private":
			private = true
		case "no-store", "no-cache":
			noStore = true
		case "public", "s-maxage":
			c.shared = sanitize(strings.TrimSpace(part))
		case "max-age":
			if err == nil {
				longest(seconds)
			}
		case "stale-while-revalidate", "stale-if-error":
			stale = max(stale, seconds)
		}
	}
	if expires, err := http.ParseTime(h.Get("Expires")); err == nil {
		longest(expires.Sub(now))
	}
	if age, err := strconv.ParseInt(h.Get("Age"), 10, 31); err == nil {
		c.age = time.Duration(age) * time.Second
	}
	switch {
	case noStore:
		c.lifetime = 0
	case c.lifetime > 0 && !private && c.shared == "":
		c.shared = "no private in Cache-Control"
	}
	if c.lifetime > 0 {
		c.lifetime += stale
	}
	return c
}

// isolation checks that the front asks the proxy about every request: it has no answer for a
// request without the link, and passes on the header by which scripts get another URL.
func (f *frontCheck) isolation(ctx context.Context, get *frontAnswer) {
	if get.linked {
		a, err := f.ask(ctx, http.MethodGet, f.origin+f.sample.Path())
		if err == nil && f.leadsTo(a, f.sample.Key) {
			f.fail(stepFront, explanation{
				f.origin + " redirects to the sample without the signed link that a request before " +
					"had: it answers from a cache, and so gives objects to everyone",
				remedyNoCache})
			return
		}
	}
	a, err := f.askKey(ctx, http.MethodGet, f.sample.Key, f.sample.Path(), "", "Sec-Fetch-Mode: cors",
		"Sec-Fetch-Dest: empty")
	switch {
	case err != nil:
		f.unreachable(err)
	case !f.leadsTo(a, f.sample.Key):
		f.skip(stepFront, "a request of a script: %s answers %d", f.origin, a.status)
	case a.location == get.location:
		f.warn(stepFront, explanation{
			f.origin + " redirects scripts (Sec-Fetch-Mode: cors) and images to one URL: it removes " +
				"the header or answers from a cache, and pages that use fetch() fail at times",
			"Forward Sec-Fetch-Mode, Sec-Fetch-Dest and Origin (CloudFront: the origin request " +
				"policy AllViewer). " + remedyNoCache})
	default:
		f.ok(stepFront, "the proxy is asked about every request")
	}
}
