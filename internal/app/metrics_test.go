package app

import (
	"strings"
	"testing"
)

// Integrations have series once they are used or, with metrics.integrations: all, from the start or
// from a reload on.
func TestSeriesOfIntegrations(t *testing.T) {
	const used = `s3redirect_requests_total{code="302",integration="media",method="GET"} 1`
	const unused = `integration="teams"`
	a := newTestApp(t)
	if scrape := a.scrape(); strings.Contains(scrape, `integration="media"`) {
		t.Error("media has series before its first use, want none")
	}
	a.wantStatus("first", mediaObject, 302)
	a.wantMetric(used)
	if scrape := a.scrape(); strings.Contains(scrape, unused) {
		t.Error("teams has series, want none: it was not used")
	}
	a.reload(a.text + "metrics: {integrations: all}\n")
	a.wantMetric(used)
	a.wantMetric(`s3redirect_requests_total{code="302",integration="teams",method="GET"} 0`)
	a.wantMetric(`s3redirect_assume_role_total{integration="teams",result="denied"} 0`)
	a.reload(withoutTeams(a.text))
	a.wantMetric(used)
	if scrape := a.scrape(); strings.Contains(scrape, unused) {
		t.Error("teams has series after it was removed, want none")
	}
	a.reload(a.text)
	if scrape := a.scrape(); strings.Contains(scrape, unused) {
		t.Error("teams has series after it was added again, want none: it was not used since")
	}
}
