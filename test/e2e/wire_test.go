package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// answeredBy returns how many requests of viewers each of the proxy's two servers has answered.
func (p *proxy) answeredBy(t *testing.T) (wire, netHTTP int) {
	t.Helper()
	s := p.scrape(t)
	return int(s[`s3redirect_server_requests_total{server="wire"}`]),
		int(s[`s3redirect_server_requests_total{server="net_http"}`])
}

// wantOnWire checks that the proxy has answered all of n requests on the wire.
func (p *proxy) wantOnWire(t *testing.T, what string, n int) {
	t.Helper()
	if wire, netHTTP := p.answeredBy(t); wire != n || netHTTP != 0 {
		t.Errorf("%s: %d requests were answered on the wire and %d by net/http, want %d and 0",
			what, wire, netHTTP, n)
	}
}

// TestFrontsAreAnsweredOnTheWire checks that what the shipped fronts send is plain enough for the
// wire.
func TestFrontsAreAnsweredOnTheWire(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "caddy", "haproxy")
	for name, start := range map[string]func(*testing.T, *proxy) *front{
		"nginx": func(t *testing.T, p *proxy) *front { return behindShippedNginx(t, p, "") },
		"nginx, compose": func(t *testing.T, p *proxy) *front {
			return behindComposedNginx(t, p)
		},
		"caddy": func(t *testing.T, p *proxy) *front {
			return behindShippedCaddy(t, "Caddyfile", p)
		},
		"haproxy": func(t *testing.T, p *proxy) *front { return behindShippedHAProxy(t, p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := flooded(t, "")
			f := start(t, p)
			before, _ := p.answeredBy(t) // the start of HAProxy sends a request
			const clients, each = 8, 25
			var wg sync.WaitGroup
			for c := range clients {
				wg.Go(func() {
					for n := range each {
						key := fmt.Sprintf("%d/%d.jpg", c, n)
						a, err := try(t, http.MethodGet, f.asProxy().url(path("flooded", key)),
							"Cookie: theme=dark; other=\"quoted\"", "Accept: image/avif,*/*")
						if err == nil {
							err = a.checkRedirect()
						}
						if err == nil && !strings.Contains(a.header.Get("Location"), key) {
							err = fmt.Errorf("Location is for another key")
						}
						if err != nil {
							t.Errorf("%s: %v", key, err)
							return
						}
					}
				})
			}
			wg.Wait()
			p.wantOnWire(t, name, before+clients*each)
		})
	}
}

// TestChromiumIsAnsweredOnTheWire checks that a page's images are.
func TestChromiumIsAnsweredOnTheWire(t *testing.T) {
	t.Parallel()
	const images = 24
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		fmt.Fprint(w, `<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"></svg>`)
	}))
	t.Cleanup(store.Close)
	p := startProxy(t, longWindow+`
integrations:
  - name: keys
    bucket: flooded
    endpoint: `+store.URL+`
    path_style: true
    access_key_id: AKIA
    secret_access_key: s
`)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for n := range images {
			fmt.Fprintf(w, `<img src="%s">`, p.url(path("flooded", fmt.Sprintf("ü %d.svg", n))))
		}
	}))
	t.Cleanup(page.Close)
	b := openTab(t)
	b.open(page.URL)
	for n, width := range b.widths() {
		if width != 7 {
			t.Errorf("width of image %d = %d, want 7", n, width)
		}
	}
	p.wantOnWire(t, "Chromium", images)
}

// TestWithoutTheWire checks that --wire=false leaves all requests to net/http.
func TestWithoutTheWire(t *testing.T) {
	t.Parallel()
	dir := writeConfig(t, floodedConfig)
	p := startBinaryAt(t, built(t), dir, freeAddress(t), freeAddress(t), []string{"--wire=false"})
	for n := range 10 {
		a := fetch(t, http.MethodGet, p.url(path("flooded", fmt.Sprint(n))))
		if err := a.checkRedirect(); err != nil {
			t.Error(err)
		}
	}
	if wire, netHTTP := p.answeredBy(t); wire != 0 || netHTTP != 10 {
		t.Errorf("with --wire=false, %d requests were answered on the wire and %d by net/http, "+
			"want 0 and 10", wire, netHTTP)
	}
}
