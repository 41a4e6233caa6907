package viewer

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// twoProviders answers for the issuer, and refuses the requests for any other one.
type twoProviders struct{ *provider }

func (p twoProviders) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "down.example.com" {
		return nil, errors.New("connection refused")
	}
	return p.provider.RoundTrip(r)
}

// A refused cookie is reported once, whether or not another cookie is valid: it takes a token from
// the rate limit.
func TestRefusedCookieIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const second, down = "https://second.example.com", "https://down.example.com"
		bad := sign(t, rs256(nil), claims(nil), otherRSA)
		valid := sign(t, rs256(nil), claims(map[string]any{"iss": second}), testRSA)
		unavailable := sign(t, rs256(nil), claims(map[string]any{"iss": down}), testRSA)
		for _, c := range []struct {
			name, cookies string
			burst         int // of the rate limit
			err           error
		}{
			{"only a bad cookie", "session=" + bad, 5, ErrUnknown},
			{"a valid cookie", "session=" + bad + "; other=" + valid, 5, nil},
			{"an unavailable issuer", "session=" + bad + "; other=" + unavailable, 5, ErrUnavailable},
			{"a limited address", "session=" + bad + "; other=" + valid, 1, &LimitError{}},
		} {
			viewers := jwtViewers()
			viewers.RateLimit = &config.RateLimit{PerSecond: 1, Burst: c.burst}
			for _, from := range []string{second, down} {
				other := viewers.JWT[0]
				other.Cookie, other.Issuer, other.JWKSURL = "other", from, from+"/keys"
				viewers.JWT = append(viewers.JWT, other)
			}
			var reasons []Reason
			g, err := New(viewers, Options{
				Clock:     time.Now,
				Log:       slog.New(slog.DiscardHandler),
				Transport: twoProviders{newProvider()},
				Refused:   func(_ *Request, r *Refusal) { reasons = append(reasons, r.Reason) },
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(g.Close)
			_, err = g.Identify(NewRequest(request("192.0.2.1:1", "Cookie", c.cookies)), time.Now())
			_, limited := errors.AsType[*LimitError](err)
			_, wantLimited := errors.AsType[*LimitError](c.err)
			if limited != wantLimited || !limited && !errors.Is(err, c.err) {
				t.Errorf("%s: Identify = %v, want %v", c.name, err, c.err)
			}
			if want := []Reason{ReasonSignature}; !slices.Equal(reasons, want) {
				t.Errorf("%s: reported %q, want %q", c.name, reasons, want)
			}
		}
	})
}
