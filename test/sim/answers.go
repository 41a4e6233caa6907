package sim

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"s3redirect/metrics"
)

// allowed reports whether the rules in force at the request's start allow its object. A link is
// judged by the replica's clock.
func (q *request) allowed() bool { return q.allows(q.bucket, q.key) }

func (q *request) allows(bucket, key string) bool {
	for _, ahead := range []time.Duration{q.clockAtStart, q.clockError} {
		if q.settings.allows(q.viewer, bucket, key, q.began.Add(ahead)) {
			return true
		}
	}
	return false
}

// gone reports whether the replica has died since the request began: its answer does not count.
func (q *request) gone() bool { return q.replica.app != q.app }

// checkAnswer checks an answer.
func (m *model) checkAnswer(q *request) {
	for _, x := range q.activities {
		x.waiting--
		x.last = q.ended
	}
	if q.gone() {
		return
	}
	m.noteAnswer(q)
	m.checkService(q)
	switch q.status {
	case http.StatusFound:
		if role := m.checkAccess(q); role != nil {
			m.checkOpens(q, role)
			m.checkPromise(q, role)
		}
	case http.StatusNoContent:
		served := q.settings.servedBy(q.bucket, authorizedKey) != nil
		m.checked(Access, served && q.allows(q.bucket, authorizedKey),
			"answer %d judges %s to be allowed", q.id, q.target)
	}
	if q.then != nil {
		q.then()
	}
}

// noteAnswer keeps what an answer contains, for the search for secrets.
func (m *model) noteAnswer(q *request) {
	if q.status == 0 {
		return
	}
	header := q.header.Clone()
	header.Del("Location")
	m.answers = append(m.answers, fmt.Sprint(header)+q.body)
	if _, signature, ok := strings.Cut(q.header.Get("Location"), "X-Amz-Signature="); ok {
		m.secrets[signature] = true
	}
}

// checkAccess checks that a redirect may be given to the viewer, and is signed by the role that
// serves the bucket. It returns that role, or nil if there is a violation.
func (m *model) checkAccess(q *request) *role {
	l := &q.location
	m.checked(Access, l.text != "", "answer %d has an invalid Location", q.id)
	m.checked(Access, q.allows(l.bucket, l.key), "answer %d opens %s/%q, which %q in %q may not read",
		q.id, l.bucket, l.key, q.viewer.user, q.viewer.groups)
	if q.key != "" {
		m.checked(Access, l.bucket == q.bucket && l.key == q.key, "answer %d opens %s/%q instead of %s/%q",
			q.id, l.bucket, l.key, q.bucket, q.key)
	}
	role := q.settings.servedBy(l.bucket, l.key)
	m.checked(Access, role != nil, "answer %d opens %s/%q, which no integration serves",
		q.id, l.bucket, l.key)
	if m.violation != nil {
		return nil
	}
	if role.static {
		m.checked(Access, l.accessKey == role.accessKeyID(), "answer %d is signed by %s instead of %s",
			q.id, l.accessKey, role.accessKeyID())
		return role
	}
	s, ok := m.w.cloud.Session(l.accessKey)
	m.checked(Access, ok && s.RoleARN == role.arn(),
		"answer %d is signed by a session of %q instead of %q", q.id, s.RoleARN, role.arn())
	return role
}

// checkOpens checks that the URL is alive, and for long enough.
func (m *model) checkOpens(q *request, role *role) {
	l := &q.location
	reading := q.ended.Add(q.clockError)
	if q.batch != nil {
		reading = q.began.Add(q.clockAtStart) // the answer may have waited for that for another object
		m.checked(Opens, q.promised.Equal(l.expires), "answer %d states that its URL expires at %v, want %v",
			q.id, q.promised, l.expires)
	}
	m.checked(Opens, l.expires.Sub(reading) >= role.floor(), "answer %d has a URL with %v left by the "+
		"replica's clock, want %v", q.id, l.expires.Sub(reading), role.floor())
	m.checked(Opens, !q.replica.purged[role.number][l.accessKey] || q.began.Before(m.any[role.number]),
		"answer %d is signed by session %s, which was purged", q.id, l.accessKey)
	used := q.replica.used[role.number]
	if used == nil {
		used = map[string]bool{}
		q.replica.used[role.number] = used
	}
	if !role.static {
		used[l.accessKey] = true
	}
	if slices.Contains(uncached, q.destination) {
		got := q.header.Get("Cache-Control")
		m.checked(Opens, got == "no-store", "answer %d for %s has Cache-Control %q",
			q.id, q.destination, got)
	}
	if s, ok := m.w.cloud.Session(l.accessKey); ok && s.Revoked {
		cleared := q.replica.cleared[role.number]
		// The replica compares its own clock with that of the replica that stored the session.
		apart := q.clockError.Abs()
		if c := m.sessions[l.accessKey]; c != nil {
			apart += c.clockError.Abs()
		}
		covered := !cleared.Before(m.revoked[role.number].Add(m.revocation + apart))
		m.checked(Opens, !covered || q.began.Before(cleared),
			"answer %d is signed by session %s, which was revoked before the purge", q.id, l.accessKey)
	}
	if q.key == "" || !m.contractHolds(q) {
		return
	}
	m.w.stats.Opened++
	if q.clockError >= storeSlack-role.floor() {
		m.checked(Opens, q.opened.status == http.StatusOK, "answer %d: the URL does not open: %d %s",
			q.id, q.opened.status, q.opened.code)
		m.checkData(q, q.opened.data)
	}
	m.checkMaxAge(q, role)
}

