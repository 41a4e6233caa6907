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

// operator counts what it is asked for.
type operator struct {
	token           config.Secret
	reloads, purges int
}

func (o *operator) AdminToken() config.Secret { return o.token }
func (o *operator) Reload() error             { o.reloads++; return nil }

func (o *operator) Purge(integration, _ string) (Purged, error) {
	o.purges++
	if integration == "bad" {
		return Purged{}, errors.New("it is bad")
	}
	return Purged{Integrations: []string{integration}}, nil
}

// administer sends a request to an administrators' listener.
func administer(t *testing.T, o *operator, log io.Writer, method, target string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	s := &Server{}
	s.ready.Store(true)
	h := s.administration(ServerOptions{Operator: o, Metrics: metrics.New("test"), Log: slog.New(slog.NewJSONHandler(log, nil))})
	r := httptest.NewRequest(method, target, nil)
	r.Header = header
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// With admin.token a purge and a reload need it, and metrics and the health checks do not.
func TestAdminToken(t *testing.T) {
	auth := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	for name, c := range map[string]struct {
		header http.Header
		want   int
	}{
		"no token":                  {http.Header{}, 401},
		"the token":                 {auth("Bearer " + testAdminToken), 200},
		"the scheme in lower case":  {auth("bearer " + testAdminToken), 200},
		"another token":             {auth("Bearer guess"), 401},
		"an empty token":            {auth("Bearer "), 401},
		"the scheme alone":          {auth("Bearer"), 401},
		"a beginning of the token":  {auth("Bearer " + testAdminToken[:30]), 401},
		"more than the token":       {auth("Bearer " + testAdminToken + "0"), 401},
		"the token in capitals":     {auth("Bearer " + strings.ToUpper(testAdminToken)), 401},
		"another scheme":            {auth("Basic " + testAdminToken), 401},
		"no scheme":                 {auth(testAdminToken), 401},
		"two headers":               {auth("Bearer guess", "Bearer "+testAdminToken), 401},
		"the token in other places": {http.Header{"Cookie": {"s3redirect_console=" + testAdminToken}, "X-Csrf-Token": {testAdminToken}}, 401},
		"the token, from a page":    {http.Header{"Authorization": {"Bearer " + testAdminToken}, "Origin": {"https://evil.example"}}, 403},
	} {
		for _, target := range []string{"/-/reload", "/-/purge", "/-/purge?integration=lab", "/-/purge?token=" + testAdminToken} {
			var log strings.Builder
			o := &operator{token: testAdminToken}
			rec := administer(t, o, &log, http.MethodPost, target, c.header)
			if rec.Code != c.want || (o.reloads+o.purges == 1) != (c.want == 200) {
				t.Errorf("%s, %s: status %d after %d calls, want %d", name, target, rec.Code, o.reloads+o.purges, c.want)
			}
			challenge := rec.Header().Get("WWW-Authenticate")
			if (c.want == 401) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("%s, %s: WWW-Authenticate: %q", name, target, challenge)
			}
			if (c.want == 401) != strings.Contains(log.String(), "request refused") || strings.Contains(log.String()+rec.Body.String(), "canary") {
				t.Errorf("%s, %s: the log says %q and the answer %q", name, target, log.String(), rec.Body)
			}
		}
	}
	for _, target := range []string{"/metrics", "/healthz", "/readyz"} {
		if rec := administer(t, &operator{token: testAdminToken}, io.Discard, http.MethodGet, target, http.Header{}); rec.Code != 200 {
			t.Errorf("GET %s without the token: status %d, want 200", target, rec.Code)
		}
	}
}

// Without admin.token every client may ask, whatever it sends, but for pages.
func TestNoAdminToken(t *testing.T) {
	for _, target := range []string{"/-/reload", "/-/purge"} {
		for name, header := range map[string]http.Header{"nothing": {}, "a token": {"Authorization": {"Bearer x"}}} {
			if rec := administer(t, &operator{}, io.Discard, http.MethodPost, target, header); rec.Code != 200 {
				t.Errorf("%s with %s: status %d, want 200", target, name, rec.Code)
			}
		}
		o := &operator{}
		if rec := administer(t, o, io.Discard, http.MethodPost, target, http.Header{"Sec-Fetch-Site": {"cross-site"}}); rec.Code != 403 || o.reloads+o.purges != 0 {
			t.Errorf("%s from a page: status %d after %d calls, want 403 and none", target, rec.Code, o.reloads+o.purges)
		}
	}
}
