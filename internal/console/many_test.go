package console

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/metrics"
)

// The answer has the first integrations that a search finds, and is small among 10,000.
func TestManyIntegrations(t *testing.T) {
	w := newWorld(t, testFile)
	all := w.state.Config.Integrations[:1:1]
	for n := range 10_000 {
		all = append(all, &config.Integration{
			Name: fmt.Sprintf("tenant-%05d", n), Bucket: fmt.Sprintf("media-%d", n%100),
			Prefix: fmt.Sprintf("folder-%d/", n), Region: "us-east-1", RoleARN: roleARN,
			SessionDuration: time.Hour, URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute,
		})
	}
	many := *w.state.Config
	many.Integrations = all
	many.Warnings = slices.Repeat([]string{"a warning"}, 1000)
	set, err := integration.NewSet(&many, integration.Options{
		Clock: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: metrics.New(""), STS: &integration.AWSSTS{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	w.state.Config, w.state.Integrations = &many, set
	for _, c := range []struct {
		query       string
		found, rows int
		first       string
	}{
		{"", 10_001, 50, "keys"},
		{"?limit=3", 10_001, 3, "keys"},
		{"?limit=100000", 10_001, maxCards, "keys"},
		{"?search=TENANT-00042", 1, 1, "tenant-00042"},
		{"?search=media-77+folder-9", 11, 11, "tenant-00977"},
		{"?search=folder-99%2f", 1, 1, "tenant-00099"},
		{"?search=nothing", 0, 0, ""},
	} {
		a := w.get("/api/integrations" + c.query)
		var got integrationsAnswer
		a.into(t, &got)
		if got.Total != 10_001 || got.Found != c.found || len(got.Integrations) != c.rows ||
			c.rows > 0 && got.Integrations[0].Name != c.first {
			t.Errorf("%s: got %d of %d with %d rows, want %d of 10001 with %d, beginning with %s",
				c.query, got.Found, got.Total, len(got.Integrations), c.found, c.rows, c.first)
		}
		if len(a.body) > 1000*(c.rows+1) {
			t.Errorf("%s: the answer has %d bytes for %d rows", c.query, len(a.body), c.rows)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=-1", "?limit=x"} {
		if a := w.get("/api/integrations" + query); a.status != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", query, a.status)
		}
	}
	var o overviewAnswer
	w.get("/api/overview").into(t, &o)
	if n := len(o.Warnings); n != maxWarnings+1 || !strings.Contains(o.Warnings[maxWarnings], "950") {
		t.Errorf("the overview has %d warnings, want %d and a line about the other 950", n, maxWarnings)
	}
}
