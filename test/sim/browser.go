package sim

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/locator"
	viewers "s3redirect/internal/viewer"
)

// browser is a client that keeps redirects and objects as RFC 9111 says. A load balancer sends each
// of its requests to some replica, through a reverse proxy that tells the replica who the user is.
type browser struct {
	viewer
	tokens    bool                // its user has tokens, instead of the reverse proxy's headers
	stale     bool                // the token has other groups than the user
	redirects map[string]*request // by method, target and destination
	objects   map[string]kept     // by URL
}

// kept is an object in a browser's cache.
type kept struct {
	data  string
	until time.Time
}

func newBrowsers(r *rand.Rand) (browsers []*browser) {
	for _, user := range []string{"ann", "bob", "eve", "", ""} {
		b := &browser{redirects: map[string]*request{}, objects: map[string]kept{}}
		b.user = user
		b.tokens = user != "" && r.IntN(2) == 0
		if user != "" && r.IntN(2) == 0 {
			b.groups = []string{groupNames[r.IntN(len(groupNames))]}
		}
		browsers = append(browsers, b)
	}
	return browsers
}

// linkBrowser is the number of the browser whose viewer has links. All others never have one.
const linkBrowser = 4

// destinations are values of Sec-Fetch-Dest.
var destinations = []string{"image", "image", "image", "video", "document", "iframe", ""}

// uncached are the destinations whose redirects browsers must not store, because a history
// navigation uses stale ones (docs/browsers.md).
var uncached = []string{"video", "document", "iframe"}

// renew gives the viewer of the links another one, for a folder, if the last one has expired. Some
// links live for less than a window, and at times the viewer uses an expired one.
func (w *world) renew(b *browser, bucket string, r *rand.Rand) {
	now := time.Now()
	if b.link != nil && b.link.bucket == bucket && (now.Before(b.link.expires) || r.IntN(3) == 0) {
		return
	}
	until := now.Add(time.Minute + time.Duration(r.Int64N(int64(3*time.Hour)))).Truncate(time.Second)
	l := &link{bucket: bucket, prefix: "public/", expires: until}
	target := viewers.Target{Locator: locator.Locator{Bucket: bucket, Key: l.prefix}, Prefix: true}
	var err error
	if l.query, err = w.links.Query(target, now, until); err != nil {
		panic("sim: " + err.Error())
	}
	b.link = l
	_, signature, _ := strings.Cut(l.query, "sig=")
	w.model.secrets[signature] = true
}

// load makes a browser load an object: from its cache if it may, and else through a replica.
func (w *world) load(b *browser, r *replica, bucket, key string, rnd *rand.Rand) {
	if b == w.browsers[linkBrowser] {
		w.renew(b, bucket, rnd)
	}
	q := w.newRequest(w.viewerOf(b, rnd), r, bucket, key)
	q.destination = destinations[rnd.IntN(len(destinations))]
	if rnd.IntN(6) == 0 {
		q.method, q.destination = http.MethodHead, ""
	}
	if q.destination != "" {
		q.lines = append(q.lines, "Sec-Fetch-Dest: "+q.destination, "Sec-Fetch-Mode: no-cors")
	}
	if cached := b.redirects[q.cacheKey()]; cached != nil && time.Since(cached.ended) < cached.maxAge() {
		w.follow(b, cached, true)
		return
	}
	q.then = func() { w.keep(b, q) }
	w.ask(q)
}

// viewerOf returns who a browser's next request comes from.
func (w *world) viewerOf(b *browser, rnd *rand.Rand) *viewer {
	if b.tokens {
		w.renewToken(b, rnd)
	}
	return &b.viewer
}

// newRequest returns a request of a viewer: with the viewer's token or, without one, as the reverse
// proxy sends it.
func (w *world) newRequest(v *viewer, r *replica, bucket, key string) *request {
	copied := *v
	copied.groups = slices.Clone(v.groups)
	q := &request{
		replica: r,
		viewer:  &copied,
		method:  http.MethodGet,
		target:  target(v, bucket, key),
		peer:    "10.0.0.1:4242",
		bucket:  bucket,
		key:     key,
	}
	if v.token != nil {
		q.peer, q.lines = "192.0.2.7:4242", []string{"Authorization: Bearer " + v.token.text}
		return q
	}
	user, groups := "-", "-"
	if v.user != "" {
		user = v.user
	}
	if len(v.groups) > 0 {
		groups = strings.Join(v.groups, ",")
	}
	q.lines = []string{"X-User: " + user, "X-Groups: " + groups}
	return q
}

// cacheKey is the key of a response in a browser's cache: its target and what Vary names. A response
// to HEAD is never stored for GET.
func (q *request) cacheKey() string { return q.method + " " + q.target + " " + q.destination }

// keep stores a redirect, if it may be, and loads the object.
func (w *world) keep(b *browser, q *request) {
	if q.status != http.StatusFound {
		return
	}
	if q.maxAge() > 0 {
		b.redirects[q.cacheKey()] = q
	}
	w.storeObject(b, q.location.text, q.opened)
}

// storeObject keeps an object for as long as the store's Cache-Control allows.
func (w *world) storeObject(b *browser, url string, o opening) {
	if o.status != http.StatusOK {
		return
	}
	stored := &request{header: o.header}
	if age := stored.maxAge(); age > 0 {
		b.objects[url] = kept{o.data, time.Now().Add(age)}
	}
}

// follow loads an object through a redirect that the browser has kept.
func (w *world) follow(b *browser, q *request, fresh bool) {
	if o, ok := b.objects[q.location.text]; ok && time.Now().Before(o.until) {
		w.note(time.Now(), "cached %d %q", q.id, o.data)
		w.model.checkData(q, o.data)
		return
	}
	o := w.open(q.method, q.location.text)
	w.note(time.Now(), "follow %d fresh %v: %d %s", q.id, fresh, o.status, o.code)
	if fresh {
		w.model.checkFollowed(q, o)
	}
	w.storeObject(b, q.location.text, o)
}

// goBack makes a browser show again what it loaded, with stale redirects where it has them. Stale
// redirects of images may be dead: docs/browsers.md says so.
func (w *world) goBack(b *browser, r *replica, rnd *rand.Rand) {
	for n, key := range sortedKeys(b.redirects) {
		if n == 3 {
			return
		}
		q := b.redirects[key]
		if q.method != http.MethodGet || slices.Contains(uncached, q.destination) {
			continue
		}
		w.follow(b, q, time.Since(q.ended) < q.maxAge())
		w.tick(rnd)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
