package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// No part of a link, valid or not, and no credential or Referer appears in a log, in any format.
func TestLinksAppearInNoLog(t *testing.T) {
	for _, format := range []string{"json", "text", "combined"} {
		var lines lockedBuffer
		w := newWorld(t, withViewers, withLinkCookie, withAccessLog(format), withAudit(&lines))
		w.accessLog.out = &lines
		query := w.linkQuery("s3://bucket/films/*", time.Hour)
		signature := query[strings.LastIndex(query, "=")+1:]
		token := strings.Split(inPath(query, ""), "/")[2]
		const film = "/s3/bucket/films/k"
		for _, target := range []string{
			film, film + "?" + query, film + "?" + query + "x", inPath(query, film),
			inPath(query+"x", film), inPath(query, "/s3/bucket/other"), inPath(query, "/s3/b"),
			inPath(query, "/s3/bucket/../k"), inPath(query, ""), "/authorize" + inPath(query, film),
		} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				r := httptest.NewRequest(method, "/", nil)
				r.RequestURI = target
				r.Header = http.Header{
					"Cookie":        {"s3link=" + query + "x"},
					"Referer":       {"https://app.example.com/?canary"},
					"Authorization": {"Bearer canary"},
					"Traceparent":   {"00-canary-canary-01"},
					"X-Request-Id":  {"canary"},
				}
				w.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		w.accessLog.Close()
		w.audit.Close()
		output := lines.String() + w.log.String()
		if !strings.Contains(output, "films/k") || !strings.Contains(output, `"kind":"redirect"`) {
			t.Fatalf("%s: got %s, want lines of the film", format, output)
		}
		for _, secret := range []string{query, url.QueryEscape(query), signature, token, "canary"} {
			if len(secret) < 6 || strings.Contains(output, secret) {
				t.Errorf("%s: the log contains %q:\n%s", format, secret, output)
			}
		}
	}
}
