package viewer

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

func newGate(t testing.TB, c *config.Viewers, transport http.RoundTripper) *Gate {
	t.Helper()
	g, err := New(c, Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler), Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// request is one with header lines, name and value in turn.
func request(remote string, header ...string) *http.Request {
	r := httptest.NewRequest("GET", "/s3/bucket/key", nil)
	r.RemoteAddr = remote
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func object(t testing.TB, text string) locator.Locator {
	t.Helper()
	l, err := locator.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
