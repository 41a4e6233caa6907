package check

import (
	"strings"
	"testing"
)

func TestMixedContent(t *testing.T) {
	for _, c := range []struct {
		endpoint, origin, publicURL string
		warns                       bool
	}{
		{"http://store.example.com", "https://app.example.com", "", true},
		{"http://store.example.com", "", "https://app.example.com", true},
		{"http://store.example.com", "http://app.example.com", "", false},
		{"http://store.example.com", "", "", false},
		{"https://store.example.com", "https://app.example.com", "", false},
		{"http://127.0.0.1:9000", "https://app.example.com", "", false},
		{"http://store.localhost:9000", "https://app.example.com", "", false},
	} {
		w := newWorld()
		aws := w.Transport
		w.useStore(c.endpoint)
		w.Transport, w.Origin, w.Sample = aws, c.origin, nil
		if c.publicURL != "" {
			w.moreConfig = "public_url: " + c.publicURL + "\n"
		}
		steps, _ := w.check(t)
		got := false
		for _, s := range steps {
			if s.Name == "mixed_content" {
				got = s.Verdict == Warning && strings.Contains(s.Reason, c.endpoint) &&
					strings.Contains(s.Remedy, "endpoint: https://store.example.com")
				checkText(t, s)
			}
		}
		if got != c.warns {
			t.Errorf("%+v: a warning of mixed content: %v, want %v; steps %+v", c, got, c.warns, steps)
		}
	}
}
