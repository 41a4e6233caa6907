package console

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"s3redirect/internal/check"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/onboard"
	"s3redirect/internal/policy/document"
)

// checkRequest names the integration to check: a configured one or, with a change, the one that the
// change results in.
type checkRequest struct {
	Name   string         `json:"name"`
	Change *changeRequest `json:"change"`
	Sample string         `json:"sample"`
	Origin string         `json:"origin"`
}

// checkTimeout bounds a check. Each step has its own bound as well.
const checkTimeout = 3 * time.Minute

// check answers with a line of JSON for each step as soon as it is done, a [check.Step], and at the
// end with {"sound": true}, {"sound": false} or {"error": …}.
func (c *Console) check(w http.ResponseWriter, r *http.Request) {
	o, err := c.checkOptions(w, r)
	if err != nil {
		c.refuse(w, err)
		return
	}
	if !c.enter() {
		c.refuse(w, &refusal{status: http.StatusTooManyRequests,
			text: "other checks are running; try again when they are done"})
		return
	}
	defer c.leave()
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	control := http.NewResponseController(w)
	// The listener's write timeout is too short for a check.
	_ = control.SetWriteDeadline(time.Now().Add(checkTimeout + time.Second))
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	say := func(v any) {
		_ = lines.Encode(v) // if the client disconnects, ctx is canceled
		_ = control.Flush()
	}
	o.Report = func(s check.Step) { say(s) }
	switch sound, err := check.Run(ctx, o); {
	case err != nil:
		say(map[string]string{"error": err.Error()})
	default:
		say(map[string]bool{"sound": sound})
	}
}

// enter tries to acquire a slot for a request that calls STS, and reports whether it succeeded.
// leave releases the slot.
func (c *Console) enter() bool {
	select {
	case c.checks <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *Console) leave() { <-c.checks }

func (c *Console) checkOptions(w http.ResponseWriter, r *http.Request) (o check.Options, err error) {
	if err := c.mayCheck(r); err != nil {
		return o, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var in checkRequest
	if err := readJSON(r, &in); err != nil {
		return o, err
	}
	state := c.Proxy.State()
	o = check.Options{Config: state.Config,
		ConfigFile: state.File, Integrations: []string{in.Name}, Clock: c.Clock,
		Transport: c.Transport, Origin: strings.TrimSpace(in.Origin)}
	if in.Change != nil {
		// A draft chooses the endpoints and the keys, so it needs a signed-in user.
		if _, err := c.mayChange(r); err != nil {
			return o, err
		}
		changed, err := c.changed(in.Change)
		if err != nil {
			return o, err
		}
		if changed.integration == nil {
			return o, &refusal{status: http.StatusBadRequest,
				text: "an integration that is removed cannot be checked"}
		}
		o.Config, o.Integrations = changed.config, []string{changed.integration.Name}
		o.PolicyCommand = func(words string) string {
			kind, _, _ := strings.Cut(words, " ")
			title := onboard.Describe(document.Kind(kind)).Title
			return "the document " + title + ", which the previous steps show"
		}
	}
	if _, err := named(o.Config, o.Integrations[0]); err != nil {
		return o, err
	}
	if o.Origin != "" {
		if err := config.CheckOrigins([]string{o.Origin}); err != nil {
			return o, &refusal{status: http.StatusUnprocessableEntity,
				text: "the page's origin: " + err.Error()}
		}
	}
	if sample := strings.TrimSpace(in.Sample); sample != "" {
		var l locator.Locator
		if l, err = parseLocator(sample); err != nil {
			return o, &refusal{status: http.StatusUnprocessableEntity,
				text: "the sample: " + err.Error()}
		}
		o.Sample = &l
	}
	return o, nil
}
