package demo

import (
	"bytes"
	"image"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/locator"
)

func TestSamplesAreWhatTheySay(t *testing.T) {
	started := time.Now()
	samples := Samples()
	t.Logf("made in %v", time.Since(started))

	seen := map[string]bool{}
	for _, s := range samples {
		if l, err := locator.ParsePath(s.Locator.Path()); err != nil || l != s.Locator {
			t.Errorf("%s as a path is %s, %v", s.Locator, l, err)
		}
		if seen[string(s.Data)] || len(s.Data) == 0 || s.Title == "" || s.Alt == "" {
			t.Errorf("%s is empty, or another's twin, or has no words", s.Locator)
		}
		seen[string(s.Data)] = true
		t.Logf("%s: %d bytes", s.Locator, len(s.Data))

		switch s.ContentType {
		case "image/jpeg", "image/png":
			c, format, err := image.DecodeConfig(bytes.NewReader(s.Data))
			if err != nil || "image/"+format != s.ContentType || c.Width != paintWidth || c.Height != paintHeight {
				t.Errorf("%s is %s, %dx%d, %v", s.Locator, format, c.Width, c.Height, err)
			}
		case "video/mp4":
			moov, mdat := bytes.Index(s.Data, []byte("moov")), bytes.Index(s.Data, []byte("mdat"))
			if len(s.Data) > 60_000 || moov < 0 || mdat < moov {
				t.Errorf("%s has %d bytes, its index at %d and its frames at %d", s.Locator, len(s.Data), moov, mdat)
			}
		case "image/svg+xml":
			if strings.Contains(string(s.Data), "href") {
				t.Errorf("%s refers to something", s.Locator)
			}
		}
	}
}

func BenchmarkSamples(b *testing.B) {
	for b.Loop() {
		Samples()
	}
}
