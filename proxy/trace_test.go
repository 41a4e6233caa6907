package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The trace of a sampled request is an exemplar of its duration, and that of another is not.
func TestSampledTracesAreExemplars(t *testing.T) {
	const unsampled = "0af7651916cd43dd8448eb211c80319c"
	w := newWorld(t)
	for _, value := range []string{
		"00-" + testTrace + "-00f067aa0ba902b7-01", "00-" + unsampled + "-00f067aa0ba902b7-00",
		"00-canary-00f067aa0ba902b7-01",
	} {
		r := httptest.NewRequest(http.MethodGet, "/s3/scans/k", nil)
		r.Header.Set("Traceparent", value)
		w.ServeHTTP(httptest.NewRecorder(), r)
	}
	r, err := http.NewRequest(http.MethodGet, scrape(t, w), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/openmetrics-text")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := string(body)
	if strings.Count(text, `# {trace_id="`+testTrace+`"}`) != 1 ||
		strings.Contains(text, unsampled) || strings.Contains(text, "canary") {
		t.Errorf("got %s\nwant one exemplar of the sampled trace, and no other", text)
	}
}
