package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/viewer"
)

// A refused credential is logged and counted once. The log has the reason, the peer and a remedy,
// but not the credential.
func TestRefusedCredentialsAreLogged(t *testing.T) {
	a := newTestApp(t)
	text := strings.Replace(a.text, "level: warn", "level: info", 1)
	a.reload(strings.Replace(text, "{anonymous: true}", "{anonymous: true, "+
		"jwt: {issuer: https://id.example.com, audience: media, cookie: session}, "+
		"forwarded: {user_header: X-User, trusted_proxies: [10.0.0.1]}}", 1))
	for _, c := range []struct {
		name, value string
		status      int
		want        string // a part of the log
		counted     string
	}{
		{
			"Authorization", "Bearer canary", http.StatusUnauthorized,
			"reason=malformed", `{method="jwt",reason="malformed"} 1`,
		},
		{
			"Cookie", "session=canary", http.StatusFound,
			"reason=opaque_cookie", `{method="jwt",reason="opaque_cookie"} 1`,
		},
		{
			"X-User", "canary", http.StatusFound,
			"method=forwarded reason=untrusted_peer peer=192.0.2.1 remedy=",
			`{method="forwarded",reason="untrusted_peer"} 1`,
		},
	} {
		before := len(a.log.String())
		r := httptest.NewRequest(http.MethodGet, mediaObject, nil)
		r.Header.Set(c.name, c.value)
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, r)
		line := a.log.String()[before:]
		if rec.Code != c.status || strings.Count(line, "credential refused") != 1 ||
			!strings.Contains(line, c.want) || strings.Contains(line, "canary") {
			t.Errorf("%s: status %d, log %q, want %d and a line with %s, without the credential",
				c.name, rec.Code, line, c.status, c.want)
		}
		a.wantMetric("s3redirect_viewer_refusals_total" + c.counted)
	}
}

// The lines for one reason are limited, and the number of those that were left out is logged.
func TestRefusalLogIsLimited(t *testing.T) {
	var log bytes.Buffer
	l := &refusalLog{
		log:     slog.New(slog.NewTextHandler(&log, nil)),
		reasons: map[refusalKey]*refusalCount{},
	}
	r := &viewer.Request{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	add := func(reason viewer.Reason) string {
		log.Reset()
		l.add(r, &viewer.Refusal{Method: viewer.MethodJWT, Reason: reason}, now)
		return log.String()
	}
	for n := range 2 * refusalBurst {
		if got, want := add(viewer.ReasonExpired) != "", n < refusalBurst; got != want {
			t.Errorf("refusal %d: logged %v, want %v", n, got, want)
		}
	}
	if got := add(viewer.ReasonAudience); !strings.Contains(got, "reason=audience") {
		t.Errorf("another reason: %q, want a line", got)
	}
	now = now.Add(refusalInterval)
	if got := add(viewer.ReasonExpired); !strings.Contains(got, "suppressed=10") {
		t.Errorf("after %v: %q, want a line with suppressed=10", refusalInterval, got)
	}
	now = now.Add(refusalInterval)
	if got := add(viewer.ReasonExpired); strings.Contains(got, "suppressed") || got == "" {
		t.Errorf("after %v more: %q, want a line without suppressed", refusalInterval, got)
	}
}

// Fetches of an issuer's keys are counted from the start. A reload forgets the issuers that it
// removes.
func TestFetchesOfKeysAreCounted(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	down.Store(true)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{KeyID: "k", Key: key.Public()},
		}})
	}))
	defer provider.Close()
	a := newTestApp(t)
	with := func(path string) string {
		return strings.Replace(a.text, "{anonymous: true}",
			"{jwt: {issuer: '"+provider.URL+"', audience: media, jwks_url: '"+provider.URL+path+"'}}", 1)
	}
	label := `{issuer="` + provider.URL + `"}`
	a.reload(with("/a"))
	a.wantMetric("s3redirect_jwks_refresh_failures_total" + label + " 0")
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       jose.JSONWebKey{Key: key, KeyID: "k"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(`{"iss": "` + provider.URL + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	send := func(status int) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, mediaObject, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, r)
		if rec.Code != status {
			t.Errorf("status %d, want %d", rec.Code, status)
		}
	}
	send(http.StatusServiceUnavailable)
	a.wantMetric("s3redirect_jwks_refresh_failures_total" + label + " 1")
	if strings.Contains(a.scrape(), "s3redirect_jwks_refresh_timestamp_seconds{") {
		t.Error("a failed fetch set the time of the last fetch")
	}
	down.Store(false)
	previous := a.current.Load()
	a.reload(with("/b")) // another gate, which has made no attempt yet
	send(http.StatusUnauthorized)
	if !strings.Contains(a.scrape(), "s3redirect_jwks_refresh_timestamp_seconds"+label) {
		t.Error("a fetch did not set its time")
	}
	a.closeGate(previous)
	a.wantMetric("s3redirect_jwks_refresh_failures_total" + label + " 1")
	previous = a.current.Load()
	a.reload(a.text)
	a.closeGate(previous)
	if scrape := a.scrape(); strings.Contains(scrape, "s3redirect_jwks") {
		t.Error("the removed issuer still has series")
	}
}
