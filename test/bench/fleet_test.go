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
	"s3redirect/internal/presign"
	"s3redirect/metrics"
)

// The table of docs/deployment.md is what the simulation says.
func TestFleetTable(t *testing.T) {
	var table strings.Builder
	if err := fleet(&table); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/deployment.md does not hold\n%s", table.String())
	}
}

// plentySTS gives sessions with a token of 1,000 bytes.
type plentySTS struct{}

func (plentySTS) AssumeRole(_ context.Context, in *integration.AssumeRoleInput) (presign.Credentials, time.Time, error) {
	token := in.Integration.Name + strings.Repeat("t", 1000)[len(in.Integration.Name):] // a string of its own each time
	return presign.Credentials{AccessKeyID: "ASIA" + in.Integration.Name, SecretAccessKey: "secret", SessionToken: token}, time.Now().Add(time.Hour), nil
}

// What the simulation takes an integration and a session for in memory is what they take.
func TestFleetBytes(t *testing.T) {
	const n = 5000
	c := &config.Config{Cache: config.Cache{URLs: 100, Credentials: 2 * n}}
	for i := range n {
		name := fmt.Sprintf("tenant-%05d", i)
		c.Integrations = append(c.Integrations, config.Integration{Name: name, Bucket: name, RoleARN: "arn:aws:iam::123456789012:role/" + name, ExternalID: "id",
			SessionName: "s", SessionDuration: time.Hour, SessionPolicy: true, Region: "us-east-1", URLLifetime: 45 * time.Minute, MinRemaining: 15 * time.Minute})
	}
	heap := func() float64 {
		runtime.GC()
		runtime.GC() // what has a finalizer goes the second time
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	empty := heap()
	set, err := integration.NewSet(c, integration.Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: metrics.New("test"), STS: plentySTS{}})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	configured := heap()
	for n := range c.Integrations {
		now := time.Now()
		b, ok := set.Find(c.Integrations[n].Bucket, now)
		if !ok {
			t.Fatal("nobody serves a bucket")
		}
		w, _, err := b.Integration.Window(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Signer("us-east-1"); err != nil {
			t.Fatal(err)
		}
	}
	inUse := heap()
	runtime.KeepAlive(c)
	for what, c := range map[string]struct{ bytes, want float64 }{
		"an integration": {(configured - empty) / n, integrationBytes}, "a session": {(inUse - configured) / n, sessionBytes},
	} {
		if c.bytes < 0.8*c.want || c.bytes > 1.2*c.want {
			t.Errorf("%s takes %.0f bytes, and the simulation has %.0f", what, c.bytes, c.want)
		}
	}
}
