package console

import (
	"net/http"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/metrics"
)

// integrationAnswer is the card of an integration. Times are in Unix milliseconds, 0 if there is
// none; durations are formatted.
type integrationAnswer struct {
	Name            string   `json:"name"`
	Scoped          bool     `json:"scoped"`
	Buckets         []string `json:"buckets"`
	Prefix          string   `json:"prefix,omitempty"`
	BlockedPrefixes []string `json:"blocked_prefixes,omitempty"`
	RoleARN         string   `json:"role_arn,omitempty"`
	ExternalID      string   `json:"external_id,omitempty"`
	SessionName     string   `json:"session_name,omitempty"`
	SessionDuration string   `json:"session_duration,omitempty"`
	Region          string   `json:"region"`
	Endpoint        string   `json:"endpoint,omitempty"`
	STSEndpoint     string   `json:"sts_endpoint,omitempty"`
	URLLifetime     string   `json:"url_lifetime"`
	MinRemaining    string   `json:"min_remaining"`
	FileVersioning  bool     `json:"file_versioning"`
	// File and Line are where the integration is configured. Only an editable one can be changed
	// here.
	File     string `json:"file"`
	Line     int    `json:"line"`
	Editable bool   `json:"editable"`

	// Static means that the integration has keys and no role, and so no sessions.
	Static     bool           `json:"static"`
	Expires    int64          `json:"expires"`
	WindowEnds int64          `json:"window_ends"`
	Asked      int64          `json:"asked"`
	Result     string         `json:"result,omitempty"`
	Problem    string         `json:"problem,omitempty"`
	RetryAt    int64          `json:"retry_at"`
	Counts     metrics.Counts `json:"counts"`
}

type integrationsAnswer struct {
	Now          int64               `json:"now"`
	Integrations []integrationAnswer `json:"integrations"`
}

func (c *Console) integrations(*http.Request) (any, error) {
	state, now, counts := c.Proxy.State(), c.Clock(), c.Metrics.Counts()
	a := integrationsAnswer{Now: now.UnixMilli(), Integrations: []integrationAnswer{}}
	status := state.Integrations.Status(now)
	for n := range state.Config.Integrations {
		a.Integrations = append(a.Integrations, card(state.Config.Integrations[n], status[n], counts[status[n].Name]))
	}
	return a, nil
}

// card returns the card of an integration, without its keys.
func card(i *config.Integration, s integration.Status, counts metrics.Counts) integrationAnswer {
	a := integrationAnswer{
		Name: i.Name, Scoped: i.Bucket != "",
		Buckets: i.Buckets(), Prefix: i.Prefix, BlockedPrefixes: i.BlockedPrefixes, RoleARN: i.RoleARN, ExternalID: i.ExternalID,
		SessionName: i.SessionName, Region: i.Region,
		Endpoint: i.Endpoint, STSEndpoint: i.STSEndpoint,
		URLLifetime: config.Short(i.URLLifetime), MinRemaining: config.Short(i.MinRemaining),
		FileVersioning: i.FileVersioning,
		File:           i.Origin.File, Line: i.Origin.Line, Editable: i.Origin.Editable,
		Static: s.Static, Expires: milliseconds(s.Expires),
		WindowEnds: milliseconds(s.WindowEnds), Asked: milliseconds(s.Asked),
		Result: string(s.Result), Problem: s.Problem,
		RetryAt: milliseconds(s.RetryAt), Counts: counts,
	}
	if i.RoleARN != "" {
		a.SessionDuration = config.Short(i.SessionDuration)
	}
	return a
}

// named returns an integration of the configuration in use.
func named(c *config.Config, name string) (*config.Integration, error) {
	for n := range c.Integrations {
		if c.Integrations[n].Name == name {
			return c.Integrations[n], nil
		}
	}
	return nil, &refusal{status: http.StatusNotFound,
		text: "there is no integration " + name + " any more; reload the page"}
}
