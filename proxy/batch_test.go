package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/fakeaws"
)

// postTo sends a POST request with a body of unknown length.
func (w *world) postTo(
	ctx context.Context, rec http.ResponseWriter, target string, body io.Reader,
) {
	w.postFrom(ctx, rec, "192.0.2.1:1234", target, body)
}

// postFrom is postTo for a client at addr.
func (w *world) postFrom(
	ctx context.Context, rec http.ResponseWriter, addr, target string, body io.Reader,
) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://proxy.localhost"+target, body)
	r.RequestURI, r.RemoteAddr, r.ContentLength = target, addr, -1
	r.Header.Set("Content-Type", "application/json")
	w.ServeHTTP(rec, r)
}

func (w *world) post(target string, body io.Reader) *http.Response {
	rec := httptest.NewRecorder()
	w.postTo(w.t.Context(), rec, target, body)
	return rec.Result()
}

// batch returns a body for POST /presign with n locators.
func batch(n int, locator func(n int) string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = locator(i)
	}
	text, err := json.Marshal(map[string][]string{"locators": all})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

// item is the result of POST /presign for one locator. The locator is undecoded.
type item struct {
	Locator    json.RawMessage
	URL, Error string
}

// readURLs returns the items of a response of POST /presign.
func readURLs(t *testing.T, resp *http.Response) []item {
	t.Helper()
	wantNoSniff(t, resp)
	var answer struct{ URLs []item }
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST /presign: got %d, %v, %.300s; want 200 and JSON", resp.StatusCode, err, text)
	}
	return answer.URLs
}

// fragile is a response writer that calls fail after left bytes.
type fragile struct {
	*httptest.ResponseRecorder
	left int
	fail func() error
}

func (f *fragile) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.fail()
	}
	return f.ResponseRecorder.Write(p)
}

// A response that cannot be finished is aborted, and the request's part of the budget is released.
func TestPresignAbortsIncompleteResponses(t *testing.T) {
	never := func() error { return nil }
	for what, c := range map[string]struct {
		left   int
		fail   func() error
		last   string
		status string
	}{
		"a client that stops reading": {
			100_000, func() error { return io.ErrClosedPipe }, "s3://scans/k", "499",
		},
		"a client that disconnects before STS answers": {1 << 30, never, "s3://bucket/k", "499"},
		"a bug": {100_000, func() error { panic("a bug") }, "s3://scans/k", "500"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.set.Close()
				w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
					time.Sleep(10 * time.Second)
					return nil
				})
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				time.AfterFunc(5*time.Second, leave)
				rec := &fragile{httptest.NewRecorder(), c.left, c.fail}
				body := batch(1000, func(n int) string {
					if n == 999 {
						return c.last
					}
					return fmt.Sprintf("s3://scans/%s-%d", strings.Repeat("x", 500), n)
				})
				func() {
					defer func() {
						if v := recover(); v != http.ErrAbortHandler {
							t.Errorf("recovered %v, want http.ErrAbortHandler", v)
						}
					}()
					w.postTo(ctx, rec, "/presign", strings.NewReader(body))
				}()
				text := rec.Body.String()
				if rec.Code != http.StatusOK || len(text) < 10_000 || json.Valid([]byte(text)) ||
					strings.Contains(text, "_error") {
					t.Errorf("got %d and %d bytes, want 200 and half of a response: …%s",
						rec.Code, len(text), text[max(0, len(text)-200):])
				}
				label := `{code="` + c.status + `",integration=`
				if got := scrapeText(t, w); strings.Count(got, label) != 1 {
					t.Errorf("metrics: want one request with code %s, got\n%s", c.status, got)
				}
				wantReleased(t, w.bodies)
			})
		})
	}
}

