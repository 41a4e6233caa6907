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
	stats := Stats{
		Requests:    7,
		URLHits:     3,
		URLMisses:   4,
		AssumeRoles: 1,
		S3Requests:  5,
		WindowEnds:  time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC),
	}
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
		contentType := w.Header().Get("Content-Type")
		if w.Code != tt.status || tt.contentType != "" && contentType != tt.contentType {
			t.Errorf("%s %s = %d %s, want %d %s",
				tt.method, tt.path, w.Code, contentType, tt.status, tt.contentType)
		}
		switch {
		case tt.path == "/demo/stats":
			var got Stats
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got != stats {
				t.Errorf("stats = %+v, %v; want %+v", got, err, stats)
			}
		case tt.contentType != "":
			page := html.UnescapeString(w.Body.String())
			for _, s := range samples {
				if !strings.Contains(page, `="`+s.Locator.Path()+`"`) || !strings.Contains(page, s.Title) {
					t.Errorf("page does not contain path and title of %s", s.Locator)
				}
			}
			rest := strings.ReplaceAll(page, "http://www.w3.org/2000/svg", "")
			if strings.Contains(rest, "://www") || strings.Contains(rest, "https:") {
				t.Error("page refers to another origin")
			}
		}
	}
}

func TestStatsOmitZeroWindowEnd(t *testing.T) {
	b, err := json.Marshal(Stats{})
	if err != nil || strings.Contains(string(b), "window_ends") {
		t.Errorf("Marshal(Stats{}) = %s, %v; want no window_ends", b, err)
	}
}
