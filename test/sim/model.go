package sim

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Invariant is a promise of the program that the simulator checks.
type Invariant int

// The invariants.
const (
	// Opens: every Location opens at the store, and until max-age is over it has min_remaining left,
	// unless the store broke its contract.
	Opens Invariant = iota + 1
	// OneLocation: an object has one Location per method and window, at all replicas while the shared
	// store is healthy, else at each.
	OneLocation
	// Budget: AssumeRole is called twice in a window at most, with pauses after failures, and never
	// for an idle integration.
	Budget
	// Access: no answer that the rules in force at its start deny, and no role but the integration's.
	Access
	// Available: a healthy integration is served, whatever happens to others.
	Available
	// Recovery: after the last fault has ended, everything is served within recoveryTime.
	Recovery
	// Resources: goroutines, connections, caches and metric series return to where they were.
	Resources
	// Secrets: no secret is in a log, a metric, or an answer other than a Location.
	Secrets

	invariants = int(Secrets)
)

// String returns the name of the invariant.
func (i Invariant) String() string {
	return []string{
		"", "opens", "one location", "budget", "access", "available", "recovery", "resources", "secrets",
	}[i]
}

// Violation is a violated invariant.
type Violation struct {
	Invariant Invariant
	At        time.Duration // since the start
	Text      string
}

// String describes the violation.
func (v *Violation) String() string { return fmt.Sprintf("%s at %v: %s", v.Invariant, v.At, v.Text) }

const (
	allRoles = -1
	// recoveryTime is longer than the longest pause between two calls: STS may ask for 5 minutes.
	recoveryTime = 6*time.Minute + 30*time.Second
	// served is longer than any request takes while STS works: a lease of a dead replica is waited
	// for 6 seconds at most.
	served = 10 * time.Second
	// clockTolerance is the clock error that the simulator takes for a good clock.
	clockTolerance = 10 * time.Second
	// storeSlack is more than the store's clock and the resolution of seconds make up.
	storeSlack = 2 * time.Second
)

// revocationDelay is the least time between a revocation and the purges (docs/reliability.md).
const revocationDelay = time.Minute

// model knows the truth about the world, and checks what the program does.
type model struct {
	w         *world
	violation *Violation
	// disturbances has, by role, when the last disturbance happened or ended: of anything, and of
	// what may make requests fail.
	any, grave map[int]time.Time
	faults     map[fault]bool
	// providerFails reports whether the identity provider is down, and provider when it last went down,
	// came back or replaced its key.
	providerFails bool
	provider      time.Time
	revocation    time.Duration     // how long after a revocation a purge covers it
	revoked       map[int]time.Time // when sessions were last revoked, by role
	promises      map[string]*promise
	actors        map[actor]*activity
	calls         map[int][]*call  // by role, of the last window and more
	sessions      map[string]*call // by access key ID
	recovered     bool
	secrets       map[string]bool
	answers       []string // what answers contained, without Locations
}

// fault is something that fails at present.
type fault struct {
	what string
	role int
}

// promise is what a max-age promises: until then, an object's URL stays the same.
type promise struct {
	location    string
	from, until time.Time // readings of replicas' clocks
	by          int       // the request that got it first
}

// actor is what keeps sessions: a role at a replica, from its start on.
type actor struct {
	replica, start, role int
}

// activity is what an actor has done.
type activity struct {
	waiting int       // requests in flight
	last    time.Time // when the last request began or ended
	reset   time.Time // when something gave it a reason to call STS at once
	calls   []*call   // the last ones
	calling int
}

func newModel(w *world) *model {
	m := &model{
		w:       w,
		any:     map[int]time.Time{},
		grave:   map[int]time.Time{},
		faults:  map[fault]bool{},
		revoked: map[int]time.Time{},

		revocation: revocationDelay,
		promises:   map[string]*promise{},
		actors:     map[actor]*activity{},
		calls:      map[int][]*call{},
		sessions:   map[string]*call{},
		secrets:    map[string]bool{linkSecret: true, "canary-": true},
	}
	m.disturbed(allRoles, "start")
	return m
}

// violate records the first violation.
func (m *model) violate(i Invariant, format string, a ...any) {
	if m.violation == nil {
		m.violation = &Violation{i, time.Since(m.w.start), fmt.Sprintf(format, a...)}
		m.w.note(time.Now(), "violation of %v", m.violation)
	}
}

// checked counts a check of an invariant. If it does not hold, it is violated.
func (m *model) checked(i Invariant, holds bool, format string, a ...any) {
	m.w.stats.Checks[i]++
	if !holds {
		m.violate(i, format, a...)
	}
}

// minor are the disturbances that no request may notice.
var minor = []string{"flush", "restore", "store", "purge", "death"}

// disturbed notes that something has happened to a role, or to all.
func (m *model) disturbed(role int, what string) {
	now := time.Now()
	for n := range maxIntegrations {
		if role != allRoles && role != n {
			continue
		}
		m.any[n] = now
		if !slices.Contains(minor, what) {
			m.grave[n] = now
		}
		for a, x := range m.actors {
			if a.role == n {
				x.reset = now
			}
		}
	}
}

// setFault notes that something fails, or works again.
func (m *model) setFault(what string, role int, on bool) {
	m.disturbed(role, what)
	if on {
		m.faults[fault{what, role}] = true
	} else {
		delete(m.faults, fault{what, role})
	}
}

// providerChanged notes that the identity provider fails, works again or has another key.
func (m *model) providerChanged(fails bool) { m.providerFails, m.provider = fails, time.Now() }

// identifies reports whether a viewer's token must be accepted at an instant.
func (m *model) identifies(v *viewer, at time.Time) bool {
	return v.token == nil ||
		!m.providerFails && at.Sub(m.provider) >= keysPause && at.Before(v.token.expires)
}