// URLs are written before later ones have been signed.
func TestPresignStreamsURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		rec := httptest.NewRecorder()
		written := 0
		w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
			written = rec.Body.Len()
			return nil
		})
		w.postTo(t.Context(), rec, "/presign", strings.NewReader(batch(1000, func(n int) string {
			if n == 999 {
				return "s3://bucket/k"
			}
			return fmt.Sprintf("s3://scans/%04d", n)
		})))
		urls := readURLs(t, rec.Result())
		if len(urls) != 1000 || urls[999].Error != "" {
			t.Fatalf("got %d URLs, the last: %+v", len(urls), urls[len(urls)-1])
		}
		for n, got := range urls[:999] {
			key := fmt.Sprintf("%04d", n)
			if string(got.Locator) != `"s3://scans/`+key+`"` ||
				!strings.Contains(got.URL, "/"+key+"?") {
				t.Fatalf("item %d: got %s, %s, want key %s", n, got.Locator, got.URL, key)
			}
		}
		if whole := rec.Body.Len(); written < whole/2 {
			t.Errorf("%d of %d bytes were written before the call of STS, want at least half",
				written, whole)
		}
	})
}

// stuck is a client that does not read its URLs until hold is closed.
type stuck struct {
	*httptest.ResponseRecorder
	begun, hold chan struct{}
	once        sync.Once
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.Code == http.StatusOK {
		s.once.Do(func() { s.begun <- struct{}{}; <-s.hold })
	}
	return s.ResponseRecorder.Write(p)
}

// A batch of short locators takes more memory than its text. Clients that do not read the response
// cannot exceed the budget either.
func TestResponsesInFlightShareBudget(t *testing.T) {
	w := newWorld(t)
	body := batch(1000, func(int) string { return "" })
	const limit, total = 20, 20 * (batchCost + 1000*locatorCost)
	w.bodies = newBudget(total)
	begun, hold := make(chan struct{}, limit), make(chan struct{})
	var wg sync.WaitGroup
	served := 0
	for ; served <= limit; served++ {
		rec := &stuck{ResponseRecorder: httptest.NewRecorder(), begun: begun, hold: hold}
		done, addr := make(chan struct{}), fmt.Sprintf("192.0.2.%d:1", served)
		wg.Go(func() {
			ctx := context.WithoutCancel(t.Context())
			w.postFrom(ctx, rec, addr, "/presign", strings.NewReader(body))
			close(done)
		})
		select {
		case <-begun:
			continue
		case <-done:
		}
		wantCode(t, fmt.Sprintf("after %d batches", served), rec.Result(), 503, "overloaded")
		break
	}
	if served < limit*9/10 || served > limit {
		t.Errorf("%d batches were served at the same time, want %d to %d", served, limit*9/10,
			limit)
	}
	close(hold)
	wg.Wait()
	wantReleased(t, w.bodies)
}

