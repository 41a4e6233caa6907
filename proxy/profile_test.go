package proxy

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Profiles exist only with admin.token, and need it.
func TestProfilesNeedAdminToken(t *testing.T) {
	good := http.Header{"Authorization": {"Bearer " + testAdminToken}}
	page := good.Clone()
	page.Set("Sec-Fetch-Site", "same-origin")
	for _, path := range []string{
		"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=1",
		"/debug/pprof/goroutine?debug=2",
	} {
		for name, c := range map[string]struct {
			operator operator
			header   http.Header
			want     int
		}{
			"without admin.token": {operator{}, good, 404},
			"no token":            {operator{token: testAdminToken}, http.Header{}, 401},
			"a wrong token": {operator{token: testAdminToken},
				http.Header{"Authorization": {"Bearer " + testAdminToken + "x"}}, 401},
			"a page": {operator{token: testAdminToken}, page, 403},
		} {
			rec := administer(t, &c.operator, io.Discard, "GET", path, c.header)
			if rec.Code != c.want {
				t.Errorf("%s, %s: got %d, want %d", path, name, rec.Code, c.want)
			}
		}
	}
}

func TestProfiles(t *testing.T) {
	good := http.Header{"Authorization": {"Bearer " + testAdminToken}}
	get := func(path string) (int, []byte) {
		rec := administer(t, &operator{token: testAdminToken}, io.Discard, "GET", path, good)
		return rec.Code, rec.Body.Bytes()
	}
	if code, body := get("/debug/pprof/"); code != 200 || !strings.Contains(string(body), "goroutine") {
		t.Errorf("the index: got %d %s, want 200 and the profiles", code, body)
	}
	code, body := get("/debug/pprof/heap")
	r, err := gzip.NewReader(bytes.NewReader(body))
	if code != 200 || err != nil {
		t.Fatalf("heap: got %d, %v, want 200 and a compressed profile", code, err)
	}
	if text, err := io.ReadAll(r); err != nil || !bytes.Contains(text, []byte("inuse_space")) {
		t.Errorf("heap: got %d bytes, %v, want a profile of inuse_space", len(text), err)
	}
	if code, body := get("/debug/pprof/cmdline"); code != 404 {
		t.Errorf("cmdline: got %d %s, want 404", code, body)
	}
}
