package config

import "testing"

func TestContentTypeOf(t *testing.T) {
	i := Integration{ContentTypes: map[string]string{
		".gz": "application/gzip", ".tar.gz": "application/x-gtar", ".WASM": "application/wasm",
	}}
	for key, want := range map[string]string{
		"a.gz": "application/gzip", "a.tar.gz": "application/x-gtar", "a.TAR.GZ": "application/x-gtar",
		"a.wasm": "application/wasm", "wasm": "", "a.gz/b": "", "": "", "tar.gz": "application/gzip",
	} {
		if got := i.ContentTypeOf(key); got != want {
			t.Errorf("ContentTypeOf(%q) = %q, want %q", key, got, want)
		}
	}
	if got := (&Integration{}).ContentTypeOf("a.gz"); got != "" {
		t.Errorf("without content_types, ContentTypeOf(a.gz) = %q, want none", got)
	}
}