func TestPresignBatch(t *testing.T) {
	w := newWorld(t, withViewers)
	w.put("bucket", "users/ann/ü +1", "hers")
	asked := []string{
		"s3://bucket/users/ann/ü +1", "s3://bucket/users/bob/x", "s3://elsewhere/x", "nonsense",
		"s3://photos/../x", "s3://photos/y", "s3://bucket/users/ann/ü +1",
	}
	body, err := json.Marshal(map[string]any{"locators": asked})
	if err != nil {
		t.Fatal(err)
	}
	resp := w.send("ann", "POST", "/presign", string(body),
		"Content-Type", "application/json; charset=utf-8")
	var answer struct {
		URLs []struct {
			Locator, URL, Error string
			ExpiresAt           time.Time `json:"expires_at"`
		}
	}
	text, _ := io.ReadAll(resp.Body)
	if strings.Contains(string(text), `\u0026`) {
		t.Error("the response has escaped ampersands, want unescaped URLs")
	}
	err = json.Unmarshal(text, &answer)
	if err != nil || resp.StatusCode != 200 || len(answer.URLs) != len(asked) ||
		resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d, %v, %s, want 200 with %d items", resp.StatusCode, err, text, len(asked))
	}
	for i, wantError := range []string{
		"", "viewer_denied", "bucket_not_permitted", "bad_locator", "bad_locator", "", "",
	} {
		got := answer.URLs[i]
		if got.Locator != asked[i] || got.Error != wantError ||
			(got.URL != "") != (wantError == "") {
			t.Errorf("%s: got %+v, want error %q", asked[i], got, wantError)
		}
		if wantError == "" && got.ExpiresAt.Before(time.Now().Add(15*time.Minute-time.Second)) {
			t.Errorf("%s: expires at %v, want in at least 15m", asked[i], got.ExpiresAt)
		}
	}
	location := w.as("ann", "GET", "/s3/bucket/users/ann/%C3%BC%20+1").Header.Get("Location")
	if answer.URLs[0].URL != location || answer.URLs[6].URL != location {
		t.Errorf("got %s and %s, want the redirect's URL %s", answer.URLs[0].URL,
			answer.URLs[6].URL, location)
	}
	u, err := url.Parse(answer.URLs[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	if resp, text := w.fetch("GET", u); resp.StatusCode != 200 || text != "hers" {
		t.Errorf("the store answers %d %s, want 200 hers", resp.StatusCode, text)
	}
	counted := `s3redirect_requests_total{code="200",integration="-",method="POST"} 1`
	if got := scrapeText(t, w); !strings.Contains(got, counted) {
		t.Errorf("metrics: want one request of no integration, got\n%s", got)
	}
}

func TestPresignProblems(t *testing.T) {
	w := newWorld(t, withViewers)
	const body, kind, isJSON = `{"locators": ["s3://photos/x"]}`, "Content-Type", "application/json"

	many := batch(1001, func(int) string { return "s3://photos/x" })
	large := batch(1, func(int) string { return strings.Repeat("x", 5<<20) })
	for what, c := range map[string]struct {
		user, body, mediaType string
		status                int
		code                  string
	}{
		"anonymous":         {"", body, isJSON, 401, "viewer_unknown"},
		"too many locators": {"ann", many, isJSON, 400, "bad_request"},
		"no locators":       {"ann", `{"locators": []}`, isJSON, 400, "bad_request"},
		"no JSON":           {"ann", `{"locators"`, isJSON, 400, "bad_request"},
		"unknown field":     {"ann", `{"locator": "s3://photos/x"}`, isJSON, 400, "bad_request"},
		"two values":        {"ann", body + " {}", isJSON, 400, "bad_request"},
		// Any page can send a form.
		"a form": {"ann", body, "text/plain", 415, "not_json"},
		"5 MB":   {"ann", large, isJSON, 413, "too_large"},
	} {
		resp := w.send(c.user, "POST", "/presign", c.body, kind, c.mediaType)
		wantCode(t, what, resp, c.status, c.code)
	}
	for _, method := range []string{"GET", "HEAD", "PUT"} {
		resp := w.as("ann", method, "/presign")
		wantCode(t, method, resp, 405, "method_not_allowed")
		if resp.Header.Get("Allow") != "POST, OPTIONS" {
			t.Errorf("%s /presign: got header %v, want Allow: POST, OPTIONS", method, resp.Header)
		}
	}
	resp := w.send("ann", "POST", "/s3/photos/x", "", kind, isJSON)
	wantCode(t, "POST of an object", resp, 405, "method_not_allowed")
}

// If STS does not answer, the response is sent before the timeout, with the URLs of other
// integrations.
func TestPresignDoesNotWaitBeyondTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
			time.Sleep(9 * time.Second)
			return &fakeaws.Fault{Status: 503, Code: "ServiceUnavailable", Message: "no"}
		})
		began := time.Now()
		body := `{"locators": ["s3://scans/x", "s3://bucket/x", "s3://photos/x", "s3://bucket/y",
			"s3://scans/y"]}`
		resp := w.send("", "POST", "/presign", body, "Content-Type", "application/json")
		text, _ := io.ReadAll(resp.Body)
		if took := time.Since(began); took > presignTimeout || resp.StatusCode != 200 {
			t.Fatalf("got %d after %v: %s, want 200 within %v", resp.StatusCode, took, text,
				presignTimeout)
		}
		if strings.Count(string(text), `"error":"sts_unavailable"`) != 3 ||
			strings.Count(string(text), `"url":`) != 2 {
			t.Errorf("got %s, want 3 errors sts_unavailable and 2 URLs", text)
		}
	})
}
