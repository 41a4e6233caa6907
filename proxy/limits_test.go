package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Each locator of a batch counts as a request, also beyond the burst.
func TestBatchesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withRateLimit)
		defer w.set.Close()
		body := `{"locators": [` + strings.Repeat(`"s3://photos/a", `, 19) + `"s3://photos/b"]}`
		send := func() *http.Response {
			return w.send("ann", "POST", "/presign", body, "Content-Type", "application/json")
		}
		for n := range 3 {
			if resp := send(); resp.StatusCode != 200 {
				t.Fatalf("batch %d of 20 from a full bucket: got %d, want 200", n, resp.StatusCode)
			}
			for name, resp := range map[string]*http.Response{
				"a batch in debt": send(), "an object in debt": w.as("ann", "GET", "/s3/photos/k"),
			} {
				wantCode(t, name, resp, 429, "rate_limited")
				if got := resp.Header.Get("Retry-After"); got != "16" {
					t.Errorf("%s: Retry-After = %q, want 16", name, got)
				}
			}
			time.Sleep(16 * time.Second)
			resp := send()
			wantCode(t, "a batch without debt", resp, 429, "rate_limited")
			if got := resp.Header.Get("Retry-After"); got != "5" {
				t.Errorf("a batch without debt: Retry-After = %q, want 5", got)
			}
			time.Sleep(5 * time.Second)
		}
	})
}

// slowBody waits for 4 seconds and calls meanwhile before its text is read.
type slowBody struct {
	io.Reader
	meanwhile func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.meanwhile != nil {
		time.Sleep(4 * time.Second)
		b.meanwhile()
		b.meanwhile = nil
	}
	return b.Reader.Read(p)
}

// Slow batches cost as much as fast ones: the time that a body takes is not credited twice.
func TestSlowBatchesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withRateLimit)
		defer w.set.Close()
		body := `{"locators": [` + strings.Repeat(`"s3://photos/a", `, 4) + `"s3://photos/b"]}`
		r := httptest.NewRequest("POST", "http://proxy.localhost/", &slowBody{
			Reader: strings.NewReader(body),
			meanwhile: func() {
				if resp := w.as("ann", "GET", "/s3/photos/k"); resp.StatusCode != 302 {
					t.Errorf("a request during the batch: got %d, want 302", resp.StatusCode)
				}
			},
		})
		r.RequestURI, r.RemoteAddr = "/presign", "10.0.0.1:1234"
		r.Header.Set(userHeader, "ann")
		r.Header.Set(groupsHeader, "-")
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != 200 {
			t.Fatalf("a slow batch of 5: got %d, want 200", rec.Code)
		}
		wantCode(t, "a request after the batch", w.as("ann", "GET", "/s3/photos/k"), 429,
			"rate_limited")
	})
}

// A request without a credential is rejected but is no guess: it does not use up its address's rate
// limit, which bad links and passwords of the address share.
func TestRequestsWithoutCredentialsAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withViewers, withRateLimit)
		defer w.set.Close()
		for range 20 {
			wantCode(t, "no credential", w.as("", "GET", "/s3/photos/k"), 401, "viewer_unknown")
		}
		for range 5 {
			resp := w.as("", "GET", "/s3/photos/k?exp=1&kid=k1&sig=x")
			wantCode(t, "a bad link", resp, 401, "viewer_unknown")
		}
		wantCode(t, "the sixth", w.as("", "GET", "/s3/photos/k?exp=1&kid=k1&sig=x"), 429,
			"rate_limited")
		wantCode(t, "no credential", w.as("", "GET", "/s3/photos/k"), 401, "viewer_unknown")
		if resp := w.as("ann", "GET", "/s3/photos/k"); resp.StatusCode != 302 {
			t.Errorf("ann: got %d, want 302", resp.StatusCode)
		}
	})
}
