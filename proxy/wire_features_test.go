package proxy

import (
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// withFeatures turns on what a request for an object may have to do with: links in the query, the
// path and a cookie, documents that are answered in place, and content types.
func withFeatures(c *config.Config, _ *Options) {
	for n := range c.Integrations {
		c.Integrations[n].InPlace = &config.InPlace{Suffixes: []string{".m3u8"}, MaxBytes: 1 << 10}
		c.Integrations[n].ContentTypes = map[string]string{".jpg": "image/jpeg", ".svg": "image/svg+xml"}
	}
	c.Viewers.Anonymous = true
	c.Viewers.Links = &config.Links{
		Keys:        []config.LinkKey{{ID: "k", Secret: testSecret + testSecret}},
		MaxLifetime: time.Hour,
		Cookie:      "s3link",
	}
}

// The wire's responses to requests with links, to judgments of them and to requests of the mode
// same-origin have the same bytes as net/http's, also while the server is retired.
func TestWireWritesWhatNetHTTPWritesForLinks(t *testing.T) {
	now := time.Now().Truncate(time.Hour).Add(10 * time.Minute)
	w := newWorld(t, withFeatures, func(c *config.Config, o *Options) {
		c.Viewers.Anonymous = false
		o.Clock = func() time.Time { return now }
	})
	target, err := viewer.ParseTarget("s3://scans/films/*")
	if err != nil {
		t.Fatal(err)
	}
	query, err := w.gate.Links().Query(target, now, now.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	film, other := inPath(query, "/s3/scans/films/k.jpg"), inPath(query, "/s3/scans/other/k")
	for _, c := range []struct{ target, fields, status string }{
		{film, "", "302"},
		{film + "?download", "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n", "302"},
		{film, "Sec-Fetch-Mode: same-origin\r\n", "400"},
		{"/s3/scans/films/k?" + query, "Sec-Fetch-Mode: same-origin\r\n", "400"},
		{film + "?" + query, "", "401"},
		{other, "", "401"},
		{inPath("sig=x", "/s3/scans/films/k"), "", "401"},
		{inPath(query, ""), "", "400"},
		{"/authorize" + film, "", "204"},
		{"/authorize" + film, "Sec-Fetch-Mode: same-origin\r\n", "204"},
		{"/authorize" + inPath(query, "/s3/scans/films/k.m3u8"), "", "204"},
		{"/authorize" + other, "", "401"},
		{"/s3/scans/films/k", "Cookie: s3link=" + query + "\r\n", "302"},
		{"/authorize/s3/scans/films/k", "Cookie: s3link=" + query + "\r\n", "204"},
		{"/s3/scans/films/k", "Cookie: s3link=x\r\n", "401"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			head := method + " " + c.target + " HTTP/1.1\r\nHost: h\r\n" + c.fields + "\r\n"
			for _, prepare := range []func(*Server){func(*Server) {}, (*Server).retire} {
				got, want := onBothWith(t, w, head, prepare)
				if got != want || !strings.HasPrefix(want, "HTTP/1.1 "+c.status+" ") {
					t.Errorf("%q:\nthe wire answers %q\nnet/http answers %q\nwant the same, with %s",
						head, got, want, c.status)
				}
				if _, header, _ := strings.Cut(c.target, "~"); header != "" &&
					strings.Contains(want, header[:20]) {
					t.Errorf("%q: the response has the link: %q", head, want)
				}
			}
		}
	}
}
