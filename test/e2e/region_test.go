package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestRegionAuto checks that region: auto works at stores that do not report a bucket's region to an
// unsigned HeadBucket: the proxy and check sign with the region that the store tells, or with the
// default.
func TestRegionAuto(t *testing.T) {
	t.Parallel()
	auto := func(integration string) string {
		return strings.Replace(integration, "region: us-east-1", "region: auto", 1)
	}
	// region returns a function that starts a MinIO in a region.
	region := func(name, region string) func() (*store, error) {
		return sync.OnceValues(func() (*store, error) { return startMinIO(name, region) })
	}
	const lab = "lab-north-7"
	unnamed, other := region("minio-unnamed", ""), region("minio-other", lab)
	for _, c := range []struct {
		name, integration string
		start             func() (*store, error)
		step, scope       string // of check, and in the URL
	}{
		{"unnamed-keys", withKeys, unnamed, "region-auto is in us-east-1", "us-east-1"},
		{"unnamed-role", withRole, unnamed, "region-auto is in us-east-1", "us-east-1"},
		// MinIO answers an unsigned HeadBucket with its region if it has one. It accepts only
		// signatures for that region.
		{"other-keys", withKeys, other, "region-auto is in " + lab, lab},
		// radosgw accepts signatures for every region. Its role may not call GetBucketLocation.
		{"radosgw-keys", withKeys, nil, "region-auto is in ", ""},
		{"radosgw-role", asTrusted, nil, "using us-east-1", "us-east-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var s *store
			var env []string
			if c.start == nil {
				g := radosgw(t)
				s, env = &g.store, g.env()
			} else {
				need(t, "minio")
				var err error
				if s, err = c.start(); err != nil {
					t.Fatal(err)
				}
				env = s.env()
			}
			s.createBucket(t, "region-auto")
			s.put(t, "region-auto", "key", []byte("text"))
			integration := "\nintegrations:\n  - name: role\n    bucket: region-auto" +
				auto(c.integration)
			p := startProxy(t, integration, env...)
			location := p.location(t, http.MethodGet, path("region-auto", "key"))
			if !strings.Contains(location, "%2F"+c.scope) {
				t.Errorf("GET: redirect to %s, want a signature for %s", location, c.scope)
			}
			if a := fetch(t, http.MethodGet, location); string(a.body) != "text" {
				t.Errorf("GET: status %d, body %s, want the object", a.status, a.body)
			}
			dir := t.TempDir()
			file := "listen: 127.0.0.1:0\nviewers: {anonymous: true}\n" + integration
			err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(file), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, out := command(t, dir, env, "check", "--config", "config.yaml",
				"--sample", "s3://region-auto/key")
			if text := strings.Join(strings.Fields(out), " "); !strings.Contains(text, c.step) ||
				!strings.Contains(text, "few stores report") {
				t.Errorf("check prints\n%s\nwant a line with %q and the warning", out, c.step)
			}
		})
	}
}
