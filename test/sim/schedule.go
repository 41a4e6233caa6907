package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// Kind is the kind of a step.
type Kind string

// The kinds of steps.
const (
	Visit      Kind = "visit"       // a browser loads objects from a replica
	Return     Kind = "return"      // a browser goes back to what it loaded before
	Burst      Kind = "burst"       // many clients ask one replica for one integration's objects
	Batch      Kind = "batch"       // a client asks one replica for the URLs of many objects at once
	Hostile    Kind = "hostile"     // a client sends hostile paths and forged headers
	STSFault   Kind = "sts fault"   // STS begins to fail for one integration's role
	STSHeal    Kind = "sts heal"    // STS stops failing for it
	Revoke     Kind = "revoke"      // the owner revokes the sessions of a role
	Purge      Kind = "purge"       // the operator purges a replica
	StoreFault Kind = "store fault" // the shared store begins to fail
	StoreHeal  Kind = "store heal"  // the shared store works again, for all replicas
	Flush      Kind = "flush"       // the shared store loses everything
	Restore    Kind = "restore"     // the shared store restores a backup
	S3Fault    Kind = "s3 fault"    // the store's control plane is down
	S3Heal     Kind = "s3 heal"     // it works again
	Clock      Kind = "clock"       // a replica's clock is stepped to an error
	Drift      Kind = "drift"       // a replica's clock begins to drift
	Reload     Kind = "reload"      // the operator changes the configuration of all replicas
	Mistake    Kind = "mistake"     // the operator tries to load a configuration with a mistake
	Stop       Kind = "stop"        // a replica dies
	Start      Kind = "start"       // it starts again
	Groups     Kind = "groups"      // the groups of a viewer change
	IDFault    Kind = "id fault"    // the identity provider is down
	IDHeal     Kind = "id heal"     // it works again
	Rotate     Kind = "rotate"      // it replaces its key
)

// Step is something that happens at an instant. It does not depend on other steps: a schedule without
// some of its steps is a schedule.
type Step struct {
	At   Span `json:"at"`
	Kind Kind `json:"kind"`
	// Replica, Integration and Browser are taken modulo their number in the world.
	Replica     int    `json:"replica,omitempty"`
	Integration int    `json:"integration,omitempty"`
	Browser     int    `json:"browser,omitempty"`
	Count       int    `json:"count,omitempty"`
	Fault       string `json:"fault,omitempty"`
	By          Span   `json:"by,omitempty"`
	// Draw seeds what the step chooses itself.
	Draw uint64 `json:"draw,omitempty"`
}

// Schedule is a world and what happens to it.
type Schedule struct {
	// Seed determines the shape of the world: replicas, integrations, rules and viewers.
	Seed  uint64 `json:"seed"`
	Steps []Step `json:"steps"`
	// Scopes gives some integrations prefixes from the start. Files of older schedules lack it.
	Scopes bool `json:"scopes,omitempty"`
	// Hasty makes the model expect that a purge covers all sessions that were revoked before it. The
	// docs require a minute between the two.
	Hasty bool `json:"hasty,omitempty"`
}

// Span is a duration that is readable in JSON.
type Span time.Duration

// MarshalText implements [encoding.TextMarshaler].
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = Span(d)
	return err
}

// Read reads a schedule from a file that [Schedule.Write] wrote.
func Read(path string) (s Schedule, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		err = fmt.Errorf("sim: reading a schedule: %w", err)
	}
	return s, err
}

