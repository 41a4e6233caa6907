package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

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

// integrationsAnswer has the first integrations that a search finds.
type integrationsAnswer struct {
	Now          int64               `json:"now"`
	Total        int                 `json:"total"` // number of all integrations
	Found        int                 `json:"found"` // number of those that the search finds
	Integrations []integrationAnswer `json:"integrations"`
}

const (
	// defaultCards is the number of integrations in an answer without a limit.
	defaultCards = 50
	// maxCards bounds it: 10,000 cards have 6 MB.
	maxCards = 1000
)

// integrations answers with the integrations that contain all words of search, up to limit.
func (c *Console) integrations(r *http.Request) (any, error) {
	query := r.URL.Query()
	limit := defaultCards
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return nil, &refusal{status: http.StatusBadRequest, text: "limit is not a positive number"}
		}
	}
	limit = min(limit, maxCards)
	state, now, counts := c.Proxy.State(), c.Clock(), c.Metrics.Counts()
	words := strings.Fields(strings.ToLower(query.Get("search")))
	a := integrationsAnswer{
		Now: now.UnixMilli(), Total: len(state.Config.Integrations), Integrations: []integrationAnswer{},
	}
	for n, i := range state.Config.Integrations {
		s := state.Integrations.Status(n, now)
		if !found(i, s, words) {
			continue
		}
		if a.Found++; a.Found <= limit {
			a.Integrations = append(a.Integrations, card(i, s, counts[s.Name]))
		}
	}
	return a, nil
}

// found reports whether an integration contains all words, which are in lower case.
func found(i *config.Integration, s integration.Status, words []string) bool {
	if len(words) == 0 {
		return true
	}
	text := strings.ToLower(strings.Join(append([]string{
		i.Name, i.Prefix, i.RoleARN, i.Region, i.Endpoint, string(s.Result),
	}, i.Buckets()...), " "))
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// card returns the card of an integration, without its keys.
func card(i *config.Integration, s integration.Status, counts metrics.Counts) integrationAnswer {
	a := integrationAnswer{
		Name: i.Name, Scoped: i.Bucket != "",
		Buckets: i.Buckets(), Prefix: i.Prefix, BlockedPrefixes: i.BlockedPrefixes,
		RoleARN: i.RoleARN, ExternalID: i.ExternalID,
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
	for _, i := range c.Integrations {
		if i.Name == name {
			return i, nil
		}
	}
	return nil, &refusal{status: http.StatusNotFound,
		text: "there is no integration " + name + " any more; reload the page"}
}