// contractHolds reports whether the store must accept a URL: its session was not revoked, its expiry
// was told correctly, and the clock that made it was not ahead by more than stores accept.
func (m *model) contractHolds(q *request) bool {
	if q.clockError > 9*time.Minute {
		return false
	}
	s, ok := m.w.cloud.Session(q.location.accessKey)
	c := m.sessions[q.location.accessKey]
	return !ok || !s.Revoked && (c == nil || !c.misstatesExpiry() || c.clockError <= 0)
}

// checkMaxAge checks that the URL has min_remaining left when the answer's max-age is over.
func (m *model) checkMaxAge(q *request, role *role) {
	left := q.location.expires
	if s, ok := m.w.cloud.Session(q.location.accessKey); ok && s.Expires.Before(left) {
		left = s.Expires
	}
	calm := m.calm(role.number, q.ended, role.period()+recoveryTime)
	if age := q.maxAge(); age > 0 {
		least := role.remains + min(0, q.clockError) - storeSlack
		m.checked(Opens, left.Sub(q.ended.Add(age)) >= least,
			"answer %d: the URL has %v left when its max-age of %v is over, want %v",
			q.id, left.Sub(q.ended.Add(age)), age, least)
		until := q.ended.Add(q.clockError + age)
		m.checked(Access, q.viewer.link == nil || !until.After(q.viewer.link.expires),
			"answer %d may be cached for %v, longer than the viewer's link", q.id, age)
		m.checked(Access, q.viewer.token == nil || !until.After(q.viewer.token.expires),
			"answer %d may be cached for %v, longer than the viewer's token", q.id, age)
	}
	if calm {
		least := role.remains - clockTolerance - storeSlack
		m.checked(Opens, left.Sub(q.ended) >= least,
			"answer %d: the URL has %v left, want min_remaining, %v",
			q.id, left.Sub(q.ended), role.remains)
	}
}

// checkData checks that an object is the requested one.
func (m *model) checkData(q *request, data string) {
	if q.method == http.MethodGet {
		m.checked(Access, data == q.bucket+"/"+q.key, "answer %d: the object is %q instead of %s/%q",
			q.id, data, q.bucket, q.key)
	}
}

// checkFollowed checks what a browser got with a redirect that is still fresh.
func (m *model) checkFollowed(q *request, o opening) {
	role := q.settings.servedBy(q.bucket, q.key)
	if role == nil || !m.contractHolds(q) || role.remains+q.clockError < storeSlack {
		return
	}
	m.checked(Opens, o.status == http.StatusOK,
		"the URL of answer %d does not open within its max-age: %d %s", q.id, o.status, o.code)
}

// checkPromise checks that an object's URL stays the same until a max-age is over. Windows are on the
// grid of the wall clock, so instants are readings of the replicas' clocks.
func (m *model) checkPromise(q *request, role *role) {
	if !m.calm(role.number, q.ended, role.period()+recoveryTime) {
		return
	}
	key := strings.Join([]string{role.identity(), q.method, q.location.bucket, q.location.key}, " ")
	if m.w.store == nil {
		key += fmt.Sprintf(" replica %d start %d", q.replica.number, q.start)
	}
	reading := q.ended.Add(q.clockError)
	p := m.promises[key]
	if p != nil && p.from.After(m.any[role.number]) &&
		!reading.Before(p.from) && reading.Before(p.until) {
		m.checked(OneLocation, p.location == q.location.text,
			"answer %d has another Location than answer %d, whose max-age is not over", q.id, p.by)
	}
	if p == nil || p.location != q.location.text {
		p = &promise{location: q.location.text, from: reading, by: q.id}
		m.promises[key] = p
	}
	if until := reading.Add(q.maxAge()); until.After(p.until) {
		p.until = until
	}
}

