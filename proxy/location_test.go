package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// lateWriter is the writer of a middleware that sends the header after the handler has returned.
// Its Flush does nothing. Both are allowed.
type lateWriter struct {
	http.ResponseWriter
	header http.Header
	status int
}

func (w *lateWriter) WriteHeader(status int) {
	w.status, w.header = status, w.ResponseWriter.Header().Clone()
}

// Flush implements [http.Flusher].
func (w *lateWriter) Flush() {}

// A redirect's header stays valid after the handler has returned, because middleware may keep it.
func TestLocationOutlivesTheHandler(t *testing.T) {
	w := newWorld(t)
	const requests = 50
	others := 0
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		late := &lateWriter{ResponseWriter: rw}
		w.ServeHTTP(late, r)
		for range 20 { // these reuse the handler's buffer
			others++
			target := fmt.Sprintf("/s3/bucket/other-%08d.jpg", others)
			other := httptest.NewRequest("GET", target, nil)
			w.ServeHTTP(discard{http.Header{}}, other)
		}
		clear(rw.Header())
		for name, values := range late.header {
			rw.Header()[name] = values
		}
		rw.WriteHeader(late.status)
	}))
	defer s.Close()
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	wrong, example := 0, ""
	for n := range requests {
		path := fmt.Sprintf("/bucket/photo-%08d.jpg", n)
		resp, err := client.Get(s.URL + "/s3" + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got := resp.Header.Get("Location")
		if resp.StatusCode != http.StatusFound || !strings.HasPrefix(got, storeURL+path+"?") {
			wrong++
			example = fmt.Sprintf("%s got %d %.80s", path, resp.StatusCode, got)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d responses have another request's URL, want 0; the last: %s", wrong,
			requests, example)
	}
}
