package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
	"s3redirect/metrics"
)

// TestFleetTable checks that docs/deployment/replicas.md has the table that the simulation prints.
func TestFleetTable(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates millions of requests")
	}
	var table strings.Builder
	if err := fleet(&table); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/deployment/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/deployment/replicas.md does not contain the output of "+
			"\"go run ./test/bench fleet\":\n%s", table.String())
	}
}

// fakeSTS issues sessions with a token of 1,000 bytes.
type fakeSTS struct{}

func (fakeSTS) AssumeRole(
	_ context.Context, in *integration.AssumeRoleInput,
) (presign.Credentials, time.Time, error) {
	name := in.Integration.Name
	c := presign.Credentials{
		AccessKeyID:     "ASIA" + name,
		SecretAccessKey: "secret",
		SessionToken:    name + strings.Repeat("t", 1000-len(name)),
	}
	return c, time.Now().Add(time.Hour), nil
}

// TestFleetBytes checks the simulation's constants for the memory of an integration and a session.
func TestFleetBytes(t *testing.T) {
	const n = 5000
	c := &config.Config{Cache: config.Cache{URLs: 100, Credentials: 2 * n}}
	for i := range n {
		name := fmt.Sprintf("tenant-%05d", i)
		c.Integrations = append(c.Integrations, &config.Integration{
			Name:            name,
			Bucket:          name,
			RoleARN:         "arn:aws:iam::123456789012:role/" + name,
			ExternalID:      "id",
			SessionName:     "s",
			SessionDuration: time.Hour,
			SessionPolicy:   true,
			Region:          "us-east-1",
			URLLifetime:     45 * time.Minute,
			MinRemaining:    15 * time.Minute,
		})
	}
	heap := func() float64 {
		runtime.GC()
		runtime.GC() // frees objects whose finalizers ran after the first
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	empty := heap()
	set, err := integration.NewSet(c, integration.Options{
		Clock:   time.Now,
		Log:     slog.New(slog.DiscardHandler),
		Metrics: metrics.New("test"),
		STS:     fakeSTS{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, i := range c.Integrations { // the first use makes the series
		b, ok := set.Find(locator.Locator{Bucket: i.Bucket}, time.Now())
		if !ok {
			t.Fatalf("Find(%q) found no integration", i.Bucket)
		}
		b.Integration.Metrics.URLs.Count(0, false)
	}
	configured := heap()
	for n := range c.Integrations {
		now := time.Now()
		b, ok := set.Find(locator.Locator{Bucket: c.Integrations[n].Bucket}, now)
		if !ok {
			t.Fatalf("Find(%q) found no integration", c.Integrations[n].Bucket)
		}
		w, _, err := b.Integration.Window(t.Context(), now, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Signer("us-east-1"); err != nil {
			t.Fatal(err)
		}
	}
	inUse := heap()
	runtime.KeepAlive(c)
	for name, m := range map[string]struct{ got, want float64 }{
		"integrationBytes": {(configured - empty) / n, integrationBytes},
		"sessionBytes":     {(inUse - configured) / n, sessionBytes},
	} {
		if m.got < 0.8*m.want || m.got > 1.2*m.want {
			t.Errorf("%s = %.0f, but %.0f were measured; want at most 20 %% difference",
				name, m.want, m.got)
		}
	}
}