// mayWait reports whether the STS of a request's role may fail or may have failed.
func (m *model) mayWait(q *request) bool {
	role := q.settings.servedBy(q.bucket, q.key)
	return role != nil && (!m.healthy(role.number, q.began) || m.any[role.number].After(q.began))
}

// checkService checks that a healthy integration is served in time.
func (m *model) checkService(q *request) {
	role := q.settings.servedBy(q.bucket, q.key)
	if q.key == "" || role == nil || !q.allowed() || !m.identifies(q.viewer, q.began) {
		return
	}
	if m.mayWait(q) || slices.ContainsFunc(q.batch, m.mayWait) {
		return
	}
	invariant := Available
	if m.recovered {
		invariant = Recovery
	}
	m.checked(invariant, q.status == http.StatusFound && q.ended.Sub(q.began) <= served,
		"answer %d for %s has status %d after %v, want 302; %s", q.id, q.target, q.status,
		q.ended.Sub(q.began), between(q.body, `"code":"`, `"`))
}

// seriesLabel is the label of an integration's metrics.
var seriesLabel = regexp.MustCompile(`integration="([^"]*)"`)

// checkMetrics checks the metrics of a replica: no secrets, no series of integrations that are gone,
// no cache above its bound.
func (m *model) checkMetrics(r *replica) {
	rec := httptest.NewRecorder()
	r.app.Metrics().Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := rec.Body.String()
	m.checkSecrets(fmt.Sprintf("the metrics of replica %d", r.number), text)
	known := []string{metrics.NoIntegration}
	for n := range r.settings.integrations {
		if !r.settings.integrations[n].absent {
			known = append(known, r.settings.integrations[n].name)
		}
	}
	for _, label := range seriesLabel.FindAllStringSubmatch(text, -1) {
		m.checked(Resources, slices.Contains(known, label[1]),
			"replica %d has metrics of integration %q, which is gone", r.number, label[1])
	}
	if m.recovered {
		reloaded := between(text, "\ns3redirect_config_reload_success ", "\n")
		m.checked(Recovery, reloaded == "1", "replica %d reports the success of its last reload as %q, want 1",
			r.number, reloaded)
	}
	bounds := map[string]int{"urls": r.settings.urls, "credentials": r.settings.credentials}
	for _, cache := range sortedKeys(bounds) {
		held := between(text, `s3redirect_cache_entries{cache="`+cache+`"} `, "\n")
		n, err := strconv.ParseFloat(held, 64)
		m.checked(Resources, err == nil && int(n) <= bounds[cache],
			"replica %d has %q entries in the cache of %s, want %d at most",
			r.number, held, cache, bounds[cache])
	}
}

// checkSecrets searches a text for secrets.
func (m *model) checkSecrets(where, text string) {
	m.w.stats.Checks[Secrets]++
	for secret := range m.secrets {
		if strings.Contains(text, secret) {
			m.violate(Secrets, "%s contain the secret %.12s…", where, secret)
		}
	}
}

// checkEnd checks what is left after all replicas have ended.
func (m *model) checkEnd() {
	left := goroutines()
	m.checked(Resources, left == m.w.base, "%d goroutines are left, want %d", left, m.w.base)
	m.checkSecrets("answers", strings.Join(m.answers, "\n"))
	for _, r := range m.w.replicas {
		r.mu.Lock()
		log, opened, closed := r.log.String(), r.opened, r.closed
		r.mu.Unlock()
		m.checkSecrets(fmt.Sprintf("the log of replica %d", r.number), log)
		m.checked(Resources, opened == closed, "replica %d has closed %d of %d connections",
			r.number, closed, opened)
	}
}

// bubble is what a goroutine of a bubble has in its stack's first line.
var bubble = regexp.MustCompile(`synctest bubble [0-9]+`)

// goroutines returns the number of goroutines in the caller's bubble.
func goroutines() int {
	own := make([]byte, 1<<10)
	own = bubble.Find(own[:runtime.Stack(own, false)])
	all := make([]byte, 64<<10)
	size := runtime.Stack(all, true)
	for size == len(all) {
		all = make([]byte, 2*size)
		size = runtime.Stack(all, true)
	}
	return bytes.Count(all[:size], append(own, ']'))
}
