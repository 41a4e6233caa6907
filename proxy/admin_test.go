package proxy

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"s3redirect/internal/config"
	"s3redirect/metrics"
)

const testAdminToken = "canary-token-0123456789abcdef0123456789"

// operator counts its calls.
type operator struct {
	token           config.Secret
	reloads, purges int
}

func (o *operator) AdminToken() config.Secret { return o.token }
func (o *operator) Reload() error             { o.reloads++; return nil }

func (o *operator) Purge(integration, _ string) (Purged, error) {
	o.purges++
	if integration == "bad" {
		return Purged{}, errors.New("bad integration")
	}
	return Purged{Integrations: []string{integration}}, nil
}

// administer sends a request to the administrators' handler.
func administer(
	t *testing.T, o *operator, log io.Writer, method, target string, header http.Header,
) *httptest.ResponseRecorder {
	t.Helper()
	s := &Server{}
	s.ready.Store(true)
	h := s.adminHandler(ServerOptions{
		Operator: o,
		Metrics:  metrics.New("test"),
		Log:      slog.New(slog.NewJSONHandler(log, nil)),
	})
	r := httptest.NewRequest(method, target, nil)
	r.Header = header
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// Purges and reloads require admin.token. Metrics and health checks do not.
func TestAdminToken(t *testing.T) {
	auth := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	for name, c := range map[string]struct {
		header http.Header
		want   int
	}{
		"no token":               {http.Header{}, 401},
		"the token":              {auth("Bearer " + testAdminToken), 200},
		"scheme in lower case":   {auth("bearer " + testAdminToken), 200},
		"another token":          {auth("Bearer guess"), 401},
		"an empty token":         {auth("Bearer "), 401},
		"the scheme alone":       {auth("Bearer"), 401},
		"prefix of the token":    {auth("Bearer " + testAdminToken[:30]), 401},
		"suffix after the token": {auth("Bearer " + testAdminToken + "0"), 401},
		"token in upper case":    {auth("Bearer " + strings.ToUpper(testAdminToken)), 401},
		"another scheme":         {auth("Basic " + testAdminToken), 401},
		"no scheme":              {auth(testAdminToken), 401},
		"two headers":            {auth("Bearer guess", "Bearer "+testAdminToken), 401},
		"token in a cookie and another header": {http.Header{
			"Cookie":       {"s3redirect_console=" + testAdminToken},
			"X-Csrf-Token": {testAdminToken},
		}, 401},
		"token from a web page": {http.Header{
			"Authorization": {"Bearer " + testAdminToken},
			"Origin":        {"https://evil.example"},
		}, 403},
	} {
		for _, target := range []string{
			"/-/reload", "/-/purge", "/-/purge?integration=lab", "/-/purge?token=" + testAdminToken,
		} {
			var log strings.Builder
			o := &operator{token: testAdminToken}
			rec := administer(t, o, &log, http.MethodPost, target, c.header)
			if rec.Code != c.want || (o.reloads+o.purges == 1) != (c.want == 200) {
				t.Errorf("%s, %s: status %d after %d calls, want %d",
					name, target, rec.Code, o.reloads+o.purges, c.want)
			}
			wantNoSniff(t, rec.Result())
			challenge := rec.Header().Get("WWW-Authenticate")
			if (c.want == 401) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("%s, %s: status %d with WWW-Authenticate %q", name, target, c.want,
					challenge)
			}
			logged := strings.Contains(log.String(), "request rejected")
			if logged != (c.want == 401) ||
				strings.Contains(log.String()+rec.Body.String(), "canary") {
				t.Errorf("%s, %s: log %q and body %q, want a log line only for 401, and no token",
					name, target, log.String(), rec.Body)
			}
		}
	}
	for _, target := range []string{"/metrics", "/healthz", "/readyz"} {
		o := &operator{token: testAdminToken}
		rec := administer(t, o, io.Discard, http.MethodGet, target, http.Header{})
		if rec.Code != 200 {
			t.Errorf("GET %s without the token: status %d, want 200", target, rec.Code)
		}
	}
}

// Without admin.token every client may purge and reload, except web pages.
func TestNoAdminToken(t *testing.T) {
	for _, target := range []string{"/-/reload", "/-/purge"} {
		for name, header := range map[string]http.Header{
			"no header": {},
			"any token": {"Authorization": {"Bearer x"}},
		} {
			rec := administer(t, &operator{}, io.Discard, http.MethodPost, target, header)
			if rec.Code != 200 {
				t.Errorf("%s with %s: status %d, want 200", target, name, rec.Code)
			}
		}
		o := &operator{}
		header := http.Header{"Sec-Fetch-Site": {"cross-site"}}
		rec := administer(t, o, io.Discard, http.MethodPost, target, header)
		if rec.Code != 403 || o.reloads+o.purges != 0 {
			t.Errorf("%s from a page: status %d after %d calls, want 403 after 0 calls",
				target, rec.Code, o.reloads+o.purges)
		}
	}
}

// Browsers must not guess the types of responses, which may repeat parts of the request. Other
// responses of the purge are in TestAdminToken.
func TestAdminResponsesHaveNoSniff(t *testing.T) {
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{http.MethodPost, "/-/reload", 200},
		{http.MethodPost, "/-/purge", 200},
		{http.MethodPost, "/-/purge?integration=bad", 400},
		{http.MethodGet, "/healthz", 200},
		{http.MethodGet, "/readyz", 200},
	} {
		rec := administer(t, &operator{}, io.Discard, c.method, c.target, http.Header{})
		if rec.Code != c.want {
			t.Errorf("%s %s: status %d, want %d", c.method, c.target, rec.Code, c.want)
		}
		wantNoSniff(t, rec.Result())
	}
}
