package app

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// A reload that fails creates no series for its issuers, because nothing would delete them.
func TestFailedReloadAddsNoIssuer(t *testing.T) {
	a := newTestApp(t)
	const jwt = "jwt: {issuer: 'https://id.example.com', audience: a}"
	missing := filepath.Join(t.TempDir(), "missing")
	for want, viewers := range []string{
		"{" + jwt + ", basic: {htpasswd_file: '" + missing + "'}}",
		"{" + jwt + "}",
	} {
		a.write(strings.Replace(a.text, "{anonymous: true}", viewers, 1))
		err := a.Reload()
		got := strings.Count(a.scrape(), `failures_total{issuer="https://id.example.com"}`)
		if got != want || (err == nil) != (want == 1) {
			t.Errorf("%s: Reload = %v, and the issuer has %d series, want %d", viewers, err, got, want)
		}
	}
}

// A gate that is closed during a reload keeps the series of the issuers that the reload brings back.
func TestClosingAGateDuringAReload(t *testing.T) {
	a := newTestApp(t)
	const series = `failures_total{issuer="https://id.example.com"}`
	without := a.text
	with := strings.Replace(without, "{anonymous: true}",
		"{jwt: {issuer: 'https://id.example.com', audience: a}}", 1)
	a.reload(with)
	previous := a.current.Load()
	a.reload(without)

	a.mu.Lock() // a reload is in progress
	a.write(with)
	source, err := config.Read(a.path)
	if err != nil {
		t.Fatal(err)
	}
	_, g, err := a.parse(source, nil, a.current.Load())
	if err != nil {
		t.Fatal(err)
	}
	started, closed := make(chan struct{}), make(chan struct{})
	go func() {
		close(started)
		a.closeGate(previous)
		close(closed)
	}()
	<-started
	for range 1000 { // without the lock, the gate would be closed by now
		runtime.Gosched()
	}
	a.current.Store(g)
	a.mu.Unlock()
	<-closed
	if got := strings.Count(a.scrape(), series); got != 1 {
		t.Errorf("the issuer has %d series, want 1", got)
	}
}