// calm reports whether nothing has happened to a role for a time, and nothing fails.
func (m *model) calm(role int, at time.Time, span time.Duration) bool {
	for f := range m.faults {
		if f.role == allRoles || f.role == role {
			return false
		}
	}
	return at.Sub(m.any[role]) >= span && m.clocksAreGood(at)
}

// healthy reports whether requests for a role must be served: STS and S3 work, and have for a time.
func (m *model) healthy(role int, at time.Time) bool {
	for f := range m.faults {
		if (f.role == allRoles || f.role == role) && f.what != "store" {
			return false
		}
	}
	return at.Sub(m.grave[role]) >= recoveryTime-10*time.Second && m.clocksAreGood(at)
}

// clocksAreGood reports whether the clocks of all replicas are about right.
func (m *model) clocksAreGood(at time.Time) bool {
	return !slices.ContainsFunc(m.w.replicas, func(r *replica) bool {
		return r.clockError(at).Abs() > clockTolerance
	})
}

// activity returns what an actor has done.
func (m *model) activity(r *replica, start, role int) *activity {
	a := actor{r.number, start, role}
	x := m.actors[a]
	if x == nil {
		x = &activity{reset: time.Now()}
		m.actors[a] = x
	}
	return x
}

// begin notes that a request begins.
func (m *model) begin(q *request) {
	roles := q.settings.mayServe(q.bucket)
	if q.key != "" {
		roles = nil
		if served := q.settings.servedBy(q.bucket, q.key); served != nil && q.allowed() {
			roles = []*role{served}
		}
	}
	for _, role := range roles {
		x := m.activity(q.replica, q.start, role.number)
		x.waiting++
		x.last = time.Now()
		q.activities = append(q.activities, x)
	}
}

// died notes that a replica is about to die. If it calls STS, another one will.
func (m *model) died(r *replica) {
	for a, x := range m.actors {
		if a.replica == r.number && a.start == r.starts && (x.calling > 0 || x.waiting > 0) {
			m.disturbed(a.role, "death")
		}
	}
}

// started notes that a replica starts. Without a shared store it needs its own sessions.
func (m *model) started() {
	if m.w.store == nil {
		m.disturbed(allRoles, "death")
	}
}

// purged notes that a replica is about to forget the sessions of a role.
func (m *model) purged(r *replica, role int) {
	r.cleared[role] = time.Now()
	forgotten := r.purged[role]
	if forgotten == nil {
		forgotten = map[string]bool{}
		r.purged[role] = forgotten
	}
	for key := range r.used[role] {
		forgotten[key] = true
	}
}

// check checks an event.
func (m *model) check(e event) {
	switch {
	case e.begun != nil:
		m.checkCall(e.begun)
	case e.over != nil:
		m.noteSession(e.over)
	default:
		m.checkAnswer(e.answer)
	}
}

// noteSession notes the end of a call, and the secrets that STS handed out.
func (m *model) noteSession(c *call) {
	x := m.activity(c.replica, c.start, c.number)
	x.calling--
	if s, ok := m.w.cloud.Session(c.accessKey); ok {
		m.sessions[c.accessKey] = c
		m.secrets[s.SecretAccessKey], m.secrets[s.SessionToken] = true, true
	}
}

// checkCall checks that a call of STS has a reason, and that it is not one too many.
func (m *model) checkCall(c *call) {
	m.w.stats.Calls++
	x := m.activity(c.replica, c.start, c.number)
	m.checked(Budget, x.waiting > 0 || c.at.Sub(x.last) <= served,
		"replica %d calls STS for role %d, which is idle since %v", c.replica.number, c.number, x.last)
	m.checkPace(c, x)
	x.calling++
	x.calls = append(x.calls, c)
	m.calls[c.number] = append(m.calls[c.number], c)
	role := &c.replica.settings.integrations[c.number]
	c.identity = role.identity()
	if m.calm(c.number, c.at, role.period()+recoveryTime) {
		span := role.period() - role.lead() - 2*clockTolerance
		recent := x.calls
		if m.w.store != nil {
			recent = m.calls[c.number]
		}
		n := 0
		for _, earlier := range recent {
			if c.at.Sub(earlier.at) < span && earlier.identity == c.identity {
				n++
			}
		}
		m.checked(Budget, n <= 2, "%d calls of STS for role %d within %v", n, c.number, span)
	}
	m.calls[c.number] = tail(m.calls[c.number])
	x.calls = tail(x.calls)
}

func tail(calls []*call) []*call { return calls[max(0, len(calls)-50):] }

// checkPace checks the pauses between a replica's calls for a role: 100 ms at least after a failure,
// except that each call may be repeated once, and 5 seconds after a denial.
func (m *model) checkPace(c *call, x *activity) {
	if n := len(x.calls); n > 0 && x.calls[n-1].at.After(x.reset) {
		previous := x.calls[n-1]
		m.checked(Budget, x.calling == 0, "replica %d calls STS for role %d while a call is in flight",
			c.replica.number, c.number)
		pause := c.at.Sub(previous.ended)
		m.checked(Budget, previous.status != http.StatusForbidden || pause >= 5*time.Second-time.Millisecond,
			"replica %d calls STS for role %d %v after a denial", c.replica.number, c.number,
			pause)
	}
	if n := len(x.calls); n > 1 && x.calls[n-2].accessKey == "" && x.calls[n-2].at.After(x.reset) {
		m.checked(Budget, c.at.Sub(x.calls[n-2].at) >= 100*time.Millisecond,
			"replica %d makes three calls of STS for role %d within %v", c.replica.number, c.number,
			c.at.Sub(x.calls[n-2].at))
	}
}
