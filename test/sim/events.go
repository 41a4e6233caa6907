package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// event is something that a goroutine of the world reports: an answer, or a call of STS.
type event struct {
	at     time.Time
	answer *request // one of the three is set
	begun  *call
	over   *call
	line   string // of the trace; it also orders the events of an instant
}

// sortEvents brings the events into an order that does not depend on the scheduling of goroutines.
func sortEvents(events []event) {
	slices.SortFunc(events, func(a, b event) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.order(), b.order()), cmp.Compare(a.line, b.line))
	})
}

// order returns the place of an event among those of its instant: a call ends before the requests
// that waited for it, and before the next call.
func (e event) order() int {
	switch {
	case e.over != nil:
		return 0
	case e.answer != nil:
		return 1
	}
	return 2
}

func (w *world) report(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *world) recordCall(c *call) {
	w.report(event{at: c.at, begun: c, line: fmt.Sprintf("call r%d role-%d %s",
		c.replica.number, c.number, c.fault.kind)})
}

func (w *world) recordCallEnd(c *call) {
	w.report(event{at: c.ended, over: c, line: fmt.Sprintf("call r%d role-%d over: %d %s",
		c.replica.number, c.number, c.status, c.accessKey)})
}
