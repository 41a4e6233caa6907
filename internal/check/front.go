package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
	"s3redirect/internal/viewer"
)

const (
	// stepFront is the name of the steps that send requests to public_url.
	stepFront = "front"
	// frontTimeout bounds all requests of these steps together.
	frontTimeout = time.Minute
	// frontLink is the lifetime of the links that they sign.
	frontLink = 10 * time.Minute
	// maxFolder bounds the folder of the keys with which the front is tried, in bytes: keys have at
	// most 1,024.
	maxFolder = 800
	// maxFrontBody bounds what is read of a response, in bytes.
	maxFrontBody = 64 << 10
	// checkFolder holds the keys, next to the sample, with which the front is tried. No such object
	// needs to exist: the proxy signs URLs without asking the store.
	checkFolder = "s3redirect-check/"
)

// frontCheck checks what viewers reach at public_url: the proxy, and the reverse proxies and CDNs
// in front of it. It never sends a signature of the store to another host than the store.
type frontCheck struct {
	*probe
	client *http.Client
	origin string // public_url
	signer *integration.Signer
	rules  *viewer.Rules
	links  *viewer.Links // nil: links are off
}

// front reports the steps that send requests to public_url, if that is set.
func (p *probe) front(ctx context.Context) {
	switch {
	case p.Config.PublicURL == "":
		return
	case p.PolicyCommand != nil:
		p.skip(stepFront, "the proxy does not serve this integration yet; once it does, check it again")
		return
	case p.i.InPlace.Matches(p.sample.Key):
		p.skip(stepFront, "the sample is answered in place (in_place); sample an object that is redirected")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, frontTimeout)
	defer cancel()
	window := integration.NewWindow(p.i, p.session, p.Clock(), p.expires)
	signer, err := window.Signer(p.region)
	if err != nil {
		p.skip(stepFront, "cannot sign a URL to compare with")
		return
	}
	f := &frontCheck{
		probe:  p,
		origin: strings.TrimSuffix(p.Config.PublicURL, "/"),
		signer: signer,
		rules:  viewer.NewRules(p.Config.Viewers.Rules),
		client: &http.Client{
			Transport:     p.clocks.transport,
			Timeout:       timeout,
			CheckRedirect: integration.NoRedirects,
		},
	}
	if p.Config.Viewers.Links != nil {
		f.links = viewer.NewLinks(p.Config.Viewers.Links)
	}
	f.run(ctx)
}

func (f *frontCheck) run(ctx context.Context) {
	if _, ok := f.credential(f.sample.Key); !ok {
		f.skip(stepFront, "%s does not admit the check: its rules do not let anonymous clients read "+
			"the sample, and viewers.links is off. With viewers.links, check signs a link for itself",
			f.origin)
		return
	}
	got := f.get(ctx)
	if got == nil {
		return
	}
	f.cacheControl(got)
	f.head(ctx, got)
	f.isolation(ctx, got)
	f.keys(ctx)
	f.longLocation(ctx)
}

// credential returns the query with which the proxy lets the check read an object: "" if anonymous
// clients may read it, or else a signed link's. ok is false if the check may not read the object.
func (f *frontCheck) credential(key string) (query string, ok bool) {
	l := locator.Locator{Bucket: f.sample.Bucket, Key: key}
	if f.Config.Viewers.Anonymous && f.rules.Decide(&viewer.Viewer{}, l).Allowed {
		return "", true
	}
	if f.links == nil {
		return "", false
	}
	now := f.Clock()
	query, err := f.links.Query(viewer.Target{Locator: l}, now, f.linkEnd(now))
	return query, err == nil
}

// linkEnd returns when a link that is signed at an instant expires.
func (f *frontCheck) linkEnd(now time.Time) time.Time {
	return now.Add(min(frontLink, f.links.MaxLifetime())).Truncate(time.Second)
}

// folder returns the folder of the keys with which the front is tried, and the folder's path.
func (f *frontCheck) folder() (key, path string) {
	key = f.sample.Key[:strings.LastIndex(f.sample.Key, "/")+1]
	if len(key) > maxFolder {
		key = f.i.Prefix
	}
	key += checkFolder
	path = locator.Locator{Bucket: f.sample.Bucket, Key: key + "x"}.Path()
	return key, strings.TrimSuffix(path, "x")
}

// frontAnswer is the front's response to a request for a key.
type frontAnswer struct {
	key      string
	linked   bool // the request had a signed link
	status   int
	header   http.Header
	location string
	problem  string // the code of the proxy's problem, or ""
}

