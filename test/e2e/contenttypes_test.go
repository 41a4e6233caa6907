package e2e

import (
	"net/http"
	"testing"
)

// typed is the end of an integration that sets content types.
const typed = `    content_types: {.svg: image/svg+xml, .wasm: application/wasm}
`

func TestContentTypesOnMinIO(t *testing.T) {
	t.Parallel()
	s := minio(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: typed
`+withRole+typed, s.env()...)
	checkContentTypes(t, s, p)
}

func TestContentTypesOnRadosgw(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	p := startProxy(t, `
integrations:
  - name: role
    bucket: typed
`+asTrusted+typed, g.env()...)
	checkContentTypes(t, &g.store, p)
}

// checkContentTypes checks that the store sends the configured type of a key, whatever type the
// object was stored with.
func checkContentTypes(t *testing.T, s *store, p *proxy) {
	t.Helper()
	s.createBucket(t, "typed")
	for _, key := range []string{"a.svg", "folder/B.SVG", "c.wasm", "d.bin"} {
		s.put(t, "typed", key, []byte("<svg/>"))
	}
	presigned := presignAll(t, p, "typed", []string{"folder/B.SVG"})
	for _, c := range []struct{ key, query, want string }{
		{"a.svg", "", "image/svg+xml"},
		{"folder/B.SVG", "", "image/svg+xml"},
		{"c.wasm", "", "application/wasm"},
		{"d.bin", "", "application/x-test"},
		{"a.svg", "?response-content-type=image/png", "image/png"},
		{"d.bin", "?response-content-type=image/png", "image/png"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := fetch(t, method, p.location(t, method, path("typed", c.key)+c.query))
			if got := a.header.Get("Content-Type"); a.status != http.StatusOK || got != c.want {
				t.Errorf("%s %s%s: status %d, Content-Type %q, want 200 and %q: %s",
					method, c.key, c.query, a.status, got, c.want, a.body)
			}
		}
	}
	a := fetch(t, http.MethodGet, presigned["folder/B.SVG"].URL)
	if got := a.header.Get("Content-Type"); a.status != http.StatusOK || got != "image/svg+xml" {
		t.Errorf("POST /presign: status %d, Content-Type %q, want 200 and image/svg+xml: %s",
			a.status, got, a.body)
	}
}
