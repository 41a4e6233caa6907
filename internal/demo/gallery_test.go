package demo

import (
	"encoding/json"
	"html"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGallery(t *testing.T) {
	samples := Samples()
	stats := Stats{Requests: 7, URLHits: 3, URLMisses: 4, AssumeRoles: 1, S3Requests: 5, WindowEnds: time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)}
	gallery := Gallery(samples, func() Stats { return stats })
	tests := []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/demo/stats", 200, "application/json"},
		{"POST", "/", 405, ""},
		{"GET", "/index.html", 404, ""},
		{"GET", "/s3/demo-media/images/sunset.jpg", 404, ""},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		gallery.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || tt.contentType != "" && w.Header().Get("Content-Type") != tt.contentType {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Header().Get("Content-Type"))
		}
		switch {
		case tt.path == "/demo/stats":
			var got Stats
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got != stats {
				t.Errorf("stats are %+v, %v", got, err)
			}
		case tt.contentType != "":
			page := html.UnescapeString(w.Body.String())
			for _, s := range samples {
				if !strings.Contains(page, `="`+s.Locator.Path()+`"`) || !strings.Contains(page, s.Title) {
					t.Errorf("the page does not show %s", s.Locator)
				}
			}
			if strings.Contains(strings.ReplaceAll(page, "http://www.w3.org/2000/svg", ""), "://www") || strings.Contains(page, "https:") {
				t.Error("the page loads something from elsewhere")
			}
		}
	}
}

func TestStatsWithoutAWindow(t *testing.T) {
	b, err := json.Marshal(Stats{})
	if err != nil || strings.Contains(string(b), "window_ends") {
		t.Errorf("%s, %v", b, err)
	}
}
