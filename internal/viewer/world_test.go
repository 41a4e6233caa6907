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

// newGate returns a gate that is closed when the test ends.
func newGate(t testing.TB, c *config.Viewers, transport http.RoundTripper) *Gate {
	t.Helper()
	g, err := New(c, Options{
		Clock:     time.Now,
		Log:       slog.New(slog.DiscardHandler),
		Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// request returns a request from an address with header lines, given as alternating names and
// values.
func request(remote string, header ...string) *http.Request {
	r := httptest.NewRequest("GET", "/s3/bucket/key", nil)
	r.RemoteAddr = remote
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// withToken returns a request with a token in Authorization.
func withToken(token string) *http.Request {
	return request("192.0.2.1:1", "Authorization", "Bearer "+token)
}

// withPassword returns a request with Basic authentication.
func withPassword(remote, user, password string) *http.Request {
	return request(remote, "Authorization", basic(user, password))
}

// basicViewers returns a configuration with an htpasswd file.
func basicViewers(file string) *config.Viewers {
	return &config.Viewers{Basic: &config.Basic{HtpasswdFile: file}}
}

// object parses a locator.
func object(t testing.TB, text string) locator.Locator {
	t.Helper()
	l, err := locator.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