// Write writes the schedule to a file.
func (s Schedule) Write(path string) error {
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// The streams of random numbers of a seed. Each part of the world has its own.
const (
	streamShape = iota + 1
	streamSteps
	streamRecovery
	streamProvider
	streamScopes
)

// source returns the random numbers of a stream of a seed.
func source(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// generator makes the steps of a schedule.
type generator struct {
	*rand.Rand
	steps []Step
	now   time.Duration
	on    map[Kind]bool // the kinds that the schedule has
}

// stepsPerSchedule is the number of times that something begins. A fault that ends is two steps.
const stepsPerSchedule = 36

// Generate returns the schedule of a seed. Each kind of disturbance is in some schedules only, so
// that there are calm worlds, and worlds with one kind of fault.
func Generate(seed uint64) Schedule {
	g := &generator{Rand: source(seed, streamSteps), on: map[Kind]bool{}}
	for _, d := range disturbances {
		g.on[d.kind] = g.IntN(10) < 4
	}
	for range stepsPerSchedule {
		g.pause()
		if g.IntN(10) < 6 {
			g.traffic()
			continue
		}
		g.disturb()
	}
	slices.SortStableFunc(g.steps, func(a, b Step) int { return int(max(-1, min(1, a.At-b.At))) })
	return Schedule{Seed: seed, Steps: g.steps, Scopes: true}
}

// pause advances the time by seconds, minutes, about a window, or hours. The nanoseconds make it
// unlikely that two things happen at the same instant.
func (g *generator) pause() {
	longest := 20 * time.Second
	switch n := g.IntN(100); {
	case n < 30:
	case n < 65:
		longest = 8 * time.Minute
	case n < 95:
		longest = 40 * time.Minute
	default:
		longest = 14 * time.Hour
	}
	g.now += time.Second + g.upTo(longest)
}

func (g *generator) upTo(d time.Duration) time.Duration { return time.Duration(g.Int64N(int64(d))) }

// add adds a step after a delay.
func (g *generator) add(delay time.Duration, s Step) {
	s.At, s.Draw = Span(g.now+delay), g.Uint64()
	g.steps = append(g.steps, s)
}

// any returns a step with random subjects.
func (g *generator) any(k Kind) Step {
	return Step{Kind: k, Replica: g.IntN(60), Integration: g.IntN(60), Browser: g.IntN(60)}
}

// traffic adds requests, often several in a row: a browser that comes back, other browsers at other
// replicas.
func (g *generator) traffic() {
	for range 1 + g.IntN(4) {
		s := g.any(Visit)
		switch g.IntN(13) {
		case 0:
			s.Kind = Return
		case 1:
			s.Kind, s.Count = Burst, 2+g.IntN(8)
		case 2:
			s.Kind, s.Count = Hostile, 1+g.IntN(4)
		case 3:
			s.Kind, s.Count = Batch, 1+g.IntN(10)
		default:
			s.Count = 1 + g.IntN(4)
		}
		g.add(g.upTo(time.Minute), s)
	}
}

// disturbances are the kinds of what may go wrong, with their weights and how they are added.
var disturbances = []struct {
	kind   Kind
	weight int
	add    func(g *generator)
}{
	{STSFault, 4, (*generator).stsFault},
	{StoreFault, 3, (*generator).storeFault},
	{Flush, 1, func(g *generator) { g.add(0, g.any(Flush)) }},
	{Restore, 1, func(g *generator) { g.add(0, g.any(Restore)) }},
	{S3Fault, 1, func(g *generator) { g.pair(g.any(S3Fault), S3Heal) }},
	{Clock, 2, (*generator).clock},
	{Drift, 1, func(g *generator) {
		s := g.any(Drift)
		s.By = Span(g.upTo(2*time.Second) - time.Second) // in an hour
		g.add(0, s)
	}},
	{Reload, 3, (*generator).reload},
	{Stop, 2, func(g *generator) { g.pair(g.any(Stop), Start) }},
	{Purge, 1, func(g *generator) { g.add(0, g.any(Purge)) }},
	{Revoke, 1, (*generator).revoke},
	{IDFault, 1, func(g *generator) { g.pair(g.any(IDFault), IDHeal) }},
	{Rotate, 1, func(g *generator) { g.add(0, g.any(Rotate)) }},
	{Groups, 2, func(g *generator) { g.add(0, g.any(Groups)) }},
}

// disturb adds one of the schedule's disturbances, if it has any.
func (g *generator) disturb() {
	total := 0
	for _, d := range disturbances {
		if g.on[d.kind] {
			total += d.weight
		}
	}
	if total == 0 {
		g.traffic()
		return
	}
	n := g.IntN(total)
	for _, d := range disturbances {
		if !g.on[d.kind] {
			continue
		}
		if n -= d.weight; n < 0 {
			d.add(g)
			return
		}
	}
}

// pair adds a step and, after seconds, minutes or an hour, the step that ends its effect. In between
// there is traffic for the same integration.
func (g *generator) pair(s Step, end Kind) {
	longest := []time.Duration{30 * time.Second, 10 * time.Minute, 90 * time.Minute}[g.IntN(3)]
	lasts := time.Second + g.upTo(longest)
	if s.Fault == faultOverrun {
		lasts += 2 * time.Hour // most sessions end before
	}
	g.add(0, s)
	traffic := 3
	if s.Kind == STSFault {
		traffic = 12 // enough to see what becomes of the URLs when the sessions end
	}
	for range g.IntN(traffic) {
		visit := g.any(Visit)
		visit.Integration, visit.Count = s.Integration, 1+g.IntN(2)
		g.add(g.upTo(lasts+time.Minute), visit)
	}
	if s.Kind == STSFault && g.IntN(2) == 0 { // a visit after an idle time
		visit := g.any(Visit)
		visit.Integration, visit.Count = s.Integration, 1
		g.add(lasts+10*time.Minute+g.upTo(50*time.Minute), visit)
	}
	s.Kind = end
	g.add(lasts, s)
}

func (g *generator) stsFault() {
	s := g.any(STSFault)
	s.Fault = stsFaultKinds[g.IntN(len(stsFaultKinds))]
	switch s.Fault {
	case faultThrottle:
		s.By = Span(g.IntN(3)) * Span(time.Minute) // Retry-After
	case faultShort:
		s.By = Span(time.Minute + g.upTo(30*time.Minute))
	case faultSkew:
		s.By = Span(g.upTo(40*time.Minute) - 20*time.Minute)
	case faultOverrun:
		s.By = Span(time.Hour + g.upTo(12*time.Hour))
	}
	g.pair(s, STSHeal)
}

func (g *generator) storeFault() {
	s := g.any(StoreFault)
	s.Fault = storeFaultKinds[g.IntN(len(storeFaultKinds))]
	g.pair(s, StoreHeal)
}

// clock steps a clock by seconds, minutes or an hour, and sets it right later.
func (g *generator) clock() {
	s := g.any(Clock)
	size := []time.Duration{5 * time.Second, 2 * time.Minute, 20 * time.Minute, 2 * time.Hour}[g.IntN(4)]
	s.By = Span(g.upTo(2*size) - size)
	lasts := time.Second + g.upTo(time.Hour)
	g.add(0, s)
	s.By = 0
	g.add(lasts, s)
}

// reload changes the configuration, or tries a mistake.
func (g *generator) reload() {
	s := g.any(Reload)
	s.Fault = changeKinds[g.IntN(len(changeKinds))]
	if g.IntN(4) == 0 {
		s.Kind, s.Fault = Mistake, ""
	}
	g.add(0, s)
}

// revoke revokes sessions and then, in the documented order and time, purges all replicas.
func (g *generator) revoke() {
	s := g.any(Revoke)
	g.add(0, s)
	s.Kind = Purge
	delay := time.Minute // docs/reliability.md: for at least a minute
	for n := range maxReplicas {
		s.Replica = n
		delay += time.Second + g.upTo(5*time.Second)
		g.add(delay, s)
	}
}
