package proxy

import (
	"net/http/httptest"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// A client cannot add fields or lines to the log with a method, which HTTP/2 does not restrict.
func TestAccessLogDoesNotRepeatUnknownMethods(t *testing.T) {
	methods := map[string]string{
		"GET": "GET", "HEAD": "HEAD", "POST": "POST", "OPTIONS": "OPTIONS",
		"get": "other", "PUT": "other", "": "other", "GET ": "other",
		"GET\",\"viewer\":\"canary": "other", "GET viewer=canary": "other",
		"GET\ncanary": "other", "canary\x00\xff": "other",
	}
	for format, field := range map[string]string{"json": `"method":"%"`, "text": " method=% "} {
		for method, logged := range methods {
			var out lockedBuffer
			w := newWorld(t, func(_ *config.Config, o *Options) {
				o.AccessLog = NewAccessLog(&out, format, o.Log, o.Metrics.AccessLogLost)
			})
			r := httptest.NewRequest("GET", "/s3/bucket/k", nil)
			r.Method = method
			w.ServeHTTP(httptest.NewRecorder(), r)
			w.accessLog.Close()
			got, want := out.String(), strings.ReplaceAll(field, "%", logged)
			if strings.Count(got, want) != 1 || strings.Contains(got, "canary") {
				t.Errorf("%s, method %q: got %q, want one %q", format, method, got, want)
			}
			if lines := strings.Count(got, "\n"); lines != 1 {
				t.Errorf("%s, method %q: got %d lines, want 1", format, method, lines)
			}
		}
	}
}