// askKey sends a request for a key, spelled as in path, with the check's credential and further
// parameters.
func (f *frontCheck) askKey(
	ctx context.Context, method, key, path, params string, header ...string,
) (*frontAnswer, error) {
	query, ok := f.credential(key)
	if !ok {
		return nil, errNotAdmitted
	}
	target := f.origin + path
	if all := strings.Trim(query+"&"+params, "&"); all != "" {
		target += "?" + all
	}
	a, err := f.ask(ctx, method, target, header...)
	if err != nil {
		return nil, err
	}
	a.key, a.linked = key, query != ""
	return a, nil
}

// errNotAdmitted means that the rules deny the check an object.
var errNotAdmitted = errors.New("the rules do not admit the check")

// ask sends a request to the front. It does not follow redirects, and reads no more than
// maxFrontBody. Errors do not contain the URL.
func (f *frontCheck) ask(
	ctx context.Context, method, target string, header ...string,
) (*frontAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, errors.New("invalid URL")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // without the URL
		}
		return nil, err
	}
	defer resp.Body.Close()
	a := &frontAnswer{status: resp.StatusCode, header: resp.Header}
	a.location = resp.Header.Get("Location")
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind == "application/problem+json" {
		var problem struct{ Code string }
		if json.NewDecoder(io.LimitReader(resp.Body, maxFrontBody)).Decode(&problem) == nil {
			a.problem = sanitize(problem.Code)
		}
		if method == http.MethodHead && a.problem == "" {
			a.problem = "problem" // HEAD has no body
		}
	}
	return a, nil
}

// objectURL returns the URL of a key at the store, without its query.
func (f *frontCheck) objectURL(key string) string {
	o := &presign.Object{
		Method:   http.MethodGet,
		Endpoint: f.i.BucketEndpoint(f.sample.Bucket, f.region),
		Key:      key,
	}
	target := string(f.signer.AppendURL(nil, o, f.signer.Sign(o)))
	target, _, _ = strings.Cut(target, "?")
	return target
}

// leadsTo reports whether the answer is a redirect to a key's URL at the store.
func (f *frontCheck) leadsTo(a *frontAnswer, key string) bool {
	return a.status == http.StatusFound && strings.HasPrefix(a.location, f.objectURL(key)+"?")
}

// get requests the sample and follows the redirect. It returns nil if that does not work.
func (f *frontCheck) get(ctx context.Context) *frontAnswer {
	a, err := f.askKey(ctx, http.MethodGet, f.sample.Key, f.sample.Path(), "")
	switch {
	case err != nil:
		f.unreachable(err)
		return nil
	case !f.leadsTo(a, f.sample.Key):
		f.refused("GET", a)
		return nil
	}
	r, err := f.send(ctx, http.MethodGet, a.location, "Range: bytes=0-0")
	if err != nil {
		f.warn(stepFront, explainUnreachable("the store", f.objectURL(""), err))
		return nil
	}
	// An empty object has no first byte.
	if r.status >= 300 && r.status != http.StatusRequestedRangeNotSatisfiable {
		e := explanation{
			fmt.Sprintf("%s redirects GET to a URL that the store rejects: %s", f.origin, r.errorResponse),
			"Compare the running proxy's configuration with this one and reload it. If they are " +
				"equal, look for a front that caches redirects or changes Location. " + remedyNoCache,
		}
		f.fail(stepFront, e)
		return nil
	}
	f.ok(stepFront, "%s redirects GET to the sample, which the store returns", f.origin)
	return a
}

// head requests the sample's headers and follows the redirect. A URL that is signed for GET is not
// valid for HEAD.
func (f *frontCheck) head(ctx context.Context, get *frontAnswer) {
	a, err := f.askKey(ctx, http.MethodHead, f.sample.Key, f.sample.Path(), "")
	switch {
	case err != nil:
		f.unreachable(err)
		return
	case !f.leadsTo(a, f.sample.Key):
		f.refused("HEAD", a)
		return
	case a.location == get.location:
		f.fail(stepFront, explanation{
			f.origin + " redirects HEAD to the URL that is signed for GET, which stores reject: " +
				"a cache in front of the proxy turns HEAD into GET",
			remedyHead,
		})
		return
	}
	r, err := f.send(ctx, http.MethodHead, a.location)
	switch {
	case err != nil:
		f.warn(stepFront, explainUnreachable("the store", f.objectURL(""), err))
	case r.status >= 300:
		f.fail(stepFront, explanation{
			fmt.Sprintf("%s redirects HEAD to a URL that the store rejects for HEAD: %s", f.origin,
				r.errorResponse),
			remedyHead,
		})
	default:
		f.ok(stepFront, "HEAD is redirected to a URL that the store accepts for HEAD")
	}
}
