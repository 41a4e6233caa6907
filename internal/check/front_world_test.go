package check

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
	"s3redirect/proxy"
)

// linksOnly are viewers who need a signed link.
const linksOnly = `viewers: {links: {keys: [{id: k1, secret: canary-0123456789-0123456789-0123456789}]}}
`

// splitTransport sends requests for a host to a server, and all others to an account in memory.
type splitTransport struct {
	host  string
	aws   http.RoundTripper
	other http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (s splitTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == s.host {
		return s.other.RoundTrip(r)
	}
	return s.aws.RoundTrip(r)
}

// useFront serves the proxy at public_url, behind a front.
func (w *world) useFront(t *testing.T, front func(proxy http.Handler) http.Handler) {
	t.Helper()
	const host = "media.example.com"
	w.moreConfig += "public_url: https://" + host + "\n"
	aws := w.Transport
	w.prepare = func(c *config.Config) {
		handler := front(newProxy(t, w, c, aws))
		received := func(rw http.ResponseWriter, r *http.Request) {
			r.RequestURI = r.URL.RequestURI() // as on a connection
			handler.ServeHTTP(rw, r)
		}
		w.Transport = splitTransport{host, aws, fakeaws.InMemory{Handler: http.HandlerFunc(received)}}
	}
}

// newProxy returns the proxy with a configuration, in the account of w.
func newProxy(t *testing.T, w *world, c *config.Config, aws http.RoundTripper) http.Handler {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	m := metrics.New("test")
	set, err := integration.NewSet(c, integration.Options{
		Clock:     time.Now,
		Log:       log,
		Metrics:   m,
		Transport: aws,
		STS: &integration.AWSSTS{
			HTTPClient: &http.Client{Transport: fakeaws.InMemory{Handler: w.cloud.STS()}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	gate, err := viewer.New(&c.Viewers, viewer.Options{Clock: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gate.Close)
	h, err := proxy.New(proxy.Options{
		Integrations:   set,
		Metrics:        m,
		Clock:          time.Now,
		Log:            log,
		URLs:           100,
		ReferrerPolicy: "no-referrer",
		Gate:           gate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// pass is a front that changes nothing.
func pass(proxy http.Handler) http.Handler { return proxy }

// changing returns a front that changes requests.
func changing(request func(*http.Request)) func(http.Handler) http.Handler {
	return func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			request(r)
			proxy.ServeHTTP(rw, r)
		})
	}
}

// answering returns a front that changes the proxy's responses.
func answering(
	response func(r *http.Request, from *httptest.ResponseRecorder),
) func(http.Handler) http.Handler {
	return func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			proxy.ServeHTTP(rec, r)
			response(r, rec)
			for name, values := range rec.Header() {
				rw.Header()[name] = values
			}
			rw.WriteHeader(rec.Code)
			_, _ = rw.Write(rec.Body.Bytes())
		})
	}
}

// setHeader returns a front that sets a header of all responses.
func setHeader(name, value string) func(http.Handler) http.Handler {
	return answering(func(_ *http.Request, from *httptest.ResponseRecorder) {
		from.Header().Set(name, value)
	})
}

// fixed returns a front that gives all requests one answer.
func fixed(status int, header ...string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			for n := 0; n+1 < len(header); n += 2 {
				rw.Header().Set(header[n], header[n+1])
			}
			rw.WriteHeader(status)
		})
	}
}
